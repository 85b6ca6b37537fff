# FCF on PointRend, ResNetV1c-50, Cityscapes 512x1024, stage 2: the filters that stage 1 chose go,
# the others are trained on. From fcf_pointrend_resnet50_30k_cityscapes.py.
# The schedule is ours: mmseg's, with a tenth of its learning rate.
_base_ = ['fcf_pointrend_resnet50_30k_cityscapes.py']

model = dict(stage='finetune')
load_from = 'work_dirs/fcf_pointrend_resnet50_30k_cityscapes/iter_30000.pth'

optim_wrapper = dict(optimizer=dict(lr=0.001, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(
    _delete_=True, type='PolyLR', by_epoch=False, power=0.9, eta_min=1e-5, begin=0, end=80000
)
train_cfg = dict(max_iters=80000)
