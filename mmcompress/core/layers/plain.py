"""Plain layers as data: what an op becomes in a static model, and what builds it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.errors import CompressionError
from mmcompress.registry import MODELS

#: Configs of layers that run one after another.
Layers = list[dict[str, Any]]

_TUPLES = ('kernel_size', 'stride', 'padding', 'dilation')


@MODELS.register_module()
class SideBySide(nn.ModuleList):
    """Layers that read the same input; their channels come one after another.

    For convolutions that differ in their groups and so can't be one.

    Args:
        layers: Their configs.
    """

    def __init__(self, layers: Layers) -> None:
        super().__init__(build([layer]) for layer in layers)

    def forward(self, x: Tensor) -> Tensor:
        """``Tensor[N, c, H, W]`` to ``Tensor[N, sum of channels, H', W']``."""
        return torch.cat([layer(x) for layer in self], dim=1)


def conv_layer(like: Any, shape: Sequence[int], groups: int, bias: bool) -> dict[str, Any]:
    """Config of a plain convolution.

    Args:
        like: Has the settings of a convolution (``stride``, ``padding``, ...).
        shape: Of the weight, ``(n, c / groups, kh, kw)``.
        groups: Of the convolution.
        bias: Whether it has one.
    """
    settings = dict(
        kernel_size=tuple(shape[2:]),
        stride=like.stride,
        padding=like.padding,
        dilation=like.dilation,
    )
    return dict(
        type='Conv2d',
        in_channels=shape[1] * groups,
        out_channels=shape[0],
        **{key: list(v) if isinstance(v, tuple) else v for key, v in settings.items()},
        groups=groups,
        bias=bias,
        padding_mode=like.padding_mode,
    )


def build(layers: Layers) -> nn.Module:
    """The layers, in an ``nn.Sequential`` where there are several.

    Raises:
        CompressionError: If a config isn't that of a layer.
    """
    if not isinstance(layers, list) or not layers:
        raise CompressionError(f'{layers!r} has to be a list of configs of layers')
    modules = [_build_one(layer) for layer in layers]
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


def _build_one(layer: dict[str, Any]) -> nn.Module:
    try:
        config: dict[str, Any] = {
            k: tuple(v) if k in _TUPLES and isinstance(v, list) else v for k, v in layer.items()
        }
        # mmcv's own Conv2d serves empty batches; what is exported is torch's.
        if config['type'] == 'Conv2d':
            config.pop('type')
            return nn.Conv2d(**config)
        if config['type'] == 'SideBySide':
            return SideBySide(config['layers'])
        return MODELS.build(config)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CompressionError(f'{layer!r} is no config of a layer: {error}') from None
