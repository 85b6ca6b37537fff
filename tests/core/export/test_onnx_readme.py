"""The page beside an ONNX file says what to do, and its example runs."""

import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import MODELS

from mmcompress.core.export.onnx import export_onnx
from mmcompress.core.export.onnx_readme import preparation, readme

ENLARGER = dict(
    type='mmcompress.SuperResolver',
    backbone=dict(type='mmcompress.EDSR', num_blocks=1, width=4, scale=2),
)
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(96, 64), keep_ratio=True),
    dict(type='PackInputs'),
]


@pytest.mark.parametrize('outputs', ['raw', 'end2end'])
def test_the_example_runs(classifier_cfg, tmp_path, outputs):
    normal = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True, num_classes=10)
    model = MODELS.build(
        dict(
            classifier_cfg(8),
            data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', **normal),
        )
    )
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=PIPELINE))))
    found = export_onnx(model, tmp_path / 'a.onnx', (3, 32, 24), outputs=outputs)
    text = readme(model, cfg, found, (3, 32, 24), 'a.onnx')
    for part in (
        'Resize(scale=(96, 64), keep_ratio=True)',
        '[1.0, 2.0, 3.0]',
        'RGB',
        *found['names'],
    ):
        assert part in text
    assert 'LoadImage' not in text
    assert ('probabilities of the K classes' in text) == (outputs == 'end2end')
    code = re.search(r'```python\n(.*?)```', text, re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line]) <= 12
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert '(1, 10)' in done.stdout


def test_channels_sizes_and_padding():
    model = MODELS.build(ENLARGER)
    steps = preparation(model, None, (3, 8, 8), ['batch', 'height', 'width'])
    assert any('[0.0, 0.0, 0.0]' in step or 'mean' in step for step in steps)
    assert not any('8x8' in step for step in steps)
    assert any('8x8' in step for step in preparation(model, None, (3, 8, 8), ['batch']))
    model.data_preprocessor.pad_size_divisor = 32
    assert any('multiple of 32' in step for step in preparation(model, None, (3, 8, 8), []))
