"""Magnitude pruning through the tools, and on two processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import torch

import mmcompress  # noqa: F401  (registers what checkpoints may hold)

# isort: split
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS

from mmcompress.core import Clock

CONFIG = 'configs/demo/magnitude_resnet20_digits_finetune.py'


def test_trained_and_exported(tool: ModuleType, tmp_path: Path) -> None:
    """The demo, small: half of the channels are gone from the exported network."""
    small = ('--cfg-options', *tool.SMALL)
    tool.succeed('train', CONFIG, '--work-dir', tmp_path, *small, 'train_cfg.max_epochs=1')
    checkpoint = tmp_path / 'epoch_1.pth'
    tool.succeed('export', CONFIG, checkpoint, '--out', tmp_path / 'export', *small)
    subnet = json.loads((tmp_path / 'export' / 'fix_subnet.json').read_text())
    assert subnet['method'] == 'Magnitude'
    assert set(subnet['choices'].values()) == {0.5}
    widths = {
        name: layer['out_channels']
        for name, layer in subnet['layers'].items()
        if 'out_channels' in layer
    }
    assert widths['backbone.layer3.0.conv1'] == 32
    [lines] = tmp_path.glob('*/progress.jsonl')
    progress = json.loads(lines.read_text().splitlines()[-1])
    assert progress['left'] * 2 == progress['channels']


SCRIPT = """
import os, sys
sys.path.insert(0, 'tests')
import conftest  # registers TinyNet
import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmcompress.core import Clock

rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
given = torch.load(f'{folder}/given.pth')
algorithm = MODELS.build(given['cfg'])
algorithm.load_state_dict(given['state'])
model = MMDistributedDataParallel(algorithm, broadcast_buffers=False)
wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
algorithm.eval()  # batch norm would see the other half of a batch
algorithm.start(wrapper)
for i, batch in enumerate(given['batches']):
    half = slice(4 * rank, 4 * rank + 4)
    part = dict(inputs=batch['inputs'][half], data_samples=batch['data_samples'][half])
    algorithm.tick(Clock(0, i, 1, 5, i == 0))
    model.train_step(part, wrapper)
torch.save(algorithm.state_dict(), f'{folder}/rank{rank}.pth')
sys.stdout.flush()
os._exit(0)  # gloo's threads now and then abort a process that ends in order
"""


def test_two_ranks_prune_the_same_channels(tool: ModuleType, tmp_path: Path) -> None:
    """Those that one process with the whole batch prunes, by what training has shown."""
    cfg = dict(
        type='mmcompress.Magnitude', architecture=dict(type='mmengine.TinyNet'),
        target_pruning_ratio=0.5, criterion='taylor', steps=2, begin=0.2, end=0.6,
    )  # fmt: skip
    algorithm = MODELS.build(cfg)
    batches = [
        dict(inputs=torch.randn(8, 3, 8, 8), data_samples=[0, 1, 2, 3, 3, 3, 1, 0])
        for _ in range(5)
    ]
    given = dict(cfg=cfg, state=algorithm.state_dict(), batches=batches)
    torch.save(given, tmp_path / 'given.pth')
    (tmp_path / 'script.py').write_text(SCRIPT, encoding='utf-8')
    ranks = [
        subprocess.Popen(
            [sys.executable, '-W', 'ignore', tmp_path / 'script.py', str(rank), str(tmp_path)],
            cwd=tool.ROOT,
            env=tool.environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors[-3000:]
    one, other = (torch.load(tmp_path / f'rank{rank}.pth') for rank in range(2))
    wrapper = OptimWrapper(torch.optim.SGD(algorithm.parameters(), lr=0.1, momentum=0.9))
    algorithm.eval()
    algorithm.start(wrapper)
    for i, batch in enumerate(batches):
        algorithm.tick(Clock(0, i, 1, 5, i == 0))
        algorithm.train_step(batch, wrapper)
    for key, value in algorithm.state_dict().items():
        assert torch.equal(one[key], other[key]), key
        torch.testing.assert_close(one[key], value, rtol=1e-4, atol=1e-6, msg=key)
    masks = [value for key, value in one.items() if key.endswith('.mask')]
    assert all(mask.sum() * 2 == len(mask) for mask in masks)
