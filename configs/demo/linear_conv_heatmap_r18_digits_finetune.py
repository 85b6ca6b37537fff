# LinearConv on the pose estimator of the demo, with the method file of every ResNet-18. Starts
# from dense_heatmap_r18_digits.py; half of its learning rate, two thirds of its epochs.
_base_ = ['dense_heatmap_r18_digits.py', '../_base_/methods/linear_conv_r18.py']

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = dict(T_max=10)
train_cfg = dict(max_epochs=10)
