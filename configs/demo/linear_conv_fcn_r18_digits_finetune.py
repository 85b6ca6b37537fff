# LinearConv on the segmenter of the demo, with the method file of every ResNet-18. Starts from
# dense_fcn_r18_digits.py; half of its learning rate and epochs.
_base_ = ['dense_fcn_r18_digits.py', '../_base_/methods/linear_conv_r18.py']

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = dict(T_max=6)
train_cfg = dict(max_epochs=6)
