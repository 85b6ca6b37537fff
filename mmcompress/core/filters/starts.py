"""Random numbers that the weights of ops start from."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def _uniform(weight: Tensor) -> None:
    nn.init.kaiming_uniform_(weight, nonlinearity='relu')


def _as_torch(weight: Tensor) -> None:
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))


def _fan_in(weight: Tensor) -> None:
    nn.init.kaiming_normal_(weight, mode='fan_in', nonlinearity='relu')


def _fan_out(weight: Tensor) -> None:
    nn.init.kaiming_normal_(weight, mode='fan_out', nonlinearity='relu')


#: Random numbers that weights can start from: He et al.'s normal ones of variance 2 / fan, uniform
#: ones of variance 2 / fan in, and those of a new ``nn.Conv2d``, uniform of variance
#: 1 / (3 fan in).
STARTS: dict[str, Callable[[Tensor], None]] = dict(
    fan_out=_fan_out, fan_in=_fan_in, uniform=_uniform, torch=_as_torch
)


@torch.no_grad()
def fill(weight: Tensor, start: str) -> None:
    """Fill a weight with the random numbers that it starts from, in place.

    Args:
        weight: Of a convolution, ``Tensor[n, c, kh, kw]``; its fan in is ``c kh kw``, its fan out
            ``n kh kw``.
        start: One of :data:`STARTS`.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015.
    """
    STARTS[start](weight)
