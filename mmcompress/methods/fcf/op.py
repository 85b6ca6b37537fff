"""The ops of FCF: a convolution whose filters have scalars, and the norm behind it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mmcompress.core.base.conv_op import ConvOp, plain_conv
from mmcompress.core.base.op import Op
from mmcompress.registry import MODELS


@MODELS.register_module()
class FactorizedConv2d(ConvOp, nn.Conv2d):
    """Convolution with ``diag(v) W``: a scalar for each filter.

    Where a norm stands directly behind it, the filter is the convolution and its norm, as it
    is once they are folded into one: the norm, a :class:`FactorizedNorm`, then multiplies by
    ``v`` what it puts out, and the convolution leaves it alone. (A batch norm cancels any
    factor in front of it, and would turn a filter that is zero into a constant.) The authors'
    program multiplies the weight in any case, and nothing else: :attr:`scales_bias` is False.

    Args:
        conv: The dense convolution to stand in for, ``weight`` of ``Tensor[n, c / g, k, k]``.
        owner: Another op, whose scalars this one shares; by default it has its own.

    Attributes:
        v: ``Tensor[n]``, 1 at first. A parameter of its owner alone: counted, saved and
            optimized once.
        keep: The number k of filters to keep, a 0-dim buffer of the owner.
        scaled_by_norm: Whether a norm behind it multiplies by ``v``.
        scales_bias: Whether ``v`` multiplies the bias as well as the weight.
        cuts_inputs: Whether weights that read removed filters count as zero, see :meth:`read`.

    Source: Li et al., CVPR 2019, Eq. 3.
    """

    def __init__(self, conv: nn.Conv2d, owner: FactorizedConv2d | None = None) -> None:
        super().__init__(conv)
        # Not registered as a child: the scalars stay the owner's.
        self.__dict__['_owner'] = owner
        if owner is None:
            self.v = nn.Parameter(self.weight.new_ones(conv.out_channels))
            self.register_buffer('keep', torch.tensor(conv.out_channels))
        self.__dict__['_sources'] = []
        self.scaled_by_norm, self.scales_bias, self.cuts_inputs = False, True, False

    @property
    def scalars(self) -> nn.Parameter:
        """``v``, of this op or of its owner."""
        return self.v if self._owner is None else self._owner.v

    def forward(self, x: Tensor) -> Tensor:
        """``Tensor[N, c, H, W]`` to ``Tensor[N, n, H', W']``."""
        weight, bias = self.weight, self.bias
        if self.cuts_inputs and self._sources:
            weight = weight * self.inputs().view(1, -1, 1, 1)
        if not self.scaled_by_norm:
            v = self.scalars
            weight = v.view(-1, 1, 1, 1) * weight
            if self.scales_bias and bias is not None:
                bias = v * bias
        return self._conv_forward(x, weight, bias)

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
            parts.append(op.scalars)
            position = start + len(op.scalars)
        if position < self.in_channels:
            parts.append(self.weight.new_ones(self.in_channels - position))
        return torch.cat(parts)

    def to_static(self, form: str | None = None) -> nn.Conv2d:
        """The plain convolution, all filters at their full strength."""
        return plain_conv(self, self.weight, self.bias)

    def fill_missing(self, state: dict[str, Tensor], prefix: str) -> None:
        """Weights of a dense network come without scalars: they start at 1."""
        if self._owner is None and f'{prefix}weight' in state and f'{prefix}v' not in state:
            state[f'{prefix}v'] = torch.ones_like(self.v)
            state[f'{prefix}keep'] = self.keep.clone()


class FactorizedNorm(Op):
    """A norm that multiplies what it puts out by the scalars of the filters in front of it.

    Args:
        norm: The norm to stand in for; or another layer that hands channels on, such as a
            shortcut that pads them.

    Attributes:
        norm: That norm.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.__dict__['_scales'] = []

    def scale(self, start: int, end: int, op: FactorizedConv2d) -> None:
        """Multiply channels ``start`` to ``end`` by the scalars of ``op``."""
        self._scales.append((start, end, op))
        self._scales.sort(key=lambda scale: scale[0])

    def forward(self, x: Tensor) -> Tensor:
        """``Tensor[N, n, H, W]`` to the same shape."""
        out = self.norm(x)
        return out * torch.cat(list(self._factors(out))).view(1, -1, *[1] * (out.ndim - 2))

    def _factors(self, out: Tensor) -> Iterable[Tensor]:
        """The scalars, and ones for channels between them that have none."""
        position = 0
        for start, end, op in self._scales:
            if start > position:
                yield out.new_ones(start - position)
            factors = op.scalars.to(out.dtype)
            # Behind a flattened feature map several channels stand for one.
            each = (end - start) // len(factors)
            yield factors if each == 1 else factors.repeat_interleave(each)
            position = end
        if position < out.shape[1]:
            yield out.new_ones(out.shape[1] - position)

    def to_static(self, form: str | None = None) -> nn.Module:
        """The plain norm."""
        return self.norm

    def fill_missing(self, state: dict[str, Tensor], prefix: str) -> None:
        """Take the weights of a dense network, where the norm has no wrapper."""
        for name in self.norm.state_dict():
            if f'{prefix}{name}' in state:
                state[f'{prefix}norm.{name}'] = state.pop(f'{prefix}{name}')
