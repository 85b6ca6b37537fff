# FCF on ResNet-34, ImageNet, stage 3: what an export of
# fcf_finetune_resnet34_90e_in1k_rate35.py has.
_base_ = ['fcf_compact_resnet34_in1k.py']

model = dict(fix_subnet=dict(target_pruning_ratio=0.65))
