"""DCFF, dynamic-coded filter fusion (Lin et al., arXiv:2107.06916)."""

from .algorithm import DCFF
from .mutator import DCFFMutator
from .op import FusedConv2d
from .unit import DCFFUnit

__all__ = ['DCFF', 'DCFFMutator', 'DCFFUnit', 'FusedConv2d']
