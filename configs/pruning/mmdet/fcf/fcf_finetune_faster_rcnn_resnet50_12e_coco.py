# FCF on Faster R-CNN, ResNet-50 with FPN, COCO, stage 2: the filters that stage 1 chose go, the
# others are trained on. From fcf_faster_rcnn_resnet50_12e_coco.py.
# The schedule is ours: mmdet's, with a tenth of its learning rate.
_base_ = ['fcf_faster_rcnn_resnet50_12e_coco.py']

model = dict(stage='finetune')
load_from = 'work_dirs/fcf_faster_rcnn_resnet50_12e_coco/epoch_12.pth'

optim_wrapper = dict(optimizer=dict(lr=0.002, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(milestones=[8, 11])
