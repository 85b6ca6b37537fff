# FCF on ResNet-20, second stage: the scalars of fcf_resnet20_digits_factorize.py are rounded, and
# what is left is trained on. The published recipe, a tenth as long.
_base_ = ['fcf_resnet20_digits_factorize.py']

model = dict(stage='finetune')

optim_wrapper = dict(optimizer=dict(lr=0.01, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(milestones=[6, 12])
train_cfg = dict(max_epochs=15)
