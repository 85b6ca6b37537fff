"""Filter basis (Li et al., ICCV 2019)."""

from .algorithm import FilterBasis
from .mutator import FilterBasisMutator
from .op import FilterBasisConv2d
from .unit import FilterBasisUnit

__all__ = ['FilterBasis', 'FilterBasisConv2d', 'FilterBasisMutator', 'FilterBasisUnit']
