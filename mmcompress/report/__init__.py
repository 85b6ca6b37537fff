"""What compression brought: complexity, latency, tables and plots."""

from .complexity import complexity, complexity_by_stage
from .latency import compare_latency
from .plot import summary_plot
from .progress import progress_plot, read_progress, what_was_trained
from .table import print_table, write_json

__all__ = [
    'compare_latency',
    'complexity',
    'complexity_by_stage',
    'print_table',
    'progress_plot',
    'read_progress',
    'summary_plot',
    'what_was_trained',
    'write_json',
]
