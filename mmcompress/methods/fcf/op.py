"""The op of FCF: a convolution whose filters have scalars."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmcompress.core.channels.gate import ScaledConv2d
from mmcompress.registry import MODELS


@MODELS.register_module()
class FactorizedConv2d(ScaledConv2d, nn.Conv2d):
    """Convolution with ``diag(v) W``: a scalar for each filter, which is trained.

    The scalars are the scales of the base class; a norm behind the convolution multiplies by them,
    if there is one. The authors' program multiplies the weight in any case, and nothing else:
    :attr:`scales_bias` is False.

    Args:
        conv: The dense convolution to stand in for.
        owner: Another op, whose scalars this one shares; by default it has its own.

    Attributes:
        v: ``Tensor[n]``, 1 at first. A parameter of its owner alone: counted, saved and
            optimized once.
        keep: The number k of filters to keep, a 0-dim buffer of the owner.
        cuts_inputs: Whether weights that read removed filters count as zero, see :meth:`read`.

    Source: Li et al., CVPR 2019, Eq. 3.
    """

    scales_name = 'v'
    v: nn.Parameter
    keep: Tensor
    _sources: list[tuple[int, FactorizedConv2d]]

    def __init__(self, conv: nn.Conv2d, owner: FactorizedConv2d | None = None) -> None:
        super().__init__(conv, owner)
        self.__dict__['_sources'] = []
        self.cuts_inputs = False

    def add_scales(self, ones: Tensor) -> None:
        """Scalars are trained, and come with how many of them are to stay."""
        self.v = nn.Parameter(ones)
        self.register_buffer('keep', torch.tensor(len(ones)))

    def unscaled(self) -> Tensor:
        """The weight that the scalars multiply, zero where it reads removed filters."""
        if self.cuts_inputs and self._sources:
            return self.weight * self.inputs().view(1, -1, 1, 1)
        return self.weight

    def read(self, start: int, op: FactorizedConv2d) -> None:
        """Say that input channels from ``start`` on are those that ``op`` puts out.

        Once scalars are binary, and :attr:`cuts_inputs` is set, the weights of input channels
        whose filter is gone are zero and stay so.
        """
        self._sources.append((start, op))
        self._sources.sort(key=lambda source: source[0])

    def inputs(self) -> Tensor:
        """``Tensor[c]``: the scalars of the filters that are read, 1 where none are."""
        parts, position = [], 0
        for start, op in self._sources:
            if start > position:
                parts.append(self.weight.new_ones(start - position))
            parts.append(op.scales)
            position = start + len(op.scales)
        if position < self.in_channels:
            parts.append(self.weight.new_ones(self.in_channels - position))
        return torch.cat(parts)

    def fill_missing(self, state: dict[str, Tensor], prefix: str) -> None:
        """Scalars that a dense checkpoint lacks start at 1; their number stays."""
        known = f'{prefix}v' in state
        super().fill_missing(state, prefix)
        if not known and f'{prefix}v' in state:
            state[f'{prefix}keep'] = self.keep.clone()
