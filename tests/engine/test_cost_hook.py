"""engine/cost_hook.py: what steps cost."""

import json
import time
from pathlib import Path

import torch

import mmcompress  # noqa: F401

# isort: split
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import nn

from mmcompress.engine import cost_hook
from mmcompress.engine.cost_hook import SavedBytes, peak


def work(seconds):
    """Keep the processor busy."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@HOOKS.register_module(force=True)
class SlowHook(Hook):
    """Takes a while before each epoch, and in each step."""

    def before_train_epoch(self, runner):
        work(0.2)

    def after_train_iter(self, runner, *args, **kwargs):
        work(0.02)
        time.sleep(0.1)  # another program has the processor


def test_steps_are_measured(make_runner, tiny_cfg):
    """All of them, each with what hooks do in it; what happens between epochs is left out."""
    runner = make_runner(tiny_cfg, length=2, hooks=('CostHook',), validate=False)
    runner.register_custom_hooks([dict(type='mmengine.SlowHook')])
    runner.train()
    cost = json.loads(Path(runner.work_dir, 'cost.json').read_text())
    assert len(cost['seconds']) == 8
    assert 0.02 < min(cost['seconds']) < 0.1
    assert cost['weights'] == 4 * sum(p.numel() for p in runner.model.parameters())
    # The layers' inputs, of two images of 3x8x8, and less than twenty times as much in all.
    assert 2 * 3 * 64 * 4 < cost['saved'] < 20 * 2 * 16 * 64 * 4
    assert cost['peak'] > 1e8


def test_what_is_saved():
    """Each storage once, weights left out."""
    layer = nn.Linear(10, 5, bias=False)
    images = torch.ones(4, 10)
    saved = SavedBytes(layer)
    with saved:
        out = layer(images)  # keeps the images, and the weight
        assert saved.total == 4 * 10 * 4
        out = out.exp()  # its result
        assert saved.total == 4 * (10 + 5) * 4
        (out * out.view(20).view(4, 5)).sum()  # the same again
    assert saved.total == 4 * (10 + 5) * 4
    layer(images + 1)
    assert saved.total == 4 * (10 + 5) * 4


def test_where_memory_is_not_known(monkeypatch, tmp_path):
    monkeypatch.setattr(cost_hook, 'STATUS', tmp_path / 'none')
    assert peak() is None
