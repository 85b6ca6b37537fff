"""What every method shares. Imports no method."""

from mmcompress.core.base.algorithm import Clock, CompressionAlgorithm
from mmcompress.core.channels.analyzer import Analysis, DependencyAnalyzer
from mmcompress.core.channels.config import UnitConfig
from mmcompress.core.channels.gate import GatedMutator, GatedUnit
from mmcompress.core.channels.mutator import ChannelMutator
from mmcompress.core.channels.unit import ChannelUnit
from mmcompress.core.export.static import sub_model
from mmcompress.core.filters.algorithm import FilterAlgorithm
from mmcompress.core.filters.finder import FilterFinder
from mmcompress.core.filters.mutator import FilterMutator
from mmcompress.core.filters.unit import FilterUnit

from .errors import CompressionError

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
    'GatedMutator',
    'GatedUnit',
    'UnitConfig',
    'sub_model',
]
