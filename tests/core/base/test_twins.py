"""core/twins.py: momentum copies get the widths of what they copy."""

import copy

import torch
from mmengine.model import ExponentialMovingAverage
from torch import nn

from mmcompress.core import DependencyAnalyzer
from mmcompress.core.base.names import twins_of
from mmcompress.core.channels.config import narrow_units


class Momentum(nn.Module):
    """A backbone, a neck, and their moving average, as self-supervised models have them."""

    def __init__(self, inside=False):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 1))
        self.neck = nn.Conv2d(6, 4, 1)
        self.average = ExponentialMovingAverage(nn.Sequential(self.backbone, self.neck))

    def forward(self, x):
        with torch.no_grad():
            self.average.update_parameters(nn.Sequential(self.backbone, self.neck))
            target = self.average(x)
        return (self.neck(self.backbone(x)) - target) ** 2 + target


def test_names_of_copies():
    assert twins_of(Momentum()) == {
        'backbone': ['average.module.0'],
        'neck': ['average.module.1'],
    }
    assert twins_of(nn.Sequential(nn.Conv2d(3, 3, 1))) == {}


def test_copies_are_narrowed_too():
    model = Momentum()
    before = copy.deepcopy(model.state_dict())
    analysis = DependencyAnalyzer().analyze(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert analysis.rejected == {}
    assert list(analysis.units) == ['backbone.0_(0, 8)_8', 'backbone.2_(0, 6)_6']
    narrow_units(model, [(unit, 2) for unit in analysis.units.values()])
    assert model.average.module[0][0].out_channels == 2
    assert model.average.module[1].in_channels == 2
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 4, 6, 6)


def test_a_backbone_further_inside():
    class Tracker(nn.Module):
        def __init__(self):
            super().__init__()
            self.detector = nn.ModuleDict(
                dict(backbone=nn.Conv2d(3, 8, 3), head=nn.Conv2d(8, 2, 1))
            )

        def forward(self, x):
            return self.detector['head'](self.detector['backbone'](x))

    assert list(DependencyAnalyzer().analyze(Tracker()).units) == ['detector.backbone_(0, 8)_8']
