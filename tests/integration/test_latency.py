"""Budgets of latency as a user gives them: listed, trained, resumed, tested and exported."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config

from mmcompress.core.export.checkpoint import load_checkpoint_file
from mmcompress.latency.time_layers import SCHEMA

BUDGET = ('latency=0.85', 'runtime=torch')
OPTIONS = (
    'model.target_pruning_ratio=None', 'model.budget.latency=0.85', 'model.budget.runtime=torch'
)  # fmt: skip


@pytest.fixture(scope='module')
def here(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one machine: what `units` and a training of two epochs have left."""
    folder = tmp_path_factory.mktemp('latency')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MMCOMPRESS_CACHE', str(folder / 'cache'))
        _run(tool, folder)
    return folder


def _run(tool: ModuleType, folder: Path) -> None:
    for name in ('ratios', 'again'):
        tool.succeed(
            'get_channel_units', tool.DEMO, '--budget', *BUDGET, '--choice',
            '-o', folder / f'{name}.json', '--times', folder / f'{name}_times.json',
            '--cfg-options', *tool.SMALL[:1],
        )  # fmt: skip
    tool.succeed(
        'train', tool.DEMO, '--work-dir', folder / 'work', '--cfg-options', *tool.SMALL, *OPTIONS,
        'train_cfg.max_epochs=2',
    )  # fmt: skip


def widths(path: Path) -> dict[str, torch.Size]:
    """Shapes of all weights in a checkpoint."""
    return {key: value.shape for key, value in load_checkpoint_file(path)['state_dict'].items()}


def test_units_tells_widths_and_times(here: Path) -> None:
    ratios = json.loads((here / 'ratios.json').read_text())
    assert ratios == json.loads((here / 'again.json').read_text())
    assert all(0 < ratio <= 1 for ratio in ratios.values())
    assert min(ratios.values()) < 1
    times = json.loads((here / 'ratios_times.json').read_text())
    assert times['ratios'] == ratios
    assert times['measured'] <= 0.85
    assert times['dense_ms'] > 0
    assert {'layer', 'dense', 'kept', 'dense_ms', 'ms', 'macs'} <= set(times['layers'][0])


def test_the_widths_stay_with_the_training(here: Path) -> None:
    ratios = json.loads((here / 'ratios.json').read_text())
    meta = load_checkpoint_file(here / 'work' / 'epoch_2.pth')['meta']
    assert meta['budget_found'] == dict(ratios=ratios)
    dumped = Config.fromfile(here / 'work' / Path('dcff_resnet20_digits.py'))
    assert dumped.model.budget.found.ratios == ratios


def test_another_machine_builds_the_same_and_times_nothing(
    here: Path, tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed, tested and exported where there are no times, by the config without widths."""
    monkeypatch.setenv('MMCOMPRESS_CACHE', str(tmp_path / 'cache'))
    work, checkpoint = here / 'work', here / 'work' / 'epoch_2.pth'
    options = ('--cfg-options', *tool.SMALL, *OPTIONS)
    before = widths(checkpoint)
    tool.succeed(
        'train', tool.DEMO, '--work-dir', work, '--resume', *options, 'train_cfg.max_epochs=3',
    )  # fmt: skip
    assert widths(work / 'epoch_3.pth') == before
    tool.succeed('test', tool.DEMO, checkpoint, '--work-dir', tmp_path / 'test', *options)
    tool.succeed('export', tool.DEMO, checkpoint, '-o', tmp_path / 'out', *options)
    assert not (tmp_path / 'cache').exists()


def test_a_table_is_made_shown_and_given(
    here: Path, tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('MMCOMPRESS_CACHE', str(here / 'cache'))
    options = ('--cfg-options', *tool.SMALL[:1])
    tool.succeed(
        'benchmark', tool.DEMO, '--table', '--runtime', 'torch', '--json', tmp_path / 'table.json',
        *options,
    )  # fmt: skip
    table = json.loads((tmp_path / 'table.json').read_text())
    assert Path(table['table']).parent == here / 'cache'
    assert table['divisor'] in (1, 4, 8, 16, 32)
    tool.succeed('benchmark', tool.DEMO, '--shapes', tmp_path / 'shapes.json', *options)
    shapes = json.loads((tmp_path / 'shapes.json').read_text())
    assert shapes['schema'] == SCHEMA
    assert all(layer['points'] for layer in shapes['layers'])
    again = tool.run_tool('benchmark', tool.DEMO, '--shapes', tmp_path / 'shapes.json', *options)
    assert again.returncode == 2
    assert 'shapes.json' in again.stderr


def test_an_export_says_which_layers_are_slow(
    here: Path, tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('MMCOMPRESS_CACHE', str(here / 'cache'))
    tool.succeed(
        'export', tool.DEMO, here / 'work' / 'epoch_2.pth', '-o', tmp_path / 'out', '--report',
        '--json', tmp_path / 'export.json', '--cfg-options', *tool.SMALL, *OPTIONS,
    )  # fmt: skip
    result = json.loads((tmp_path / 'export.json').read_text())
    rows = {row['layer']: row for row in result['layers']['rows']}
    assert result['layers']['runtime'] == 'torch'
    assert rows
    assert set(result['layers']['slow']) <= set(rows)
    assert all(row['macs'] < 1 and row['ms'] > 0 for row in rows.values())
