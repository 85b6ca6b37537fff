"""core/followers.py: which norm stands directly behind a convolution."""

import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core.probe.followers import norms_behind


class Zoo(BaseModel):
    """Convolutions and norms in every relation, in an order that says nothing."""

    def __init__(self):
        super().__init__()
        self.norm_far = nn.BatchNorm2d(4)
        self.norm_a = nn.BatchNorm2d(4)
        self.norm_b = nn.InstanceNorm2d(4, affine=True)
        self.norm_group = nn.GroupNorm(2, 4)
        self.norm_shared = nn.BatchNorm2d(4)
        self.norm_sum = nn.BatchNorm2d(4)
        self.norm_first, self.norm_second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.norm_cat = nn.BatchNorm2d(8)
        self.norm_used, self.norm_twice = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.prelu = nn.PReLU(4)
        names = (
            'a', 'b', 'group', 'far', 'shared1', 'shared2', 'sum', 'both', 'cat1', 'cat2', 'used',
            'twice', 'slope', 'bare',
        )  # fmt: skip
        for name in names:
            setattr(self, name, nn.Conv2d(3 if name == 'a' else 4, 4, 1))
        self.depthwise, self.norm_depthwise = nn.Conv2d(4, 4, 1, groups=4), nn.BatchNorm2d(4)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        x = self.norm_a(self.a(inputs)).relu_()
        x = self.norm_b(self.b(x))
        x = self.norm_group(self.group(x))
        x = self.norm_far(self.far(x).relu())
        x = self.norm_shared(self.shared1(x)) + self.norm_shared(self.shared2(x))
        x = self.norm_sum(self.sum(x) + x)
        y = self.both(x)
        x = self.norm_first(y) + self.norm_second(y)
        x = self.norm_cat(torch.cat([self.cat1(x), self.cat2(x)], 1))[:, :4]
        y = self.used(x)
        x = self.norm_used(y) + y
        x = self.norm_twice(self.twice(x)) + self.norm_twice(self.twice(x * 2))
        x = self.prelu(self.slope(x))
        x = self.norm_depthwise(self.depthwise(x))
        return self.bare(x)


def test_directly_behind_and_alone():
    model = Zoo()
    before = copy.deepcopy(model.state_dict())
    found = norms_behind(model)
    assert found == {
        'a': 'norm_a', 'b': 'norm_b', 'group': 'norm_group', 'twice': 'norm_twice',
        'depthwise': 'norm_depthwise',
    }  # fmt: skip
    assert model.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_random_numbers_stay_as_they_are(rng_state):
    model, before = Zoo(), rng_state()
    norms_behind(model, (1, 3, 8, 8))
    assert rng_state() == before


@pytest.mark.parametrize(
    'backbone',
    [
        dict(type='mmpretrain.ResNet', depth=18, frozen_stages=2, norm_eval=True),
        dict(type='mmpretrain.ResNet', depth=18, with_cp=True),
        dict(type='mmcompress.CIFARResNet', depth=8, shortcut='projection'),
    ],
    ids=['frozen', 'checkpointing', 'cifar'],
)
def test_in_a_resnet_every_norm_has_its_convolution(backbone):
    model = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=backbone,
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=64),
        )
        if 'CIFAR' in backbone['type']
        else dict(
            type='mmpretrain.ImageClassifier',
            backbone=backbone,
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=512),
        )
    )
    found = norms_behind(model, (1, 3, 32, 32))
    kinds = {name: type(module) for name, module in model.named_modules()}
    convolutions = [name for name, kind in kinds.items() if issubclass(kind, nn.Conv2d)]
    norms = [name for name, kind in kinds.items() if issubclass(kind, nn.BatchNorm2d)]
    assert list(found) == convolutions
    assert sorted(found.values()) == sorted(norms)
    assert found['backbone.conv1'] == 'backbone.bn1'
    assert found['backbone.layer2.0.conv2'] == 'backbone.layer2.0.bn2'
    shortcut = 'backbone.layer2.0.' + ('shortcut' if 'CIFAR' in backbone['type'] else 'downsample')
    assert found[f'{shortcut}.0'] == f'{shortcut}.1'
