"""What an export stores: a smaller file, the same network."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmcompress.cli.exporting import export_checkpoint
from mmcompress.cli.launch import build_algorithm, load_config
from mmcompress.cli.runner import ToolRunner
from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import build_model
from mmcompress.core.errors import CompressionError

DEMO = 'configs/demo/linear_conv_resnet20_{}_digits.py'
OPTIONS = {
    'model.architecture.backbone.depth': 8,
    **{f'{split}_dataloader.dataset.indices': 50 for split in ('train', 'val', 'test')},
}


def prepared(variant: str, folder: Path, root: Path) -> tuple[Config, CompressionAlgorithm, Path]:
    """A config, an algorithm whose state is that of no start, and its checkpoint."""
    config = str(root / DEMO.format(variant))
    cfg = load_config(config, cfg_options=OPTIONS)
    algorithm = build_algorithm(cfg).eval()
    with torch.no_grad():
        for key, tensor in algorithm.state_dict().items():
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.1 * torch.rand_like(tensor))
            elif key.endswith('.order'):
                tensor.copy_(torch.randperm(len(tensor)))
            elif key.endswith('.mask'):
                tensor.copy_(torch.rand(tensor.shape) > 0.5)
    path = folder / f'{variant}.pth'
    torch.save(dict(state_dict=algorithm.state_dict(), meta={}), path)
    return cfg, algorithm, path


def load(config: str | Path) -> nn.Module:
    """The model of an exported config, as mmengine's runner loads it."""
    model = build_model(Config.fromfile(config))
    model.init_weights()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, cfg: Config) -> float:
    loader = ToolRunner.build_dataloader(cfg.test_dataloader)
    samples = [sample for batch in loader for sample in model.test_step(batch)]
    right = sum(bool(sample.pred_label == sample.gt_label) for sample in samples)
    return 100 * right / len(samples)


def test_from_the_command_line(tool: ModuleType, tmp_path: Path, call) -> None:
    cfg, algorithm, checkpoint = prepared('rankratio', tmp_path, tool.ROOT)
    out = tmp_path / 'factors'
    options = [f'{key}={value}' for key, value in OPTIONS.items()]
    text = tool.succeed(
        'export', DEMO.format('rankratio'), checkpoint, '--out', out, '--store', 'factors',
        '--json', '--cfg-options', *options,
    )  # fmt: skip
    result = json.loads(text)
    assert result['max_difference'] < 1e-5
    weights = export_checkpoint(cfg, checkpoint, tmp_path / 'weights', batches=0, store='weights')
    assert result['checkpoint_bytes'] == (out / 'compact.pth').stat().st_size
    assert result['checkpoint_bytes'] < 0.7 * weights['checkpoint_bytes']
    factored, plain = load(result['config']), load(weights['config'])
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(factored(images), plain(images))
    torch.testing.assert_close(factored(images), algorithm(images), rtol=1e-5, atol=1e-5)

    metrics = tmp_path / 'metrics.json'
    call('test', out / 'compact.py', '--work-dir', tmp_path / 'test', '--json', metrics)
    measured = json.loads(metrics.read_text())['accuracy/top1']
    assert measured == pytest.approx(accuracy(algorithm, cfg))


def test_sparse_is_stored_smaller(tool: ModuleType, tmp_path: Path) -> None:
    sizes = {}
    for masked in (True, False):
        cfg, algorithm, checkpoint = prepared('sparse', tmp_path, tool.ROOT)
        if not masked:
            state = algorithm.state_dict()
            for key in state:
                if key.endswith('.mask'):
                    state[key].fill_(True)
            torch.save(dict(state_dict=state, meta={}), checkpoint)
        exported = {
            store: export_checkpoint(
                cfg, checkpoint, tmp_path / f'{store}_{masked}', batches=0, store=store
            )
            for store in ('weights', 'smallest')
        }
        sizes[masked] = {store: r['checkpoint_bytes'] for store, r in exported.items()}
        factored, plain = (load(result['config']) for result in exported.values())
        images = torch.randn(2, 3, 32, 32)
        assert torch.equal(factored(images), plain(images))
    assert sizes[True]['weights'] == sizes[False]['weights']
    assert sizes[False]['smallest'] < sizes[False]['weights']
    combinations = [op.combination for op in algorithm.modules() if hasattr(op, 'combination')]
    values = sum(combination.numel() for combination in combinations)
    # Four bytes for every second one.
    saved = sizes[False]['smallest'] - sizes[True]['smallest']
    assert saved == pytest.approx(2 * values, rel=0.1)


#: Of methods that remove channels one: what they leave are plain layers.
METHODS = ('dcff_r18', 'filter_basis_r18', 'shared_basis_r18', 'linear_conv_r18')
SHARING = dict(
    filter_basis_r18=dict(parse_cfg=dict(rule='stage')),
    shared_basis_r18=dict(parse_cfg=dict(rule='stage', skip_first_block=True)),
)


@pytest.mark.parametrize(
    ('method', 'shared'), [*((m, False) for m in METHODS), *((m, True) for m in SHARING)]
)
def test_bytes_are_those_of_what_is_stored(method: str, shared: bool, tmp_path: Path) -> None:
    """4 bytes for each stored parameter, 2 % and 64 kB more at the most; the same outputs."""
    cfg = load_config('mmpretrain::resnet/resnet18_8xb16_cifar10.py', compress=method)
    if 'init' in cfg.model:
        cfg.model.init = 'kaiming'
    if shared:
        cfg.model.mutator_cfg = dict(cfg.model.mutator_cfg, **SHARING[method])
    algorithm = build_algorithm(cfg)
    checkpoint = tmp_path / 'trained.pth'
    torch.save(dict(state_dict=algorithm.state_dict(), meta={}), checkpoint)
    results = {
        store: export_checkpoint(cfg, checkpoint, tmp_path / store, batches=0, store=store)
        for store in ('smallest', 'weights')
    }
    counted = algorithm.counted()
    model = load(results['weights']['config'])
    stored = sum(p.numel() for p in (counted or model).parameters())
    size = results['smallest']['checkpoint_bytes']
    assert size <= 4 * stored * 1.02 + 64 * 1024
    assert size <= results['weights']['checkpoint_bytes'] + 1024
    images = torch.randn(2, 3, 32, 32)
    smallest = load(results['smallest']['config'])
    torch.testing.assert_close(smallest(images), model(images), rtol=0, atol=1e-6)


def test_an_earlier_name_of_the_option(tool: ModuleType, tmp_path: Path, call) -> None:
    """Methods that have no factors take it as well."""
    config = str(tool.ROOT / tool.DEMO)
    cfg = load_config(config, cfg_options=OPTIONS)
    checkpoint, out = tmp_path / 'x.pth', tmp_path / 'out'
    torch.save(dict(state_dict=build_algorithm(cfg).state_dict(), meta={}), checkpoint)
    arguments = [config, checkpoint, '--out', out, '--store', 'factors', '--batches', 0]
    options = [f'{key}={value}' for key, value in OPTIONS.items()]
    result = json.loads(call('export', *arguments, '--json', '--cfg-options', *options))
    assert result['factored'] == 0


def test_slim(tool: ModuleType, trained: Path, tmp_path: Path, call) -> None:
    """Without the optimizer's state, and still a checkpoint to test."""
    checkpoint, out = trained / 'epoch_3.pth', tmp_path / 'slim.pth'
    result = json.loads(call('export', '--slim', checkpoint, '-o', out, '--json'))
    assert result['parts']['optimizer'] > 0
    content = torch.load(out, weights_only=True)
    assert set(content) == {'meta', 'state_dict'}
    whole = torch.load(checkpoint, weights_only=True)['state_dict']
    assert all(torch.equal(content['state_dict'][key], value) for key, value in whole.items())
    assert result['bytes_after'] < result['bytes_before'] - 0.9 * result['parts']['optimizer']
    config = next(trained.glob('*.py'))
    metrics = [tmp_path / f'{name}.json' for name in ('slim', 'whole')]
    for path, file in zip((out, checkpoint), metrics, strict=True):
        call('test', config, path, '--work-dir', tmp_path / 'test', '--json', file)
    assert metrics[0].read_text() == metrics[1].read_text()
    with pytest.raises(CompressionError, match=f'--out.*{out.name}'):
        call('export', '--slim', checkpoint, '-o', out)
