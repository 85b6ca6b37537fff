# FCF on the segmenter of the demo, second stage: the scalars of fcf_fcn_r18_digits_factorize.py are
# rounded, and what is left is trained on. The published recipe, on less data.
_base_ = ['fcf_fcn_r18_digits_factorize.py']

model = dict(stage='finetune')

optim_wrapper = dict(optimizer=dict(lr=0.01, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(milestones=[3, 5])
train_cfg = dict(max_epochs=6)
