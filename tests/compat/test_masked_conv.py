"""Masked convolutions on a CPU."""

import torch
import torch.nn.functional as F
from mmcv.ops import MaskedConv2d


def test_zero_where_the_mask_is() -> None:
    layer = MaskedConv2d(3, 4, 3, padding=1)
    x = torch.randn(1, 3, 5, 5)
    mask = torch.zeros(1, 5, 5)
    mask[0, 1, 2] = mask[0, 4, 4] = 0.7
    full = F.conv2d(x, layer.weight, layer.bias, padding=1)
    with torch.no_grad():
        out = layer(x, mask)
    assert torch.equal(out[..., 1, 2], full[..., 1, 2])
    assert torch.equal(out[..., 4, 4], full[..., 4, 4])
    assert int(out.abs().sum(1).count_nonzero()) == 2


def test_without_a_mask_nothing_changes() -> None:
    layer = MaskedConv2d(3, 4, 3, padding=1)
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1))
