"""The mutator of filter basis."""

from __future__ import annotations

from typing import Any

from mmcompress.core.filter_mutator import FilterMutator
from mmcompress.registry import MODELS


@MODELS.register_module()
class FilterBasisMutator(FilterMutator):
    """Filter mutator whose units are of type ``FilterBasisUnit``.

    Args:
        filter_unit_cfg: As in the base class; ``type`` defaults to ``FilterBasisUnit``.
        **kwargs: As in the base class.
    """

    def __init__(self, filter_unit_cfg: dict | str | None = None, **kwargs: Any) -> None:
        super().__init__(filter_unit_cfg or {}, **kwargs)
        self.filter_unit_cfg.setdefault('type', 'FilterBasisUnit')
