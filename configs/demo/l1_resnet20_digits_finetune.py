# What FCF is measured against: the half of the filters of each layer that has the largest L1 norm
# in the dense network stays (Li et al., ICLR 2017), and is trained on as FCF's is.
_base_ = ['fcf_resnet20_digits_finetune.py']

model = dict(criterion='l1')
