"""FCF, factorized convolutional filters (Li et al., CVPR 2019)."""

from .algorithm import FCF
from .mutator import FCFMutator
from .op import FactorizedConv2d
from .unit import FCFUnit

__all__ = ['FCF', 'FCFMutator', 'FCFUnit', 'FactorizedConv2d']
