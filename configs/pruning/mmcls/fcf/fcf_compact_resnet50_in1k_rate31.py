# FCF on ResNet-50, ImageNet, stage 3: what an export of
# fcf_finetune_resnet50_90e_in1k_rate31.py has.
_base_ = ['fcf_compact_resnet50_in1k.py']

model = dict(fix_subnet=dict(target_pruning_ratio=0.69))
