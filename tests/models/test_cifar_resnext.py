"""CIFARResNeXt: mmpretrain's blocks behind a CIFAR stem."""

import torch

from mmcompress.models.cifar_resnext import CIFARResNeXt
from mmcompress.registry import MODELS


def test_resnext50_counts_as_the_common_cifar100_code():
    model = CIFARResNeXt(50, groups=32, width_per_group=4)
    assert sum(p.numel() for p in model.parameters()) + 2049 * 100 == 23177124


def test_neither_stem_nor_pool_leaves_pixels_out():
    out = CIFARResNeXt(50, groups=32, width_per_group=4)(torch.randn(2, 3, 16, 16))
    assert [tuple(x.shape) for x in out] == [(2, 2048, 2, 2)]


def test_is_registered():
    cfg = dict(type='mmcompress.CIFARResNeXt', depth=50)
    assert isinstance(MODELS.build(cfg), CIFARResNeXt)
