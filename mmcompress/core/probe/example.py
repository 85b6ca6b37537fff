"""What a user gives a model to run on: one input, several, or some by name."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mmcompress.core.errors import CompressionError


class BatchShape(tuple[int, ...]):
    """``(N, C, H, W)`` of a random batch, with data samples to match.

    Attributes:
        key: The argument that gave it, for errors.
    """

    key = 'input_shape'


class LikelyShape(BatchShape):
    """The shape that images of a config have: tried, and not insisted on."""


class Example:
    """Inputs of a forward pass, on the CPU.

    Args:
        inputs: A tuple holds several inputs, a dict has them by name; anything else, such as a
            tensor or a list of tensors, is the only input.
        key: The argument that they are the value of, for errors.
        model: What runs on them. A dict whose names are none of its forward pass is its only
            input.

    Attributes:
        images: The first tensor of real numbers, or the first of any.
        key: The argument.

    Raises:
        CompressionError: If there is no tensor among them.

    Example:
        >>> Example(torch.zeros(1, 3, 8, 8)).run(nn.Conv2d(3, 2, 1)).shape
        torch.Size([1, 2, 8, 8])
    """

    def __init__(
        self, inputs: Any, key: str = 'example_inputs', model: nn.Module | None = None
    ) -> None:
        self.key = key
        args: tuple[Any, ...] = inputs if isinstance(inputs, tuple) else (inputs,)
        kwargs: dict[str, Any] = {}
        if isinstance(inputs, Mapping) and _takes(model, inputs):
            args, kwargs = (), dict(inputs)
        leaves, self._shape = pytree.tree_flatten((args, kwargs))
        self._leaves = [leaf.detach().cpu() if _is_tensor(leaf) else leaf for leaf in leaves]
        tensors = [index for index, leaf in enumerate(leaves) if _is_tensor(leaf)]
        if not tensors:
            raise CompressionError(
                f'{key} is {type(inputs).__name__!r} without a tensor; it has to be a tensor, a '
                'tuple of several inputs, or a dict of inputs by name'
            )
        real = [index for index in tensors if leaves[index].is_floating_point()]
        self._first = [*real, *tensors][0]
        images = self._leaves[self._first]
        if real and images.numel() > 1 and bool((images == images.flatten()[0]).all()):
            # Of zeros, or ones, many models make the same.
            self._leaves[self._first] = torch.randn(images.shape).to(images.dtype)

    @property
    def images(self) -> Tensor:
        """See the class."""
        return self._leaves[self._first]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of :attr:`images`, without the batch."""
        return tuple(self.images.shape[1:])

    def run(self, model: nn.Module, images: Tensor | None = None, **kwargs: Any) -> Any:
        """What a model makes of the inputs.

        Args:
            model: On the CPU.
            images: In place of :attr:`images`, to trace what depends on them; all other tensors
                do then.
            **kwargs: More arguments of the forward pass.
        """
        # Some models write into what they are given.
        leaves = copy.deepcopy(self._leaves)
        if images is not None:
            # A tracer has no shapes of what doesn't depend on its input.
            zero = images.detach().flatten()[0] * 0
            leaves = [
                leaf + zero.to(leaf.dtype)
                if _is_tensor(leaf) and leaf.dtype != torch.bool
                else leaf
                for leaf in leaves
            ]
            leaves[self._first] = images
        args, given = pytree.tree_unflatten(leaves, self._shape)
        return model(*args, **given, **kwargs)


def _takes(model: nn.Module | None, inputs: Mapping[str, Any]) -> bool:
    """Whether inputs go into a forward pass by name, as far as can be told."""
    if model is None:
        return True
    forward = inspect.signature(model.forward)
    try:
        forward.bind(**inputs)
    except TypeError:
        # An argument of the forward pass may be missing; a dict of others is an input by itself.
        return any(name in forward.parameters for name in inputs)
    return True


#: What a model is run on: inputs, the shape ``(N, C, H, W)`` of a random batch, or ``None`` for one
#: that is found.
Demo: TypeAlias = Sequence[int] | Example | None
#: What a model is counted with: ``(C, H, W)`` of an image, or inputs.
Images: TypeAlias = Sequence[int] | Example


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, Tensor)
