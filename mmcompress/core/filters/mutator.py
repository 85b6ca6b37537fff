"""Base of mutators whose units are convolutions with a basis in common."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any, cast

from mmengine.logging import print_log
from torch import nn

from mmcompress.core.base.budget import Budget
from mmcompress.core.base.conv_op import is_plain_conv
from mmcompress.core.base.mutator import Mutator
from mmcompress.core.base.names import twins_of
from mmcompress.core.base.rehearsal import Rehearsal
from mmcompress.core.base.units_file import keep_ratios, read_unit_config
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.layers.copying import copied
from mmcompress.core.layers.plain import Layers
from mmcompress.core.probe.example import Demo
from mmcompress.core.probe.shapes import Shapes, shapes_in
from mmcompress.registry import MODELS, TASK_UTILS

from .budget import params_of, ratios_within
from .finder import FilterFinder
from .op import FilterOp
from .tree import convolutions_of
from .unit import RANDOM, FilterUnit

KEY = 'filter_unit_cfg'


class FilterMutator(Mutator):
    """Finds filter units and swaps their convolutions for ops.

    Args:
        filter_unit_cfg: ``type`` of unit, by default :attr:`unit_type`; ``default_args`` for all
            units; ``units``, a dict by unit name or pattern of ``init_args`` and ``choice``, or
            the path of a JSON file with it. Where units have ``layers``, they are all there is
            and nothing is searched. The whole output of ``get_channel_units.py`` is accepted as
            well.
        parse_cfg: Config of the :class:`~mmcompress.core.filters.finder.FilterFinder`.
        init: How ops start: ``'kaiming'``, from random numbers, or another of the unit's
            :attr:`~mmcompress.core.filters.unit.FilterUnit.inits`.
        remember_dense: Whether ops keep the dense weights beside their own.
        init_cfg: Initialization config of :class:`mmengine.model.BaseModule`.

    Attributes:
        units: Units by name, once :meth:`prepare_from_supernet` has run.
    """

    key, parser = KEY, 'FilterFinder'
    #: What the layers of one unit have to agree in.
    alike: tuple[str, ...] = ('kernel_size',)
    #: A merged kernel takes the sums in another order.
    reorders_sums = True

    def __init__(
        self,
        filter_unit_cfg: dict | str | None = None,
        parse_cfg: dict | None = None,
        init: str = RANDOM,
        remember_dense: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(parse_cfg, init_cfg)
        self.filter_unit_cfg = read_unit_config(filter_unit_cfg or {}, KEY, 'layers')
        self.filter_unit_cfg.setdefault('type', self.unit_type)
        self.unit_args = dict(init=init, remember_dense=remember_dense)
        self.units: dict[str, Any]
        self._own_args: dict[str, dict] = {}

    def prepare_from_supernet(
        self, architecture: nn.Module, ratios: Any = None, budget: dict | None = None
    ) -> None:
        """Find the units of ``architecture`` and swap their convolutions for ops, in place.

        Args:
            architecture: The dense model.
            ratios: Keep ratios by unit name, of parameters; see
                :func:`~mmcompress.core.base.units_file.keep_ratios`. Units without a ratio and
                without a size of their own stay dense.
            budget: What the whole model may cost, instead, such as ``dict(params=0.5)``: one keep
                ratio is found for all units; or ``dict(latency=0.6)``, see
                :class:`~mmcompress.core.base.budget.Budget`: each unit gets its own.

        Raises:
            CompressionError: If nothing is found, or a unit of the config doesn't fit.
        """
        timed = isinstance(budget, Mapping) and budget.get('latency') is not None
        params = None if budget is None or timed else params_of(budget)
        found = self._found(architecture)
        if timed:
            ratios = self._ratios_within(Budget.from_config(budget), found, architecture)
        while True:
            self._take(found, ratios, architecture, params)
            blamed, used = self._rehearse(architecture)
            for layer in used:
                self.left_dense(layer, 'it has a weight that is used elsewhere too')
            for name, why in blamed.items():
                self.left_dense(name, why)
                del self.units[name]
            if not used and (not blamed or params is None):
                break
            # Without these layers, what is left of their units may do; of a budget, the other
            # units have to save more.
            left = {n: [la for la in layers if la not in used] for n, (layers, _) in found.items()}
            found = {
                name: (left[name], given)
                for name, (_, given) in found.items()
                if left[name] and name not in blamed
            }
        if not self.units:
            raise CompressionError(
                f'no filter unit of {type(architecture).__name__} can be compressed: '
                + '; '.join(f'{name}: {why}' for name, why in list(self.refused.items())[:3])
            )
        self.prepare_units(architecture)

    def _ratios_within(
        self, budget: Budget, found: dict[str, tuple[list[str], dict]], architecture: nn.Module
    ) -> dict[str, float]:
        """Keep ratios of units, by a budget; those that stay dense have 1."""
        if budget.found is not None:
            self.found = dict(budget.found)
            return dict(budget.found['ratios'])
        for name, (_, given) in found.items():
            if 'choice' in given or given.get('init_args'):
                raise CompressionError(
                    f'{KEY}.units: {name!r} has a size, but budget is to find sizes; remove one '
                    'of the two'
                )

        def units_at(ratio: float) -> dict[str, FilterUnit]:
            units, work = {}, copied(architecture)
            for name, (layers, given) in found.items():
                unit = self._build_unit(name, layers, dict(given, choice=ratio))
                try:
                    unit.measure(work)
                    unit.prepare(work)
                except CompressionError:
                    continue  # it can't be as small
                units[name] = unit
            return units

        names = {name: layers for name, (layers, _) in found.items()}
        search = TASK_UTILS.get('mmcompress.solve_filter_latency')
        self.solution = search(architecture, units_at, names, budget, self.demo_image)
        print_log(f'budget: {self.solution}', logger='current')
        self.found = dict(ratios=dict(self.solution.ratios), forms=dict(self.solution.forms))
        ratios: dict[str, float] = self.solution.ratios
        return ratios

    def _take(
        self,
        found: dict[str, tuple[list[str], dict]],
        ratios: Any,
        architecture: nn.Module,
        params: float | None = None,
    ) -> None:
        """Build the units, of those that were found, that have a size, or get one by a budget."""
        units = {name: self._build_unit(name, *given) for name, given in found.items()}
        if units and params is not None:
            ratios = ratios_within(params, units, architecture)
        self.units = self._sized(units, ratios) if units else {}
        self._refuse_copies(architecture)
        for unit in self.units.values():
            unit.measure(architecture)

    def _rehearse(self, architecture: nn.Module) -> tuple[dict[str, str], list[str]]:
        """Units that an export would refuse, with the reasons; or layers, if these are known."""
        rehearsal = Rehearsal(self, architecture, self.demo)
        if not self.units or rehearsal.impossible:
            return {}, []
        fault = rehearsal.fault(self.units)
        if not fault:
            return {}, []
        used = rehearsal.used_elsewhere()
        layers = [la for unit in self.units.values() for la in unit.layers if la in used]
        return ({}, layers) if layers else (rehearsal.search(self.units, fault), [])

    def prepare_units(self, architecture: nn.Module) -> None:
        """Swap in the ops of all units; methods that change what follows extend it."""
        for unit in self.units.values():
            unit.prepare(architecture)

    # Static models

    @contextlib.contextmanager
    def without_fitting(self) -> Iterator[None]:
        """Inside, a dense checkpoint is loaded without a fit, to check whether it belongs here."""
        for unit in self.units.values():
            unit.fitting = False
        try:
            yield
        finally:
            for unit in self.units.values():
                unit.fitting = True

    def static_forms(self, architecture: nn.Module, prefer: str = 'macs') -> dict[str, str]:
        """The cheapest common form of each unit, by layer. Layers with one form are left out."""
        forms: dict[str, str] = {}
        positions: dict[str, int] = {}
        for unit in self.units.values():
            ops: dict[str, Any] = {
                layer: architecture.get_submodule(layer) for layer in unit.layers
            }
            common = common_forms(ops.values())
            if len(common) == 1:
                continue
            # A budget of time has found which form is the fastest.
            solved = (self.found or {}).get('forms', {}).get(unit.layers[0])
            if prefer == 'macs' and solved in common:
                forms.update(dict.fromkeys(ops, solved))
                continue
            best = {min(common, key=op.cost) for op in ops.values()}
            if len(best) > 1:
                if prefer == 'macs':
                    positions = positions or {
                        name: sum(output[-2:].numel() for _, output in pairs if output)
                        for name, pairs in self.shapes_seen(architecture).items()
                    }
                best = {_cheapest(ops, common, positions)}
            forms.update(dict.fromkeys(ops, best.pop()))
        return forms

    def replaced(self, architecture: nn.Module, forms: dict[str, str]) -> dict[str, Layers]:
        """The static layers that replace each layer of each unit, by name."""
        return {
            layer: cast(FilterOp, architecture.get_submodule(layer)).static_layers(forms.get(layer))
            for unit in self.units.values()
            for layer in unit.layers
        }

    def shapes_seen(
        self, architecture: nn.Module, input_shape: Demo = None
    ) -> dict[str, list[Shapes]]:
        """Shapes of what each op takes and gives in a forward pass, once for every time it runs.

        Args:
            architecture: The compact model; left as it is.
            input_shape: ``(N, C, H, W)`` of the batch; by default that of ``parse_cfg``, or one
                that the model accepts.
        """
        shape = input_shape or self.demo
        layers = [layer for unit in self.units.values() for layer in unit.layers]
        return shapes_in(architecture, layers, shape)

    # Private

    def _unit_template(self, name: str, with_init_args: bool, with_parts: bool) -> dict:
        unit = super()._unit_template(name, with_init_args, with_parts)
        if with_init_args:
            unit['init_args'] = {**self._own_args[name], **unit['init_args']}
        return unit

    def _found(self, architecture: nn.Module) -> dict[str, tuple[list[str], dict]]:
        """Layers and settings by unit name: from the config, or searched for."""
        given = self.filter_unit_cfg['units']
        if any('layers' in unit for unit in given.values()):
            return self._check_layers(given, architecture)
        try:
            finder = TASK_UTILS.build(self.parser_cfg)
        except TypeError as error:
            raise CompressionError(f'parse_cfg is wrong: {error}') from None
        if not isinstance(finder, FilterFinder):
            raise CompressionError(
                f'parse_cfg.type is {self.parse_cfg["type"]!r}; filter units are found by a '
                'FilterFinder'
            )
        found = finder.find(architecture, self.alike)
        # Not what the config leaves out, but what no config takes in.
        for name, why in finder.refused.items():
            if not why.startswith('parse_cfg'):
                self.refused[name] = why
        settings: dict[str, dict] = {name: {} for name in found}
        # Full names last: they win over patterns.
        for pattern, unit in sorted(given.items(), key=lambda item: item[0] in found):
            names = [pattern] if pattern in found else fnmatch.filter(found, pattern)
            if not names:
                raise CompressionError(
                    f'{KEY}.units: {pattern!r} matches no filter unit of the architecture; the '
                    f'nearest names are {nearest(pattern, found)}'
                )
            for name in names:
                settings[name] = {**settings[name], **unit}
        return {name: (layers, settings[name]) for name, layers in found.items()}

    def _check_layers(
        self, given: dict[str, dict], architecture: nn.Module
    ) -> dict[str, tuple[list[str], dict]]:
        convs = convolutions_of(architecture)
        order = list(convs)
        seen: dict[str, str] = {}
        for name, unit in given.items():
            key = f'{KEY}.units[{name!r}]'
            layers = unit.get('layers')
            if not isinstance(layers, (list, tuple)) or not layers:
                raise CompressionError(
                    f'{key} has no list of `layers`, which other units have; write it again with '
                    '`mmcompress units -c -i`'
                )
            for layer in layers:
                if layer not in order:
                    raise CompressionError(
                        f'{key} names the layer {layer!r}, which is no convolution of '
                        f'{type(architecture).__name__}; the nearest are '
                        f'{nearest(str(layer), convs)}. Was the file written for another model?'
                    )
                if not is_plain_conv(convs[layer]):
                    raise CompressionError(
                        f'{key} names the layer {layer!r}, which is a '
                        f'{type(convs[layer]).__name__}, not a plain Conv2d'
                    )
                other = seen.setdefault(layer, name)
                if other != name or list(layers).count(layer) > 1:
                    raise CompressionError(f'{key}: {layer!r} is also in unit {other!r}')
            self._check_alike(key, [convs[layer] for layer in layers])
        # The first layer of a unit has what they share; a checkpoint depends on which it is.
        return {
            name: (sorted(unit['layers'], key=order.index), unit) for name, unit in given.items()
        }

    def _check_alike(self, key: str, layers: list[nn.Module]) -> None:
        for attribute in self.alike:
            values = {getattr(layer, attribute, None) for layer in layers}
            if len(values) > 1:
                raise CompressionError(
                    f'{key}: its layers differ in {attribute} ({", ".join(map(str, values))}); '
                    'layers with one basis have to agree in it'
                )

    def _build_unit(self, name: str, layers: list[str], given: dict) -> FilterUnit:
        args = {**self.filter_unit_cfg.get('default_args', {}), **given.get('init_args', {})}
        key = f'{KEY}.units[{name!r}]'
        for argument in ('type', 'name', 'layers', *self.unit_args):
            if argument in args:
                raise CompressionError(
                    f'{key}: {argument!r} is no argument for init_args (or default_args)'
                )
        self._own_args[name] = dict(given.get('init_args', {}))
        if 'choice' in given:
            args['choice'] = given['choice']
        kind = self.filter_unit_cfg['type']
        try:
            return MODELS.build(dict(args, type=kind, name=name, layers=layers, **self.unit_args))
        except TypeError as error:
            raise CompressionError(
                f'{key}: init_args (or default_args) are wrong: {error}'
            ) from None

    def _refuse_copies(self, architecture: nn.Module) -> None:
        layers = [layer for unit in self.units.values() for layer in unit.layers]
        for source, copies in twins_of(architecture).items():
            for layer in layers:
                if f'{layer}.'.startswith(f'{source}.'):
                    raise CompressionError(
                        f'{layer!r} has a momentum copy in {copies[0]!r}, which must keep the same '
                        'layers; exclude it with parse_cfg.exclude'
                    )

    @staticmethod
    def _sized(units: dict[str, FilterUnit], target: Any) -> dict[str, FilterUnit]:
        """The units with a size, or a keep ratio by ``target``; the others stay dense."""
        if target is not None:
            for name, ratio in keep_ratios(target, units, kind='filter unit').items():
                unit = units[name]
                if ratio != 1 and unit.has_size:
                    raise CompressionError(
                        f'unit {name!r} keeps {ratio!r} by target_pruning_ratio, but has '
                        f'{unit.init_args} by {KEY}; remove one of the two'
                    )
                if ratio != 1 and unit.choice not in (None, ratio):
                    raise CompressionError(
                        f'unit {name!r} keeps {unit.choice!r} by {KEY}, but {ratio!r} by '
                        'target_pruning_ratio; remove one of the two'
                    )
                if unit.choice is None and ratio != 1:
                    unit.choice = ratio
        sized = {n: u for n, u in units.items() if u.has_size or u.choice not in (None, 1)}
        if not sized:
            raise CompressionError(
                'no filter unit has a size: set target_pruning_ratio to a share of the parameters '
                f'below 1, or init_args in {KEY}.units; the units are {nearest("", units)} ...'
            )
        for name in units:
            if name not in sized:
                print_log(f'left dense: {name} has no size and no keep ratio', logger='current')
        return sized


def common_forms(ops: Any) -> list[str]:
    """The static forms that all of some ops have, in order."""
    first, *others = ops
    return [form for form in first.forms if all(form in op.forms for op in others)]


def _cheapest(ops: dict[str, FilterOp], forms: list[str], positions: dict[str, int]) -> str:
    totals = {
        form: sum(op.cost(form) * positions.get(layer, 1) for layer, op in ops.items())
        for form in forms
    }
    return min(forms, key=totals.__getitem__)
