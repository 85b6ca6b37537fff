"""The launchers without CUDA; training with two processes is in tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from mmcompress.compat import cpu_distributed


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a launcher did: the device it set and the backend it was given."""
    seen: list[str] = []
    monkeypatch.setattr(torch.cuda, 'set_device', lambda device: seen.append(f'device {device}'))
    return seen


def _launcher(calls: list[str]) -> object:
    def launch(backend: str, **kwargs: object) -> None:
        torch.cuda.set_device(1)
        calls.append(backend)

    return cpu_distributed._on_cpu(launch)


def test_without_cuda(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_distributed, 'get_device', lambda: 'cpu')
    set_device = torch.cuda.set_device
    _launcher(calls)('nccl', timeout=3)
    _launcher(calls)('mpi')
    assert calls == ['gloo', 'mpi']
    assert torch.cuda.set_device is set_device


def test_with_cuda_nothing_changes(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_distributed, 'get_device', lambda: 'cuda')
    _launcher(calls)('nccl')
    assert calls == ['device 1', 'nccl']


def test_synchronised_batch_norms(tmp_path: Path) -> None:
    """DistributedDataParallel refuses them on the CPU; each process then normalises its own."""
    from mmengine.model import MMDistributedDataParallel

    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SyncBatchNorm(4))
    model[1].weight.data.fill_(3)
    distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    try:
        wrapped = MMDistributedDataParallel(model, device_ids=[0])
        out = wrapped.module(torch.randn(8, 3, 5, 5))
    finally:
        distributed.destroy_process_group()
    assert out.std(dim=(0, 2, 3)).tolist() == pytest.approx([3] * 4, rel=0.01)
