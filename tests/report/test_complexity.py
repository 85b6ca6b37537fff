"""Complexity against hand computation, and that measuring leaves no trace."""

import copy

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement, PixelData
from torch import nn

from mmcompress.models import CIFARResNet
from mmcompress.report import complexity, complexity_by_stage
from mmcompress.report.complexity import complexity_of_modules, operations


class _Net(BaseModel):
    """A backbone of two stages, a neck without parameters, a head, and a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential()
        self.backbone.add_module('stem', nn.Conv2d(3, 4, 3, padding=1))
        self.backbone.add_module('norm', nn.BatchNorm2d(4))
        self.backbone.add_module('relu', nn.ReLU())
        self.neck = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4, 5)
        self.scale = nn.Parameter(torch.ones(4, 4))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        assert mode == 'tensor'
        assert data_samples[0].img_shape == (8, 6)
        x = self.neck(self.backbone(inputs)).flatten(1)
        return {'logits': [self.head(x @ self.scale), 'not a tensor']}


# By hand, on a 3 x 8 x 6 image: 48 pixels.
_ROWS = [
    dict(name='backbone.stem', params=4 * 27 + 4, macs=4 * 27 * 48),
    dict(name='backbone.norm', params=8, macs=2 * 4 * 48),
    dict(name='neck', params=0, macs=4 * 48),
    dict(name='head', params=25, macs=20),
    dict(name='(other)', params=16, macs=16),
]


def test_stages_by_hand():
    assert complexity_by_stage(_Net(), (3, 8, 6)) == _ROWS


def test_modules_by_hand():
    model = _Net()
    model.backbone.relu.weight = model.backbone.stem.weight
    rows = complexity_of_modules(model, ['backbone.relu', 'backbone'], (3, 8, 6))
    stem = 4 * 27
    assert rows == [
        dict(name='backbone.relu', params=stem, macs=0),
        dict(name='backbone', params=stem + 4 + 8, macs=(stem + 8) * 48),
    ]
    with pytest.raises(AttributeError):
        complexity_of_modules(model, ['backbone.nothing'], (3, 8, 6))


def test_totals_are_the_sums_of_the_stages():
    found = complexity(_Net(), (3, 8, 6))
    assert found['params'] == sum(row['params'] for row in _ROWS)
    assert found['macs'] == sum(row['macs'] for row in _ROWS)


def test_stages_of_an_algorithm_are_those_of_its_architecture():
    class Algorithm(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.architecture = _Net()

        def forward(self, inputs, data_samples=None, mode='tensor'):
            return self.architecture(inputs, data_samples, mode)

    expected = [dict(row) for row in _ROWS]
    for row in expected[:-1]:
        row['name'] = f'architecture.{row["name"]}'
    assert complexity_by_stage(Algorithm(), (3, 8, 6)) == expected


def test_shared_layers_are_stored_once_and_run_twice():
    model = nn.Sequential()
    model.add_module('first', nn.Conv2d(3, 3, 1))
    model.add_module('second', model.first)
    found = complexity(model, (3, 4, 4))
    assert (found['params'], found['macs']) == (12, 2 * 9 * 16)
    rows = complexity_by_stage(model, (3, 4, 4))
    assert rows == [dict(name='first', params=12, macs=2 * 9 * 16)]


def test_agrees_with_mmengine():
    model = CIFARResNet(20)
    info = get_model_complexity_info(
        copy.deepcopy(model).eval(), (3, 32, 32), show_table=False, show_arch=False
    )
    found = complexity(model, (3, 32, 32))
    assert (found['params'], found['macs']) == (info['params'], info['flops'])


def test_uncounted_operators_are_named():
    class Custom(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    class Net(nn.Module):
        def forward(self, x):
            return Custom.apply(x)

    assert complexity(Net(), (3, 4, 4))['uncounted'] == {'prim::PythonOp.Custom': 1}


def test_results_in_data_samples_count():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)

        def forward(self, x):
            return [BaseDataElement(logits=PixelData(data=self.conv(x)[0]))]

    assert complexity(Net(), (3, 4, 4))['macs'] == 6 * 16


def test_rejects_results_that_cannot_be_traced():
    class Net(nn.Module):
        def forward(self, x):
            return x.numpy()

    with pytest.raises(ValueError, match='Net returned no tensor'):
        complexity(Net(), (3, 4, 4))


def test_leaves_the_model_and_the_random_state_alone():
    model = CIFARResNet(20)
    model.layer1.eval()
    flags = {name: module.training for name, module in model.named_modules()}
    state = copy.deepcopy(model.state_dict())
    torch.manual_seed(5)
    complexity(model, (3, 32, 32))
    assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(5))
    assert {name: module.training for name, module in model.named_modules()} == flags
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_leaves_the_model_alone_when_it_fails():
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            raise RuntimeError('too small') if self.conv(x).sum() else None

    model = Failing()
    with pytest.raises(RuntimeError, match='too small'):
        complexity(model, (3, 4, 4))
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_keeps_precision():
    model = nn.Conv2d(3, 2, 1).double()
    assert complexity(model, (3, 4, 4))['macs'] == 6 * 16


def test_rejects_a_shape_that_is_not_an_image():
    with pytest.raises(ValueError, match=r'input_shape=\(32, 32\)'):
        complexity(nn.ReLU(), (32, 32))


def test_image_classifier_of_mmpretrain():
    pytest.importorskip('mmpretrain')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        config = Config.fromstring(_RESNET56, '.py')
        model = MODELS.build(config.model)
    found = complexity(model, (3, 32, 32))
    # The published count, and mmengine's for adaptive pooling, which the authors' avg_pool2d has
    # none of.
    assert (found['params'], found['macs']) == (853018, 126550656 + 64 * 8 * 8)
    rows = {row['name']: row for row in complexity_by_stage(model, (3, 32, 32))}
    assert list(rows) == [
        *('backbone.conv1', 'backbone.bn1'),
        *('backbone.layer1', 'backbone.layer2', 'backbone.layer3'),
        *('neck', 'head'),
    ]
    assert rows['head'] == dict(name='head', params=650, macs=640)
    assert rows['backbone.layer1']['macs'] == 18 * 1024 * (16 * 16 * 9 + 2 * 16)


_RESNET56 = """
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmcompress.CIFARResNet', depth=56),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
)
"""


class Counted(nn.Module):
    """One of each layer that some counters count."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = self.pool(self.act(self.norm(self.conv(x))))
        return self.fc(self.act(self.mean(x)).flatten(1))


def test_operations_by_the_rules_of_counters():
    """All of them by hand, for an image of 8 x 8 pixels."""
    products = 4 * 3 * 9 * 64 + 4 * 5
    mmengine = products + 2 * 4 * 64 + 4 * 16
    biases = mmengine + 4 * 64 + 5
    model = Counted()
    assert operations(model, (3, 8, 8)) == dict(
        params=4 * 27 + 4 + 8 + 25,
        norm_params=8,
        mmengine=mmengine,
        products=products,
        biases=biases,
        # The activation reads the norm's maps and the mean, the max pool the former.
        mmcv=biases + 4 * 64 + 4 + 4 * 64,
        # The norm, the activation twice, nine elements for each that the max pool gives, the mean.
        elements=products + 4 * 64 + (4 * 64 + 4) + 9 * 4 * 16 + 4 * 16,
    )
    assert not any(layer._forward_hooks for layer in model.modules())
