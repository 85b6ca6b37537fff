# LinearConv on the detector of the demo, with the method file of every ResNet-18. Starts from
# dense_faster-rcnn_r18_digits.py; half of its learning rate and epochs.
_base_ = ['dense_faster-rcnn_r18_digits.py', '../_base_/methods/linear_conv_r18.py']

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = dict(T_max=4)
train_cfg = dict(max_epochs=4)
