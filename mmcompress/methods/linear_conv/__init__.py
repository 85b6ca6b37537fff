"""LinearConv (Kahatapitiya & Rodrigo, arXiv:1907.11432)."""

from .algorithm import LinearConv
from .mutator import LinearConvMutator
from .op import LinearConv2d
from .unit import LinearConvUnit

__all__ = ['LinearConv', 'LinearConv2d', 'LinearConvMutator', 'LinearConvUnit']
