"""report/plan.py: what a compression is going to give, for the whole model."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmcompress.report.plan import plan_of


class Net(nn.Module):
    """A convolution that is compressed, one that nothing is said of, and a head."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(16, 4, 3, padding=1, bias=False),
        )
        self.rest = nn.Conv2d(4, 4, 1, bias=False)

    def forward(self, x):
        return self.rest(self.backbone(x))


def plan(kind, **options):
    dense = Net()
    algorithm = MODELS.build(dict(type=f'mmcompress.{kind}', architecture=Net(), **options))
    return plan_of(algorithm, dense, (3, 8, 8))


def test_channels():
    found = plan('Magnitude', target_pruning_ratio=0.5)
    assert (found.units, found.shape) == (3, (3, 8, 8))
    # Layers with 3 x 16, 16 x 16, 16 x 4 and 4 x 4 channels; only the ends keep theirs.
    dense, compact = 9 * (48 + 256 + 64) + 16, 9 * (24 + 64 + 16) + 8
    assert (found.dense['params'], found.compact['params']) == (dense, compact)
    assert (found.dense['macs'], found.compact['macs']) == (64 * dense, 64 * compact)
    assert found.compact['stored'] == compact
    assert found.macs_left == 0
    assert found.found - found.units == sum(found.reasons.values())


def test_filters():
    """Stored numbers are fewer; layers that stay dense are named by their share of the MACs."""
    cfg = dict(parse_cfg=dict(rule='layer', include='backbone.2'))
    found = plan('SharedBasis', target_pruning_ratio=0.5, mutator_cfg=cfg)
    dense = 9 * (48 + 256 + 64) + 16
    assert found.units == 1
    assert found.macs_left == pytest.approx(1 - 9 * 256 / dense)
    assert found.compact['stored'] < found.dense['stored'] == dense
    assert 'of the MACs' in found.lines()[1]
    assert found.as_dict()['units'] == 1
    assert torch.is_grad_enabled()
