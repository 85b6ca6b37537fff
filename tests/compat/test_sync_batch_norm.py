"""Synchronised batch norms of mmcv outside of distributed runs."""

import torch
from mmcv.ops import SyncBatchNorm
from mmengine.model.utils import revert_sync_batchnorm
from torch import nn


def test_built_and_reverted() -> None:
    layer = SyncBatchNorm(4, eps=1e-3)
    assert layer.group_size == 1
    plain = revert_sync_batchnorm(nn.Sequential(layer)).eval()
    expected = nn.BatchNorm2d(4, eps=1e-3).eval()
    expected.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(plain(x), expected(x))
