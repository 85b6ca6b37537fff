"""mmcv's masked convolution has no implementation for CPUs.

Fault: ``MaskedConv2d`` computes only where its mask is set, by kernels for GPUs; on a CPU it stops
with "masked_im2col_forward_impl: implementation for device cpu not found". Every detector with
guided anchoring predicts with it.

Remedy: on a CPU, convolve everywhere and multiply by the mask, as mmcv itself does on NPUs.

Does nothing on other devices, and without a mask.
"""

from __future__ import annotations

import functools
from types import ModuleType

from torch import Tensor, nn

from ._hooks import after_import


def apply() -> None:
    """Wrap the forward pass as soon as mmcv's ops are imported."""
    after_import('mmcv.ops.masked_conv', _repair)


def _repair(module: ModuleType) -> None:
    forward = module.MaskedConv2d.forward

    @functools.wraps(forward)
    def on_any_device(self: nn.Conv2d, input: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None or input.device.type != 'cpu':
            return forward(self, input, mask)
        return nn.Conv2d.forward(self, input) * (mask[:, None] > 0)

    module.MaskedConv2d.forward = on_any_device
