"""The parameter-free shortcut of CIFAR ResNets, in a form that can be narrowed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PadShortcut(nn.Module):
    """Subsample, then pad the channels with zeros on both sides.

    This is option A of He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016,
    sec. 4.2), as every CIFAR ResNet code writes it:
    ``F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, planes // 4, planes // 4))``.

    Written like that, the shortcut has no notion of which output channel carries which input
    channel, and is wrong as soon as either side loses channels. Here that is spelt out in a
    buffer, which is what :meth:`narrow` edits and what a checkpoint carries along. Methods that
    make new channels instead of keeping some call :meth:`pad_evenly` after narrowing.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, at least ``in_channels``.
        stride: Spatial subsampling step.
        pool: Whether to average ``stride x stride`` pixels instead of taking the first of them, as
            the filter basis authors do. At an odd border the average is of what is there.

    Attributes:
        source: ``LongTensor[out_channels]``; the input channel that feeds each output channel, or
            -1 where the output is zero.

    Raises:
        ValueError: If ``out_channels`` is smaller than ``in_channels``.

    Example:
        >>> shortcut = PadShortcut(16, 32, stride=2)
        >>> shortcut(torch.rand(1, 16, 8, 8)).shape
        torch.Size([1, 32, 4, 4])
    """

    source: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 2, pool: bool = False
    ) -> None:
        super().__init__()
        if out_channels < in_channels:
            raise ValueError(
                f'out_channels={out_channels} is smaller than in_channels={in_channels}: '
                'a padding shortcut can only add channels.'
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride
        self.pool = pool
        self.register_buffer('source', _in_the_middle(in_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``Tensor[N, in_channels, H, W]`` to ``Tensor[N, out_channels, H', W']``.

        ``H' = ceil(H / stride)`` and likewise ``W'``.
        """
        if self.pool:
            x = F.avg_pool2d(x, self.stride, ceil_mode=True)
        else:
            x = x[:, :, :: self.stride, :: self.stride]
        # One zero channel in front makes "no source" (-1) an ordinary index: no branch on data,
        # and nothing that an exporter cannot follow.
        x = F.pad(x, (0, 0, 0, 0, 1, 0))
        return x.index_select(1, self.source + 1)

    @torch.no_grad()
    def narrow(self, in_keep: Tensor | None = None, out_keep: Tensor | None = None) -> None:
        """Remove channels, in place.

        Output channels whose source is removed stay, and become zero.

        Args:
            in_keep: ``LongTensor[k_in]``; sorted indices of the input channels that remain, or
                None for all.
            out_keep: ``LongTensor[k_out]``; likewise for the output channels.
        """
        source = self.source
        if out_keep is not None:
            source = source[out_keep.to(source.device)]
        if in_keep is not None:
            in_keep = in_keep.to(source.device)
            # New position of each old input channel. The extra last entry is where a source of
            # -1 looks, so that "zero" stays "zero".
            position = source.new_full((self.in_channels + 1,), -1)
            position[in_keep] = torch.arange(in_keep.numel(), device=source.device)
            source = position[source]
            self.in_channels = in_keep.numel()
        self.source = source.clone()
        self.out_channels = source.numel()

    @torch.no_grad()
    def pad_evenly(self) -> None:
        """Put all input channels in the middle of the output, in place, at the present widths.

        For channels that are new ones, and have no place from before narrowing. Of m channels
        more, ``m // 2`` stand in front. Where there are fewer outputs than inputs, as only
        narrowing can bring about, the outermost inputs are lost, one more in front if they are odd
        in number.
        """
        source = _in_the_middle(self.in_channels, self.out_channels)
        self.source = source.to(self.source.device)

    def extra_repr(self) -> str:
        """Show the widths, as torch's layers do."""
        pool = ', pool=True' if self.pool else ''
        return f'{self.in_channels}, {self.out_channels}, stride={self.stride}{pool}'


def _in_the_middle(in_channels: int, out_channels: int) -> Tensor:
    """``LongTensor[out_channels]``: the input channel of each output, or -1."""
    source = torch.arange(out_channels) - (out_channels - in_channels) // 2
    source[(source < 0) | (source >= in_channels)] = -1
    return source
