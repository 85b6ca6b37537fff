"""What every method shares. Imports no method."""

from .algorithm import CompressionAlgorithm
from .analyzer import Analysis, DependencyAnalyzer
from .channels import UnitConfig
from .clock import Clock
from .errors import CompressionError
from .filter_algorithm import FilterAlgorithm
from .filter_finder import FilterFinder
from .filter_mutator import FilterMutator
from .filter_unit import FilterUnit
from .mutator import ChannelMutator
from .subnet import sub_model
from .unit import ChannelUnit

__all__ = [
    'Analysis',
    'ChannelMutator',
    'ChannelUnit',
    'Clock',
    'CompressionAlgorithm',
    'CompressionError',
    'DependencyAnalyzer',
    'FilterAlgorithm',
    'FilterFinder',
    'FilterMutator',
    'FilterUnit',
    'UnitConfig',
    'sub_model',
]
