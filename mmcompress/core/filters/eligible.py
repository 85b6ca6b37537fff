"""ConvFilter: which convolutions may be written in a basis, and why the others may not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mmcompress.core.base.conv_op import is_plain_conv
from mmcompress.core.base.names import backbones_of, copies_in, matches, name_list
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.layers.weights import not_own_weights

from .tree import ConvTree

ANY = 'any'


class ConvFilter:
    """Tells convolutions that are eligible from those that are not.

    Args:
        include: Names (with shell wildcards) of modules to look in; a name includes what is inside
            of it. ``None`` means ``backbone``, as for the
            :class:`~mmcompress.core.channels.analyzer.DependencyAnalyzer`.
        exclude: Names not to look in, even though included.
        kernel_size: ``None`` means any larger than 1 x 1; otherwise a size ``3``, a tuple
            ``(1, 7)`` of height and width, a list of these, or ``'any'``.
        groups: The number of groups, or ``'any'``.
        stride: The stride in both directions, or ``'any'``.
        min_channels: Fewest input and output channels.

    Raises:
        CompressionError: If an argument is none of these.
    """

    def __init__(
        self,
        include: Sequence[str] | str | None = None,
        exclude: Sequence[str] | str = (),
        kernel_size: Any = None,
        groups: int | str = 1,
        stride: int | str = ANY,
        min_channels: int = 16,
    ) -> None:
        self.include = None if include is None else name_list(include, 'parse_cfg.include')
        self.exclude = name_list(exclude, 'parse_cfg.exclude')
        self.kernel_size = kernel_size
        self.kernel_sizes = _kernel_sizes(kernel_size)
        self.groups = groups if groups == ANY else _positive(groups, 'groups', ANY)
        self.stride = stride if stride == ANY else _positive(stride, 'stride', ANY)
        self.min_channels = _positive(min_channels, 'min_channels')

    def included(self, architecture: nn.Module, tree: ConvTree) -> list[str]:
        """The convolutions to look at, whatever they are.

        Args:
            architecture: The model.
            tree: All of its convolutions.

        Raises:
            CompressionError: If a name fits no convolution.
        """
        include = self._include(architecture)
        if self.include is None:
            # All parts of a model without a backbone: some of them are no convolutions.
            include = list(filter(tree.inside, include)) or include
        kind = type(architecture).__name__
        if self.include is None and not any(map(tree.inside, include)):
            names = ', '.join(map(repr, tree.parts('')))
            raise CompressionError(
                f'parse_cfg.include is None, which means the backbone, but {kind} has no '
                f'convolution in one; name what to look in, of {names}'
            )
        for key, patterns in (('include', include), ('exclude', self.exclude)):
            for pattern in patterns:
                check_pattern(pattern, f'parse_cfg.{key}', tree, kind)
        return [name for name in tree.inside('') if matches(name, include)]

    def refused(self, architecture: nn.Module, names: Sequence[str]) -> dict[str, str]:
        """Why convolutions are not eligible, by their names.

        Args:
            architecture: The model.
            names: Convolutions of any kind.
        """
        include, copies = self._include(architecture), copies_in(architecture)
        foreign = not_own_weights(architecture)
        refused = {}
        for name in names:
            if not matches(name, include):
                why = f'parse_cfg.include ({", ".join(include)}) leaves it out'
            elif matches(name, self.exclude):
                why = 'parse_cfg.exclude leaves it out'
            elif matches(name, copies):
                why = 'it is part of a momentum copy'
            elif name in foreign:
                why = f'it has {foreign[name]}'
            else:
                why = self._unfit(architecture.get_submodule(name))
            if why:
                refused[name] = why
        return refused

    def _include(self, architecture: nn.Module) -> list[str]:
        return backbones_of(architecture) if self.include is None else self.include

    def _unfit(self, conv: Any) -> str:
        """Which constraint a convolution fails, or ``''``."""
        if not is_plain_conv(conv):
            return 'it is no plain 2-d convolution'
        kernel, stride = tuple(conv.kernel_size), tuple(conv.stride)
        if self.kernel_sizes is None:
            if kernel == (1, 1):
                return 'parse_cfg.kernel_size is None, any larger than 1x1, and it has 1x1'
        elif self.kernel_sizes != ANY and kernel not in self.kernel_sizes:
            return f'parse_cfg.kernel_size is {self.kernel_size!r} and it has {times(kernel)}'
        if self.groups not in (ANY, conv.groups):
            return f'parse_cfg.groups is {self.groups} and it has {conv.groups}'
        if self.stride != ANY and stride != (self.stride, self.stride):
            return f'parse_cfg.stride is {self.stride} and it has {times(stride)}'
        if min(conv.in_channels, conv.out_channels) < self.min_channels:
            return (
                f'parse_cfg.min_channels is {self.min_channels} and it has {conv.in_channels} '
                f'input and {conv.out_channels} output channels'
            )
        return ''


def check_pattern(pattern: str, key: str, tree: ConvTree, kind: str) -> None:
    """See that a name pattern of the config fits a convolution.

    Args:
        pattern: The pattern.
        key: Where it stands in the config.
        tree: All convolutions of the architecture.
        kind: What the architecture is called.

    Raises:
        CompressionError: If it fits none.
    """
    convs = tree.inside('')
    if not any(matches(name, [pattern]) for name in convs):
        steps = [name.split('.') for name in convs]
        names = dict.fromkeys('.'.join(s[:n]) for s in steps for n in range(1, len(s) + 1))
        raise CompressionError(
            f'{key}: {pattern!r} matches no convolution of {kind}; the nearest names are '
            f'{nearest(pattern, names)}'
        )


def times(value: Any) -> str:
    """A number, or a pair as ``3x3``."""
    return 'x'.join(map(str, value)) if isinstance(value, tuple) else str(value)


def _kernel_sizes(value: Any) -> set[tuple[int, int]] | str | None:
    if value is None or value == ANY:
        return value
    sizes = value if isinstance(value, list) else [value]
    pairs = [(size, size) if type(size) is int else size for size in sizes]
    if not pairs or not all(map(_is_size, pairs)):
        raise CompressionError(
            f'parse_cfg.kernel_size is {value!r}; it has to be a size such as 3, a pair (height, '
            "width), a list of these, 'any', or None for all larger than 1x1"
        )
    return {tuple(pair) for pair in pairs}


def _is_size(pair: Any) -> bool:
    return (
        isinstance(pair, (list, tuple))
        and len(pair) == 2
        and all(type(side) is int and side > 0 for side in pair)
    )


def _positive(value: Any, key: str, otherwise: str = '') -> int:
    if type(value) is not int or value < 1:
        rest = f' or {otherwise!r}' if otherwise else ''
        raise CompressionError(
            f'parse_cfg.{key} is {value!r}; it has to be a positive integer{rest}'
        )
    return value
