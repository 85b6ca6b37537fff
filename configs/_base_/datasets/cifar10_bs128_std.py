# CIFAR-10 divided by the standard deviation of all pixels of the training set, as in the filter
# basis authors' program; mmpretrain divides by about 51, the mean of the images' own deviations.
_base_ = ['cifar10_bs128.py']

data_preprocessor = dict(std=[63.0, 62.1, 66.7])
