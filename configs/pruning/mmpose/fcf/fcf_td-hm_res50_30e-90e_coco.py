# FCF on a top-down heatmap estimator, ResNet-50, COCO 256x192, all of it: which filters of the
# backbone can go (sparse rate 0.25), then training without them, then the exported network. From
# mmpose's network (0.718 AP). Nothing is published for pose, so the schedule is ours: that of
# ImageNet, in the second stage with mmpose's Adam and a tenth of its learning rate.
# Counted here: 4071M MACs (dense 5450M), 25.75M parameters (34.00M).
_base_ = [
    '../../../dense/dense_td-hm_res50_210e_coco.py',
    '../../../_base_/methods/fcf_r50.py',
]

_pose = dict(_base_.model)
_pose['backbone'] = dict(_pose['backbone'], init_cfg=None)  # all weights are loaded below
model = dict(_delete_=True, architecture=_pose, **dict(_base_.compression, mu=1.005))
load_from = (
    'https://download.openmmlab.com/mmpose/v1/body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_res50_8xb64-210e_coco-256x192-04af38ce_20220923.pth'
)

optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.1))
param_scheduler = dict(
    _delete_=True, type='MultiStepLR', by_epoch=True, milestones=[10, 20], gamma=0.1
)
train_cfg = dict(max_epochs=30)

stages = [
    dict(name='factorize'),
    dict(
        name='finetune',
        cfg_options=dict(
            model=dict(stage='finetune'),
            optim_wrapper=dict(optimizer=dict(_delete_=True, type='Adam', lr=5e-5)),
            param_scheduler=dict(milestones=[30, 60]),
            train_cfg=dict(max_epochs=90),
        ),
    ),
]
