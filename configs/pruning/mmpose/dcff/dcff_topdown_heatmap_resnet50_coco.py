# DCFF on a top-down heatmap estimator, ResNet-50, COCO 256x192, 300 epochs. Published: 4290M MACs,
# 26.95M parameters, 68.3 AP. Counted here: 4283M MACs, 26.95M parameters.
_base_ = [
    '../../../dense/dense_td-hm_res50_210e_coco.py',
    '../../../_base_/methods/dcff_r50.py',
]

# This recipe keeps more than the method file: 80 % of the blocks' inner convolutions in the first
# ten blocks and 85 % in the last six.
keep = {
    'backbone.layer[1-4].*.conv[12]_*': 0.85,
    'backbone.layer[12].*.conv[12]_*': 0.8,
    'backbone.layer3.[0-2].conv[12]_*': 0.8,
    'backbone.layer*.0.conv3_*': 0.9,
}
model = dict(
    _delete_=True,
    architecture=_base_.model,
    **dict(
        _base_.compression,
        target_pruning_ratio=keep,
        mutator_cfg=dict(type='DCFFMutator'),  # the published widths, odd ones too
    ),
)

param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.001, begin=0, end=500),
    dict(
        type='MultiStepLR', by_epoch=True, milestones=[170, 220, 280], gamma=0.1, begin=0, end=300
    ),
]
train_cfg = dict(max_epochs=300)
