# FCF on the channel units of ResNet-34, ImageNet, stage 2, from
# fcf_resnet34_30e_in1k_down55_unit.py.
_base_ = ['fcf_finetune_resnet34_90e_in1k.py']

model = dict(mutator_cfg=dict(scope='unit'), target_pruning_ratio=0.67)
load_from = 'work_dirs/fcf_resnet34_30e_in1k_down55_unit/epoch_30.pth'
