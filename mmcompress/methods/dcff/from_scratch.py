"""Undo what OpenMMLab's configs do for the sake of pretrained weights."""

from __future__ import annotations

import logging

from mmengine.logging import print_log
from torch import nn

from mmcompress.core.base.pretrained import has_frozen_stages, init_parts, is_pretrained, release

#: How OpenMMLab initialises a backbone without pretrained weights.
INITIALISATION = [
    dict(type='Kaiming', layer='Conv2d'),
    dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
]


def start_from_scratch(model: nn.Module) -> None:
    """Let everything in ``model`` that expects pretrained weights learn from scratch, in place.

    Pretrained weights belong to the dense layers. A module that would have loaded some gets an
    ordinary initialisation instead, and what its config keeps fixed for their sake is trained:
    frozen stages, batch norms in eval mode (``norm_eval``) and layers without gradients.

    Stages that are frozen where no pretrained weights are asked for stay as they are, since
    whoever wrote that meant it (to go on from an own checkpoint, for example); the log warns.
    """
    for name, module in model.named_modules():
        parts = init_parts(module)
        kept = [part for part in parts if not is_pretrained(part)]
        if len(kept) < len(parts):
            module.init_cfg = [*INITIALISATION, *kept]
            released = '; its frozen layers are trained' if release(model, name) else ''
            print_log(
                'DCFF trains from scratch: pretrained weights are not loaded into '
                f'{name or "the architecture"}{released}',
                logger='current',
            )
    for name, module in model.named_modules():
        if has_frozen_stages(module):
            print_log(
                f'{name} has frozen_stages={module.frozen_stages} and no pretrained weights: '
                'these stages stay as they are initialised, unless a checkpoint is loaded; '
                'frozen_stages=-1 trains them',
                logger='current',
                level=logging.WARNING,
            )
