"""Small networks that the tests of several folders share."""

import random

import numpy as np
import pytest
import torch
from torch import nn

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

from mmengine.model import BaseModel  # isort: skip
from mmengine.registry import MODELS  # isort: skip

torch.set_num_threads(2)


@MODELS.register_module(force=True)
class TinyNet(BaseModel):
    """Three convolutions, a residual add, dropout and a linear head, in OpenMMLab's form."""

    def __init__(self, width=8, num_classes=4, dropout=0.0, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = nn.Sequential()
        self.backbone.add_module('conv1', nn.Conv2d(3, width, 3, padding=1, bias=False))
        self.backbone.add_module('bn1', nn.BatchNorm2d(width))
        self.backbone.add_module('relu', nn.ReLU())
        self.backbone.add_module('conv2', nn.Conv2d(width, width * 2, 3, stride=2, padding=1))
        self.backbone.add_module('bn2', nn.BatchNorm2d(width * 2))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width * 2, num_classes)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if isinstance(inputs, (list, tuple)):
            inputs = torch.stack(list(inputs))
        features = self.backbone(inputs).relu().mean(dim=(2, 3))
        logits = self.head(self.dropout(features))
        if mode == 'loss':
            target = torch.as_tensor(data_samples)
            return dict(loss=nn.functional.cross_entropy(logits, target))
        return logits if mode == 'tensor' else list(logits)


@pytest.fixture
def tiny_cfg():
    """Config of :class:`TinyNet`."""
    return dict(type='mmengine.TinyNet')


@pytest.fixture
def classifier_cfg():
    """Factory of configs of small CIFAR classifiers."""

    def make(depth=8, **backbone):
        return dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmcompress.CIFARResNet', depth=depth, **backbone),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=10, in_channels=64),
        )

    return make


@pytest.fixture
def library_model():
    """Factory of models of an OpenMMLab library with random weights; nothing is downloaded."""

    def make(name, **changes):
        from mmengine.hub import get_config

        cfg = get_config(name)
        cfg.merge_from_dict({f'model.{k}'.replace('__', '.'): v for k, v in changes.items()})
        library = {'mmpretrain': 'mmpretrain', 'mmdet': 'mmdet', 'mmseg': 'mmseg'}.get(
            name.split('::')[0], 'mmpose'
        )
        return MODELS.build(dict(cfg.model, _scope_=library))

    return make


@pytest.fixture
def rng_state():
    """A function that returns the state of every random generator, comparable by ``==``."""

    def state():
        kind, keys, *rest = np.random.get_state()
        return (torch.get_rng_state().tolist(), kind, keys.tolist(), rest, random.getstate())

    return state


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
