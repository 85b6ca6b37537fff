"""tools/train.py: kill and resume, --compress, distributed launch."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch


def _flat(value: object, prefix: str = '') -> dict[str, object]:
    """Leaves of nested dicts and lists by their path."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return {prefix: value}
    flat = {}
    for key, item in items:
        flat.update(_flat(item, f'{prefix}/{key}'))
    return flat


def assert_same_training(first: Path, second: Path) -> None:
    """Weights, buffers, optimizer and schedules of two checkpoints are equal bit for bit."""
    import mmcompress  # noqa: F401  (registers what may be loaded)

    one, other = (torch.load(path, weights_only=True) for path in (first, second))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        ours, theirs = _flat(one[part]), _flat(other[part])
        assert ours.keys() == theirs.keys()
        assert len(ours) > 3
        for key, value in ours.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, theirs[key]), f'{part}{key}'
            else:
                assert value == theirs[key], f'{part}{key}'


def test_killed_and_resumed_equals_uninterrupted(
    tool: ModuleType, trained: Path, tmp_path: Path
) -> None:
    work_dir = tmp_path / 'killed'
    options = ('--cfg-options', 'train_cfg.max_epochs=3', *tool.SMALL)
    arguments = (tool.DEMO, '--work-dir', work_dir, *options)
    process = subprocess.Popen(
        tool.command('train', *arguments),
        cwd=tool.ROOT,
        env=tool.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (work_dir / 'last_checkpoint').is_file():
        assert process.poll() is None, 'training ended before it could be killed'
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (work_dir / 'epoch_3.pth').exists(), 'killed too late to prove anything'
    tool.succeed('train', *arguments, '--resume')
    assert_same_training(trained / 'epoch_3.pth', work_dir / 'epoch_3.pth')


def test_resuming_where_there_is_nothing_yet(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training begins from the checkpoint that the config names, not from random weights."""
    train = tool.module('train')
    monkeypatch.setattr(sys, 'argv', ['train.py', tool.DEMO, '--resume'])
    args = train.parse_args()

    def applied(resume: str) -> tuple[bool, str | None]:
        args.resume = resume
        cfg = train.Config(dict(work_dir=str(tmp_path), load_from='dense.pth', resume=False))
        train.apply_arguments(cfg, args)
        return cfg.resume, cfg.load_from

    assert args.resume == 'auto'
    assert applied('auto') == (False, 'dense.pth')
    assert applied('x.pth') == (True, 'x.pth')
    (tmp_path / 'last_checkpoint').write_text('epoch_1.pth')
    assert applied('auto') == (True, None)


def test_another_seed_trains_another_network(
    tool: ModuleType, trained: Path, tmp_path: Path
) -> None:
    """The comparison above can fail."""
    tool.succeed(
        'train',
        tool.DEMO,
        '--work-dir',
        tmp_path / 'run',
        '--cfg-options',
        'train_cfg.max_epochs=3',
        'randomness.seed=1',
        *tool.SMALL,
    )
    one, other = (
        torch.load(path / 'epoch_3.pth', weights_only=True)['state_dict']
        for path in (trained, tmp_path / 'run')
    )
    key = 'architecture.backbone.conv1.weight'
    assert not torch.equal(one[key], other[key])


def test_compresses_any_config(tool: ModuleType, tmp_path: Path) -> None:
    """A dense config and a method file, no config of our own written."""
    method = tmp_path / 'method.py'
    method.write_text(
        "compression = dict(type='mmcompress.DCFF', target_pruning_ratio=0.5)\n", encoding='utf-8'
    )
    tool.succeed(
        'train',
        'configs/demo/dense_resnet20_digits.py',
        '--compress',
        method,
        '--work-dir',
        tmp_path / 'run',
        '--cfg-options',
        'train_cfg.max_epochs=1',
        *tool.SMALL,
    )
    state = torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=True)['state_dict']
    assert state['architecture.backbone.conv1.proxies'].shape == (8, 16)
    assert state['fuse_steps'] == 1


def test_two_processes(tool: ModuleType, tmp_path: Path) -> None:
    """dist_train.sh trains with DistributedDataParallel; every rank fuses the same filters."""
    done = subprocess.run(
        [
            'sh',
            'tools/dist_train.sh',
            tool.DEMO,
            '2',
            '--work-dir',
            str(tmp_path / 'run'),
            '--cfg-options',
            'train_cfg.max_epochs=2',
            'train_dataloader.batch_size=32',
            *tool.SMALL,
        ],
        cwd=tool.ROOT,
        env=dict(tool.environment(), PORT='29617'),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    state = torch.load(tmp_path / 'run' / 'epoch_2.pth', weights_only=True)['state_dict']
    assert state['fuse_steps'] == 2


def test_slurm_scripts_pass_arguments_in_order(tool: ModuleType, tmp_path: Path) -> None:
    """A stand-in for srun prints what it was asked to run."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nfor a in "$@"; do echo "$a"; done\n', encoding='utf-8')
    srun.chmod(srun.stat().st_mode | stat.S_IXUSR)
    env = dict(tool.environment(), PATH=f'{tmp_path}:{os.environ["PATH"]}', PYTHON='py')

    def asked(*command: str, **extra: str) -> list[str]:
        done = subprocess.run(
            ['sh', *command],
            cwd=tool.ROOT,
            env=dict(env, **extra),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    words = asked('tools/slurm_train.sh', 'part', 'job', 'c.py', 'work', '--resume', GPUS='4')
    assert words[:3] == ['-p', 'part', '--job-name=job']
    assert '--gres=gpu:4' in words
    assert '--ntasks=4' in words
    assert '--ntasks-per-node=4' in words
    start = words.index('py')
    assert words[start:] == [
        'py', '-u', 'tools/train.py', 'c.py', '--work-dir', 'work', '--launcher', 'slurm',
        '--resume',
    ]  # fmt: skip
    words = asked('tools/slurm_test.sh', 'part', 'job', 'c.py', 'w.pth', GPUS_PER_NODE='0')
    assert not any(word.startswith('--gres') for word in words)
    assert words[words.index('py') :] == [
        'py', '-u', 'tools/test.py', 'c.py', 'w.pth', '--launcher', 'slurm',
    ]  # fmt: skip
    words = asked('tools/slurm_test.sh', 'part', 'job', 'c.py', 'work')
    assert words[words.index('py') :] == [
        'py', '-u', 'tools/test.py', 'c.py', '--launcher', 'slurm', '--work-dir', 'work',
    ]  # fmt: skip
