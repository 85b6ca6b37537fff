"""Base of mutators: find the units of an architecture and prepare them."""

from __future__ import annotations

import logging
import math
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmcompress.core.base.budget import KEY, Budget
from mmcompress.core.base.mutator import Mutator
from mmcompress.core.base.rehearsal import Rehearsal
from mmcompress.core.base.units_file import keep_ratios, read_unit_config
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.layers.deploy import blocks_follow
from mmcompress.core.layers.narrow import channels_of, is_narrowable, is_pass_through
from mmcompress.registry import MODELS, TASK_UTILS

from .analyzer import Analysis, fault_of, log_analysis
from .config import ChannelRange, UnitConfig, narrow_layers
from .solver import solve
from .unit import ChannelUnit


class ChannelMutator(Mutator):
    """Finds channel units and makes an architecture compact.

    Args:
        channel_unit_cfg: ``type`` of unit, by default :attr:`unit_type`; ``default_args`` for all
            units; ``units``, a dict by unit name (or the path of a JSON file with it) of
            ``init_args``, ``choice`` and ``channels``. When ``units`` gives channels no analysis is
            run. The whole output of ``get_channel_units.py`` is accepted as well.
        parse_cfg: Config of the analyzer (``include``, ``exclude``, ``input_shape``).
        init_cfg: Initialization config of :class:`mmengine.model.BaseModule`.

    Attributes:
        units: Units by name, in the order of the architecture's modules, once
            :meth:`prepare_from_supernet` has run.
        analysis: What the analyzer reported; ``None`` when the config gave the channels.
    """

    key, parser = 'channel_unit_cfg', 'DependencyAnalyzer'

    def __init__(
        self,
        channel_unit_cfg: dict | str | None = None,
        parse_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(parse_cfg, init_cfg)
        self.channel_unit_cfg = read_unit_config(channel_unit_cfg or {}, self.key, 'channels')
        self.channel_unit_cfg.setdefault('type', self.unit_type)
        self.units: dict[str, Any]
        self.analysis: Analysis | None = None

    def prepare_from_supernet(
        self, architecture: nn.Module, ratios: Any = None, budget: dict | None = None
    ) -> None:
        """Find the units of ``architecture``, swap in ops and narrow what follows them.

        Args:
            architecture: The dense model; changed in place.
            ratios: Keep ratios, see :func:`~mmcompress.core.base.units_file.keep_ratios`.
            budget: What to spend, instead of keep ratios; see
                :class:`~mmcompress.core.base.budget.Budget`.

        Raises:
            CompressionError: If a unit of the config doesn't fit the architecture, a name or
                ratio is wrong, or the budget can't be met.
        """
        spending = None if budget is None else Budget.from_config(budget)
        configs = self._unit_configs(architecture)
        for name, config in list(configs.items()):
            unit = self._build_unit(name, config)
            why = unit.unsupported(architecture)
            if why:
                self.left_dense(name, why)
            else:
                self.units[name] = unit
        while True:
            if not self.units:
                raise CompressionError(self._nothing_found(architecture))
            if spending is None:
                chosen = self._ratios(ratios)
            else:
                chosen = self._ratios_within(spending, architecture)
            for name, ratio in chosen.items():
                self.units[name].choice = ratio
            blamed = self._rehearse(architecture)
            for name, why in blamed.items():
                self.left_dense(name, why)
                del self.units[name]
            if not blamed:
                break
        self.prepare_units(architecture)

    def prepare_units(self, architecture: nn.Module) -> None:
        """Swap in the ops of all units, and narrow what follows them, in place."""
        own: list[ChannelRange] = []
        with blocks_follow(architecture):
            for unit in self.units.values():
                own.extend(unit.prepare(architecture))
            kept = [(unit.config, unit.config.keep(unit.width)) for unit in self.units.values()]
            narrow_layers(architecture, kept, skip=own)

    def unit_args(self) -> dict[str, Any]:
        """Arguments that every unit is built with, besides those of the config."""
        return {}

    # What the tools show

    @property
    def mutable_units(self) -> list[Any]:
        """The units whose width can be chosen."""
        return list(self.units.values())

    # Private

    def _ratios(self, target: Any) -> dict[str, float]:
        """Keep ratio of every unit: from ``target``, or from the units of the config."""
        units = self.channel_unit_cfg['units']
        given = {name: unit['choice'] for name, unit in units.items() if 'choice' in unit}
        wanted = (given or None) if target is None else target
        ratios = keep_ratios(wanted, self.units, refused={**self.refused, **self.divided})
        for name, choice in given.items():
            if name in ratios and ratios[name] != choice:
                raise CompressionError(
                    f'unit {name!r} keeps {choice!r} by channel_unit_cfg.units and '
                    f'{ratios[name]!r} by target_pruning_ratio; set the latter to None to use the '
                    'former'
                )
        if all(ratio == 1 for ratio in ratios.values()):
            print_log(
                'every channel unit keeps all its channels, nothing is made smaller; '
                'target_pruning_ratio says how much to keep',
                logger='current',
                level=logging.WARNING,
            )
        return ratios

    def _ratios_within(self, budget: Budget, architecture: nn.Module) -> dict[str, float]:
        """Keep ratio of every unit, from a budget."""
        for name, unit in self.channel_unit_cfg['units'].items():
            if unit.get('choice', 1) != 1:
                raise CompressionError(
                    f'unit {name!r} keeps {unit["choice"]!r} by channel_unit_cfg.units, but '
                    'budget is to find keep ratios; remove one of the two'
                )
        if budget.found is not None:
            self.found = dict(budget.found)
            return keep_ratios(dict(budget.found['ratios']), self.units, f'{KEY}.found.ratios')
        search = solve if budget.latency is None else TASK_UTILS.get('mmcompress.solve_latency')
        configs = {name: unit.config for name, unit in self.units.items()}
        self.solution = search(architecture, configs, budget, self.demo_image)
        print_log(f'budget: {self.solution}', logger='current')
        if budget.latency is not None:
            self.found = dict(ratios=dict(self.solution.ratios))
        return self.solution.ratios

    def _rehearse(self, architecture: nn.Module) -> dict[str, str]:
        """Units that an export would refuse, with the reasons."""
        lossy = {name: unit for name, unit in self.units.items() if self.loses(unit)}
        if not lossy:
            return {}
        rehearsal = Rehearsal(self, architecture, self.demo)
        if rehearsal.impossible or not rehearsal.fault(lossy):
            return {}
        blamed: dict[str, str] = {}
        used = rehearsal.used_elsewhere()
        for name, unit in lossy.items():
            layers = [c.name for c in unit.config.channels if c.name in used]
            if layers:
                blamed[name] = (
                    f'one of its layers has a weight that is used elsewhere too: {layers[0]}'
                )
        left = {name: unit for name, unit in lossy.items() if name not in blamed}
        if left:
            spoiled = self.spoiled(rehearsal, left)
            blamed |= spoiled
            left = {name: unit for name, unit in left.items() if name not in blamed}
        fault = rehearsal.fault(left) if left else ''
        if fault:
            blamed |= rehearsal.search(left, fault)
        return blamed

    def loses(self, unit: Any) -> bool:
        """Whether a unit changes anything in an export."""
        return True

    def spoiled(self, rehearsal: Rehearsal, units: dict[str, Any]) -> dict[str, str]:
        """Units that are to blame for a fault and show it, with the reasons."""
        return {}

    def _unit_configs(self, architecture: nn.Module) -> dict[str, UnitConfig]:
        given = self.channel_unit_cfg['units']
        if any('channels' in unit for unit in given.values()):
            return self._choose(self._check_units(given, architecture), architecture)
        self.analysis = TASK_UTILS.build(self.parser_cfg).analyze(architecture)
        log_analysis(self.analysis)
        chosen = self._choose(self.analysis.units, architecture)
        for name in given:
            if name not in {**chosen, **self.refused, **self.divided}:
                why = self.analysis.rejected.get(name)
                if why:
                    why = f'cannot be used: {why}'
                else:
                    why = f'is no channel unit; the nearest names are {nearest(name, chosen)}'
                raise CompressionError(f'channel_unit_cfg.units: {name!r} {why}')
        return chosen

    def _choose(
        self, configs: dict[str, UnitConfig], architecture: nn.Module
    ) -> dict[str, UnitConfig]:
        """What the method makes units of.

        Methods that leave some out, or split them, extend it, and say why in ``refused``.
        """
        return configs

    def _check_units(self, given: dict, architecture: nn.Module) -> dict[str, UnitConfig]:
        """The units of a config, if narrowing them leaves a model that runs."""
        configs = {name: _check_unit(name, unit, architecture) for name, unit in given.items()}
        key = 'channel_unit_cfg.units'
        seen: dict[tuple[str, bool, int], str] = {}
        for name, config in configs.items():
            for channel in config.channels:
                for index in range(channel.start, channel.end):
                    other = seen.setdefault((channel.name, channel.is_output, index), name)
                    if other != name:
                        raise CompressionError(
                            f'{key}: {name!r} and {other!r} both have channel {index} of '
                            f'{channel.name!r}'
                        )
        fault = self._fault(list(configs.values()), architecture)
        if fault:
            raise CompressionError(
                f'{key} leaves out layers that belong to the units ({fault}). Was the file '
                'written for another model?'
            )
        return configs

    def _fault(self, configs: list[UnitConfig], architecture: nn.Module) -> str:
        """What goes wrong when units that a config gives are narrowed, or ``''``."""
        return fault_of(architecture, configs, self.demo)

    def _build_unit(self, name: str, config: UnitConfig) -> ChannelUnit:
        given = self.channel_unit_cfg['units'].get(name, {}).get('init_args', {})
        args = {'divisor': 1, **self.channel_unit_cfg.get('default_args', {}), **given}
        args = {key: value for key, value in args.items() if key != 'num_channels'}
        own = dict(self.unit_args(), config=config)
        for argument in ('type', *own):
            if argument in args:
                raise CompressionError(
                    f'channel_unit_cfg.units[{name!r}]: {argument!r} is no argument for init_args '
                    '(or default_args)'
                )
        if isinstance(args['divisor'], int) and args['divisor'] > 0:
            args['divisor'] = math.lcm(args['divisor'], config.divisor)
        try:
            return MODELS.build(dict(args, type=self.channel_unit_cfg['type'], **own))
        except TypeError as error:
            raise CompressionError(
                f'channel_unit_cfg.units[{name!r}]: init_args (or default_args) are wrong: {error}'
            ) from None

    def _nothing_found(self, architecture: nn.Module) -> str:
        why = ''
        reasons = {**self.refused, **(self.analysis.rejected if self.analysis else {})}
        if reasons:
            name, reason = next(iter(reasons.items()))
            why = f' (for example {name}: {reason})'
        return (
            f'no channel unit of {type(architecture).__name__} can be compressed by '
            f'{type(self).__name__}{why}'
        )


def _fits(channel: ChannelRange, total: int, width: int, passes_through: bool) -> bool:
    """Whether a range of a layer that is ``width`` wide can stand for ``total`` channels."""
    start, end = channel.start, channel.end
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= width):
        return False
    # Only behind a flattened feature map do several channels stand for one.
    filters = channel.is_output and not passes_through
    return end - start == total if filters else (end - start) % total == 0


def _drops(layer: nn.Module | None) -> bool:
    """Whether a module leaves channels as they are, or leaves out some at random."""
    kinds = (nn.Identity, nn.modules.dropout._DropoutNd)
    return isinstance(layer, kinds) or type(layer).__name__ == 'DropPath'


def _check_unit(name: str, unit: dict, architecture: nn.Module) -> UnitConfig:
    """The unit of a config file, if it fits the architecture."""
    # Only here, for it imports Torch-Pruning.
    from .graph import required_divisor

    key = f'channel_unit_cfg.units[{name!r}]'
    try:
        config = UnitConfig.from_dict(unit)
    except (KeyError, TypeError, AttributeError) as error:
        raise CompressionError(
            f'{key} lacks {error}; write it again with `mmcompress units -c -i`'
        ) from None
    total = config.num_channels
    if isinstance(total, bool) or not isinstance(total, int) or total < 1:
        raise CompressionError(
            f'{key}: init_args.num_channels is {total!r}; it has to be a positive integer'
        )
    modules = dict(architecture.named_modules())
    # MMRazor's files name them as well.
    config.channels = [c for c in config.channels if not _drops(modules.get(c.name))]
    producers = config.producers
    for channel in config.channels:
        layer = modules.get(channel.name)
        if layer is None or not is_narrowable(layer):
            raise CompressionError(
                f'{key} names the layer {channel.name!r}, which {type(architecture).__name__} '
                f'does not have; the nearest are {nearest(channel.name, modules)}. Was the file '
                'written for another model?'
            )
        width = channels_of(layer)[channel.is_output]
        if not _fits(channel, total, width, is_pass_through(layer)):
            raise CompressionError(
                f'{key} takes channels {channel.start} to {channel.end} of {channel.name!r}, '
                f'which has {width}, for {total} channels of the unit. Was the file written for '
                'another model?'
            )
    if not producers:
        raise CompressionError(f'{key} has no output_related channels')
    # The file's divisor is the user's; what the layers ask for is read off the layers.
    config.divisor, why = required_divisor(config, modules)
    if why:
        raise CompressionError(f'{key}: {why}. Was the file written for another model?')
    return config
