# FCF on ResNet-34, ImageNet, stage 2, from fcf_resnet34_30e_in1k_down27.py.
_base_ = ['fcf_finetune_resnet34_90e_in1k.py', '../../../_base_/ratios/fcf_r34_down27.py']

model = dict(
    mutator_cfg=dict(cut_inputs=False),
    target_pruning_ratio=dict(_delete_=True, **_base_.keep),
)
load_from = 'work_dirs/fcf_resnet34_30e_in1k_down27/epoch_30.pth'
