"""A config whose model takes a dict of images: every tool runs it on what ``demo_inputs`` says."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

#: A model of two cameras and their data, of a size that nobody would guess.
CAMERAS = """
import torch
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from torch import nn


@MODELS.register_module()
class Cameras(BaseModel):
    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.backbone = nn.ModuleDict(dict(rgb=nn.Conv2d(3, 8, 3), ir=nn.Conv2d(1, 8, 3)))
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        features = sum(self.backbone[name](inputs[name]) for name in ('rgb', 'ir'))
        logits = self.head(features.relu()).mean((2, 3))
        if mode == 'loss':
            return dict(loss=nn.functional.cross_entropy(logits, data_samples))
        return logits


@DATASETS.register_module()
class Pairs(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        images = dict(rgb=torch.randn(3, 11, 11), ir=torch.randn(1, 11, 11))
        return dict(inputs=images, data_samples=index % 2)


def demo():
    return dict(rgb=torch.randn(1, 3, 11, 11), ir=torch.randn(1, 1, 11, 11))
"""
CONFIG = """
import sys
sys.path.insert(0, '{{ fileDirname }}')
custom_imports = dict(imports=['cameras'], allow_failed_imports=False)
model = dict(
    type='mmcompress.@method', architecture=dict(type='Cameras'), demo_inputs=@demo, @more)
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(type='Pairs'),
    sampler=dict(type='DefaultSampler', shuffle=True), collate_fn=dict(type='default_collate'))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(by_epoch=True, max_epochs=1)
"""
UNIT = 'backbone.rgb_(0, 8)_8'
SHAPES = 'dict(rgb=(1, 3, 11, 11), ir=(1, 1, 11, 11))'
BASIS = "mutator_cfg=dict(parse_cfg=dict(rule='layer', include='backbone', min_channels=1))"


@pytest.mark.parametrize(
    ('method', 'demo', 'more'),
    [
        ('DCFF', "'dataloader'", 'budget=dict(macs=0.5)'),
        ('DCFF', "'cameras.demo'", 'target_pruning_ratio=0.5'),
        ('FilterBasis', SHAPES, f'target_pruning_ratio=0.9, {BASIS}'),
    ],
    ids=['dataloader', 'name', 'shapes'],
)
def test_every_tool(tool: ModuleType, tmp_path: Path, method: str, demo: str, more: str) -> None:
    config, found = tmp_path / 'config.py', tmp_path / 'found.json'
    (tmp_path / 'cameras.py').write_text(CAMERAS)
    text = CONFIG.replace('@method', method).replace('@demo', demo).replace('@more', more)
    config.write_text(text)
    units = json.loads(tool.succeed('get_channel_units', config, '--choice'))
    if method == 'DCFF':
        assert units == {UNIT: 0.5}
    flops = json.loads(tool.succeed('get_flops', config, '--json'))
    assert flops['shape'] == [3, 11, 11]
    macs = {row['model']: row['macs'] for row in flops['models']}
    assert macs['dense'] == 9 * 9 * (8 * 9 * (3 + 1) + 8 * 2)
    assert macs['dense'] == flops['plan']['dense']['macs']
    if method == 'DCFF':
        assert macs['dense'] == 2 * macs['compact']
    done = tool.run_tool('train', config, '--work-dir', tmp_path / 'run')
    assert done.returncode == 0, done.stderr[-2000:]
    assert f'next: mmcompress export {config} {tmp_path}/run/epoch_1.pth' in done.stdout
    words = (config, tmp_path / 'run/epoch_1.pth', '--report', f'--json={found}')
    tool.succeed('export', *words)
    rows = json.loads(found.read_text())['report']
    assert [row['macs'] for row in rows] == [macs['dense'], flops['plan']['compact']['macs']]


@pytest.mark.parametrize('task', ['faster-rcnn_r18', 'heatmap_r18', 'fcn_r18', 'resnet20'])
def test_data_of_the_libraries(tool: ModuleType, task: str) -> None:
    """A sample of the training data, with its labels, finds what a random batch does."""
    config = f'configs/demo/dcff_{task}_digits.py'
    option = ('--cfg-options', 'model.demo_inputs=dataloader')
    on_data = json.loads(tool.succeed('get_channel_units', config, '--choice', *option))
    assert on_data == json.loads(tool.succeed('get_channel_units', config, '--choice'))
