"""Convolutions made of cheaper ones, which the paper of filter basis compares with.

The networks of :mod:`.cifar` and :mod:`.sr` take them as ``conv_cfg``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmcompress.registry import MODELS

#: Values by a number of channels: ``[(252, 3), (None, 6)]`` is 3 up to 252, and 6 above.
Steps = int | Sequence[tuple[int | None, int]]


def build_conv(
    conv_cfg: dict | None, in_channels: int, out_channels: int, kernel_size: int, **kwargs: Any
) -> nn.Module:
    """A plain convolution, or what a config says.

    Args:
        conv_cfg: ``type`` and settings, which win over ``kwargs``; ``None`` for ``nn.Conv2d``.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel.
        **kwargs: ``stride``, ``padding``, ``bias``.
    """
    if conv_cfg is None:
        return nn.Conv2d(in_channels, out_channels, kernel_size, **kwargs)
    sizes = dict(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size)
    return MODELS.build({**kwargs, **conv_cfg, **sizes})


class SingleIntraChannel(nn.Module):
    """A depthwise and a 1x1 convolution, and a shortcut where the shapes agree.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the depthwise kernel.
        stride: Stride of the depthwise convolution.
        padding: Of the same.
        bias: Whether both have a bias.
        norm_between: Whether a batch norm stands between them.
        norm_behind: Whether one stands behind them.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        norm_between: bool = False,
        norm_behind: bool = False,
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, kernel_size, stride, padding, groups=in_channels, bias=bias
        )
        self.norm1 = nn.BatchNorm2d(in_channels) if norm_between else nn.Identity()
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias)
        self.norm2 = nn.BatchNorm2d(out_channels) if norm_behind else nn.Identity()
        self.act: nn.Module = nn.ReLU()
        self.has_shortcut = in_channels == out_channels and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, in_channels, H, W]`` to ``Tensor[N, out_channels, H', W']``."""
        out = self.norm2(self.pointwise(self.norm1(self.depthwise(x))))
        return self.act(out + x if self.has_shortcut else out)


@MODELS.register_module()
class FactorConv2d(nn.Sequential):
    """Single intra-channel layers in place of a convolution (Wang et al., ICCV workshops 2017).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the depthwise kernels.
        stride: Of the first layer.
        padding: Of all layers.
        bias: Whether convolutions have a bias.
        layers: How many layers.
        widen_last: Whether the last layer brings the output channels; otherwise the first does.
        norm_between: Whether batch norms stand between the convolutions of a layer.
        norm_behind: Whether they stand behind them.

    Example:
        >>> FactorConv2d(16, 32, 3, padding=1)(torch.rand(1, 16, 8, 8)).shape
        torch.Size([1, 32, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        layers: int = 2,
        widen_last: bool = True,
        norm_between: bool = False,
        norm_behind: bool = False,
    ) -> None:
        inner = in_channels if widen_last else out_channels
        widths = [in_channels, *[inner] * (layers - 1), out_channels]
        super().__init__(
            *(
                SingleIntraChannel(
                    widths[i],
                    widths[i + 1],
                    kernel_size,
                    stride if i == 0 else 1,
                    padding,
                    bias,
                    norm_between,
                    norm_behind,
                )
                for i in range(layers)
            )
        )
        #: Whether a norm behind it would be a second one.
        self.ends_in_norm = norm_behind

    def use_act(self, act: nn.Module) -> None:
        """Let all layers run this activation, the parameters of which they then share."""
        for layer in self:
            layer.act = act


@MODELS.register_module()
class GroupConv2d(nn.Sequential):
    """A grouped and a 1x1 convolution in place of a convolution (Peng et al., ECCV 2018).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the grouped kernel.
        stride: Of the grouped convolution.
        padding: Of the same.
        bias: Whether both have a bias.
        group_size: Channels of a group; or steps by the output channels.
        groups: Instead, how many groups; or steps by the input channels.
        widen_last: Whether the 1x1 convolution brings the output channels; otherwise the grouped
            one does.
        norm_between: Whether a batch norm and a ReLU stand between the two.

    Raises:
        ValueError: If neither or both of ``group_size`` and ``groups`` are given.

    Example:
        >>> GroupConv2d(16, 32, 3, padding=1, group_size=4)(torch.rand(1, 16, 8, 8)).shape
        torch.Size([1, 32, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        group_size: Steps | None = None,
        groups: Steps | None = None,
        widen_last: bool = True,
        norm_between: bool = False,
    ) -> None:
        if groups is not None and group_size is None:
            number = _step(groups, in_channels)
        elif group_size is not None and groups is None:
            number = in_channels // _step(group_size, out_channels)
        else:
            raise ValueError(f'one of group_size={group_size} and groups={groups} has to be given.')
        inner = in_channels if widen_last else out_channels
        super().__init__()
        self.grouped = nn.Conv2d(
            in_channels, inner, kernel_size, stride, padding, groups=number, bias=bias
        )
        if norm_between:
            self.norm = nn.BatchNorm2d(inner)
            self.act = nn.ReLU(inplace=True)
        self.pointwise = nn.Conv2d(inner, out_channels, 1, bias=bias)


def _step(steps: Steps, channels: int) -> int:
    if isinstance(steps, int):
        return steps
    return next(value for limit, value in steps if limit is None or channels <= limit)
