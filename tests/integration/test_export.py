"""tools/export.py and tools/test.py: what is exported is what was trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope='module')
def exported(tool: ModuleType, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The result of an export, as its ``--json`` says."""
    out = tmp_path_factory.mktemp('exported') / 'export'
    text = tool.succeed(
        'export',
        tool.DEMO,
        trained / 'epoch_3.pth',
        '--out',
        out,
        '--json',
        '--cfg-options',
        *tool.SMALL,
    )
    return json.loads(text)


def _accuracy(tool: ModuleType, tmp_path: Path, *arguments: object) -> float:
    metrics = tmp_path / 'metrics.json'
    tool.succeed('test', *arguments, '--work-dir', tmp_path / 'test', '--json', metrics)
    return json.loads(metrics.read_text())['accuracy/top1']


def test_export_is_verified_on_real_data(exported: dict) -> None:
    assert exported['max_difference'] < 1e-5
    assert exported['batches'] >= 1


def test_state_is_plain(exported: dict) -> None:
    state = torch.load(exported['checkpoint'], weights_only=True)['state_dict']
    assert state['backbone.conv1.weight'].shape[0] == 8
    assert not any('proxies' in key or 'importance' in key for key in state)


def test_config_names_no_method(exported: dict) -> None:
    text = Path(exported['config']).read_text()
    assert 'DCFF' not in text
    assert 'CompressionHook' not in text


def test_same_accuracy_even_when_moved(
    tool: ModuleType, trained: Path, exported: dict, tmp_path: Path
) -> None:
    before = _accuracy(
        tool, tmp_path, tool.DEMO, trained / 'epoch_3.pth', '--cfg-options', *tool.SMALL[1:],
        'model.architecture.backbone.depth=8',
    )  # fmt: skip
    moved = shutil.copytree(Path(exported['config']).parent, tmp_path / 'elsewhere')
    assert _accuracy(tool, tmp_path, moved / 'compact.py') == before
    assert _accuracy(tool, tmp_path, moved / 'compact.py', moved / 'compact.pth') == before


def test_nothing_is_overwritten(tool: ModuleType, trained: Path, exported: dict) -> None:
    weights = Path(exported['checkpoint'])
    before = weights.stat().st_mtime_ns
    done = tool.run_tool(
        'export',
        tool.DEMO,
        trained / 'epoch_3.pth',
        '--out',
        weights.parent,
        '--cfg-options',
        *tool.SMALL,
    )
    assert done.returncode == 2
    assert 'already holds' in done.stderr
    assert weights.stat().st_mtime_ns == before
