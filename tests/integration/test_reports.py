"""Inputs that users of such tools reported as failing, as they are written; docs/reports.md."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

YOLOX = """
_base_ = ['@root/configs/demo/dense_faster-rcnn_r18_digits.py']
model = dict(
    _delete_=True, type='YOLOX',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[29.64] * 3, std=[68.62] * 3, pad_size_divisor=32),
    backbone=dict(
        type='CSPDarknet', deepen_factor=0.33, widen_factor=0.25, out_indices=(2, 3, 4)),
    neck=dict(
        type='YOLOXPAFPN', in_channels=[64, 128, 256], out_channels=64, num_csp_blocks=1),
    bbox_head=dict(type='YOLOXHead', num_classes=10, in_channels=64, feat_channels=64),
    train_cfg=dict(assigner=dict(type='SimOTAAssigner', center_radius=2.5)),
    test_cfg=dict(score_thr=0.01, nms=dict(type='nms', iou_threshold=0.65)))
"""
#: Images of one channel, with the preprocessor inside of the model.
GRAY = """
_base_ = ['@root/configs/demo/dense_faster-rcnn_r18_digits.py']
model = dict(
    data_preprocessor=dict(mean=[29.64], std=[68.62], bgr_to_rgb=False),
    backbone=dict(in_channels=1))
"""
#: Of six, of which no mean is taken off.
SIX = """
_base_ = ['@root/configs/demo/dense_faster-rcnn_r18_digits.py']
model = dict(
    data_preprocessor=dict(mean=None, std=None, bgr_to_rgb=False), backbone=dict(in_channels=6))
"""
METHOD = """
compression = dict(
    type='mmcompress.DCFF', mutator_cfg=dict(type='DCFFMutator', parse_cfg=dict(@parse)),
    target_pruning_ratio=0.5, fuse_interval=1)
"""
SIZE = "type='DependencyAnalyzer', input_shape=(1, 3, 96, 96)"
SHORT = (
    'train_dataloader.dataset.indices=16',
    'val_dataloader.dataset.indices=8',
    'train_cfg.max_epochs=1',
)


def write(tool: ModuleType, folder: Path, config: str, parse: str = '') -> tuple[Path, ...]:
    """The config, and the method file with a size or without."""
    files = folder / 'config.py', folder / 'method.py'
    files[0].write_text(config.replace('@root', str(tool.ROOT)))
    files[1].write_text(METHOD.replace('@parse', parse))
    return files


def test_yolox(tool: ModuleType, tmp_path: Path) -> None:
    """Its first convolution takes the twelve channels that Focus makes of an image."""
    config, method = write(tool, tmp_path, YOLOX)
    found = json.loads(tool.succeed('get_channel_units', config, '--compress', method, '--choice'))
    assert len(found) == 28
    write(tool, tmp_path, YOLOX, SIZE)
    words = (config, '--compress', method)
    given = json.loads(tool.succeed('get_channel_units', *words, '--choice'))
    assert given == found
    run = tmp_path / 'run'
    tool.succeed('train', *words, '--work-dir', run, '--cfg-options', *SHORT)
    out = tmp_path / 'export.json'
    checkpoint = run / 'epoch_1.pth'
    told = ('--report', '--onnx', f'--json={out}', '--cfg-options', *SHORT)
    tool.succeed('export', config, checkpoint, '--compress', method, *told)
    result = json.loads(out.read_text())
    assert result['max_difference'] < 1e-5
    assert len(result['names']) == 9
    flops = json.loads(tool.succeed('get_flops', *words, '--json'))
    assert [row['macs'] for row in result['report']] == [row['macs'] for row in flops['models']]


@pytest.mark.parametrize(('config', 'channels'), [(GRAY, 1), (SIX, 6)], ids=['gray', 'six'])
def test_images_of_other_channels(
    tool: ModuleType, tmp_path: Path, config: str, channels: int
) -> None:
    files = write(tool, tmp_path, config)
    words = (files[0], '--compress', files[1])
    flops = json.loads(tool.succeed('get_flops', *words, '--json'))
    assert flops['shape'] == [channels, 96, 96]
    budget = ('--budget', 'macs=0.6', '--choice')
    done = tool.run_tool('get_channel_units', *words, *budget)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f'at {channels}x96x96' in done.stderr
    timed = json.loads(tool.succeed('benchmark', *words, '--repeats', 1, '--json'))
    assert timed['shape'] == [channels, 96, 96]


def test_the_plan_of_a_detector_is_that_of_the_whole_model(
    tool: ModuleType, tmp_path: Path
) -> None:
    """Half of the 3x3 layers of the backbone is not half of a RetinaNet; a budget is."""
    config = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'
    options = ('--cfg-options', 'model.init=kaiming', 'flops_shape=64')
    words = (config, '--compress', 'filter_basis_r18', '--json')
    plan = json.loads(tool.succeed('get_flops', *words, *options))['plan']
    share = plan['compact']['stored'] / plan['dense']['stored']
    assert 0.7 < share < 0.8
    asked = (*options, 'model.target_pruning_ratio=None', 'model.budget.params=0.6')
    plan = json.loads(tool.succeed('get_flops', *words, *asked))['plan']
    assert 0.59 < plan['compact']['stored'] / plan['dense']['stored'] <= 0.6
