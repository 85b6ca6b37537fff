"""Base of ops whose filters are made of fewer parameters than a dense convolution has."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcompress.core.errors import CompressionError
from mmcompress.core.layers.plain import Layers, build, conv_layer

if TYPE_CHECKING:
    from .unit import FilterUnit

#: The static form of an op that is one plain convolution.
MERGED = 'merged'

#: Configs of plain layers, and their tensors by name.
Static = tuple[Layers, list[dict[str, Tensor | None]]]


class FilterOp(nn.Module, ABC):
    """A convolution whose filters are made of other tensors.

    Subclasses have these tensors, and say what the filters are. The base takes over the settings
    of the convolution, hands the weights of a dense checkpoint to the op's unit, and gives way to
    plain layers in a static model.

    Args:
        conv: The dense convolution to stand in for.

    Attributes:
        dense_shape: ``(n, c / G, kh, kw)`` of the dense weight, G groups.
        teacher: ``Tensor[n, c / G, kh, kw]``, the dense weight, where it is to be remembered.
    """

    #: Names of the parameters that make up the filters.
    factors: tuple[str, ...] = ()
    #: The static form that a layer takes where none is asked for.
    default_form: str = MERGED

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.kernel_size, self.stride, self.dilation = conv.kernel_size, conv.stride, conv.dilation
        self.padding, self.padding_mode = conv.padding, conv.padding_mode
        self._pad = conv._reversed_padding_repeated_twice
        self.groups = conv.groups
        self.dense_shape = tuple(conv.weight.shape)
        self.register_buffer('teacher', None)
        self.__dict__['_unit'] = None
        self._register_load_state_dict_pre_hook(self._before_loading)

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
            x, padding = F.pad(x, self._pad, mode=self.padding_mode), 0
        return F.conv2d(x, weight, bias, self.stride, padding, self.dilation, groups)

    def weights(self) -> list[nn.Parameter]:
        """The parameters that make up the filters, the owner's among them."""
        tensors = {**dict(self.owner.named_parameters()), **dict(self.named_parameters())}
        return [tensors[name] for name in self.factors if name in tensors]

    # Static forms

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms that :meth:`to_static` can give; at equal cost the first is the better one."""
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
        module = build(layers)
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

    def join(self, unit: FilterUnit, name: str) -> None:
        """Belong to a unit, which makes something of the weight of a dense network.

        Args:
            unit: The unit.
            name: Of this layer in the architecture.
        """
        self.__dict__['_unit'], self.__dict__['_name'] = unit, name

    def _before_loading(self, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
        dense = state.pop(f'{prefix}weight', None)
        if dense is None:
            return
        if dense.shape != self.dense_shape:
            raise CompressionError(
                f'the weight of {prefix.rstrip(".")!r} in the checkpoint is '
                f'{tuple(dense.shape)}; the dense layer here is {self.dense_shape}'
            )
        if self.teacher is not None:
            state[f'{prefix}teacher'] = dense
        if self._unit is not None:
            self._unit.take_dense(self._name, dense)
        # Whatever a dense layer has no counterpart of is what it is now.
        for key, value in self.state_dict().items():
            state.setdefault(prefix + key, value.clone())

    def extra_repr(self) -> str:
        """Settings of the convolution."""
        return (
            f'{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, '
            f'stride={self.stride}, padding={self.padding}, groups={self.groups}'
        )


def double(tensor: Tensor | None) -> Tensor | None:
    """The values of a tensor in float64, if there is one."""
    return None if tensor is None else tensor.detach().double()
