"""The only room that knows that a dependency is old or broken.

One module per fault. Each says in its docstring what is wrong, what is done about it, and when it
does nothing; each has one function, ``apply``. A module can be deleted, with its line below, as
soon as its fault is gone.
"""

from __future__ import annotations

from . import (
    checkpoints,
    cpu_distributed,
    installed_packages,
    masked_conv,
    missing_libraries,
    mmcv_version,
    mmrazor,
    optimizer_names,
    own_configs,
    sync_batch_norm,
    torchvision_ops,
)

__all__ = ['apply']

_applied = False


def apply() -> None:
    """Put every remedy in place; a second call does nothing.

    Imports mmengine and torch, which every user of mmcompress has imported anyway. Remedies for
    other libraries wait until those are imported.
    """
    global _applied
    if _applied:
        return
    _applied = True
    # First, because importing mmengine.runner imports torchvision.
    torchvision_ops.apply()
    mmcv_version.apply()
    mmrazor.apply()
    checkpoints.apply()
    cpu_distributed.apply()
    optimizer_names.apply()
    own_configs.apply()
    masked_conv.apply()
    sync_batch_norm.apply()
    installed_packages.apply()
    # After installed_packages: it has the last word on what mmengine.config calls.
    missing_libraries.apply()
