# FCF on ResNet-34, ImageNet, stage 2, from fcf_resnet34_30e_in1k_rate35.py.
_base_ = ['fcf_finetune_resnet34_90e_in1k.py']

model = dict(target_pruning_ratio=0.65)
load_from = 'work_dirs/fcf_resnet34_30e_in1k_rate35/epoch_30.pth'
