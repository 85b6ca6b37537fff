"""FilterFinder: which convolutions of an architecture share one filter basis."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmcompress.registry import TASK_UTILS

from .conv_tree import ConvTree, common_module, stages_of
from .errors import CompressionError, nearest
from .names import backbones_of, copies_in, demo_shape, matches, name_list
from .narrow import is_convolution
from .op import is_plain_conv

RULES = ('layer', 'block', 'stage', 'network')
ANY = 'any'
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
            :func:`~mmcompress.core.conv_tree.stages_by_size`; ``'network'``, all; a dict of name
            patterns by unit name; or a list of name patterns, each a unit.
        include: Names (with shell wildcards) of modules to look in; a name includes what is inside
            of it. ``None`` means ``backbone``, as for the
            :class:`~mmcompress.core.analyzer.DependencyAnalyzer`.
        exclude: Names not to look in, even though included.
        kernel_size: ``None`` means any larger than 1 x 1; otherwise a size ``3``, a pair ``(1, 7)``
            of height and width (a tuple), a list of these, or ``'any'``.
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
        >>> FilterFinder('stage', skip_first_block=True).find(resnet18)
        {'backbone.layer1': ['backbone.layer1.1.conv1', 'backbone.layer1.1.conv2'], ...}
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
        input_shape: Sequence[int] | None = None,
    ) -> None:
        self.rule = _rule(rule)
        self.include = None if include is None else name_list(include, 'parse_cfg.include')
        self.exclude = name_list(exclude, 'parse_cfg.exclude')
        self.kernel_size = kernel_size
        self.kernel_sizes = _kernel_sizes(kernel_size)
        self.groups = groups if groups == ANY else _positive(groups, 'groups', ANY)
        self.stride = stride if stride == ANY else _positive(stride, 'stride', ANY)
        self.min_channels = _positive(min_channels, 'min_channels')
        self.skip_first_block = _flag(skip_first_block, 'skip_first_block')
        self.by_position = _flag(by_position, 'by_position')
        self.input_shape = demo_shape(input_shape, 'parse_cfg.input_shape')
        if self.skip_first_block and isinstance(self.rule, dict):
            raise CompressionError(
                'parse_cfg.skip_first_block is True, but parse_cfg.rule says itself which layers '
                'form units; leave first blocks out of its patterns'
            )
        if self.by_position and self.rule == 'layer':
            raise CompressionError(
                "parse_cfg.by_position is True, but by parse_cfg.rule 'layer' each unit is one "
                "layer, which has no parts; it goes with 'stage', 'block' and 'network'"
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
        convs = {n: m for n, m in architecture.named_modules() if n and is_convolution(m)}
        tree = ConvTree(convs)
        kind = type(architecture).__name__
        if not convs:
            raise CompressionError(f'{kind} has no convolution to compress')
        include = backbones_of(architecture) if self.include is None else self.include
        self._check_names(include, tree, kind)
        copies = copies_in(architecture)
        refused = {}
        for name, conv in convs.items():
            why = self._unfit(name, conv, include, copies)
            if why:
                refused[name] = why
        stage_of: dict[str, str] = {}
        if self.rule == 'stage' or self.skip_first_block:
            included = [name for name in convs if matches(name, include)]
            outermost = common_module(included)
            stage_of = stages_of(architecture, tree, outermost, self.input_shape)
            self._refuse_by_stage(refused, tree, stage_of)
        eligible = [name for name in convs if name not in refused]
        if not eligible:
            raise CompressionError(_nothing(kind, refused))
        if isinstance(self.rule, dict):
            units = self._by_patterns(tree, eligible, refused)
        else:
            units = _group(eligible, lambda name: self._unit_of(name, tree, stage_of))
        if self.by_position:
            units = _split(units, lambda name: _position(name, tree))
        units = _split_unlike(units, convs, alike)
        order = {name: index for index, name in enumerate(convs)}
        return dict(sorted(units.items(), key=lambda unit: order[unit[1][0]]))

    # Which layers

    def _unfit(self, name: str, conv: nn.Module, include: list[str], copies: list[str]) -> str:
        """Why a convolution is not eligible, or ``''``; begins with the key that says so."""
        if not matches(name, include):
            return f'parse_cfg.include ({", ".join(include)}) leaves it out'
        if matches(name, self.exclude):
            return 'parse_cfg.exclude leaves it out'
        if matches(name, copies):
            return 'it is part of a momentum copy'
        if not is_plain_conv(conv):
            return 'it is no plain 2-d convolution'
        kernel, stride = tuple(conv.kernel_size), tuple(conv.stride)
        if self.kernel_sizes is None:
            if kernel == (1, 1):
                return 'parse_cfg.kernel_size is None, any larger than 1x1, and it has 1x1'
        elif self.kernel_sizes != ANY and kernel not in self.kernel_sizes:
            return f'parse_cfg.kernel_size is {self.kernel_size!r} and it has {_times(kernel)}'
        if self.groups not in (ANY, conv.groups):
            return f'parse_cfg.groups is {self.groups} and it has {conv.groups}'
        if self.stride != ANY and stride != (self.stride, self.stride):
            return f'parse_cfg.stride is {self.stride} and it has {_times(stride)}'
        if min(conv.in_channels, conv.out_channels) < self.min_channels:
            return (
                f'parse_cfg.min_channels is {self.min_channels} and it has {conv.in_channels} '
                f'input and {conv.out_channels} output channels'
            )
        return ''

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

    def _check_names(self, include: list[str], tree: ConvTree, kind: str) -> None:
        if self.include is None and not any(map(tree.inside, include)):
            names = ', '.join(map(repr, tree.parts('')))
            raise CompressionError(
                f'parse_cfg.include is None, which means the backbone, but {kind} has no '
                f'convolution in one; name what to look in, of {names}'
            )
        for key, patterns in (('include', include), ('exclude', self.exclude)):
            for pattern in patterns:
                _check_pattern(pattern, f'parse_cfg.{key}', tree, kind)
        if isinstance(self.rule, dict):
            for unit, patterns in self.rule.items():
                for pattern in patterns:
                    _check_pattern(pattern, f'parse_cfg.rule[{unit!r}]', tree, kind)

    # Which units

    def _unit_of(self, name: str, tree: ConvTree, stage_of: dict[str, str]) -> str:
        if self.rule == 'layer':
            return name
        if self.rule == 'block':
            return tree.block_of(name) or 'network'
        return stage_of[name] if self.rule == 'stage' else 'network'

    def _by_patterns(self, tree: ConvTree, eligible: list[str], refused: dict[str, str]) -> Units:
        units: Units = {}
        owner: dict[str, str] = {}
        for unit, patterns in self.rule.items():
            for pattern in patterns:
                if not any(matches(name, [pattern]) for name in eligible):
                    name = next(name for name in tree.inside('') if matches(name, [pattern]))
                    raise CompressionError(
                        f'parse_cfg.rule[{unit!r}]: {pattern!r} matches no eligible convolution; '
                        f'{name} is not eligible: {refused[name]}'
                    )
            units[unit] = [name for name in eligible if matches(name, patterns)]
            for name in units[unit]:
                other = owner.setdefault(name, unit)
                if other != unit:
                    raise CompressionError(
                        f'parse_cfg.rule: {name} is in both {other!r} and {unit!r}; a layer has '
                        'one basis'
                    )
        return units


def _check_pattern(pattern: str, key: str, tree: ConvTree, kind: str) -> None:
    convs = tree.inside('')
    if not any(matches(name, [pattern]) for name in convs):
        modules = dict.fromkeys(
            '.'.join(steps[:length])
            for steps in (name.split('.') for name in convs)
            for length in range(1, len(steps) + 1)
        )
        raise CompressionError(
            f'{key}: {pattern!r} matches no convolution of {kind}; the nearest names are '
            f'{nearest(pattern, modules)}'
        )


def _nothing(kind: str, refused: dict[str, str]) -> str:
    """What to say when no convolution is eligible: the commonest reason, with an example."""
    outside = 'parse_cfg.include'
    inside = {n: why for n, why in refused.items() if not why.startswith(outside)} or refused
    words = {name: why.split()[0] for name, why in inside.items()}
    (common, count), *_ = Counter(words.values()).most_common(1)
    name = next(name for name, word in words.items() if word == common)
    return (
        f'none of the {len(inside)} convolutions of {kind} in question is eligible; {count} of '
        f'them are like {name}: {inside[name]}'
    )


# Units and their names


def _group(names: list[str], key: Any) -> Units:
    units: Units = defaultdict(list)
    for name in names:
        units[key(name)].append(name)
    return dict(units)


def _split(units: Units, key: Any, sign: str = '.') -> Units:
    """Split units by the text that ``key`` gives for a layer, which the new names end with."""
    parts: Units = {}
    for unit, layers in units.items():
        for end, part in _group(layers, key).items():
            _add(parts, f'{unit}{sign}{end}', part)
    return parts


def _split_unlike(units: Units, convs: dict[str, nn.Module], alike: Sequence[str]) -> Units:
    """Split units whose layers differ in an attribute; the others keep their names."""
    parts: Units = {}
    for unit, layers in units.items():
        differ = [
            attribute
            for attribute in alike
            if len({getattr(convs[name], attribute) for name in layers}) > 1
        ]
        for ends, part in _group(
            layers, lambda name: tuple(_word(convs[name], key) for key in differ)
        ).items():
            _add(parts, '_'.join((unit, *ends)), part)
    return parts


def _add(units: Units, name: str, layers: list[str]) -> None:
    """Add a unit; a number tells names apart that a user's own happen to make the same."""
    number, unique = 1, name
    while unique in units:
        number += 1
        unique = f'{name}_{number}'
    units[unique] = layers


def _position(name: str, tree: ConvTree) -> str:
    block = tree.block_of(name)
    return name.removeprefix(f'{block}.') if block else name


#: Letters for attributes in names of units, as in the formulas: ``W[n, c / g, k, k]``.
LETTERS = dict(kernel_size='', in_channels='c', out_channels='n', groups='g', stride='s',
               padding='p', dilation='d', padding_mode='')  # fmt: skip


def _word(conv: nn.Module, attribute: str) -> str:
    """An attribute of a convolution, for the name of a unit: ``3x3``, ``c64``."""
    value = getattr(conv, attribute)
    return f'{LETTERS.get(attribute, attribute)}{_times(value)}'


def _times(value: Any) -> str:
    return 'x'.join(map(str, value)) if isinstance(value, tuple) else str(value)


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


def _kernel_sizes(value: Any) -> set[tuple[int, int]] | str | None:
    if value is None or value == ANY:
        return value
    sizes = set()
    for size in value if isinstance(value, list) else [value]:
        pair = (size, size) if type(size) is int else size
        if (
            not isinstance(pair, (list, tuple))
            or len(pair) != 2
            or not all(type(side) is int and side > 0 for side in pair)
        ):
            pair = None
        if pair is None:
            break
        sizes.add(tuple(pair))
    else:
        if sizes:
            return sizes
    raise CompressionError(
        f'parse_cfg.kernel_size is {value!r}; it has to be a size such as 3, a pair (height, '
        "width), a list of these, 'any', or None for all larger than 1x1"
    )


def _positive(value: Any, key: str, otherwise: str = '') -> int:
    if type(value) is not int or value < 1:
        rest = f' or {otherwise!r}' if otherwise else ''
        raise CompressionError(
            f'parse_cfg.{key} is {value!r}; it has to be a positive integer{rest}'
        )
    return value


def _flag(value: Any, key: str) -> bool:
    if not isinstance(value, bool):
        raise CompressionError(f'parse_cfg.{key} is {value!r}; it has to be True or False')
    return value
