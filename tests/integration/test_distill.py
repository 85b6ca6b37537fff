"""Distillation through ``train --distill``: resumed bit for bit, over stages, and refused."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch

import mmcompress  # noqa: F401  (registers what checkpoints may hold)

CONFIG = 'configs/demo/dense_resnet20_digits.py'
DENSE = (
    'train_dataloader.dataset.indices=128',
    'val_dataloader.dataset.indices=50',
    'test_dataloader.dataset.indices=50',
)


@pytest.fixture(scope='module')
def dense(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense network of 8 layers after one epoch."""
    folder = tmp_path_factory.mktemp('dense')
    options = (*DENSE, 'model.backbone.depth=8', 'train_cfg.max_epochs=1')
    tool.succeed('train', CONFIG, '--work-dir', folder, '--cfg-options', *options)
    return folder / 'epoch_1.pth'


def _state(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_resumed_equals_uninterrupted(tool: ModuleType, dense: Path, tmp_path: Path) -> None:
    """Without a name, the teacher is what training starts from; also when it is resumed."""
    whole, again = tmp_path / 'whole', tmp_path / 'again'
    options = ('--cfg-options', *tool.SMALL, f'load_from={dense}', 'train_cfg.max_epochs=2')
    command = ('train', CONFIG, '--compress', 'linear_conv_linear', '--distill')
    log = tool.succeed(*command, '--work-dir', whole, *options)
    assert f'distillation from {dense}: logits of head, weight 1' in log
    assert 'loss_distill: ' in log
    tool.succeed(*command, '--work-dir', again, '--resume', whole / 'epoch_1.pth', *options)
    one, other = (_state(folder / 'epoch_2.pth') for folder in (whole, again))
    assert one['state_dict'].keys() == other['state_dict'].keys()
    for key, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][key]), key
    assert repr(one['optimizer']) == repr(other['optimizer'])
    assert not any('distill' in key or 'teacher' in key for key in one['state_dict'])


def test_stages(tool: ModuleType, tmp_path: Path) -> None:
    """The dense network of the first stage teaches both stages of FCF."""
    stages = ('dense', 'factorize', 'finetune')
    options = [
        *DENSE,
        'dense.model.backbone.depth=8',
        *(f'{stage}.model.architecture.backbone.depth=8' for stage in stages[1:]),
        *(f'{stage}.train_cfg.max_epochs=1' for stage in stages),
    ]
    command = ('train', 'configs/demo/fcf_resnet20_digits.py', '--distill', '--work-dir', tmp_path)
    log = tool.succeed(*command, '--cfg-options', *options)
    assert log.count(f'distillation from {tmp_path}/dense/epoch_1.pth: logits of head') == 2
    assert (tmp_path / 'export' / 'compact.pth').is_file()


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        ((CONFIG, '--distill'), '--distill'),
        (('configs/demo/dcff_resnet20_digits.py', '--distill'), 'distill.teacher'),
        (('configs/demo/dcff_resnet20_digits.py', '--distill', 'none.pth'), "'none.pth'"),
    ],
)
def test_refused(tool: ModuleType, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    """One sentence, status 2, and nothing is written."""
    work_dir = tmp_path / 'run'
    done = tool.run_tool('train', *arguments, '--work-dir', work_dir)
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert told in line
    assert not work_dir.exists()
