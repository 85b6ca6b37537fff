# DCFF on ResNet-50, ImageNet, 180 epochs with a cosine. Published: 1.52B MACs,
# 11.05M parameters, 75.60 %.
_base_ = ['dcff_resnet50_90e_in1k_2.25b.py']

model = dict(
    target_pruning_ratio=dict(
        _delete_=True,
        **{
            'backbone.layer*.conv[12]_*': 0.5,
            'backbone.layer[1-3].0.conv3_*': 0.75,
        },
    ),
)

optim_wrapper = dict(optimizer=dict(lr=0.01, momentum=0.99))
# The cosine goes by epochs, as in the authors' program, whose first five, of warm-up, begin 0.2 %
# lower than these.
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1 / (5 * 5005),  # 5005 batches of 256
        by_epoch=True,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', by_epoch=True, T_max=175, begin=5, end=180),
]
train_cfg = dict(max_epochs=180)
