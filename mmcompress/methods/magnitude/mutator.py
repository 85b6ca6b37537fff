"""The mutator of magnitude pruning."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmcompress.core.channels.gate import GatedMutator
from mmcompress.core.errors import CompressionError
from mmcompress.registry import MODELS

from .unit import MagnitudeUnit


@MODELS.register_module()
class MagnitudeMutator(GatedMutator):
    """Channel mutator whose units have masks.

    Args:
        channel_unit_cfg: Config of the units, as for
            :class:`~mmcompress.core.channels.mutator.ChannelMutator`.
        parse_cfg: Config of the analyzer.
        by_rank: Whether one ranking of all channels says how many of each unit stay; the
            algorithm sets it.
        **kwargs: ``init_cfg`` of :class:`mmengine.model.BaseModule`.
    """

    unit_type = 'MagnitudeUnit'
    units: dict[str, MagnitudeUnit]

    def __init__(
        self,
        channel_unit_cfg: dict | str | None = None,
        parse_cfg: dict | None = None,
        *,
        by_rank: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(channel_unit_cfg, parse_cfg, **kwargs)
        self.by_rank = by_rank

    def prepare_from_supernet(
        self, architecture: nn.Module, ratios: Any = None, budget: dict | None = None
    ) -> None:
        """Find the units of ``architecture`` and give them masks.

        Raises:
            CompressionError: As in the base class, and if one ranking says the widths, but
                these are also given by name or by a budget.
        """
        one = isinstance(ratios, (int, float)) and not isinstance(ratios, bool)
        if self.by_rank and (budget is not None or not one):
            key, given = ('target_pruning_ratio', ratios) if budget is None else ('budget', budget)
            raise CompressionError(
                f"{key} is {given!r}; with ranking='global' target_pruning_ratio has to be one "
                'number, the share of all channels to keep'
            )
        super().prepare_from_supernet(architecture, ratios, budget)

    def unit_args(self) -> dict[str, Any]:
        """The norm behind each convolution, and whether one ranking says the widths."""
        return dict(super().unit_args(), by_rank=self.by_rank)

    def finish_static(self, static: nn.Module) -> None:
        """Remove the silent channels from a copy made of plain layers.

        Raises:
            CompressionError: If a ranking is to say the widths, and has not been made.
        """
        units = self.units.values()
        asked = any(unit.choice < 1 for unit in units)
        if self.by_rank and asked and all(unit.width == unit.num_channels for unit in units):
            raise CompressionError(
                "ranking is 'global': how wide layers become depends on the weights; give a "
                'checkpoint of the training'
            )
        super().finish_static(static)

    @property
    def choice_template(self) -> dict[str, float]:
        """Keep ratio by unit name; with one ranking, the ratios that it gave."""
        if not self.by_rank:
            return super().choice_template
        return {name: unit.width / unit.num_channels for name, unit in self.units.items()}
