"""torchvision's CUDA wheels do not import beside a CPU-only torch.

Fault: torchvision's compiled operators cannot be loaded by a torch built without CUDA, which
torchvision tolerates, but it then registers shapes for ``nms`` and ``qnms`` without asking
whether these exist: "operator torchvision::nms does not exist". mmpretrain and mmpose import
torchvision only for its pure-Python parts.

Remedy: declare the two operators, without an implementation, when torchvision has found its own
unusable. Calling one still fails, as it must.

Does nothing when torchvision's operators load, and when torchvision is absent.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ._hooks import after_import

SIGNATURE = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
# A torch.library.Library takes its declarations back when it is garbage collected.
_keep: list[Any] = []


def apply() -> None:
    """Watch for torchvision's verdict on its operators, the first thing it imports."""
    after_import('torchvision.extension', _declare_missing)


def _declare_missing(extension: ModuleType) -> None:
    if extension._has_ops():
        return
    import torch

    missing = [name for name in ('nms', 'qnms') if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library('torchvision', 'FRAGMENT')
        for name in missing:
            library.define(name + SIGNATURE)
        _keep.append(library)
