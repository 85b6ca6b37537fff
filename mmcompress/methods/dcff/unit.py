"""The unit of DCFF."""

from __future__ import annotations

from torch import nn

from mmcompress.core.channels.config import ChannelRange
from mmcompress.core.channels.unit import ChannelUnit
from mmcompress.core.layers.replace import replace_everywhere
from mmcompress.registry import MODELS

from .op import FusedConv2d


@MODELS.register_module()
class DCFFUnit(ChannelUnit):
    """Coupled channels whose producing convolutions become :class:`FusedConv2d`.

    Every producer of the unit picks its own proxies; only the width is shared.
    """

    def prepare(self, architecture: nn.Module) -> list[ChannelRange]:
        """Swap the producers for ops of the unit's compact width."""
        filters = self.filters(architecture)
        for channel in filters:
            op = architecture.get_submodule(channel.name)
            if not isinstance(op, FusedConv2d):
                op = FusedConv2d(op)
                replace_everywhere(architecture, channel.name, op)
            op.set_width(channel.start, channel.end, self.width)
        return filters
