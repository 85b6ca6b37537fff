"""The mutator of shared basis."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mmcompress.core.channels.analyzer import DependencyAnalyzer
from mmcompress.core.channels.config import UnitConfig, narrow_layers
from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.mutator import FilterMutator
from mmcompress.registry import MODELS

from .unit import SharedBasisUnit

#: Keys of ``parse_cfg`` that say where to look, and on what the model runs.
WHERE = {'include', 'exclude', 'input_shape'}


@MODELS.register_module()
class SharedBasisMutator(FilterMutator):
    """Filter mutator for layers with filters of one size, by default of stages.

    Args:
        filter_unit_cfg: As in the base class.
        parse_cfg: As in the base class; if it says nothing, or only where to look, a unit is a
            stage without its first block.
        **kwargs: As in the base class.
    """

    unit_type = 'SharedBasisUnit'
    alike = ('kernel_size', 'in_channels', 'groups')

    def __init__(
        self,
        filter_unit_cfg: dict | str | None = None,
        parse_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        if parse_cfg is None or (isinstance(parse_cfg, dict) and WHERE.issuperset(parse_cfg)):
            parse_cfg = dict(rule='stage', skip_first_block=True) | (parse_cfg or {})
        super().__init__(filter_unit_cfg, parse_cfg, **kwargs)

    def prepare_units(self, architecture: nn.Module) -> None:
        """Swap in the ops; where they put out fewer maps, narrow what takes these."""
        narrowed = [unit for unit in self.units.values() if unit.narrows]
        couplings = self._couplings(architecture, narrowed) if narrowed else {}
        super().prepare_units(architecture)
        kept: list[Any] = []
        own: list[Any] = []
        for unit in narrowed:
            for layer, op in unit.ops.items():
                config = self._coupling(couplings, layer, unit.name)
                kept.append((config, torch.arange(op.out_channels)))
                own.extend(c for c in config.producers if c.name == layer)
        narrow_layers(architecture, kept, skip=own)

    def _couplings(
        self, architecture: nn.Module, narrowed: list[SharedBasisUnit]
    ) -> dict[str, UnitConfig]:
        """Channel units that are all of what one layer puts out, by the layer's name."""
        layers = [layer for unit in narrowed for layer in unit.layers]
        analyzer = DependencyAnalyzer(layers, input_shape=self.demo)
        analysis = analyzer.analyze(architecture)
        found = {}
        for config in analysis.units.values():
            filters = [
                channel
                for channel in config.producers
                if isinstance(architecture.get_submodule(channel.name), nn.Conv2d)
            ]
            if len(filters) == 1:
                found[filters[0].name] = config
        return found

    @staticmethod
    def _coupling(couplings: dict[str, UnitConfig], layer: str, name: str) -> UnitConfig:
        if layer not in couplings:
            raise CompressionError(
                f'filter unit {name!r} has coefficients=False and ranks below the number of '
                f'filters, but the channels of {layer!r} are tied to other layers; give it '
                "coefficients, or shared_rank='full'"
            )
        return couplings[layer]
