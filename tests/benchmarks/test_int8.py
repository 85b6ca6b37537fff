"""benchmarks/int8.py: where it finds a training, and what its table shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from int8 import shown, training

from mmcompress.core.errors import CompressionError


def test_a_training_is_its_config_and_its_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CompressionError, match=f'work_dir: .*{tmp_path.name}'):
        training(tmp_path)
    (tmp_path / 'x.py').touch()
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_3.pth\n')
    assert training(tmp_path) == (tmp_path / 'x.py', tmp_path / 'epoch_3.pth')


def test_a_row() -> None:
    row = dict(
        training='x', runtime='openvino', precision='int8', kept=1, layers=20, bytes=293000,
        metric='accuracy/top1', torch=99.75, value=99.5, drop=0.25,
    )  # fmt: skip
    assert shown(row)['layers in float32'] == '1 of 20'
    assert shown(row)['drop, points'] == '0.25'
    assert 'ms' not in shown(row)
    assert shown(dict(row, ms=1.5, iqr_ms=0.1, ratio=0.5))['time / first'] == '0.50'
