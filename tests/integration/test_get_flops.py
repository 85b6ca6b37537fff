"""tools/get_flops.py against the published figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mmcompress.core.base.build import build_model
from mmcompress.core.errors import CompressionError
from mmcompress.report.models import report

FOLDER = 'configs/pruning/mmcls/dcff/'


def _models(tool: ModuleType, *arguments: str) -> dict[str, dict]:
    found = json.loads(tool.succeed('get_flops', *arguments, '--json'))['models']
    return {row['model']: row for row in found}


def test_exact_counts(tool: ModuleType) -> None:
    """Those of the authors' own network; test_tables.py has all others."""
    models = _models(tool, FOLDER + 'dcff_vgg16_300e_cifar10.py')
    assert models['compact']['params'] == 1071248
    assert models['compact']['macs'] == pytest.approx(72631000, rel=0.005)
    assert models['dense']['params'] == 14728266
    for model in models.values():
        assert sum(stage['params'] for stage in model['stages']) == model['params']
        assert sum(stage['macs'] for stage in model['stages']) == model['macs']


def test_a_model_that_runs_nothing(tool: ModuleType) -> None:
    with pytest.raises(CompressionError, match=r'Linear does not run on an image of 8 x 9 \(Runt'):
        report('dense', torch.nn.Linear(3, 2), (3, 8, 9))


def test_models_that_write_into_their_config(tool: ModuleType, tmp_path: Path) -> None:
    """mmseg's segmenters move ``pretrained``; dense and compact come from one config."""
    method = tmp_path / 'method.py'
    method.write_text("compression = dict(type='mmcompress.DCFF', target_pruning_ratio=0.5)\n")
    fcn = 'mmseg::fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py'
    models = _models(tool, fcn, '--compress', str(method), '--shape', '64', '128')
    assert models['compact']['macs'] < 0.4 * models['dense']['macs']


def test_own_configs_as_a_base(tool: ModuleType, tmp_path: Path) -> None:
    """Bare names of a library keep working behind ``mmcompress::``."""
    config = tmp_path / 'config.py'
    config.write_text("_base_ = ['mmcompress::demo/dcff_resnet20_digits.py']\n")
    assert _models(tool, str(config)) == _models(tool, tool.DEMO)


def test_the_plan(tool: ModuleType, tmp_path: Path) -> None:
    """In the JSON, and in the log; with the figures of the table."""
    path = tmp_path / 'flops.json'
    done = tool.run_tool('get_flops', tool.DEMO, f'--json={path}')
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(path.read_text())
    dense, compact = found['models']
    assert found['plan']['units'] == found['plan']['found'] == 12
    for model in (dense, compact):
        figures = found['plan'][model['model']]
        assert {key: figures[key] for key in ('params', 'macs')} == {
            key: model[key] for key in ('params', 'macs')
        }
    assert f'next: mmcompress train {tool.DEMO}' in done.stderr
    dense_only = tool.succeed('get_flops', 'configs/demo/dense_resnet20_digits.py', '--json')
    assert 'plan' not in json.loads(dense_only)


def test_table_and_shape(tool: ModuleType) -> None:
    models = _models(tool, tool.DEMO, '--shape', '64')
    small = _models(tool, tool.DEMO)
    assert models['dense']['params'] == small['dense']['params'] == 269722
    assert models['dense']['macs'] == pytest.approx(4 * small['dense']['macs'], rel=0.01)
    text = tool.succeed('get_flops', tool.DEMO)
    assert 'backbone.layer1' in text
    assert 'total' in text
    assert '40.93M' in text


def test_widths_that_come_of_the_weights(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Without a checkpoint there are none, and figures would be those of equal widths."""
    get_flops = tool.module('get_flops')
    config = str(tool.ROOT / 'configs/demo/fcf_resnet20_digits_factorize.py')
    options = ['model.architecture.backbone.depth=8', 'model.mutator_cfg.widths=magnitude']
    arguments = ['get_flops.py', config, '--cfg-options', *options]
    monkeypatch.setattr(sys, 'argv', arguments)
    with pytest.raises(CompressionError, match='widths is "magnitude": .* give a checkpoint'):
        get_flops.main()
    args = get_flops.parse_args()
    cfg = get_flops.load_config(args.config, cfg_options=args.cfg_options)
    algorithm = build_model(cfg)
    for unit, width in zip(algorithm.mutator.mutable_units, (4, 3, 9, 5, 11, 40), strict=True):
        unit.width = width
    algorithm.started.fill_(True)  # as training does once it has set them
    torch.save(dict(state_dict=algorithm.state_dict()), tmp_path / 'weights.pth')
    given = [*arguments, '--shape', '32', '--json', f'{tmp_path}/weights.pth']
    monkeypatch.setattr(sys, 'argv', given)
    capsys.readouterr()
    get_flops.main()
    dense, compact = json.loads(capsys.readouterr().out)['models']
    inner = {16: (4, 3), 32: (9, 5), 64: (11, 40)}
    before, removed = 16, 0
    for width, (middle, last) in inner.items():
        # Two convolutions and their batch norms, of two parameters a channel.
        removed += 9 * before * (width - middle) + 9 * (width * width - middle * last)
        removed += 2 * (width - middle) + 2 * (width - last)
        before = width
    assert dense['params'] - compact['params'] == removed
