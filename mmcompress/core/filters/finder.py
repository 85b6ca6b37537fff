"""FilterFinder: which convolutions of an architecture share one filter basis."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmcompress.core.base.names import demo_shape, matches, name_list
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.probe.example import Demo
from mmcompress.registry import TASK_UTILS

from .eligible import ANY, ConvFilter, check_pattern, times
from .tree import ConvTree, common_module, convolutions_of, stages_of_convolutions

RULES = ('layer', 'block', 'stage', 'network')
Units = dict[str, list[str]]


@TASK_UTILS.register_module()
class FilterFinder:
    """Find convolutions that can be written in a basis, and the filter units they form.

    Any architecture will do: units are read off the tree of its modules, for stages also off its
    own forward pass.

    Args:
        rule: What makes a unit: ``'layer'``, each convolution by itself; ``'block'``, those of
            the smallest module around them that holds at least two convolutions of any kind;
            ``'stage'``, those of the largest module that gives feature maps of one size, see
            :func:`~mmcompress.core.filters.tree.stages_by_size`; ``'network'``, all; a dict of name
            patterns by unit name; or a list of name patterns, each a unit.
        include: Where to look; see :class:`~mmcompress.core.filters.eligible.ConvFilter` for this
            and
            the other constraints on layers.
        exclude: Where not to look, even though included.
        kernel_size: Kernel sizes, ``'any'``, or ``None`` for all larger than 1 x 1.
        groups: The number of groups, or ``'any'``.
        stride: The stride in both directions, or ``'any'``.
        min_channels: Fewest input and output channels; keeps stems out.
        skip_first_block: Leave the first block of each stage dense.
        by_position: Split units by the position that layers have in their blocks, such as
            ``conv1`` and ``conv2``.
        input_shape: ``(N, C, H, W)`` of the demo batch; ``None`` finds one.

    Raises:
        CompressionError: If an argument is none of these.

    Example:
        >>> FilterFinder('stage', skip_first_block=True).find(resnet18)['backbone.layer1']
        ['backbone.layer1.1.conv1', 'backbone.layer1.1.conv2']
    """

    def __init__(
        self,
        rule: str | Mapping[str, Sequence[str] | str] | Sequence[str] = 'layer',
        include: Sequence[str] | str | None = None,
        exclude: Sequence[str] | str = (),
        kernel_size: Any = None,
        groups: int | str = 1,
        stride: int | str = ANY,
        min_channels: int = 16,
        skip_first_block: bool = False,
        by_position: bool = False,
        input_shape: Demo = None,
    ) -> None:
        self.rule = _rule(rule)
        self.filter = ConvFilter(include, exclude, kernel_size, groups, stride, min_channels)
        self.skip_first_block = _flag(skip_first_block, 'skip_first_block')
        self.by_position = _flag(by_position, 'by_position')
        self.input_shape = demo_shape(input_shape, 'parse_cfg.input_shape')
        #: Why convolutions are not eligible, by name, once :meth:`find` has run.
        self.refused: dict[str, str] = {}
        if self.skip_first_block and isinstance(self.rule, dict):
            raise CompressionError(
                'parse_cfg.skip_first_block is True, but parse_cfg.rule already names the '
                'layers of each unit; leave first blocks out of its patterns'
            )
        if self.by_position and self.rule == 'layer':
            raise CompressionError(
                "parse_cfg.by_position is True, but by parse_cfg.rule 'layer' each unit is one "
                "layer, which cannot be split; use rule 'stage', 'block' or 'network'"
            )

    def find(self, architecture: nn.Module, alike: Sequence[str] = ('kernel_size',)) -> Units:
        """Find the filter units of ``architecture``, which is left untouched.

        Args:
            architecture: Any model.
            alike: Attributes of convolutions that agree within a unit. Where they don't, a unit
                is split, and the names of its parts say how they differ: ``backbone.layer2_c64``.

        Returns:
            Names of the layers by name of the unit; both in the order of the architecture's
            modules.

        Raises:
            CompressionError: If a name in the config fits no convolution, no convolution is
                eligible, or one belongs to two units.
        """
        convs = convolutions_of(architecture)
        kind = type(architecture).__name__
        if not convs:
            raise CompressionError(f'{kind} has no convolution to compress')
        tree = ConvTree(convs)
        included = self.filter.included(architecture, tree)
        if isinstance(self.rule, dict):
            for unit, patterns in self.rule.items():
                for pattern in patterns:
                    check_pattern(pattern, f'parse_cfg.rule[{unit!r}]', tree, kind)
        refused = self.filter.refused(architecture, list(convs))
        stage_of: dict[str, str] = {}
        if self.rule == 'stage' or self.skip_first_block:
            outermost = common_module(included)
            stage_of = stages_of_convolutions(architecture, tree, outermost, self.input_shape)
            self._refuse_by_stage(refused, tree, stage_of)
        self.refused = refused
        eligible = [name for name in convs if name not in refused]
        if isinstance(self.rule, dict):
            units = _by_patterns(self.rule, eligible, refused)
        elif eligible:
            units = _group(eligible, lambda name: self._unit_of(name, tree, stage_of))
        else:
            raise CompressionError(_nothing(kind, {name: refused[name] for name in included}))
        if self.by_position:
            units = _split(units, lambda name: [_position(name, tree)], '.')
        units = _split_unlike(units, convs, alike)
        order = {name: index for index, name in enumerate(convs)}
        return dict(sorted(units.items(), key=lambda unit: order[unit[1][0]]))

    def _refuse_by_stage(
        self, refused: dict[str, str], tree: ConvTree, stage_of: dict[str, str]
    ) -> None:
        """Refuse what has no stage, and the first block of each."""
        first: dict[str, str] = {}
        for name, stage in stage_of.items():
            first.setdefault(stage, tree.block_of(name))
        for name in tree.inside(''):
            if name in refused:
                continue
            if name not in stage_of:
                refused[name] = 'the forward pass does not run it, or on pooled maps alone'
                print_log(f'left alone: {name}: {refused[name]}', logger='current')
            elif self.skip_first_block and tree.block_of(name) == first[stage_of[name]]:
                refused[name] = 'parse_cfg.skip_first_block leaves out the first block of its stage'

    def _unit_of(self, name: str, tree: ConvTree, stage_of: dict[str, str]) -> str:
        if self.rule == 'layer':
            return name
        if self.rule == 'block':
            return tree.block_of(name) or 'network'
        return stage_of[name] if self.rule == 'stage' else 'network'


def _by_patterns(rule: dict[str, list[str]], eligible: list[str], refused: dict[str, str]) -> Units:
    units: Units = {}
    owner: dict[str, str] = {}
    for unit, patterns in rule.items():
        for pattern in patterns:
            if not any(matches(name, [pattern]) for name in eligible):
                name = next(name for name in refused if matches(name, [pattern]))
                raise CompressionError(
                    f'parse_cfg.rule[{unit!r}]: {pattern!r} matches no eligible convolution; '
                    f'{name} is not eligible: {refused[name]}'
                )
        units[unit] = [name for name in eligible if matches(name, patterns)]
        for name in units[unit]:
            if owner.setdefault(name, unit) != unit:
                raise CompressionError(
                    f'parse_cfg.rule: {name} is in {owner[name]!r} and in {unit!r}; a layer '
                    'belongs to one unit'
                )
    return units


def _nothing(kind: str, refused: dict[str, str]) -> str:
    """What to say when no convolution is eligible: each reason, with an example."""
    examples: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for name, why in refused.items():
        key = why.partition(' ')[0]
        examples.setdefault(key, f'{why} ({{}} in all, such as {name})')
        counts[key] += 1
    reasons = '; '.join(examples[key].format(count) for key, count in counts.most_common())
    return f'none of the {len(refused)} included convolutions of {kind} is eligible: {reasons}'


# Units and their names

#: Letters for attributes in the names of units, as in the formulas: ``W[n, c, k, k]``.
LETTERS = dict(
    kernel_size='', in_channels='c', out_channels='n', groups='g', stride='s', padding='p',
    dilation='d', padding_mode='',
)  # fmt: skip


def _group(names: Iterable[str], key: Callable[[str], Hashable]) -> dict[Any, list[str]]:
    units: dict[Any, list[str]] = defaultdict(list)
    for name in names:
        units[key(name)].append(name)
    return dict(units)


def _split(units: Units, words: Callable[[str], list[str]], sign: str) -> Units:
    """Split units by some words about each layer, which the new names end with."""
    parts: Units = {}
    for unit, layers in units.items():
        for ends, part in _group(layers, lambda name: tuple(words(name))).items():
            number, name = 1, (start := sign.join((unit, *ends)))
            while name in parts:  # names that a user gave can come to the same
                number += 1
                name = f'{start}_{number}'
            parts[name] = part
    return parts


def _split_unlike(units: Units, convs: dict[str, nn.Module], alike: Sequence[str]) -> Units:
    """Split units whose layers differ in an attribute; the others keep their names."""
    words: dict[str, list[str]] = {}
    for layers in units.values():
        values = {key: [getattr(convs[name], key) for name in layers] for key in alike}
        differ = [key for key in alike if len(set(values[key])) > 1]
        for index, name in enumerate(layers):
            words[name] = [LETTERS.get(key, key) + times(values[key][index]) for key in differ]
    return _split(units, words.__getitem__, '_')


def _position(name: str, tree: ConvTree) -> str:
    """The path of a layer inside of its block."""
    return name.removeprefix(f'{tree.block_of(name)}.')


# Arguments


def _rule(rule: Any) -> str | dict[str, list[str]]:
    if isinstance(rule, str):
        if rule not in RULES:
            raise CompressionError(
                f'parse_cfg.rule is {rule!r}; the nearest rules are {nearest(rule, RULES, 4)}, '
                'or give a dict of layer names by unit name'
            )
        return rule
    if isinstance(rule, (list, tuple)):
        rule = {name: name for name in name_list(rule, 'parse_cfg.rule')}
    if not isinstance(rule, Mapping) or not rule or not all(isinstance(n, str) for n in rule):
        raise CompressionError(
            f'parse_cfg.rule is {rule!r}; it has to be one of {", ".join(RULES)}, a dict of layer '
            'names by unit name, or a list of layer names'
        )
    rules = {name: name_list(value, f'parse_cfg.rule[{name!r}]') for name, value in rule.items()}
    for name, patterns in rules.items():
        if not name or not patterns:
            raise CompressionError(
                f'parse_cfg.rule[{name!r}] is {patterns!r}; a unit has a name and at least one '
                'layer name'
            )
    return rules


def _flag(value: Any, key: str) -> bool:
    if not isinstance(value, bool):
        raise CompressionError(f'parse_cfg.{key} is {value!r}; it has to be True or False')
    return value
