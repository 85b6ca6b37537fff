"""mmengine starts distributed training on machines with GPUs only.

Fault: the launchers ``pytorch`` and ``slurm`` call ``torch.cuda.set_device`` whatever the
backend, and every library's configs ask for the backend ``nccl``; without CUDA the first fails
("module 'torch._C' has no attribute '_cuda_setDevice'") and the second cannot work. The runner
then names a GPU to ``DistributedDataParallel``, which refuses that for a model on the CPU, as it
refuses a model there with synchronised batch norms.

Remedy: without CUDA, leave the device alone, use ``gloo`` in place of ``nccl``, name no GPU, and
let every process normalise its own batch (as mmengine does with a single process).

Does nothing where CUDA is available, or another accelerator that mmengine knows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from mmengine.device import get_device
from mmengine.dist import utils

from ._hooks import after_import


def apply() -> None:
    """Wrap the two launchers."""
    for name in ('_init_dist_pytorch', '_init_dist_slurm'):
        launcher = getattr(utils, name, None)
        if launcher is not None:
            setattr(utils, name, _on_cpu(launcher))
    after_import('mmengine.model.wrappers.distributed', _name_no_gpu)


def _on_cpu(launcher: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(launcher)
    def launch(backend: str, *args: Any, **kwargs: Any) -> None:
        if get_device() != 'cpu':
            launcher(backend, *args, **kwargs)
            return
        with mock.patch.object(torch.cuda, 'set_device'):
            launcher('gloo' if backend == 'nccl' else backend, *args, **kwargs)

    return launch


def _name_no_gpu(wrappers: ModuleType) -> None:
    wrapper = wrappers.MMDistributedDataParallel
    original = wrapper.__init__

    @functools.wraps(original)
    def init(self: Any, module: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
        if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
            kwargs.pop('device_ids', None)
            from mmengine.model import revert_sync_batchnorm

            module = revert_sync_batchnorm(module)
        original(self, module, *args, **kwargs)

    wrapper.__init__ = init
