# AllConv, CIFAR-10, dense, trained as with LinearConv.
# Published: 1.37M parameters.
# The authors drop in evaluation too: model.backbone.dropout_in_evaluation=True
_base_ = [
    '../_base_/models/all_conv_cifar.py',
    '../_base_/datasets/cifar10_bs50.py',
    '../_base_/schedules/linear_conv_250e.py',
    '../_base_/cls_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=1e-4))
train_cfg = dict(max_epochs=350)
