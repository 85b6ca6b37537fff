"""Pruning of channels by a criterion: the baseline that other methods are compared with."""

from .algorithm import Magnitude
from .mutator import MagnitudeMutator
from .op import GatedConv2d
from .unit import MagnitudeUnit

__all__ = ['GatedConv2d', 'Magnitude', 'MagnitudeMutator', 'MagnitudeUnit']
