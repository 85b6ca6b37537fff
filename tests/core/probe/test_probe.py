"""core/probe.py: the working copy, the modes of a model, and the random state."""

import random

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.core.probe.example import LikelyShape
from mmcompress.core.probe.probe import Probe, seeded, tensors_in, working_copy


class Heads(BaseModel):
    """A head for each of the modes that ``parts`` names."""

    def __init__(self, parts, size=None):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3, padding=1)
        self.heads = nn.ModuleDict({part: nn.Conv2d(4, 2, 1) for part in parts})
        self.size = size

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if self.size:
            assert inputs.shape[-1] == self.size, 'wrong size'
        features = self.backbone(inputs)
        return self.heads[mode](features)


def test_one_mode_is_enough():
    probe = Probe(Heads(['tensor']))
    assert probe.modes == ['tensor']
    assert probe.unreached == []
    assert probe.shape == (1, 3, 64, 64)


def test_every_mode_that_reaches_something_new():
    probe = Probe(Heads(['tensor', 'loss']))
    assert probe.modes == ['tensor', 'loss']
    assert len(probe.run(Heads(['tensor', 'loss']))) == 2


def test_modes_that_fail_are_left_out():
    model = Heads(['predict'])
    model.heads['never'] = nn.Conv2d(4, 2, 1)
    probe = Probe(model)
    assert probe.modes[-1] == 'predict'
    assert probe.unreached == ['heads.never']


def test_sizes_are_tried_in_turn():
    probe = Probe(Heads(['tensor'], size=224))
    assert probe.shape == (1, 3, 224, 224)


def test_no_size_fits():
    with pytest.raises(CompressionError, match=r'accepts no demo batch \(.*wrong size'):
        Probe(Heads(['tensor'], size=65))
    with pytest.raises(CompressionError, match='input_shape'):
        Probe(Heads(['tensor'], size=65), (1, 3, 64, 64))
    assert Probe(Heads(['tensor'], size=65), (1, 3, 65, 65)).modes == ['tensor']


def test_no_convolution():
    with pytest.raises(CompressionError, match='Linear has no convolution'):
        Probe(nn.Linear(3, 3))


def test_a_model_of_ops_alone():
    """LinearConv may stand in for every layer of a network."""

    class Op(nn.Module):
        in_channels, kernel_size = 2, (3, 3)

        def forward(self, x):
            return 2 * x

        def to_static(self):
            return nn.Identity()

    probe = Probe(nn.Sequential(Op(), Op()))
    assert (probe.modes, probe.shape, probe.unreached) == (['tensor'], (1, 2, 64, 64), [])


def test_images_have_the_dimensions_of_the_first_convolution():
    assert Probe(nn.Conv1d(5, 2, 3)).shape == (1, 5, 64)
    assert Probe(nn.Conv3d(2, 2, 3)).shape == (1, 2, 64, 64, 64)


def test_hooks_are_gone():
    model = Heads(['tensor'])
    Probe(model)
    assert not any(m._forward_hooks for m in model.modules())


def test_signature_leaves_the_batch_out():
    model = Heads(['tensor'])
    probe = Probe(model, (3, 3, 8, 10))
    assert probe.signature(model) == [(2, 8, 10)]


def test_tensors_in_any_nesting():
    a, b, c, d = (torch.full((1,), float(i)) for i in range(4))
    data = InstanceData(scores=c)
    found = list(tensors_in([a, (dict(x=b, y='text'), data), None, 3, [d]]))
    assert [float(t) for t in found] == [0, 1, 2, 3]


class Freezing(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.SyncBatchNorm(3)
        self.shared = nn.PReLU()
        self.slopes = nn.PReLU(3)
        self.with_cp = True

    def train(self, mode=True):
        super().train(mode)
        self.conv.requires_grad_(False)
        return self

    def forward(self, x):
        return self.slopes(self.shared(self.norm(self.conv(x))))


def test_working_copy():
    model = Freezing().train()
    with torch.no_grad():
        model.shared.weight.fill_(0.125)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    copy = working_copy(model)
    copy.eval()
    assert all(p.requires_grad for p in copy.parameters())
    assert not any(m.training for m in copy.modules())
    assert not copy.with_cp
    assert not isinstance(copy.norm, nn.SyncBatchNorm)
    assert copy.shared.negative_slope == 0.125
    assert isinstance(copy.slopes, nn.PReLU)

    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(copy(x), model.eval()(x))
    assert isinstance(model.norm, nn.SyncBatchNorm)
    assert model.with_cp
    assert 'eval' not in vars(model)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())


def test_seeded_draws_the_same_and_puts_the_state_back(rng_state):
    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    before = rng_state()
    with seeded():
        first = draw()
    assert rng_state() == before
    draw()
    with pytest.raises(RuntimeError), seeded():
        assert draw() == first
        raise RuntimeError
    torch.manual_seed(0)
    outside = torch.rand(5)
    torch.manual_seed(0)
    with seeded():
        draw()
    assert torch.equal(torch.rand(5), outside)


class Flat(nn.Module):
    """Takes images of one size alone: everything is flattened in front of its last layer."""

    def __init__(self, side):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(8 * side * side, 2)

    def forward(self, x):
        return self.head(self.backbone(x).flatten(1))


@pytest.mark.parametrize('side', [40, 200])
def test_the_size_of_a_config_s_images_is_tried(side):
    """Small ones first, large ones when nothing else will do; and nobody insists on it."""
    model = working_copy(Flat(side))
    with pytest.raises(CompressionError, match='accepts no demo batch'):
        Probe(model)
    assert Probe(model, LikelyShape((1, 3, side, side))).shape == (1, 3, side, side)
    assert Probe(working_copy(Flat(64)), LikelyShape((1, 3, side, side))).shape == (1, 3, 64, 64)
    with pytest.raises(CompressionError, match='accepts no demo batch .*; give `input_shape`'):
        Probe(model, LikelyShape((1, 3, 90, 90)))
