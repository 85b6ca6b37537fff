"""Shared basis without coefficients: what takes the maps is narrowed with them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

# isort: split
from mmengine.model import BaseModel
from mmengine.registry import MODELS

from mmcompress.core import CompressionError
from mmcompress.core.export.static import to_static


class Bottleneck(nn.Module):
    """1x1, grouped 3x3, 1x1, each with a norm, and a shortcut, as in ResNeXt."""

    def __init__(self, groups):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(16, 32, 1, bias=False), nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3, self.bn3 = nn.Conv2d(32, 16, 1, bias=False), nn.BatchNorm2d(16)

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return (x + self.bn3(self.conv3(out))).relu()


@MODELS.register_module(force=True)
class Bottlenecks(BaseModel):
    """A stem and three bottlenecks."""

    def __init__(self, groups=4, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = nn.Module()
        self.backbone.conv1 = nn.Conv2d(3, 16, 3)
        self.backbone.layer1 = nn.Sequential(*(Bottleneck(groups) for _ in range(3)))
        self.head = nn.Linear(16, 4)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        x = self.backbone.layer1(self.backbone.conv1(inputs).relu())
        return self.head(x.mean(dim=(2, 3)))


def algorithm(pattern='*conv2', groups=4, algorithm=None, **settings):
    default = {'coefficients': False, **settings}
    return MODELS.build(
        dict(
            type='mmcompress.SharedBasis',
            architecture=dict(type='mmengine.Bottlenecks', groups=groups),
            mutator_cfg=dict(
                type='SharedBasisMutator',
                parse_cfg=dict(rule={'unit': pattern}, groups=groups, kernel_size='any'),
                filter_unit_cfg=dict(default_args=default),
            ),
            **(algorithm or {}),
        )
    ).eval()


def literal(op, x):
    """Two convolutions, their maps one after another."""
    shared, unique = op.owner.shared_basis, op.unique_basis
    maps = [
        nn.functional.conv2d(x, basis, padding=1, groups=x.shape[1] // basis.shape[1])
        for basis in (shared, unique)
        if basis is not None
    ]
    return torch.cat(maps, 1)


def test_layers_behind_are_narrowed():
    made = algorithm(shared_rank=8, shared_groups=2, unique_rank=4, unique_groups=1)
    blocks = made.architecture.backbone.layer1
    for block in blocks:
        assert block.bn2.num_features == block.conv3.in_channels == block.conv2.out_channels == 12
        assert block.conv1.out_channels == 32
        assert block.conv3.out_channels == 16
        x = torch.randn(2, 32, 5, 5)
        torch.testing.assert_close(block.conv2(x), literal(block.conv2, x))
    assert [block.conv2.owner is blocks[0].conv2 for block in blocks] == [True] * 3
    # By hand: s c / 2 k k once, u c k k in each block.
    assert made.mutator.units['unit'].num_parameters == 8 * 16 * 9 + 3 * 4 * 32 * 9
    static = to_static(made)
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(static(x), made(x), rtol=0, atol=1e-6)
    assert not any('basis' in name for name, _ in static.named_parameters())


def test_groups_of_the_layers_by_default():
    """Filters of one group after another, shared ones first in each."""
    made = algorithm(shared_rank=8, unique_rank=4)
    op = made.architecture.backbone.layer1[1].conv2
    assert op.out_channels == 12
    x = torch.randn(1, 32, 5, 5)
    parts = []
    for group in range(4):
        seen = x[:, 8 * group : 8 * group + 8]
        for basis, rank in ((op.owner.shared_basis, 2), (op.unique_basis, 1)):
            own = basis[rank * group : rank * group + rank]
            parts.append(nn.functional.conv2d(seen, own, padding=1))
    torch.testing.assert_close(op(x), torch.cat(parts, 1))


def test_whole_filters_narrow_nothing():
    made = algorithm(shared_rank='full', unique_rank=0)
    blocks = made.architecture.backbone.layer1
    assert [block.bn2.num_features for block in blocks] == [32] * 3
    (x,) = (torch.randn(1, 32, 6, 6),)
    assert torch.equal(blocks[0].conv2(x), blocks[2].conv2(x))
    shared = [name for name, _ in made.named_parameters() if 'conv2' in name]
    assert shared == ['architecture.backbone.layer1.0.conv2.shared_basis']
    assert made.mutator.choice_template == {'unit': pytest.approx(1 / 3, abs=1e-6)}


def test_channels_that_a_shortcut_ties():
    with pytest.raises(CompressionError) as raised:
        algorithm('*conv3', groups=1, shared_rank=4, unique_rank=1)
    for word in ("'unit'", "'backbone.layer1.0.conv3'", 'tied', "shared_rank='full'"):
        assert word in str(raised.value)
    made = algorithm('*conv3', groups=1, shared_rank='full', unique_rank=0)
    assert made(torch.randn(1, 3, 9, 9)).shape == (1, 4)


def test_a_step_trains_what_is_narrowed():
    made = algorithm(shared_rank=8, shared_groups=2, unique_rank=4, unique_groups=1).train()
    before = {name: p.detach().clone() for name, p in made.named_parameters()}
    made.architecture(torch.randn(4, 3, 9, 9)).square().sum().backward()
    torch.optim.SGD(made.parameters(), lr=0.1).step()
    for name, parameter in made.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(groups=1, shared_rank=1000, unique_rank=0), 'at most the 32 filters of a layer'),
        (dict(groups=1, shared_rank=31, unique_rank=2), 'at most the 32 filters of a layer'),
    ],
)
def test_more_maps_than_filters(settings, message):
    with pytest.raises(CompressionError, match=message):
        algorithm(**settings)


@pytest.mark.parametrize(
    'settings',
    [
        dict(shared_rank=8, unique_rank=0),
        dict(shared_rank='full', unique_rank=0, shared_groups=2),
        dict(shared_rank=8, unique_rank=4, shared_groups=2, unique_groups=4),
    ],
)
@pytest.mark.parametrize('asked', [dict(init='svd'), dict(reconstruction=1.0)])
def test_only_whole_filters_compare_with_dense_ones(settings, asked):
    with pytest.raises(CompressionError, match='only whole filters compare with dense ones'):
        algorithm(**settings, algorithm=asked)


def test_ratio_of_a_grouped_convolution():
    """Ranks are multiples of the groups, and count what they cost in these."""
    model = algorithm(algorithm=dict(target_pruning_ratio=0.3))
    unit = model.mutator.units['unit']
    # Of 3 x 32 x 8 x 9 weights; the layers' own take 3 x 4 x 8 x 9, a shared filter 8 x 9.
    assert unit.init_args == dict(shared_rank=16, unique_rank=4)
    assert unit.choice == pytest.approx((3 * 4 + 16) * 72 / (3 * 32 * 72), abs=1e-6)
    model = algorithm(shared_groups=2, unique_groups=1, algorithm=dict(target_pruning_ratio=0.9))
    args = model.mutator.units['unit'].init_args
    assert args['shared_rank'] % 2 == 0
    assert args['unique_rank'] == 1
    assert model.mutator.units['unit'].choice <= 0.9
