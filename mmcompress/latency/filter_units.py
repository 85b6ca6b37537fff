"""The sizes and forms of filter units as a problem of :mod:`~mmcompress.latency.search`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from mmcompress.core.base.budget import KEY, Budget
from mmcompress.core.base.units_file import keep_ratios
from mmcompress.core.channels.solver import Counted
from mmcompress.core.filters.mutator import common_forms
from mmcompress.core.layers.plain import Layers, build
from mmcompress.core.layers.replace import replace_everywhere
from mmcompress.core.probe.followers import norms_behind
from mmcompress.core.probe.shapes import shapes_in

from .search import Choice, Problem, value_of
from .table import Grid, Layer, Point, Timed, TimeTable, grids_at
from .works import describe, macs_of, output_size

#: Keep ratios that a unit may have, besides staying dense.
RATIOS = tuple(step / 20 for step in range(1, 20))
#: The name of a unit that stays as it is, among its forms.
DENSE = 'dense'


@dataclass
class _Option:
    """A size and a form of a unit.

    Attributes:
        ratio: Share of the parameters that is kept; 1 stays dense.
        form: Static form of its layers.
        layers: Configs of the static layers by layer; nothing where it stays dense.
        convs: Convolutions to time.
        macs: Of the unit's layers, for one image.
        params: Stored by the unit.
    """

    ratio: float
    form: str
    layers: dict[str, Layers] = field(default_factory=dict)
    convs: Timed = field(default_factory=list)
    macs: float = 0.0
    params: float = 0.0


class FilterProblem(Problem):
    """The sizes and forms of filter units; a unit may also stay dense.

    A unit costs what it costs whatever others do. Its value is that of its keep ratio, times the
    MACs of its dense layers.

    Args:
        model: The dense architecture; left as it is.
        units_at: Called with a keep ratio, gives units of this size by name, with their ops; those
            that can't be so small are left out.
        names: Names of all units, with their layers.
        budget: With limits of the keep ratios.
        counted: The dense architecture, counted.
        shape: ``(channels, height, width)`` of an image, or inputs that a user gives.
    """

    def __init__(
        self,
        model: nn.Module,
        units_at: Callable[[float], Mapping[str, Any]],
        names: Mapping[str, Sequence[str]],
        budget: Budget,
        counted: Counted,
        shape: Any,
    ) -> None:
        self.model, self.units_at, self.names = model, units_at, dict(names)
        self.budget, self.counted = budget, counted
        demo = (budget.batch, *shape) if isinstance(shape, tuple) else shape
        layers = [layer for group in self.names.values() for layer in group]
        self.seen = {
            name: [taken for taken, _ in pairs if taken is not None]
            for name, pairs in shapes_in(model, layers, demo).items()
        }
        self.followed = norms_behind(model, demo)

    @property
    def signature(self) -> Any:
        """What tells this problem from others."""
        sizes = {name: [list(size) for size in sizes] for name, sizes in self.seen.items()}
        middle = {
            name: repr(unit.init_args) + type(unit).__name__
            for name, unit in self.units_at(0.5).items()
        }
        return self.names, sizes, middle

    def prepare(self, table: TimeTable, begin: Callable[[int], None], advance: Any) -> None:
        """See the base."""
        self.table = table
        grids = self.grids_at(None)
        begin(sum(len(grid.points) for grid in grids))
        table.measure(grids, advance)
        self.values, self.parts = {}, []
        for name, options in self.options.items():
            weight = max(options[0].macs, 1.0)
            self.values[name] = [weight * value_of(min(option.ratio, 1)) for option in options]
            costs = dict(
                time=np.array([self.table.total(option.convs) for option in options]),
                macs=np.array([option.macs for option in options]),
                params=np.array([option.params for option in options]),
            )
            self.parts.append(((name,), costs))
        self.dense = {
            cost: float(sum(part[cost][0] for _, part in self.parts))
            for cost in ('time', 'macs', 'params')
        }

    @property
    def all_dense(self) -> dict[str, float]:
        """See the base."""
        return dict.fromkeys(self.names, 1.0)

    def grids_at(self, divisor: Any) -> list[Grid]:
        """See the base; not grids but the points that may be built."""
        self.options = self._options()
        return grids_at(option.convs for options in self.options.values() for option in options)

    def build(self, choice: Choice) -> nn.Module:
        """See the base."""
        model = copy.deepcopy(self.model)
        for name, index in choice.items():
            for layer, configs in self.options[name][index].layers.items():
                replace_everywhere(model, layer, build(configs))
        return model.eval()

    def reached(self, choice: Choice) -> dict[str, int]:
        """See the base."""
        return {
            cost: round(self.counted.dense[cost] - self.dense[cost] + self.cost(choice, cost))
            for cost in ('macs', 'params')
        }

    def least(self) -> Choice:
        """See the base."""
        return {scope[0]: int(np.argmin(part['time'])) for scope, part in self.parts}

    def whole(self) -> Choice:
        """See the base; all stay dense."""
        return dict.fromkeys(self.options, 0)

    def found(self, choice: Choice) -> dict[str, Any]:
        """See the base."""
        chosen = {name: self.options[name][index] for name, index in choice.items()}
        rows = [
            dict(
                layer=name,
                count=len(self.names[name]),
                form=option.form,
                ratio=option.ratio,
                dense_ms=self.table.total(self.options[name][0].convs),
                ms=self.table.total(option.convs),
                macs=option.macs / max(self.options[name][0].macs, 1.0),
            )
            for name, option in chosen.items()
        ]
        forms = {layer: option.form for option in chosen.values() for layer in option.layers}
        return dict(
            ratios={name: option.ratio for name, option in chosen.items()}, forms=forms, layers=rows
        )

    # Private

    def _options(self) -> dict[str, list[_Option]]:
        low = keep_ratios(self.budget.min_ratio, self.names, f'{KEY}.min_ratio', default=0.1)
        high = keep_ratios(self.budget.max_ratio, self.names, f'{KEY}.max_ratio')
        found = {name: [self._dense_option(name)] for name in self.names}
        for ratio in RATIOS:
            for name, unit in self.units_at(ratio).items():
                if not low[name] <= ratio <= high[name]:
                    continue
                for form in common_forms(unit.ops.values()):
                    option = self._option(name, ratio, form, unit.ops)
                    if all(option.layers != other.layers for other in found[name]):
                        found[name].append(option)
        return found

    def _dense_option(self, name: str) -> _Option:
        option = _Option(1.0, DENSE)
        for layer in self.names[name]:
            conv: Any = self.model.get_submodule(layer)
            option.params += conv.weight.numel()
            self._add(option, layer, [_config(conv)])
        return option

    def _option(self, name: str, ratio: float, form: str, ops: Mapping[str, Any]) -> _Option:
        option = _Option(ratio, form)
        shared = {id(p): p.numel() for op in ops.values() for p in op.weights()}
        option.params = float(sum(shared.values()))
        for layer, op in ops.items():
            configs = op.static_layers(form)
            option.layers[layer] = configs
            self._add(option, layer, configs)
        return option

    def _add(self, option: _Option, layer: str, configs: Layers) -> None:
        """The convolutions of one layer, as often as it runs."""
        norm = layer in self.followed
        for size in self.seen.get(layer, []):
            work = [(layer, pair) for layer, pair, _ in walk(configs, tuple(size), norm)]
            option.convs += work
            option.macs += macs_of(work)


def _config(conv: Any) -> dict[str, Any]:
    names = ('kernel_size', 'stride', 'padding', 'dilation', 'groups', 'in_channels')
    return dict({name: getattr(conv, name) for name in names}, out_channels=conv.out_channels)


def walk(configs: Layers, size: tuple[int, ...], norm: bool) -> list[tuple[Layer, Point, int]]:
    """Convolutions of static layers, with their channels and the positions of their output.

    Args:
        configs: Layers that run one after another.
        size: Shape of their input.
        norm: Whether a norm follows the last one.
    """
    found: list[tuple[Layer, Point, int]] = []
    for number, config in enumerate(configs):
        if 'layers' in config:
            channels = 0
            for part in config['layers']:
                found += walk([part], size, norm and number == len(configs) - 1)
                channels += part['out_channels']
            size = (size[0], channels, *_output(config['layers'][0], size[2:]))
        elif 'out_channels' in config:
            conv = _Conv(config)
            behind = configs[number + 1 :]
            described = describe(conv, size, bool(behind and 'Norm' in str(behind[0].get('type')))
                                 or (norm and not behind))  # fmt: skip
            output = _output(config, size[2:])
            pair = (config['in_channels'], config['out_channels'])
            found.append((described, pair, int(np.prod(output))))
            size = (size[0], config['out_channels'], *output)
    return found


class _Conv(nn.Conv2d):
    """The settings of a convolution, without its weights."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        nn.Module.__init__(self)
        self.in_channels, self.out_channels = config['in_channels'], config['out_channels']
        self.groups = config.get('groups', 1)
        for key, default in (('kernel_size', 1), ('stride', 1), ('padding', 0), ('dilation', 1)):
            value = config.get(key, default)
            setattr(self, key, value if isinstance(value, str) else _pair(value))


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _output(config: Mapping[str, Any], size: Sequence[int]) -> tuple[int, ...]:
    conv = _Conv(config)
    return output_size(describe(conv, (1, conv.in_channels, *size), False))
