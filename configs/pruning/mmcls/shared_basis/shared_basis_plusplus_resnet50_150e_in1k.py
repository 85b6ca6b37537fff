# Shared++ on ResNet-50, ImageNet: all blocks of a stage but the first have one 3x3 convolution, and
# one 1x1 convolution behind it.
# Published: 18.26M parameters, 4.11G MACs, 23.95 % error.
# The loss has one mean for 3x3 and one for 1x1 filters, as in the authors' program.
_base_ = ['shared_basis_resnet50_150e_in1k.py']

model = dict(
    mutator_cfg=dict(
        parse_cfg=dict(
            include=['backbone.layer*.conv2', 'backbone.layer*.conv3'],
            kernel_size='any',
            by_position=True,
        )
    ),
    orthogonality_terms=dict(unique=False, joint='separate'),
)
