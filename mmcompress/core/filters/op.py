"""Base of ops whose filters are made of fewer parameters than a dense convolution has."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcompress.core.base.op import Op
from mmcompress.core.errors import CompressionError
from mmcompress.core.layers.plain import Layers, build, conv_layer

#: The static form of an op that is one plain convolution.
MERGED = 'merged'

#: Configs of plain layers, and their tensors by name.
Static = tuple[Layers, list[dict[str, Tensor | None]]]


class FilterOp(Op):
    """A convolution whose filters are made of other tensors.

    Subclasses have these tensors, and say what the filters are. The base takes over the settings
    of the convolution, and gives way to plain layers in a static model.

    Args:
        conv: The dense convolution to stand in for.

    Attributes:
        dense_shape: ``(n, c / G, kh, kw)`` of the dense weight, G groups.
        teacher: ``Tensor[n, c / G, kh, kw]``, the dense weight, where it is to be remembered.
    """

    #: Names of the parameters that make up the filters.
    factors: tuple[str, ...] = ()
    #: Those of them that the first op of a unit has for all of its ops.
    shared: tuple[str, ...] = ()
    #: The static form that a layer takes where none is asked for.
    default_form: str = MERGED

    teacher: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.kernel_size, self.stride, self.dilation = conv.kernel_size, conv.stride, conv.dilation
        self.padding, self.padding_mode = conv.padding, conv.padding_mode
        self._pad = conv._reversed_padding_repeated_twice
        self.groups = conv.groups
        self.dense_shape = tuple(conv.weight.shape)
        self.register_buffer('teacher', None)

    # What subclasses say

    @abstractmethod
    def filters(self) -> Tensor:
        """The kernel that the op stands for, ``Tensor[n, c / G, kh, kw]``."""

    @property
    def owner(self) -> FilterOp:
        """The op that has the parameters that a unit shares."""
        return self

    @property
    def is_linear(self) -> bool:
        """Whether the op is one convolution in disguise, in training too."""
        return True

    def count_stored(self) -> None:
        """Change a copy so that its parameters and its forward pass are what reports count.

        Parameters are those that are stored, and the forward pass runs with them, whatever would
        be faster.
        """

    # The layer

    def _conv(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        padding = self.padding
        if self.padding_mode != 'zeros':
            x, padding = F.pad(x, self._pad, mode=self.padding_mode), (0, 0)
        return F.conv2d(x, weight, bias, self.stride, padding, self.dilation, groups)

    def weights(self) -> list[nn.Parameter]:
        """The parameters that make up the filters, the owner's among them."""
        tensors = {**dict(self.owner.named_parameters()), **dict(self.named_parameters())}
        return [tensors[name] for name in self.factors if name in tensors]

    def stored(self) -> dict[str, Tensor]:
        """The parameters and buffers of the op, the shared ones of its owner among them."""
        tensors = {key: value for key, value in self.state_dict().items() if key != 'teacher'}
        owned = {
            key: value for key, value in self.owner.state_dict().items() if key in self.factors
        }
        return {**owned, **tensors}

    # Static forms

    @property
    def forms(self) -> tuple[str, ...]:
        """See :class:`~mmcompress.core.base.op.Op`; one plain convolution."""
        return (MERGED,)

    def cost(self, form: str) -> int:
        """Weights of a form, which are its MACs for one position of the output."""
        return math.prod(self.dense_shape)

    def static_layers(self, form: str | None = None) -> Layers:
        """Configs of the layers that :meth:`to_static` gives."""
        return self._static(form or self.default_form)[0]

    @torch.no_grad()
    def to_static(self, form: str | None = None) -> nn.Module:
        """Plain layers that do the same in eval mode.

        Args:
            form: One of :attr:`forms`, by default :attr:`default_form`.
        """
        layers, weights = self._static(form or self.default_form)
        module: Any = build(layers)
        like = next(self.owner.parameters())
        for layer, tensors in zip([module] if len(layers) == 1 else module, weights, strict=True):
            layer.to(like)
            layer.load_state_dict({k: v for k, v in tensors.items() if v is not None})
        return module

    @abstractmethod
    def _static(self, form: str) -> Static:
        """The layers of a form, and their tensors in float64: every weight is rounded once."""

    def _plain(self, weight: Tensor, bias: Tensor | None) -> Static:
        layer = conv_layer(self, weight.shape, self.groups, bias is not None)
        return [layer], [dict(weight=weight, bias=bias)]

    # Loading

    def remember_dense(self) -> None:
        """Make room for the dense weight, which a dense checkpoint fills in."""
        like = next(self.owner.parameters())
        self.register_buffer('teacher', like.new_zeros(self.dense_shape))

    def take_dense(self, state: dict[str, Tensor], prefix: str) -> Tensor | None:
        """Take the weight of the dense layer out of a state dict, and complete the rest.

        Args:
            state: What is loaded; changed in place.
            prefix: Of this op's keys in it.

        Returns:
            ``Tensor[n, c / G, kh, kw]``; ``None`` where the state is this op's own.

        Raises:
            CompressionError: If the layer has another shape.
        """
        dense = state.pop(f'{prefix}weight', None)
        if dense is None:
            return None
        if dense.shape != self.dense_shape:
            raise CompressionError(
                f'the weight of {prefix.rstrip(".")!r} in the checkpoint is '
                f'{tuple(dense.shape)}; the dense layer here is {self.dense_shape}'
            )
        if self.teacher is not None:
            state[f'{prefix}teacher'] = dense
        self.fill_missing(state, prefix)
        return dense

    def extra_repr(self) -> str:
        """Settings of the convolution."""
        return (
            f'{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, '
            f'stride={self.stride}, padding={self.padding}, groups={self.groups}'
        )


@overload
def double(tensor: Tensor) -> Tensor: ...
@overload
def double(tensor: Tensor | None) -> Tensor | None: ...
def double(tensor: Tensor | None) -> Tensor | None:
    """The values of a tensor in float64, if there is one."""
    return None if tensor is None else tensor.detach().double()
