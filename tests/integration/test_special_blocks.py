"""DCFF, export and rebuilding, on blocks whose code hides which channels go together."""

import copy

import pytest
import torch
from mmcv.cnn.bricks import ContextBlock, NonLocal2d
from mmcv.ops import ModulatedDeformConv2dPack
from mmdet.models.backbones.res2net import Bottle2neck
from mmdet.models.backbones.resnest import SplitAttentionConv2d
from mmengine.model import BaseModel
from torch import nn

from mmcompress.core.export.export import to_static
from mmcompress.core.export.static import layer_widths, resize
from mmcompress.methods.dcff import DCFF, FusedConv2d

BLOCKS = {
    'deformable': lambda: ModulatedDeformConv2dPack(8, 8, 3, padding=1, deform_groups=2),
    'split attention': lambda: SplitAttentionConv2d(8, 8, 3, padding=1, norm_cfg=dict(type='BN')),
    'bottle2neck': lambda: Bottle2neck(8, 2, scales=4, base_width=256),
    'context': lambda: ContextBlock(8, 0.5),
    'non-local': lambda: NonLocal2d(8, reduction=2),
}


class Net(BaseModel):
    """A block between two convolutions, and a head."""

    def __init__(self, block):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3), BLOCKS[block](), nn.Conv2d(8, 8, 1))
        self.head = nn.Conv2d(8, 5, 1)
        for parameter in self.parameters():
            # Zeros, as some of these blocks begin with, would keep gradients out.
            nn.init.normal_(parameter, std=0.3)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        out = self.head(self.backbone(inputs))
        return dict(loss=out.square().mean()) if mode == 'loss' else out


@pytest.mark.parametrize('block', BLOCKS)
def test_train_export_and_rebuild(block):
    dense = Net(block)
    algorithm = DCFF(copy.deepcopy(dense), target_pruning_ratio=0.5)
    ops = [m for m in algorithm.architecture.modules() if isinstance(m, FusedConv2d)]
    assert len(ops) >= 2
    optimizer = torch.optim.SGD(algorithm.parameters(), lr=0.1)
    x = torch.randn(4, 3, 12, 12)
    algorithm.fuse(2.0)
    algorithm(x, None, mode='loss')['loss'].backward()
    assert all(op.weight.grad.abs().sum() > 0 for op in ops)
    optimizer.step()
    algorithm.fuse(5.0)
    algorithm.eval()
    static = to_static(algorithm)
    assert not any(type(m).__module__.startswith('mmcompress') for m in static.modules())
    rebuilt = Net(block)
    resize(rebuilt, layer_widths(dense, static))
    rebuilt.load_state_dict(static.state_dict())
    with torch.no_grad():
        expected = algorithm(x, None, mode='tensor')
        torch.testing.assert_close(static(x), expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(rebuilt.eval()(x), static(x), atol=0, rtol=0)
    counts = [sum(p.numel() for p in model.parameters()) for model in (dense, static)]
    assert counts[1] < 0.8 * counts[0]
