"""MMRazor's configs run where MMRazor isn't installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# Refuses MMRazor, then trains one of its configs, exports it and rebuilds the export.
CODE = r"""
import importlib.util, json, sys, warnings

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'mmrazor':
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

sys.meta_path.insert(0, Refuse())
folder = sys.argv[1]
import torch
import mmcompress
import conftest  # registers a tiny network and its data
from mmengine.config import Config
from mmengine.registry import LOOPS, MODELS, init_default_scope
from mmengine.runner import Runner

report = {}
try:
    import mmrazor
    report['import'] = 'works'
except ModuleNotFoundError as error:
    report['import'] = error.name

init_default_scope('mmpretrain')
net = dict(type='mmengine.TinyNet')
model = dict(
    _scope_='mmrazor',
    type='DCFF',
    architecture=net,
    mutator_cfg=dict(
        type='DCFFChannelMutator',
        channel_unit_cfg=dict(type='DCFFChannelUnit', default_args=dict(choice_mode='ratio')),
        parse_cfg=dict(
            type='ChannelAnalyzer', demo_input=(1, 3, 8, 8), tracer_type='BackwardTracer'
        ),
    ),
    target_pruning_ratio={'backbone.conv1_(0, 8)_8': 0.5},
    step_freq=1,
    linear_schedule=False,
)
loader = dict(
    batch_size=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='mmengine.RandomImages', length=2),
)
cfg = Config(
    dict(
        model=model,
        default_scope='mmpretrain',
        work_dir=folder,
        train_dataloader=loader,
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=1, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        val_dataloader=loader,
        val_cfg=dict(type='mmrazor.ItePruneValLoop'),
        val_evaluator=dict(type='mmengine.DrawingMetric'),
    )
)
runner = Runner.from_cfg(cfg)
runner.train()
trained = runner.model.eval()
report['kind'] = type(trained).__module__
report['fused'] = int(trained.fuse_steps)

from mmcompress.core.export.export import export
result = export(trained, cfg, f'{folder}/export')
report['difference'] = result['max_difference']

images = torch.randn(1, 3, 8, 8)
for name, subnet in (('loop', folder), ('export', f'{folder}/export')):
    weights = 'fix_subnet_weight.pth' if name == 'loop' else 'compact.pth'
    static = MODELS.build(
        dict(
            _scope_='mmrazor',
            type='sub_model',
            cfg=net,
            fix_subnet=f'{subnet}/fix_subnet.json',
            mode='mutator',
            init_cfg=dict(type='Pretrained', checkpoint=f'{subnet}/{weights}'),
        )
    )
    static.init_weights()
    report[name] = float((static.eval()(images) - trained(images)).abs().max())
report['others'] = [MODELS.get('mmrazor.FCF').__name__, str(MODELS.get('mmrazor.DMCP'))]
try:
    MODELS.build(dict(type='mmrazor.sub_model', cfg=net, fix_subnet={'a': dict(chosen=1)}))
except ValueError as error:
    report['sub_model'] = str(error)
report['modules'] = sorted(n for n in sys.modules if n.split('.')[0] == 'mmrazor')
print(json.dumps(report))
"""


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('without') / 'run'
    paths = os.pathsep.join([str(ROOT), str(ROOT / 'tests')])
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', CODE, str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': paths},
        cwd=ROOT / 'tests',  # whose conftest.py is meant, not that of the doctests
        check=False,
    )


@pytest.fixture(scope='module')
def report(run):
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_it_is_not_there(report):
    assert report['import'] == 'mmrazor'
    assert report['modules'] == ['mmrazor.registry']  # our stand-in


def test_its_config_trains_our_algorithm(report):
    assert report['kind'] == 'mmcompress.methods.dcff.algorithm'
    assert report['fused'] == 1


def test_exports_are_the_trained_model(report):
    assert report['difference'] < 1e-5
    assert report['loop'] < 1e-5
    assert report['export'] < 1e-5


def test_what_only_mmrazor_has_is_told(report):
    assert report['others'] == ['FCF', 'None']
    assert 'MMRazor' in report['sub_model']
    assert 'not installed' in report['sub_model']


def test_nothing_warns_that_it_is_missing(run):
    """mmengine does, for a scope whose registries it can't import."""
    for line in (run.stdout + run.stderr).splitlines():
        assert 'mmrazor is not installed' not in line
        assert 'Failed to search registry' not in line
