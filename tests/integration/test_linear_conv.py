"""LinearConv through the tools: masks that move while training, resuming, export, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

import mmcompress  # noqa: F401  (registers what checkpoints may hold)

# isort: split
from mmengine.registry import MODELS

from mmcompress.cli.launch import read_config
from mmcompress.core import CompressionError
from mmcompress.core.base.build import build_model
from mmcompress.core.export.checkpoint import load_into

CONFIG = 'configs/demo/linear_conv_resnet20_sparse_digits.py'
#: Three masks in two epochs of two batches; losses in every second batch.
MASKS = ('model.mask_interval=1', 'model.threshold_step=0.1', 'model.loss_interval=2')


@pytest.fixture(scope='module')
def runs(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs, and the second one again."""
    root = tmp_path_factory.mktemp('linear_conv')
    options = ('--cfg-options', *tool.SMALL, *MASKS, 'train_cfg.max_epochs=2')
    tool.succeed('train', CONFIG, '--work-dir', root / 'whole', *options)
    again = root / 'again'
    again.mkdir()
    (again / 'epoch_1.pth').symlink_to(root / 'whole' / 'epoch_1.pth')
    (again / 'last_checkpoint').write_text(str(again / 'epoch_1.pth'))
    tool.succeed('train', CONFIG, '--work-dir', again, '--resume', *options)
    return root


def test_resumed_equals_uninterrupted(runs: Path) -> None:
    """Bit for bit, with masks and thresholds."""
    one, other = (
        torch.load(runs / folder / 'epoch_2.pth', weights_only=True)
        for folder in ('whole', 'again')
    )
    state, start = one['state_dict'], torch.load(runs / 'whole' / 'epoch_1.pth')['state_dict']
    for key, value in state.items():
        assert torch.equal(value, other['state_dict'][key]), key
    assert repr(one['optimizer']) == repr(other['optimizer'])
    for name in ('mask', 'threshold'):
        keys = [key for key in state if key.endswith(f'.{name}')]
        assert keys
        assert any(not torch.equal(state[key], start[key]) for key in keys)


def test_losses_and_sparsity_in_the_log(runs: Path) -> None:
    log = next((runs / 'whole').glob('*/*.log')).read_text()
    assert 'loss_correlation' in log
    assert 'loss_l1' in log
    lines = next((runs / 'whole').glob('*/progress.jsonl')).read_text().splitlines()
    progress = [json.loads(line) for line in lines]
    assert [row['iteration'] for row in progress] == [2, 4]
    state = torch.load(runs / 'whole' / 'epoch_2.pth', weights_only=True)['state_dict']
    masks = [value for key, value in state.items() if key.endswith('.mask')]
    masked = sum(int((~mask).sum()) for mask in masks) / sum(mask.numel() for mask in masks)
    assert progress[-1]['sparsity'] == pytest.approx(masked)
    assert 0 < masked < 1


def test_export_and_counts(call, runs: Path) -> None:
    """What is exported has the dense network's layers; masked values are not counted as stored."""
    checkpoint = runs / 'whole' / 'epoch_2.pth'
    config = next(runs.glob('whole/*.py'))
    out = runs / 'export'
    arguments = (config, checkpoint, '--out', out, '--store', 'factors', '--report', '--json')
    result = json.loads(call('export', *arguments))
    dense, exported = result['report']
    assert exported['runtime_params'] == dense['stored_params'] == dense['runtime_params']
    assert exported['macs'] == dense['macs']
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    masked = sum(int((~value).sum()) for key, value in state.items() if key.endswith('.mask'))
    counted = json.loads(call('get_flops', config, checkpoint, '--json'))['models']
    rows = {row['model']: row for row in counted}
    algorithm = build_model(read_config(str(config)))
    everything = sum(parameter.numel() for parameter in algorithm.parameters())
    assert exported['stored_params'] == rows['compact']['params'] == everything - masked
    assert {row['macs'] for row in counted} == {dense['macs']}

    load_into(algorithm, checkpoint)
    static = build_model(read_config(str(out / 'compact.py')))
    load_into(static, out / 'compact.pth')
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        outs = [model.eval()(x)[0] for model in (algorithm, static)]
    torch.testing.assert_close(outs[1], outs[0], rtol=1e-5, atol=1e-5)
    assert all(not type(m).__module__.startswith('mmcompress.methods') for m in static.modules())


def test_units_of_a_config(call, tmp_path: Path) -> None:
    """What get_channel_units.py writes builds the same network."""
    path = tmp_path / 'units.json'
    call('get_channel_units', CONFIG, '-c', '-i', f'--output-path={path}')
    cfg = read_config(CONFIG)
    shapes = {key: value.shape for key, value in build_model(cfg).state_dict().items()}
    model = dict(
        type='mmcompress.LinearConv',
        architecture=cfg.model.architecture,
        mutator_cfg=dict(type='LinearConvMutator', filter_unit_cfg=str(path)),
    )
    again = MODELS.build(model)
    assert {key: value.shape for key, value in again.state_dict().items()} == shapes


@pytest.mark.parametrize(
    ('option', 'says'),
    [
        ('model.loss_interval=0', 'loss_interval is 0; it has to be a positive integer'),
        (
            'model.mutator_cfg.filter_unit_cfg.default_args.target_sparsity=50',
            "filter unit 'backbone.conv1': target_sparsity is 50; it has to be a number between 0",
        ),
        (
            'model.init=qr',
            "init is 'qr', but no dense weights have been loaded; name the",
        ),
    ],
)
def test_mistakes(call, tmp_path: Path, option: str, says: str) -> None:
    folder = tmp_path / 'run'
    with pytest.raises(CompressionError) as raised:
        call('train', CONFIG, '--work-dir', folder, '--cfg-options', option)
    assert says in str(raised.value)
    assert not folder.exists()
