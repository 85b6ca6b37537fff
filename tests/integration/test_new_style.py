"""Configs with ``read_base()`` and classes as types: every tool does what it does with strings."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

PARTS = """
from mmpretrain.datasets import PackInputs, RandomCrop
from mmpretrain.models import (
    ClsDataPreprocessor, CrossEntropyLoss, GlobalAveragePooling, ImageClassifier, LinearClsHead,
)

from mmcompress.datasets import DigitsClassification
from mmcompress.models import CIFARResNet

model = dict(
    type=ImageClassifier,
    backbone=dict(type=CIFARResNet, depth=8, shortcut='pad'),
    neck=dict(type=GlobalAveragePooling),
    head=dict(
        type=LinearClsHead, num_classes=10, in_channels=64,
        loss=dict(type=CrossEntropyLoss, loss_weight=1.0),
    ),
)
data_preprocessor = dict(
    type=ClsDataPreprocessor, num_classes=10, mean=[79.711] * 3, std=[90.883] * 3, to_rgb=False
)
train_pipeline = [dict(type=RandomCrop, crop_size=32, padding=3), dict(type=PackInputs)]
dataset = dict(
    type=DigitsClassification, split='train', pipeline=train_pipeline, indices=128
)
tests = dict(
    type=DigitsClassification, split='test', pipeline=[dict(type=PackInputs)], test_mode=True,
    indices=50,
)
"""
MAIN = """
from mmengine.config import read_base
from mmengine.dataset import DefaultSampler
from mmengine.optim import CosineAnnealingLR, OptimWrapper
from mmpretrain.evaluation import Accuracy
from torch.optim import SGD

with read_base():
    from .parts import *

default_scope = 'mmpretrain'
train_dataloader = dict(
    batch_size=64, num_workers=0, dataset=dataset, sampler=dict(type=DefaultSampler, shuffle=True)
)
val_dataloader = dict(
    batch_size=50, num_workers=0, dataset=tests, sampler=dict(type=DefaultSampler, shuffle=False)
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type=Accuracy, topk=(1,))
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.05, momentum=0.9))
param_scheduler = [dict(type=CosineAnnealingLR, T_max=1, by_epoch=True)]
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg = test_cfg = dict()
randomness = dict(seed=0)
"""
#: The same by the names of types.
STRINGS = """
_base_ = ['@root/configs/demo/dense_resnet20_digits.py']
model = dict(backbone=dict(depth=8))
train_dataloader = dict(dataset=dict(indices=128))
val_dataloader = dict(batch_size=50, dataset=dict(indices=50))
test_dataloader = dict(batch_size=50, dataset=dict(indices=50))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.05, momentum=0.9))
param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', T_max=1, by_epoch=True)
train_cfg = dict(max_epochs=1)
"""


@pytest.fixture(scope='module')
def configs(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A config in each style, and that which a training by the first has dumped."""
    folder = tmp_path_factory.mktemp('configs')
    (folder / 'parts.py').write_text(PARTS)
    (folder / 'new.py').write_text(MAIN)
    (folder / 'strings.py').write_text(STRINGS.replace('@root', str(tool.ROOT)))
    tool.succeed('train', folder / 'new.py', '--work-dir', folder / 'dense')
    return dict(
        new=folder / 'new.py', strings=folder / 'strings.py', dumped=folder / 'dense' / 'new.py'
    )


def test_units_and_counts(configs: dict[str, Path], tool: ModuleType) -> None:
    for name in ('get_channel_units', 'get_flops'):
        option = '--choice' if name == 'get_channel_units' else '--json'
        found = [
            json.loads(tool.succeed(name, path, '--compress', 'dcff', option))
            for path in configs.values()
        ]
        assert found[0] == found[1] == found[2]


def test_training_test_and_export(
    configs: dict[str, Path], tool: ModuleType, tmp_path: Path
) -> None:
    """Bit for bit."""
    states, metrics = [], []
    for style, path in configs.items():
        folder = tmp_path / style
        compress = ('--compress', 'dcff')
        tool.succeed('train', path, *compress, '--work-dir', folder)
        tool.succeed('export', path, folder / 'epoch_1.pth', *compress, '-o', folder / 'out')
        out = folder / 'out'
        told = folder / 'test.json'
        words = (out / 'compact.py', out / 'compact.pth', '--work-dir', folder / 'test')
        tool.succeed('test', *words, f'--json={told}')
        states.append(torch.load(out / 'compact.pth', weights_only=True)['state_dict'])
        metrics.append(json.loads(told.read_text()))
    assert metrics[0] == metrics[1] == metrics[2]
    for other in states[1:]:
        assert states[0].keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in states[0].items())
