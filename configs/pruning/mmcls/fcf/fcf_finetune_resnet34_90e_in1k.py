# FCF on ResNet-34, ImageNet, stage 2: the filters that stage 1 chose go, the others are trained on.
# From fcf_resnet34_30e_in1k.py.
_base_ = ['fcf_resnet34_30e_in1k.py']

model = dict(stage='finetune')
load_from = 'work_dirs/fcf_resnet34_30e_in1k/epoch_30.pth'

optim_wrapper = dict(optimizer=dict(lr=0.01, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(milestones=[30, 60])
train_cfg = dict(max_epochs=90)
