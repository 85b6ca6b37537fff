# FCF on the pose estimator of the demo, second stage: the scalars of
# fcf_heatmap_r18_digits_factorize.py are rounded, and what is left is trained on, with a tenth of
# the dense network's learning rate at first.
_base_ = ['fcf_heatmap_r18_digits_factorize.py']

model = dict(stage='finetune')

optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=1e-4))
param_scheduler = dict(milestones=[8, 11])
train_cfg = dict(max_epochs=12)
