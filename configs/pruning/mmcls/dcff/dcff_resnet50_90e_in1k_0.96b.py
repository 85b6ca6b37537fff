# DCFF on ResNet-50, ImageNet, 90 epochs with steps. Published: 0.96B MACs, 7.40M parameters,
# 71.54 %.
_base_ = ['dcff_resnet50_90e_in1k_2.25b.py']

model = dict(
    target_pruning_ratio=dict(
        _delete_=True,
        **{
            'backbone.layer[1-3].*.conv1_*': 0.2,
            'backbone.layer3.[3-5].conv1_*': 0.3,
            'backbone.layer4.*.conv1_*': 0.3,
            'backbone.layer[1-3].*.conv2_*': 0.4,
            'backbone.layer3.[3-5].conv2_*': 0.6,
            'backbone.layer4.*.conv2_*': 0.6,
            'backbone.layer*.0.conv3_*': 0.7,
        },
    ),
)
