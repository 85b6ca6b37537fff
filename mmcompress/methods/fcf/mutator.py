"""The mutator of FCF."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

from torch import nn

from mmcompress.core.channels.config import ChannelRange, UnitConfig, narrow_layers
from mmcompress.core.channels.mutator import ChannelMutator
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.layers.narrow import is_pass_through
from mmcompress.core.layers.partial_add import add_partially
from mmcompress.core.probe.followers import norms_behind
from mmcompress.registry import MODELS

from .unit import FCFUnit

SCOPES = ('filter', 'unit')
WIDTHS = ('identical', 'magnitude')
#: What the paper leaves dense besides the stem: names of shortcuts, and of stems of several
#: convolutions, in OpenMMLab's backbones.
SKIP = ('*downsample*', '*shortcut*', '*stem*')


@MODELS.register_module()
class FCFMutator(ChannelMutator):
    """Gives filters their scalars, and removes those whose scalar is zero in the end.

    Args:
        channel_unit_cfg: As in the base class.
        parse_cfg: As in the base class.
        scope: ``'filter'``, every convolution has scalars of its own, also where its channels
            are added to others (the paper); or ``'unit'``, one for each channel unit, so that
            the result is a plain narrower network.
        widths: How many filters a layer keeps: ``'identical'``, the same share everywhere, or
            what ``target_pruning_ratio`` says by name; or ``'magnitude'``, by one threshold on
            the mean absolute weight of all filters, between 0.1 and 0.9 of a layer.
        skip: Names (with shell wildcards) of convolutions that keep all their filters, besides
            the one that reads the image. With scope ``'unit'`` they follow where their
            channels are also those of others.
        **kwargs: As in the base class.

    Raises:
        CompressionError: If an argument is wrong.
    """

    unit_type = 'FCFUnit'
    reorders_sums = True

    def __init__(
        self,
        channel_unit_cfg: dict | str | None = None,
        parse_cfg: dict | None = None,
        *,
        scope: str = 'filter',
        widths: str = 'identical',
        skip: Sequence[str] = SKIP,
        **kwargs: Any,
    ) -> None:
        super().__init__(channel_unit_cfg, parse_cfg, **kwargs)
        for key, value, names in (('scope', scope, SCOPES), ('widths', widths, WIDTHS)):
            if value not in names:
                raise CompressionError(
                    f'mutator_cfg.{key} is {value!r}; it has to be one of {", ".join(names)}'
                )
        if isinstance(skip, str) or not all(isinstance(name, str) for name in skip):
            raise CompressionError(
                f'mutator_cfg.skip is {skip!r}; it has to be a list of names of convolutions'
            )
        self.scope, self.widths, self.skip = scope, widths, tuple(skip)
        self.units: dict[str, FCFUnit]

    def prepare_from_supernet(
        self, architecture: nn.Module, ratios: Any = None, budget: dict | None = None
    ) -> None:
        """Find the filters of ``architecture`` and give them scalars.

        Args:
            architecture: The dense model; changed in place.
            ratios: Keep ratios, see the base class; one number where ``widths`` is
                ``'magnitude'``.
            budget: What to spend, instead of keep ratios; with scope ``'unit'`` only.

        Raises:
            CompressionError: As in the base class.
        """
        if self.widths == 'magnitude' and not isinstance(ratios, (int, float)):
            raise CompressionError(
                f'target_pruning_ratio is {ratios!r}; with widths="magnitude" it has to be one '
                'number, the share of all filters to keep'
            )
        if budget is not None and self.scope == 'filter':
            raise CompressionError(
                'budget needs scope="unit": a budget is solved for channel units; with '
                'scope="filter" give target_pruning_ratio'
            )
        self._check_skip(architecture)
        self._norms = norms_behind(architecture, self.parse_cfg.get('input_shape'))
        super().prepare_from_supernet(architecture, ratios, budget)
        if self.widths == 'magnitude':
            for unit in self.units.values():
                unit.width = 0  # not known before weights are: training starts, or a checkpoint

    @property
    def choice_template(self) -> dict[str, float]:
        """Keep ratio by unit name; by magnitude, those that came of the weights."""
        if self.widths == 'identical':
            return super().choice_template
        return {name: unit.width / unit.num_channels for name, unit in self.units.items()}

    def config_template(
        self, with_unit_init_args: bool = False, with_channels: bool = False
    ) -> dict:
        """See the base class."""
        template = super().config_template(with_unit_init_args, with_channels)
        return dict(template, scope=self.scope, widths=self.widths, skip=list(self.skip))

    def finish_static(self, static: nn.Module) -> None:
        """Remove the filters with the smallest scalars from a copy made of plain layers.

        Args:
            static: The architecture, dense, in place of each op the plain layer; changed in
                place.

        Raises:
            CompressionError: If widths come of the weights, and there are none yet.
        """
        if not all(unit.width for unit in self.units.values()):
            raise CompressionError(
                'mutator_cfg.widths is "magnitude": how wide layers become depends on the weights; '
                'give a checkpoint of the training'
            )
        kept = {name: unit.kept().cpu() for name, unit in self.units.items()}
        narrow_layers(static, [(self.units[name].config, keep) for name, keep in kept.items()])
        partial = {
            # The last of the layers: the norm, or else the convolution.
            unit.config.producers[-1].name: name
            for name, unit in self.units.items()
            if unit.partial and len(kept[name]) < unit.num_channels
        }
        add_partially(
            static,
            {layer: kept[name] for layer, name in partial.items()},
            {layer: self.units[name].num_channels for layer, name in partial.items()},
        )

    # Private

    def _choose(
        self, configs: dict[str, UnitConfig], architecture: nn.Module
    ) -> dict[str, UnitConfig]:
        found, configs = configs, {}
        modules = dict(architecture.named_modules())
        convolutions = (m for m in modules.values() if isinstance(m, nn.Conv2d))
        image_channels = next((m.in_channels for m in convolutions), None)
        for config in found.values():
            # Norms and depthwise convolutions hand on the channels of others.
            sources = [c for c in config.producers if not is_pass_through(modules[c.name])]
            filters = [c for c in sources if isinstance(modules[c.name], nn.Conv2d)]
            wanted = [
                channel
                for channel in filters
                if not any(fnmatch.fnmatchcase(channel.name, name) for name in self.skip)
                and modules[channel.name].in_channels != image_channels
            ]
            if not wanted:
                self.refused[config.name] = 'mutator_cfg.skip, or it reads the image'
                continue
            if self.scope == 'unit' or len(sources) == 1:
                configs[config.name] = config
                continue
            parts = {part.name: part for part in self._parts(config, wanted)}
            configs.update(parts)
            if config.name not in parts:
                self.refused[config.name] = 'with scope="filter" its convolutions are units'
        order = list(modules)
        return dict(
            sorted(configs.items(), key=lambda item: order.index(item[1].producers[0].name))
        )

    def _parts(self, config: UnitConfig, wanted: list[ChannelRange]) -> list[UnitConfig]:
        """A partial unit for each convolution whose channels are added to those of others.

        Convolutions without a norm, in a unit that has some, give factors, not summands (those
        of squeeze and excitation).
        """
        behind = {channel.name: channel for channel in config.producers}
        pairs = [(channel, behind.get(self._norms.get(channel.name))) for channel in wanted]
        if any(norm for _, norm in pairs):
            pairs = [(channel, norm) for channel, norm in pairs if norm]
        return [
            UnitConfig(config.num_channels, config.divisor, [c for c in pair if c])
            for pair in pairs
        ]

    def _fault(self, configs: list[UnitConfig], architecture: nn.Module) -> str:
        whole = [config for config in configs if any(not c.is_output for c in config.channels)]
        return super()._fault(whole, architecture) if whole else ''

    def _build_unit(self, name: str, config: UnitConfig) -> FCFUnit:
        unit = super()._build_unit(name, config)
        unit.norms = self._norms
        return unit

    def _check_skip(self, architecture: nn.Module) -> None:
        names = [n for n, m in architecture.named_modules() if isinstance(m, nn.Conv2d)]
        for pattern in self.skip:
            if pattern not in SKIP and not fnmatch.filter(names, pattern):
                raise CompressionError(
                    f'mutator_cfg.skip: {pattern!r} matches no convolution of '
                    f'{type(architecture).__name__}; the nearest names are '
                    f'{nearest(pattern, names)}'
                )
