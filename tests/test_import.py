"""``import mmcompress`` is cheap: what only some runs need is imported by those that do."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: What no import of mmcompress may bring along. None of it is needed before a model is compressed.
HEAVY = {
    'IPython',
    'matplotlib',
    'mmdet',
    'mmpose',
    'mmpretrain',
    'mmrazor',
    'mmseg',
    'onnx',
    'onnxruntime',
    'openvino',
    'osqp',
    'pandas',
    'scipy',
    'skimage',
    'sklearn',
    'torch_pruning',
    'torchvision',
    'transformers',
}
CODE = """
import json, sys
# What every user of OpenMMLab has imported.
import torch, mmengine, mmengine.runner, mmcv.cnn
before = set(sys.modules)
{statement}
print(json.dumps(sorted({{name.split('.')[0] for name in set(sys.modules) - before}})))
"""


def imported_by(statement):
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', CODE.format(statement=statement)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_importing_the_package_imports_nothing_heavy():
    found = imported_by('import mmcompress')
    assert 'mmcompress' in found
    assert not found & HEAVY


def test_importing_reports_imports_no_plots():
    found = imported_by('import mmcompress.report')
    assert not found & (HEAVY - {'onnx'})


def test_the_list_names_what_can_be_found_here():
    """A name with a typing error would never be imported either."""
    assert imported_by('import scipy, sklearn, torch_pruning, mmrazor') >= {
        'scipy',
        'sklearn',
        'torch_pruning',
        'mmrazor',
    }
