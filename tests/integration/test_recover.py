"""``mmcompress recover``: a trained network compressed at once, and repaired without labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mmcompress.cli.calibration import Calibration
from mmcompress.cli.launch import build_algorithm, load_config
from mmcompress.core.base.build import build_architecture
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.checkpoint import load_checkpoint_file
from mmcompress.core.export.export import dense_config
from mmcompress.core.recovery.norms import estimate_norms
from mmcompress.core.recovery.recover import outputs_of

FINETUNE = 'configs/demo/{}_resnet20_digits_finetune.py'
CONFIGS = {
    method: FINETUNE.format(method)
    for method in ('filter_basis', 'shared_basis', 'linear_conv', 'magnitude')
}
CONFIGS['fcf'] = 'configs/demo/fcf_resnet20_digits_factorize.py'
FEW = ('--images', 64, '--cfg-options', 'model.architecture.backbone.depth=14')


@pytest.fixture(scope='module')
def dense(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a dense network after a few steps, whose norms know the data."""
    work_dir = tmp_path_factory.mktemp('dense')
    tool.succeed(
        'train', 'configs/demo/dense_resnet20_digits.py', '--work-dir', work_dir,
        '--cfg-options', 'model.backbone.depth=14', *tool.SMALL[1:], 'train_cfg.max_epochs=4',
    )  # fmt: skip
    cfg = load_config('configs/demo/dense_resnet20_digits.py')
    cfg.model.backbone.depth = 14
    network = build_architecture(cfg.model, cfg.data_preprocessor)
    content = load_checkpoint_file(work_dir / 'epoch_4.pth')
    network.load_state_dict(content['state_dict'])
    batches = Calibration(cfg, 128).batches(network.data_preprocessor, 16)
    estimate_norms(network, batches, outputs_of)
    torch.save(dict(content, state_dict=network.state_dict()), work_dir / 'dense.pth')
    return work_dir / 'dense.pth'


def gap(config: str, checkpoint: Path, dense: Path) -> float:
    """How far features of a compressed network are from those of the dense one, relatively."""
    cfg = load_config(config, cfg_options={'model.architecture.backbone.depth': 14})
    algorithm = build_algorithm(cfg)
    network = build_architecture(dense_config(cfg), cfg.data_preprocessor)
    given = load_checkpoint_file(dense)['state_dict']
    network.load_state_dict(given)
    if checkpoint == dense:
        algorithm.load_state_dict(given, strict=False)
        algorithm.decide({})
    else:
        algorithm.load_state_dict(torch.load(checkpoint, weights_only=True)['state_dict'])
        algorithm.settle()
    batch = Calibration(cfg, 50).batches(network.data_preprocessor, 50)[0]
    with torch.no_grad():
        wanted, found = (
            outputs_of(model.eval(), batch) for model in (network, algorithm.architecture)
        )
    wanted, found = (x - x.mean(0) for x in (wanted, found))
    return float((wanted - found).square().sum() / wanted.square().sum())


@pytest.mark.parametrize('method', CONFIGS)
def test_recovered_tested_and_exported(
    call: Callable[..., str], dense: Path, tmp_path: Path, method: str
) -> None:
    """What is written is closer than without repair; the tools take it, and seeds say all."""
    config, out = CONFIGS[method], tmp_path / 'out.pth'
    result = json.loads(call('recover', config, dense, '-o', out, '--steps', 2, '--json', *FEW))
    assert (result['images'], result['out']) == (64, str(out))
    assert {'matching', 'statistics of norms'} < set(result['seconds'])
    assert 0 < result['loss'] < 1
    content = torch.load(out, weights_only=True)
    assert content['meta'].keys() == {'dataset_meta'}
    call('recover', config, dense, '-o', tmp_path / 'again.pth', '--steps', 2, *FEW)
    again = torch.load(tmp_path / 'again.pth', weights_only=True)['state_dict']
    assert all(torch.equal(value, again[key]) for key, value in content['state_dict'].items())
    plain = gap(config, dense, dense)
    assert gap(config, out, dense) < 0.8 * plain
    call('export', config, out, '-o', tmp_path / 'export', '--batches', 1, *FEW[2:])
    assert (tmp_path / 'export' / 'compact.pth').is_file()


@pytest.mark.parametrize(
    ('options', 'key'),
    [
        (('--images', 0), '--images is 0'),
        (('--batch', 0), '--batch is 0'),
        (('--steps', -1), '--steps is -1'),
        (('model.init=kaiming',), "init is 'kaiming'"),
    ],
)
def test_what_is_wrong(
    call: Callable[..., str], dense: Path, tmp_path: Path, options: tuple, key: str
) -> None:
    out = tmp_path / 'out.pth'
    with pytest.raises(CompressionError, match=key):
        call('recover', CONFIGS['filter_basis'], dense, '-o', out, *FEW, *options)
    assert not out.exists()


def test_nothing_is_written_over(call: Callable[..., str], dense: Path, tmp_path: Path) -> None:
    with pytest.raises(CompressionError, match=f'--out: {str(dense)!r}'):
        call('recover', CONFIGS['filter_basis'], dense, '-o', dense, *FEW)


def test_a_method_that_starts_from_scratch(
    call: Callable[..., str], dense: Path, tmp_path: Path
) -> None:
    with pytest.raises(CompressionError, match='DCFF has nothing to recover'):
        call('recover', 'configs/demo/dcff_resnet20_digits.py', dense, '-o', tmp_path / 'x', *FEW)


def test_a_checkpoint_of_another_network(
    call: Callable[..., str], dense: Path, tmp_path: Path
) -> None:
    state = load_checkpoint_file(dense)['state_dict']
    state.popitem()
    torch.save(state, tmp_path / 'part.pth')
    with pytest.raises(CompressionError, match='head.fc.bias is missing'):
        part = tmp_path / 'part.pth'
        call('recover', CONFIGS['filter_basis'], part, '-o', tmp_path / 'x.pth', *FEW)


def test_training_that_begins_recovered(tool: ModuleType, dense: Path, tmp_path: Path) -> None:
    """As from what the command writes; a resumed training does not recover again."""
    small = ('model.backbone.depth=14', *tool.SMALL[1:], f'load_from={dense}')
    command = ('train', 'configs/demo/dense_resnet20_digits.py', '--compress', 'magnitude_r18')
    settings = ('recover.images=32', 'recover.steps=2', 'train_cfg.max_epochs=1')
    tool.succeed(*command, '--work-dir', tmp_path, '--cfg-options', *small, *settings)
    options = ('--cfg-options', *small)
    out = tmp_path / 'by_command.pth'
    words = ('--images', 32, '--steps', 2, '-o', out)
    tool.succeed('recover', *command[1:2], dense, *command[2:], *words, *options)
    one, other = (load_checkpoint_file(p)['state_dict'] for p in (tmp_path / 'recovered.pth', out))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    written = (tmp_path / 'recovered.pth').stat().st_mtime_ns
    more = ('--resume', '--cfg-options', *small, *settings[:2], 'train_cfg.max_epochs=2')
    tool.succeed(*command, '--work-dir', tmp_path, *more)
    assert (tmp_path / 'recovered.pth').stat().st_mtime_ns == written
    assert (tmp_path / 'epoch_2.pth').is_file()


@pytest.mark.parametrize(
    ('config', 'options', 'told'),
    [
        (CONFIGS['magnitude'], ('recover.image=3',), "'image'"),
        (CONFIGS['magnitude'], ('recover.images=0',), 'recover.images is 0'),
        (CONFIGS['magnitude'], ('recover.steps=-1',), 'recover.steps is -1'),
        (CONFIGS['magnitude'], ('recover=3',), 'recover is 3'),
        (CONFIGS['magnitude'], ('recover.images=9', 'load_from=None'), 'load_from'),
        ('configs/demo/fcf_resnet20_digits.py', ('recover.images=9',), 'recover is for'),
    ],
)
def test_wrong_settings_of_a_config(
    call: Callable[..., str], tmp_path: Path, config: str, options: tuple[str, ...], told: str
) -> None:
    out = tmp_path / 'run'
    with pytest.raises(CompressionError, match=told):
        call('train', config, '--work-dir', out, '--cfg-options', *options)
    assert not out.exists()
