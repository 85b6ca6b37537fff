"""What every method shares. Imports no method."""

from .algorithm import CompressionAlgorithm
from .analyzer import Analysis, DependencyAnalyzer
from .channels import UnitConfig
from .clock import Clock
from .errors import CompressionError
from .filter_finder import FilterFinder
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
    'FilterFinder',
    'UnitConfig',
    'sub_model',
]
