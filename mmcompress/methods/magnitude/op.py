"""The op of magnitude pruning: a convolution whose filters are there, or silent."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmcompress.core.channels.gate import ScaledConv2d
from mmcompress.registry import MODELS


@MODELS.register_module()
class GatedConv2d(ScaledConv2d, nn.Conv2d):
    """Convolution with ``diag(m) W``, where the mask m is 1 for filters that are there, else 0.

    Attributes:
        mask: ``Tensor[n]``, a buffer of the owner.
        evidence: ``Tensor[n]``, a buffer of the owner: what training steps have said about each
            filter so far; zeros with criteria that look at the weights alone.
    """

    evidence: Tensor

    def add_scales(self, ones: Tensor) -> None:
        """Make the mask, and the evidence that a criterion collects."""
        super().add_scales(ones)
        self.register_buffer('evidence', ones - ones)

    def fill_missing(self, state: dict[str, Tensor], prefix: str) -> None:
        """A dense checkpoint lacks mask and evidence: all channels stay, and nothing is known."""
        known = f'{prefix}mask' in state
        super().fill_missing(state, prefix)
        if not known and f'{prefix}mask' in state:
            state[f'{prefix}evidence'] = torch.zeros_like(self.evidence)
