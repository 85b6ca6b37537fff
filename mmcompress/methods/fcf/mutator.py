"""The mutator of FCF."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

from torch import nn

from mmcompress.core.base.rehearsal import Rehearsal
from mmcompress.core.channels.config import ChannelRange, UnitConfig, narrow_layers
from mmcompress.core.channels.gate import GatedMutator
from mmcompress.core.checks import one_of
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.layers.deploy import merged_blocks
from mmcompress.core.layers.narrow import is_pass_through
from mmcompress.core.layers.partial_input import select_inputs
from mmcompress.registry import MODELS

from .cut_inputs import (
    SKIP,
    Readers,
    check_whole,
    connect,
    cut,
    inputs_left,
    narrowed_inputs,
    readers_of_sum,
    remove_in_front,
)
from .unit import FCFUnit

SCOPES = ('filter', 'unit')
WIDTHS = ('identical', 'magnitude')
SCALES = ('output', 'weight')
THRESHOLDS = ('inclusive', 'exclusive')


@MODELS.register_module()
class FCFMutator(GatedMutator):
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
        threshold: With ``'magnitude'``: whether the filter at the threshold is kept,
            ``'inclusive'``, or goes, ``'exclusive'`` (the authors).
        scale: What scalars multiply: ``'output'``, what the norm behind a convolution puts out
            (without a norm, weight and bias); or ``'weight'``, the weight alone (the authors).
            A batch norm cancels the latter, and a removed filter still puts out the bias of its
            norm. With scope ``'filter'`` only.
        cut_inputs: With scope ``'filter'``: whether a convolution that reads the sum of residual
            blocks also loses the input channels that the last convolution before it, of those
            that were added to the sum, has lost, though the shortcut still feeds them (the
            authors). It takes place when scalars are rounded. Otherwise a removed filter changes
            nothing but what it would have put out. A template with channels has, by name of the
            convolution, a dict of the convolutions that it reads, each with the number of its
            first channel.
        skip: Names (with shell wildcards) of convolutions that keep all their filters, besides
            the one that reads the image. With scope ``'unit'`` they follow where their
            channels are also those of others.
        **kwargs: As in the base class.

    Raises:
        CompressionError: If an argument is wrong.
    """

    unit_type = 'FCFUnit'

    def __init__(
        self,
        channel_unit_cfg: dict | str | None = None,
        parse_cfg: dict | None = None,
        *,
        scope: str = 'filter',
        widths: str = 'identical',
        skip: Sequence[str] = SKIP,
        threshold: str = 'inclusive',
        scale: str = 'output',
        cut_inputs: bool | dict[str, dict[str, int]] = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(channel_unit_cfg, parse_cfg, **kwargs)
        value: Any
        for key, value, names in (
            ('scope', scope, SCOPES),
            ('widths', widths, WIDTHS),
            ('threshold', threshold, THRESHOLDS),
            ('scale', scale, SCALES),
        ):
            one_of(value, names, f'mutator_cfg.{key}')
        if isinstance(skip, str) or not all(isinstance(name, str) for name in skip):
            raise CompressionError(
                f'mutator_cfg.skip is {skip!r}; it has to be a list of names of convolutions'
            )
        template = isinstance(cut_inputs, dict) and all(
            isinstance(sources, dict) for sources in cut_inputs.values()
        )
        if not template and not isinstance(cut_inputs, bool):
            raise CompressionError(
                f'mutator_cfg.cut_inputs is {cut_inputs!r}; it has to be True or False'
            )
        for key, value in (('scale', scale == 'weight' and scale), ('cut_inputs', cut_inputs)):
            if value and scope != 'filter':
                raise CompressionError(
                    f'mutator_cfg.{key} is {value!r} and scope is {scope!r}; it needs '
                    'scope="filter"'
                )
        self.scope, self.widths, self.skip = scope, widths, tuple(skip)
        self.threshold, self.scale, self.cut_inputs = threshold, scale, cut_inputs
        #: By convolution, the units whose removed filters it doesn't read any more, each with
        #: the number of its first channel among the convolution's inputs.
        self.cuts: Readers = {}
        self.units: dict[str, FCFUnit]

    def prepare_from_supernet(
        self, architecture: nn.Module, ratios: Any = None, budget: dict | None = None
    ) -> None:
        """Find the filters of ``architecture`` and give them scalars.

        Args:
            architecture: The dense model; changed in place.
            ratios: Keep ratios, in any form of ``target_pruning_ratio``; one number if ``widths``
                is ``'magnitude'``.
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
        super().prepare_from_supernet(architecture, ratios, budget)

    def prepare_units(self, architecture: nn.Module) -> None:
        """Swap in the ops, and say which filters they read."""
        super().prepare_units(architecture)
        self.cuts = connect(architecture, self.units, self._residual, self.scale == 'weight')
        if self.widths == 'magnitude':
            for unit in self.units.values():
                unit.width = 0  # not known before weights are: training starts, or a checkpoint

    def pretend_trained(self, architecture: nn.Module) -> None:
        """Round random scalars, and cut what reads those that are zero."""
        super().pretend_trained(architecture)
        self.cut(architecture, True)

    def spoiled(self, rehearsal: Rehearsal, units: dict[str, Any]) -> dict[str, str]:
        """As in the base class; behind a scaled weight, channels need not be zero."""
        return {} if self.scale == 'weight' else super().spoiled(rehearsal, units)

    @property
    def choice_template(self) -> dict[str, float]:
        """Keep ratio by unit name; by magnitude, those that came of the weights."""
        if self.widths == 'identical':
            return super().choice_template
        return {name: unit.width / unit.num_channels for name, unit in self.units.items()}

    def config_template(
        self, with_unit_init_args: bool = False, with_channels: bool = False
    ) -> dict:
        """Config of this mutator, with its units, which can be edited and given back."""
        template = super().config_template(with_unit_init_args, with_channels)
        cut_inputs: Any = self.cut_inputs is not False
        if with_channels and cut_inputs:
            cut_inputs = self._residual
        return dict(
            template,
            scope=self.scope,
            widths=self.widths,
            skip=list(self.skip),
            threshold=self.threshold,
            scale=self.scale,
            cut_inputs=cut_inputs,
        )

    def unit_args(self) -> dict[str, Any]:
        """The norm behind each convolution, and what scalars multiply."""
        return dict(super().unit_args(), scale=self.scale)

    def cut(self, architecture: nn.Module, binary: bool) -> None:
        """Make the weights that read removed filters zero, once scalars are binary.

        Args:
            architecture: What :meth:`prepare_from_supernet` has prepared.
            binary: Whether they are; otherwise everything is read.
        """
        cut(architecture, self.cuts, binary)

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
        gone = self.removed()
        if self.scale == 'output':
            removed = [(self.units[name].config, keep) for name, keep in gone.items()]
            partial = {self.last_layer(n): n for n in gone if self.units[n].partial}
        else:
            removed, partial = remove_in_front(static, self.units, gone)
        # Read off before anything becomes narrower.
        read = inputs_left(static, self.units, self.cuts, gone, [c for c, _ in removed])
        narrow_layers(static, removed + narrowed_inputs(self.units, self.cuts, gone))
        self.add_rest(static, partial, gone)
        select_inputs(static, *read)

    # Private

    def _choose(
        self, configs: dict[str, UnitConfig], architecture: nn.Module
    ) -> dict[str, UnitConfig]:
        found, configs = configs, {}
        self._residual = dict(self.cut_inputs) if isinstance(self.cut_inputs, dict) else {}
        modules = dict(architecture.named_modules())
        convolutions = (m for m in modules.values() if isinstance(m, nn.Conv2d))
        # Filters of branches that are merged can only go together.
        whole = self.scale == 'output' and self.cut_inputs is False
        merged = tuple(f'{name}.' for name in merged_blocks(architecture)) if whole else ()
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
            together = any(channel.name.startswith(merged) for channel in filters)
            if self.scope == 'unit' or len(sources) == 1 or together:
                configs[config.name] = config
                continue
            parts = {part.name: part for part in self._parts(config, wanted)}
            configs.update(parts)
            if self.cut_inputs is True:
                summands = [channel for channel, _ in self._summands(config, filters)]
                for reader, read in readers_of_sum(config, summands, modules).items():
                    self._residual.setdefault(reader, {}).update(read)
            if config.name not in parts:
                self.divided[config.name] = 'with scope="filter" its convolutions are units'
        if self.cut_inputs is True and self.analysis is None and not self._residual:
            check_whole(found)
        order = list(modules)
        return dict(
            sorted(configs.items(), key=lambda item: order.index(item[1].producers[0].name))
        )

    def _parts(self, config: UnitConfig, wanted: list[ChannelRange]) -> list[UnitConfig]:
        """A partial unit for each convolution whose channels are added to those of others."""
        return [
            UnitConfig(config.num_channels, config.divisor, [c for c in pair if c])
            for pair in self._summands(config, wanted)
        ]

    def _summands(
        self, config: UnitConfig, filters: list[ChannelRange]
    ) -> list[tuple[ChannelRange, ChannelRange | None]]:
        """Convolutions whose channels are added to those of others, with the norms behind.

        Convolutions without a norm, in a unit that has some, give factors, not summands (those
        of squeeze and excitation).
        """
        behind = {channel.name: channel for channel in config.producers}
        pairs = [(channel, behind.get(self.norms.get(channel.name, ''))) for channel in filters]
        if any(norm for _, norm in pairs):
            pairs = [(channel, norm) for channel, norm in pairs if norm]
        return pairs

    def _fault(self, configs: list[UnitConfig], architecture: nn.Module) -> str:
        whole = [config for config in configs if any(not c.is_output for c in config.channels)]
        return super()._fault(whole, architecture) if whole else ''

    def _check_skip(self, architecture: nn.Module) -> None:
        names = [n for n, m in architecture.named_modules() if isinstance(m, nn.Conv2d)]
        for pattern in self.skip:
            if pattern not in SKIP and not fnmatch.filter(names, pattern):
                raise CompressionError(
                    f'mutator_cfg.skip: {pattern!r} matches no convolution of '
                    f'{type(architecture).__name__}; the nearest names are '
                    f'{nearest(pattern, names)}'
                )
