"""Copies of models that hold more than parameters and buffers."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor, nn

T = TypeVar('T', bound=nn.Module)


def copied(model: T, memo: dict[int, Any] | None = None) -> T:
    """A deep copy of a model.

    Weight norm and spectral norm of PyTorch's old style leave a weight that they computed as an
    attribute of the layer, with its gradient's history, which ``copy.deepcopy`` refuses. A forward
    pass makes it anew, so the copy gets its values.

    Args:
        model: Left as it is.
        memo: As for ``copy.deepcopy``.
    """
    memo = {} if memo is None else memo
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(model, memo)
