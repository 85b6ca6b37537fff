"""All of compat at once, in fresh processes: what is imported when, with libraries missing.

One process tries everything that needs a certain state of imports, and reports; the tests read
the report. Libraries are hidden by a finder that refuses them, as if they were not installed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('mmrazor')

ROOT = Path(__file__).resolve().parents[2]
TASKS = ('mmpretrain', 'mmdet', 'mmseg', 'mmpose')

PROBE = r"""
import importlib.metadata, json, sys

hidden, tasks, version = set(sys.argv[1].split(',')), sys.argv[2].split(','), sys.argv[3]
report, started = {}, []

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in hidden:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

sys.meta_path.insert(0, Hide())
distribution = importlib.metadata.distribution

def visible(name):
    if name in hidden:
        raise importlib.metadata.PackageNotFoundError(name)
    return distribution(name)

importlib.metadata.distribution = visible
sys.addaudithook(lambda event, args: started.append(args[1]) if event == 'subprocess.Popen' else 0)

def attempt(name, function):
    try:
        report[name] = function()
    except BaseException as error:
        report[name] = f'{type(error).__name__}: {error}'

from mmcompress import compat
compat.apply()
lazy = ['mmcv', 'mmrazor', 'torchvision', *tasks]
# compat's share only: mmcompress itself may well import MMRazor.
report['imported'] = [name for name in lazy if name in sys.modules]
report['meta_path'] = len(sys.meta_path)
compat.apply()
report['meta_path_again'] = len(sys.meta_path)

import mmcv
installed = mmcv.__version__
if version:
    mmcv.__version__ = version

def mmrazor():
    import mmrazor.models
    from mmengine.registry import DefaultScope
    from mmrazor.registry import TASK_UTILS
    with DefaultScope.overwrite_default_scope('mmengine'):
        return type(TASK_UTILS.build({'type': 'BaseDemoInput'})).__name__

def quantization():
    from mmrazor.structures.quantization import BackendConfigs
    return str(type(BackendConfigs['native']).__name__)

def config(path):
    from mmengine.config import Config
    from mmengine.hub import get_config
    return get_config(path).model.type

if sys.argv[4]:
    attempt('mmrazor', mmrazor)
    attempt('quantization', quantization)
report['mmcv'] = mmcv.__version__
attempt('mmpretrain', lambda: config('mmpretrain::resnet/resnet18_8xb32_in1k.py'))
attempt('mmdet', lambda: config('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'))
report['started'] = [' '.join(map(str, args)) for args in started if 'pip' in map(str, args)]
print(json.dumps(report))
"""


def probe(hidden, version='', razor=True):
    # Only compat: whatever else mmcompress/__init__.py imports must not blur the picture.
    stub = (
        'import sys, types; package = types.ModuleType("mmcompress"); '
        f'package.__path__ = [{str(ROOT / "mmcompress")!r}]; sys.modules["mmcompress"] = package\n'
    )
    arguments = ','.join(hidden), ','.join(TASKS), version, 'razor' if razor else ''
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', stub + PROBE, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': ''},
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope='module')
def bare():
    """No task library, no pkg_resources, an mmcv that MMRazor refuses."""
    return probe(('mmcls', 'torchvision', 'pkg_resources', *TASKS), version='2.3.6')


@pytest.fixture(scope='module')
def classification():
    """mmpretrain only, no pkg_resources, MMRazor not touched."""
    return probe(('mmcls', 'pkg_resources', 'mmdet', 'mmseg', 'mmpose'), razor=False)


@pytest.mark.parametrize('environment', ['bare', 'classification'])
def test_compat_alone_imports_none_of_the_libraries(environment, request):
    report = request.getfixturevalue(environment)
    assert report['imported'] == []
    assert report['meta_path'] == report['meta_path_again']


def test_mmrazor_imports_without_any_task_library(bare):
    assert bare['mmrazor'] == 'BaseDemoInput'


def test_mmcv_keeps_its_version(bare):
    assert bare['mmcv'] == '2.3.6'


def test_quantization_works_or_says_why_not(bare):
    assert bare['quantization'] == 'BackendConfig' or bare['quantization'].startswith(
        "ImportError: mmrazor.structures.quantization.BackendConfigs is not available: MMRazor's"
    )


def test_configs_of_a_library_are_found_without_pkg_resources(classification):
    pytest.importorskip('mmpretrain')
    assert classification['mmpretrain'] == 'ImageClassifier'


@pytest.mark.parametrize('environment', ['bare', 'classification'])
def test_a_missing_library_is_named_and_nothing_is_installed(environment, request):
    report = request.getfixturevalue(environment)
    assert report['mmdet'] == (
        "ModuleNotFoundError: mmdet is needed for 'mmdet::...': install it with "
        '`pip install mmdet` or `pip install "mmcompress[det]"`'
    )
    assert report['started'] == []


def test_mmrazor_imports_beside_every_library_that_is_installed():
    report = probe(('mmcls',))
    assert report['mmrazor'] == 'BaseDemoInput'
    assert report['imported'] == []
