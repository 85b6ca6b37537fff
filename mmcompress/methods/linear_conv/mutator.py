"""The mutator of LinearConv."""

from __future__ import annotations

from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.mutator import FilterMutator
from mmcompress.core.layers.plain import Layers
from mmcompress.registry import MODELS

from .unit import LinearConvUnit


@MODELS.register_module()
class LinearConvMutator(FilterMutator):
    """Filter mutator whose units are convolutions of any kind, each by itself.

    Args:
        filter_unit_cfg: As in the base class. Without a keep ratio, half of the filters are
            primary, as published.
        parse_cfg: As in the base class; by default kernels and groups of any size count, and
            layers of any width.
        **kwargs: As in the base class.
    """

    unit_type = 'LinearConvUnit'

    def __init__(
        self,
        filter_unit_cfg: dict | str | None = None,
        parse_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        any_layer = dict(kernel_size='any', groups='any', min_channels=1)
        if parse_cfg is None or isinstance(parse_cfg, dict):
            parse_cfg = {**any_layer, **(parse_cfg or {})}
        super().__init__(filter_unit_cfg, parse_cfg, **kwargs)

    def _found(self, architecture: nn.Module) -> dict[str, tuple[list[str], dict]]:
        """Layers and settings by unit name, without layers that have nothing to combine."""
        found = super()._found(architecture)
        alone = [
            name
            for name, (layers, given) in found.items()
            if _alone(architecture, layers, self._across_groups(given))
        ]
        for name in alone:
            print_log(
                f'left dense: {name} has one filter in each group, nothing to combine within it '
                '(across_groups=True combines all filters of a layer)',
                logger='current',
            )
        if len(alone) == len(found):
            raise CompressionError(
                f'none of the {len(found)} convolutions found by parse_cfg has two filters in a '
                'group, which LinearConv could combine; across_groups=True combines all filters of '
                'a layer'
            )
        return {name: unit for name, unit in found.items() if name not in alone}

    def _across_groups(self, given: dict) -> bool:
        """Whether a unit with these settings combines filters of different groups."""
        args = {**self.filter_unit_cfg.get('default_args', {}), **given.get('init_args', {})}
        return args.get('across_groups') is True

    @staticmethod
    def _sized(units: dict[str, Any], target: Any) -> dict[str, Any]:
        if target is None:
            for unit in units.values():
                own = isinstance(unit, LinearConvUnit) and not unit.has_size
                if own and unit.choice is None:
                    unit.use_default_size()
        return FilterMutator._sized(units, target)

    def replaced(self, architecture: nn.Module, forms: dict[str, str]) -> dict[str, Layers]:
        """None: the static layers are those of the dense network."""
        return {}


def _alone(architecture: nn.Module, layers: list[str], across_groups: bool) -> bool:
    """Whether no filter of a convolution has another one that it could be combined with."""
    convs = [architecture.get_submodule(layer) for layer in layers]
    return all(conv.out_channels == (1 if across_groups else conv.groups) for conv in convs)
