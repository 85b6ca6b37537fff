"""CIFARResNeXt: mmpretrain's blocks behind a CIFAR stem."""

import pytest
import torch

from mmcompress.models.cifar.resnext import CIFARResNeXt
from mmcompress.registry import MODELS


def test_resnext50_counts_as_the_common_cifar100_code():
    model = CIFARResNeXt(50, groups=32, width_per_group=4)
    assert sum(p.numel() for p in model.parameters()) + 2049 * 100 == 23177124


def test_neither_stem_nor_pool_leaves_pixels_out():
    out = CIFARResNeXt(50, groups=32, width_per_group=4)(torch.randn(2, 3, 16, 16))
    assert [tuple(x.shape) for x in out] == [(2, 2048, 2, 2)]


@pytest.mark.parametrize('in_channels', [1, 3])
def test_resnext29_of_linear_conv(in_channels):
    """2x64d with a 1x1 stem; counted from the authors' list, with 10 classes."""
    model = CIFARResNeXt(
        29,
        groups=2,
        width_per_group=64,
        base_channels=128,
        expansion=2,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        stem_kernel=1,
        in_channels=in_channels,
    )
    params = sum(p.numel() for p in model.parameters()) + 1025 * 10
    assert params == 9128778 - 64 * (3 - in_channels)
    out = model(torch.randn(2, in_channels, 32, 32))
    assert [tuple(x.shape) for x in out] == [(2, 1024, 8, 8)]
    widths = [getattr(model, f'layer{i}')[0].conv2 for i in (1, 2, 3)]
    assert [(conv.out_channels, conv.groups) for conv in widths] == [(128, 2), (256, 2), (512, 2)]


def test_is_registered():
    cfg = dict(type='mmcompress.CIFARResNeXt', depth=50)
    assert isinstance(MODELS.build(cfg), CIFARResNeXt)
