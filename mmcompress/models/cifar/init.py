"""The initialization that the networks of this folder share."""

from __future__ import annotations

INIT_CFG: tuple[dict, ...] = (
    dict(type='Kaiming', layer='Conv2d', mode='fan_out', nonlinearity='relu'),
    dict(type='Constant', layer='_BatchNorm', val=1, bias=0),
)
"""Kaiming (fan out) for convolutions, 1 and 0 for batch norms: mmengine's ``init_cfg``."""
