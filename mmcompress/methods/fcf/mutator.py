"""The mutator of FCF."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.channels.config import ChannelRange, UnitConfig, narrow_layers
from mmcompress.core.channels.mutator import ChannelMutator
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.layers.narrow import is_pass_through
from mmcompress.core.layers.partial_add import add_partially
from mmcompress.core.layers.partial_input import select_inputs
from mmcompress.core.probe.followers import norms_behind
from mmcompress.registry import MODELS

from .op import FactorizedConv2d
from .unit import FCFUnit

SCOPES = ('filter', 'unit')
WIDTHS = ('identical', 'magnitude')
SCALES = ('output', 'weight')
THRESHOLDS = ('inclusive', 'exclusive')
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
    reorders_sums = True

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
        for key, value, names in (
            ('scope', scope, SCOPES),
            ('widths', widths, WIDTHS),
            ('threshold', threshold, THRESHOLDS),
            ('scale', scale, SCALES),
        ):
            if value not in names:
                raise CompressionError(
                    f'mutator_cfg.{key} is {value!r}; it has to be one of {", ".join(names)}'
                )
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
        self.cuts: dict[str, dict[str, int]] = {}
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
        self._connect(architecture)
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

    @torch.no_grad()
    def cut(self, binary: bool) -> None:
        """Make the weights that read removed filters zero, once scalars are binary.

        Args:
            binary: Whether they are; otherwise everything is read.
        """
        for module in self._ops:
            module.cuts_inputs = binary
            if binary:
                module.weight.mul_(module.inputs().view(1, -1, 1, 1))

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
        gone = {n: keep for n, keep in kept.items() if len(keep) < self.units[n].num_channels}
        if self.scale == 'output':
            removed = [(self.units[name].config, keep) for name, keep in gone.items()]
            # The last of the layers: the norm, or else the convolution.
            partial = {
                self.units[name].config.producers[-1].name: name
                for name in gone
                if self.units[name].partial
            }
        else:
            removed, partial = self._remove_in_front(static, gone)
        read = self._inputs(static, gone, [config for config, _ in removed])
        cuts = [
            (_reader(layer, start, self.units[name].num_channels), gone[name])
            for layer, sources in self.cuts.items()
            for name, start in sources.items()
            if name in gone
        ]
        narrow_layers(static, removed + cuts)
        add_partially(
            static,
            {layer: kept[name] for layer, name in partial.items()},
            {layer: self.units[name].num_channels for layer, name in partial.items()},
        )
        select_inputs(static, *read)

    # Private

    def _choose(
        self, configs: dict[str, UnitConfig], architecture: nn.Module
    ) -> dict[str, UnitConfig]:
        found, configs = configs, {}
        self._residual = dict(self.cut_inputs) if isinstance(self.cut_inputs, dict) else {}
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
            if self.cut_inputs is True:
                self._note_readers(config, filters, modules)
            if config.name not in parts:
                self.refused[config.name] = 'with scope="filter" its convolutions are units'
        if self.cut_inputs is True and self.analysis is None and not self._residual:
            self._check_whole(found)
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
        pairs = [(channel, behind.get(self._norms.get(channel.name))) for channel in filters]
        if any(norm for _, norm in pairs):
            pairs = [(channel, norm) for channel, norm in pairs if norm]
        return pairs

    def _note_readers(
        self, config: UnitConfig, filters: list[ChannelRange], modules: dict[str, nn.Module]
    ) -> None:
        """Find what reads a sum, and the convolution that was added to it last before.

        Shortcuts are no blocks. A convolution that keeps all its filters, since ``skip`` names
        it, is one, and behind it nothing is cut.
        """
        order = {name: index for index, name in enumerate(modules)}
        blocks = {
            channel.name: (channel.start, channel.end)
            for channel, _ in self._summands(config, filters)
            if not any(fnmatch.fnmatchcase(channel.name, name) for name in SKIP)
        }
        for channel in config.channels:
            before = [name for name in blocks if order[name] < order[channel.name]]
            if channel.is_output or not before:
                continue
            source = max(before, key=order.__getitem__)
            whole = blocks[source] == (0, modules[source].out_channels)
            if whole and _reads_all(modules[channel.name], channel, config.num_channels):
                self._residual.setdefault(channel.name, {})[source] = channel.start

    def _check_whole(self, given: dict[str, UnitConfig]) -> None:
        """Units that are split already do not say what reads the sum."""
        for name, config in given.items():
            if all(channel.is_output for channel in config.channels):
                raise CompressionError(
                    f'mutator_cfg.cut_inputs is True, but the channels of {name!r} in '
                    'channel_unit_cfg.units do not say which layers read them; write the file '
                    'again with tools/get_channel_units.py -c -i and this option'
                )

    def _connect(self, architecture: nn.Module) -> None:
        """Tell convolutions which filters they read, where they are to lose these as well."""
        ops = {
            name: module
            for name, module in architecture.named_modules()
            if isinstance(module, FactorizedConv2d)
        }
        self._filters = {
            name: [c.name for c in unit.config.producers if c.name in ops]
            for name, unit in self.units.items()
        }
        owners = {layer: name for name, layers in self._filters.items() for layer in layers}
        for reader, sources in self._residual.items():
            for source, start in sources.items():
                self._check_cut(architecture, reader, source, start)
                if reader in ops and source in owners:
                    self.cuts.setdefault(reader, {})[owners[source]] = start
        if self.scale == 'weight':
            # What a removed filter puts out there is the bias of its norm, not zero.
            for name, unit in self.units.items():
                for channel in unit.config.channels:
                    op = ops.get(channel.name)
                    if op and not channel.is_output and _reads_all(op, channel, unit.num_channels):
                        self.cuts.setdefault(channel.name, {})[name] = channel.start
        for reader, sources in self.cuts.items():
            for name, start in sources.items():
                ops[reader].read(start, self.units[name].op)
        self._ops = [ops[reader] for reader in self.cuts]

    def _check_cut(self, architecture: nn.Module, reader: str, source: str, start: int) -> None:
        """See that an entry of a template fits the architecture."""
        modules = dict(architecture.named_modules())
        for name in (reader, source):
            if not isinstance(modules.get(name), nn.Conv2d):
                raise CompressionError(
                    f'mutator_cfg.cut_inputs: {name!r} is no convolution of '
                    f'{type(architecture).__name__}; the nearest names are '
                    f'{nearest(name, modules)}'
                )
        fits = isinstance(start, int) and start >= 0 and modules[reader].groups == 1
        if not fits or start + modules[source].out_channels > modules[reader].in_channels:
            raise CompressionError(
                f'mutator_cfg.cut_inputs: {reader!r} does not read the '
                f'{modules[source].out_channels} channels of {source!r} from {start!r} on; it has '
                f'{modules[reader].in_channels} inputs and {modules[reader].groups} groups'
            )

    @torch.no_grad()
    def _remove_in_front(
        self, static: nn.Module, gone: dict[str, Tensor]
    ) -> tuple[list[tuple[UnitConfig, Tensor]], dict[str, str]]:
        """What to narrow where norms keep all channels, and the units of these convolutions."""
        removed, partial = [], {}
        for name, keep in gone.items():
            config = self.units[name].config
            for channel in config.producers:
                if channel.name not in self._filters[name]:
                    continue
                removed.append((UnitConfig(config.num_channels, config.divisor, [channel]), keep))
                partial[channel.name] = name
                conv = static.get_submodule(channel.name)
                if conv.bias is not None:
                    # A removed filter puts out its bias, and its norm takes that away again.
                    mean = static.get_submodule(self._norms[channel.name]).running_mean
                    if mean is not None:
                        bias = conv.bias.clone()
                        bias[keep.to(bias.device)] = 0
                        mean.sub_(bias)
        return removed, partial

    def _inputs(
        self, static: nn.Module, gone: dict[str, Tensor], removed: list[UnitConfig]
    ) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Of the channels that still come into convolutions, those that are read, and how many.

        Args:
            static: Not narrowed yet.
            gone: The kept channels of units that lose some.
            removed: Those of the units whose channels do not come in any more.
        """
        kept, of = {}, {}
        for layer, sources in self.cuts.items():
            there = torch.ones(static.get_submodule(layer).in_channels, dtype=torch.bool)
            for config in removed:
                for channel in config.channels:
                    if channel.name == layer and not channel.is_output:
                        there[channel.start : channel.end] = _mask(gone[config.name], config)
            read = there.clone()
            for name, start in sources.items():
                if name in gone:
                    unit = self.units[name]
                    read[start : start + unit.num_channels] &= _mask(gone[name], unit.config)
            if int(read.sum()) < int(there.sum()):
                kept[layer] = read[there].nonzero().flatten()
                of[layer] = int(there.sum())
        return kept, of

    def _fault(self, configs: list[UnitConfig], architecture: nn.Module) -> str:
        whole = [config for config in configs if any(not c.is_output for c in config.channels)]
        return super()._fault(whole, architecture) if whole else ''

    def _build_unit(self, name: str, config: UnitConfig) -> FCFUnit:
        unit = super()._build_unit(name, config)
        unit.norms, unit.scale = self._norms, self.scale
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


def _reads_all(layer: nn.Module, channel: ChannelRange, num_channels: int) -> bool:
    """Whether a layer is a convolution whose every filter reads all channels of a unit."""
    whole = channel.end - channel.start == num_channels
    return isinstance(layer, nn.Conv2d) and layer.groups == 1 and whole


def _reader(layer: str, start: int, num_channels: int) -> UnitConfig:
    """What a unit's channels are among the inputs of one convolution."""
    channel = ChannelRange(layer, start, start + num_channels, False)
    return UnitConfig(num_channels, 1, [channel])


def _mask(keep: Tensor, config: UnitConfig) -> Tensor:
    """``bool Tensor[n]`` of a unit's channels, True where they are kept."""
    return torch.zeros(config.num_channels, dtype=torch.bool).index_fill(0, keep, True)
