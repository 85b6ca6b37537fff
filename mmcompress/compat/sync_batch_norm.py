"""mmcv's synchronised batch norm cannot be built in a single process.

Fault: ``mmcv.ops.SyncBatchNorm`` (``MMSyncBN`` in configs) asks for the size of its process group
when it is built: "Default process group has not been initialized". Nothing can then look at such a
model, or turn its norms into plain ones, which mmengine's ``revert_sync_batchnorm`` would.

Remedy: without process groups, a layer is built for a group of one.

Does nothing in a distributed run.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any
from unittest import mock

from torch import distributed, nn

from ._hooks import after_import


def apply() -> None:
    """Wrap the constructor as soon as mmcv's ops are imported."""
    after_import('mmcv.ops.sync_bn', _repair)


def _repair(module: ModuleType) -> None:
    init = module.SyncBatchNorm.__init__

    @functools.wraps(init)
    def in_any_process(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        if distributed.is_available() and distributed.is_initialized():
            init(self, *args, **kwargs)
            return
        with mock.patch.object(module.dist, 'get_world_size', return_value=1):
            init(self, *args, **kwargs)

    module.SyncBatchNorm.__init__ = in_any_process
