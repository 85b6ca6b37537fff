# What mmengine's runner needs for classification.
_base_ = ['mmpretrain::_base_/default_runtime.py', 'runtime.py']

default_hooks = _base_.hooks
