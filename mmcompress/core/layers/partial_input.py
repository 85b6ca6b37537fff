"""Layers that read only some channels of a tensor whose other readers need all of them.

A convolution may have lost input channels on its own, although the tensor that it reads keeps
them: a shortcut goes on with all of it. The channels that are left are then selected right in
front of the convolution.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmcompress.core.errors import CompressionError, nearest

from .narrow import channels_of, is_narrowable
from .partial_add import (
    AroundLayer,
    beside,
    is_channels_last,
    name_before,
    put_in_place,
)


class Selected(AroundLayer):
    """A layer that reads k of the n channels of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, n, H, W]`` to what the layer makes of ``Tensor[N, k, H, W]``."""
        if not is_channels_last(x):
            return self.layer(x.index_select(1, self.kept))
        # As rows of channels, so that the layout is the same behind it.
        n, _, h, w = x.shape
        rows = x.permute(0, 2, 3, 1).flatten(0, 2).index_select(1, self.kept)
        return self.layer(rows.view(n, h, w, -1).permute(0, 3, 1, 2))

    def extra_repr(self) -> str:
        """What the module's ``repr`` shows."""
        return f'{len(self.kept)} of {self.of} channels'


def select_inputs(model: nn.Module, kept: dict[str, Tensor], of: dict[str, int]) -> None:
    """Let a model work with layers that have lost input channels on their own, in place.

    Comes after :func:`~mmcompress.core.layers.partial_add.add_partially`, which looks for plain
    layers.

    Args:
        model: Any model of plain layers.
        kept: For names of layers that have ``k`` input channels by now, LongTensor[k] of the
            channels that these are of those that come in.
        of: How many channels come in, by the same names.

    Raises:
        CompressionError: If a layer doesn't exist or doesn't have ``k`` input channels, or a
            channel isn't one of those that come in.
    """
    modules = dict(model.named_modules())
    for name, channels in kept.items():
        layer: Any = modules.get(name)
        inner = layer
        while isinstance(inner, AroundLayer):
            inner = inner.layer
        if inner is None or not is_narrowable(inner):
            raise CompressionError(
                f'partial_inputs: {type(model).__name__} has no layer {name!r}; the nearest are '
                f'{nearest(name, modules)}'
            )
        width = channels_of(inner)[0]
        if len(channels) != width:
            raise CompressionError(
                f'partial_inputs: {len(channels)} channels are given for layer {name!r}, which '
                f'has {width} input channels'
            )
        fit = 0 <= int(channels.min()) <= int(channels.max()) < of[name]
        if len(channels.unique()) != width or not fit:
            raise CompressionError(
                f'partial_inputs: the channels of layer {name!r} have to be {width} different '
                f'ones of 0 to {of[name] - 1}'
            )
        put_in_place(model, layer, Selected(layer, beside(inner, channels), of[name]))


def partial_inputs_of(model: nn.Module) -> dict[str, dict[str, int]]:
    """What :func:`select_inputs` did to a model: ``channels`` and ``of`` by layer name."""
    return {
        name_before(model, name): dict(channels=len(module.kept), of=module.of)
        for name, module in model.named_modules()
        if isinstance(module, Selected)
    }
