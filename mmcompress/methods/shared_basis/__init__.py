"""Deeply shared filter bases (Kang & Kim, arXiv:2006.05066)."""

from .algorithm import SharedBasis
from .mutator import SharedBasisMutator
from .op import SharedBasisConv2d
from .unit import SharedBasisUnit

__all__ = ['SharedBasis', 'SharedBasisConv2d', 'SharedBasisMutator', 'SharedBasisUnit']
