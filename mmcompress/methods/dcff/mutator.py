"""The mutator of DCFF."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmcompress.core.channels.mutator import ChannelMutator
from mmcompress.core.layers.narrow import channels_of, is_padding
from mmcompress.registry import MODELS


@MODELS.register_module()
class DCFFMutator(ChannelMutator):
    """Finds channel units whose filters are fused, and swaps in their ops."""

    unit_type = 'DCFFUnit'

    def prepare_units(self, architecture: nn.Module) -> None:
        """As in the base class; then shortcuts that pad are padded for their new widths.

        A fused channel stands for no channel of the dense network, so none has a place to keep,
        and none need be lost: the zeros go around all of them, as in the authors' network.
        """
        paddings: list[Any] = [layer for layer in architecture.modules() if is_padding(layer)]
        before = [channels_of(layer) for layer in paddings]
        super().prepare_units(architecture)
        for layer, widths in zip(paddings, before, strict=True):
            if channels_of(layer) != widths:
                layer.pad_evenly()
