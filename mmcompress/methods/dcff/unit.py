"""The unit of DCFF."""

from __future__ import annotations

from mmcv.cnn.bricks.wrappers import Conv2d as MMCVConv2d
from torch import nn

from mmcompress.core.channels import ChannelRange
from mmcompress.core.narrow import is_pass_through
from mmcompress.core.unit import ChannelUnit, replace_module
from mmcompress.registry import MODELS

from .op import FusedConv2d


@MODELS.register_module()
class DCFFUnit(ChannelUnit):
    """Coupled channels whose producing convolutions become :class:`FusedConv2d`.

    Every producer of the unit picks its own proxies; only the width is shared.
    """

    def unsupported(self, architecture: nn.Module) -> str:
        """DCFF mixes the filters of plain 2-d convolutions; other producers stay dense."""
        for channel in self._producers(architecture):
            layer = architecture.get_submodule(channel.name)
            # A subclass with a forward of its own would lose it.
            if type(layer) not in (nn.Conv2d, MMCVConv2d, FusedConv2d):
                return f'{channel.name} is a {type(layer).__name__}, not a plain Conv2d'
        return ''

    def prepare(self, architecture: nn.Module) -> list[ChannelRange]:
        """Swap the producers for ops of the unit's compact width."""
        producers = self._producers(architecture)
        for channel in producers:
            op = architecture.get_submodule(channel.name)
            if not isinstance(op, FusedConv2d):
                op = FusedConv2d(op)
                replace_module(architecture, channel.name, op)
            op.set_width(channel.start, channel.end, self.width)
        return producers

    def _producers(self, architecture: nn.Module) -> list[ChannelRange]:
        """The ranges that filters produce, as opposed to norms and pads that hand them on."""
        return [
            channel
            for channel in self.config.producers
            if not is_pass_through(architecture.get_submodule(channel.name))
            and list(architecture.get_submodule(channel.name).parameters(recurse=False))
        ]
