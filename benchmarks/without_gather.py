"""Traces for runtimes that can't pick channels or pixels by their indices, as ncnn can't.

Where a network chooses channels (a partial residual add, the shortcut of a narrowed CIFAR
ResNet), a 1x1 convolution with weights 0 and 1 gives the same; where it takes every s-th pixel, so
does a max pooling of one pixel with stride s.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

SELECT = (Tensor.index_select, torch.index_select)
ADD = (Tensor.index_add, Tensor.index_add_, torch.index_add)
COPY = (Tensor.index_copy, Tensor.index_copy_, torch.index_copy)


class WithoutGather(TorchFunctionMode):
    """While it is on, feature maps are indexed by convolutions and poolings.

    Example:
        >>> x, chosen = torch.rand(1, 4, 2, 2), torch.tensor([3, 0])
        >>> with WithoutGather():
        ...     found = x.index_select(1, chosen)
        >>> bool((found == x[:, [3, 0]]).all())
        True
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run a function of torch, or what does the same."""
        kwargs = kwargs or {}
        x = args[0] if args else None
        if isinstance(x, Tensor) and x.dim() == 4 and not kwargs:
            if func in SELECT and args[1] == 1:
                return F.conv2d(x, chosen(args[2], x.shape[1]))
            if func in ADD and args[1] == 1:
                return x + F.conv2d(args[3], chosen(args[2], x.shape[1], back=True))
            if func in COPY and args[1] == 1 and not bool(x.any()):
                return F.conv2d(args[3], chosen(args[2], x.shape[1], back=True))
            if func is Tensor.__getitem__ and (steps := _steps(args[1])):
                return F.max_pool2d(x, 1, steps)
        return func(*args, **kwargs)


def trace(model: nn.Module, images: Tensor) -> torch.jit.ScriptModule:
    """A TorchScript trace in which nothing is indexed."""
    with WithoutGather(), warnings.catch_warnings():
        warnings.simplefilter('ignore', torch.jit.TracerWarning)  # indices are constants
        return torch.jit.trace(model, images)


def chosen(index: Tensor, count: int, back: bool = False) -> Tensor:
    """Weights of the 1x1 convolution that picks channels, or puts them back among zeros.

    Made by NumPy, so that a trace holds them and not how they are made.

    Args:
        index: LongTensor[k].
        count: ``n``, of how many.
        back: From ``k`` to ``n``; else from ``n`` to ``k``.

    Returns:
        ``Tensor[k, n, 1, 1]``, or with ``back`` ``Tensor[n, k, 1, 1]``.
    """
    weights = np.eye(int(count), dtype=np.float32)[index.tolist()]
    weights = np.ascontiguousarray(weights.T if back else weights)
    return torch.from_numpy(weights[:, :, None, None])


def _steps(key: Any) -> tuple[int, int] | None:
    """The steps of ``x[:, :, ::a, ::b]``; None for any other key."""
    if not isinstance(key, tuple) or len(key) != 4:
        return None
    if not all(isinstance(k, slice) and k.start is None and k.stop is None for k in key):
        return None
    steps = [1 if k.step is None else k.step for k in key]
    return (steps[2], steps[3]) if steps[:2] == [1, 1] and max(steps) > 1 else None
