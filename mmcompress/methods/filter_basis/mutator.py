"""The mutator of filter basis."""

from __future__ import annotations

from mmcompress.core.filters.mutator import FilterMutator
from mmcompress.registry import MODELS


@MODELS.register_module()
class FilterBasisMutator(FilterMutator):
    """Filter mutator for layers that may differ in their channels; see the base class."""

    unit_type = 'FilterBasisUnit'
