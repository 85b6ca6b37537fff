"""methods/dcff/from_scratch.py: nothing stays as frozen as pretrained weights would be."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmcompress.core.probe.demo_inputs import demo_batch
from mmcompress.methods.dcff import from_scratch

PRETRAINED = dict(type='Pretrained', checkpoint='missing://of/a/dense/network.pth')


def classifier(scope='mmpretrain', init_cfg=None, of_all=None, **backbone):
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type=f'{scope}.ResNet', depth=18, init_cfg=init_cfg, **backbone),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=4, in_channels=512),
        init_cfg=of_all,
    )


def compress(architecture, ratio=0.5):
    return MODELS.build(
        dict(type='mmcompress.DCFF', architecture=architecture, target_pruning_ratio=ratio)
    )


@pytest.fixture
def log(monkeypatch):
    """The lines logged."""
    lines = []
    monkeypatch.setattr(from_scratch, 'print_log', lambda line, **_: lines.append(line))
    return lines


def frozen(model):
    return [name for name, parameter in model.named_parameters() if not parameter.requires_grad]


@pytest.mark.parametrize('as_list', [True, False])
def test_pretrained_weights_are_not_loaded(as_list):
    model = compress(classifier(init_cfg=[PRETRAINED] if as_list else PRETRAINED))
    model.init_weights()
    assert model.architecture.backbone.bn1.weight.unique().tolist() == [1]


@pytest.mark.parametrize(
    'given',
    [
        dict(scope='mmdet', init_cfg=PRETRAINED, frozen_stages=1, norm_eval=True),
        # Caffe's: norms without gradients.
        dict(
            scope='mmdet',
            init_cfg=PRETRAINED,
            frozen_stages=1,
            norm_cfg=dict(type='BN', requires_grad=False),
        ),
        dict(scope='mmseg', init_cfg=PRETRAINED, frozen_stages=4, norm_eval=True),
        dict(scope='mmpose', init_cfg=PRETRAINED, frozen_stages=0, norm_eval=True),
        # Weights of the whole model.
        dict(of_all=PRETRAINED, frozen_stages=2, norm_eval=True),
    ],
)
def test_frozen_layers_are_trained(given, log):
    model = compress(classifier(**given))
    assert len(log) == 1
    assert 'frozen layers are trained' in log[0]
    model.train()
    assert frozen(model) == []
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert norms
    assert all(m.training for m in norms)
    x, samples = demo_batch(model.architecture, (2, 3, 32, 32))
    sum(model(x, samples, mode='loss').values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert not any((m.running_mean == 0).all() for m in norms)


def test_without_pretrained_weights_frozen_is_meant(log):
    model = compress(classifier(scope='mmdet', frozen_stages=1, norm_eval=True))
    assert len(log) == 1
    assert 'frozen_stages=1 and no pretrained weights' in log[0]
    model.train()
    backbone = model.architecture.backbone
    assert any(name.startswith('architecture.backbone.layer1') for name in frozen(model))
    assert not any('layer2' in name for name in frozen(model))
    assert backbone.norm_eval
    assert not backbone.layer2[0].bn1.training


def test_freezing_changes_no_unit():
    free = compress(classifier(scope='mmdet', norm_eval=False))
    fixed = compress(
        classifier(scope='mmdet', init_cfg=PRETRAINED, frozen_stages=1, norm_eval=True)
    )
    assert free.mutator.choice_template == fixed.mutator.choice_template
    assert 'backbone.layer1.0.conv1_(0, 64)_64' in fixed.mutator.choice_template


def test_constants_stay_constants():
    """A parameter that belongs to no layer may be fixed by design (position embeddings)."""
    model = nn.Module()
    model.init_cfg = PRETRAINED
    model.table = nn.Parameter(torch.ones(2), requires_grad=False)
    model.conv = nn.Conv2d(1, 1, 1).requires_grad_(False)
    from_scratch.start_from_scratch(model)
    assert frozen(model) == ['table']
