"""report/plan.py: what a compression is going to give, for the whole model."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.core.probe.example import Example
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


class Residual(nn.Module):
    """Two convolutions whose sum is read, behind one that reads the image."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.one = nn.Conv2d(16, 16, 3, padding=1)
        self.two = nn.Conv2d(16, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x):
        x = self.stem(x).relu()
        x = x + self.one(x).relu()
        return self.last(x + self.two(x).relu())


def test_units_that_are_made_of_another_are_not_left_dense():
    """FCF gives each convolution its own scalars: their sum is no unit, and stays no unit."""
    cfg = dict(parse_cfg=dict(include=['stem', 'one', 'two']), scope='filter')
    options = dict(type='mmcompress.FCF', mutator_cfg=cfg)
    algorithm = MODELS.build(dict(options, architecture=Residual(), target_pruning_ratio=0.5))
    assert {unit.split('_')[0] for unit in algorithm.mutator.units} == {'one', 'two'}
    found = plan_of(algorithm, Residual(), (3, 8, 8))
    assert (found.units, found.found, found.reasons) == (2, 2, {})
    whole = next(iter(algorithm.mutator.divided))
    with pytest.raises(CompressionError, match='its convolutions are units'):
        MODELS.build(dict(options, architecture=Residual(), target_pruning_ratio={whole: 0.5}))


def test_reasons_are_counted_without_the_names_of_layers():
    """Two layers of one kind are one reason."""

    class Cube(nn.Module):
        def __init__(self):
            super().__init__()
            layers = (nn.Conv2d(3, 8, 3, padding=1), nn.ConvTranspose2d(8, 8, 1),
                      nn.ConvTranspose2d(8, 8, 1), nn.Conv2d(8, 4, 1))  # fmt: skip
            self.backbone = nn.Sequential(*layers)

        def forward(self, x):
            return self.backbone(x)

    algorithm = MODELS.build(
        dict(type='mmcompress.DCFF', architecture=Cube(), target_pruning_ratio=0.5)
    )
    found = plan_of(algorithm, Cube(), (3, 8, 8))
    assert found.reasons['a layer is a ConvTranspose2d, not a plain Conv2d'] == 2


def test_the_command_that_comes_next():
    lines = plan('Magnitude', target_pruning_ratio=0.5).lines('mmcompress train a.py')
    assert len(lines) <= 5
    assert lines[-1] == 'next: mmcompress train a.py'


def test_given_inputs():
    """The figures are those of one of the size; they name the size of the images."""
    dense = Net()
    algorithm = MODELS.build(
        dict(type='mmcompress.Magnitude', architecture=Net(), target_pruning_ratio=0.5)
    )
    found = plan_of(algorithm, dense, Example(torch.randn(1, 3, 8, 8)))
    assert found == plan_of(algorithm, dense, (3, 8, 8))


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
