"""What LinearConv stores of a layer, and the weight that comes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmcompress.core.errors import CompressionError
from mmcompress.registry import TASK_UTILS

from .filters import materialise

#: The largest number that fits into 16 bits.
MOST_SHORT = torch.iinfo(torch.int16).max


def pack(factors: dict[str, Tensor], mask: Tensor | None, order: Tensor) -> dict[str, Tensor]:
    """What to store of a layer.

    Args:
        factors: ``primary``; and ``combination``, or ``left`` and ``right``.
        mask: Of sparse combinations, the entries that count.
        order: ``int64[n]``, for each filter its row in the stack of all.

    Returns:
        The factors; of sparse combinations ``mask``, a bit each, and ``values``, those that are
        left; ``order`` unless filters are in order.
    """
    tensors = {name: tensor.detach() for name, tensor in factors.items()}
    if mask is not None:
        tensors['values'] = tensors.pop('combination')[mask]
        tensors['mask'] = pack_mask(mask)
    n = len(order)
    if not torch.equal(order, torch.arange(n, device=order.device)):
        tensors['order'] = order.to(torch.int16 if n <= MOST_SHORT else torch.int32)
    return tensors


@TASK_UTILS.register_module(name='LinearConvFactors')
@torch.no_grad()
def linear_conv_factors(tensors: dict[str, Tensor], shape: Sequence[int], groups: int) -> Tensor:
    """The weight of a layer, ``Tensor[n, c', kh, kw]``, in float64.

    Args:
        tensors: As :func:`pack` gives them.
        shape: Of the weight.
        groups: ``G``: 1 where filters are combined across the groups of the convolution.

    Raises:
        CompressionError: If a sparse matrix has not as many values as bits that are set.
    """
    primary, order = tensors['primary'], tensors.get('order')
    if 'mask' in tensors:
        count = len(primary) // groups
        mask = unpack_mask(tensors['mask'], (groups, shape[0] // groups - count, count))
        values = tensors['values']
        if int(mask.sum()) != len(values):
            raise CompressionError(
                f'there are {len(values)} values, but {int(mask.sum())} entries that are not zero'
            )
        combination = values.new_zeros(mask.shape)
        combination[mask] = values
        factors = [combination]
    else:
        names = ('combination',) if 'combination' in tensors else ('left', 'right')
        factors = [tensors[name] for name in names]
    return materialise(
        primary.double(),
        tuple(factor.double() for factor in factors),
        None if order is None else order.long(),
        groups,
        shape,
    )


def pack_mask(mask: Tensor) -> Tensor:
    """``bool[...]`` as bits, eight a byte in order: ``uint8[ceil(number of entries / 8)]``."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy())).to(mask.device)


def unpack_mask(bits: Tensor, shape: Sequence[int]) -> Tensor:
    """What :func:`pack_mask` packed, ``bool`` of the given shape.

    Raises:
        CompressionError: If ``bits`` are not as many as that takes.
    """
    count = math.prod(shape)
    if len(bits) != math.ceil(count / 8):
        raise CompressionError(
            f'the mask has {len(bits)} bytes; {count} bits take {math.ceil(count / 8)}'
        )
    mask = np.unpackbits(bits.cpu().numpy(), count=count)
    return torch.from_numpy(mask).bool().view(*shape).to(bits.device)
