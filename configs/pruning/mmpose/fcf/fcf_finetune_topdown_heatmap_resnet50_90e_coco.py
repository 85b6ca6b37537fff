# FCF on a top-down heatmap estimator, ResNet-50, COCO 256x192, stage 2: the filters that stage 1
# chose go, the others are trained on. From fcf_topdown_heatmap_resnet50_30e_coco.py.
# The schedule is ours: mmpose's Adam with a tenth of its learning rate, ImageNet's epochs.
_base_ = ['fcf_topdown_heatmap_resnet50_30e_coco.py']

model = dict(stage='finetune')
load_from = 'work_dirs/fcf_topdown_heatmap_resnet50_30e_coco/epoch_30.pth'

optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=5e-5))
param_scheduler = dict(milestones=[30, 60])
train_cfg = dict(max_epochs=90)
