# FCF on ResNet-50, ImageNet, stage 2, from fcf_resnet50_30e_in1k_rate31.py.
_base_ = ['fcf_finetune_resnet50_90e_in1k.py']

model = dict(target_pruning_ratio=0.69)
load_from = 'work_dirs/fcf_resnet50_30e_in1k_rate31/epoch_30.pth'
