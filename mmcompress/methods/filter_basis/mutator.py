"""The mutator of filter basis."""

from __future__ import annotations

from mmcompress.core.filters.mutator import FilterMutator
from mmcompress.registry import MODELS


@MODELS.register_module()
class FilterBasisMutator(FilterMutator):
    """Finds filter units whose layers may differ in their channels, and swaps in their ops."""

    unit_type = 'FilterBasisUnit'
