"""The unit of DCFF."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

from torch import nn

from mmcompress.core.channels.config import ChannelRange, UnitConfig
from mmcompress.core.channels.unit import ChannelUnit
from mmcompress.core.errors import CompressionError
from mmcompress.registry import MODELS

from .op import FusedConv2d


@MODELS.register_module()
class DCFFUnit(ChannelUnit):
    """Coupled channels whose producing convolutions become :class:`FusedConv2d`.

    Every producer of the unit picks its own proxies; only the width is shared.

    Args:
        config: The channels, as the analyzer found them.
        choice: Keep ratio in (0, 1].
        divisor: The width has to be a multiple of this number.
        fuse_all: Whether filters are mixed in units that keep all their channels too, as in the
            authors' program. By default these stay as they are.
        plain: Names of layers (shell wildcards allowed) that stay plain convolutions and only
            become narrower, such as the authors' downsampling ones.

    Raises:
        CompressionError: If an option isn't of the type it has to be.
    """

    def __init__(
        self,
        config: UnitConfig,
        choice: float = 1.0,
        divisor: int | str = 1,
        fuse_all: bool = False,
        plain: Sequence[str] = (),
    ) -> None:
        super().__init__(config, choice, divisor)
        if not isinstance(fuse_all, bool):
            raise CompressionError(f'fuse_all is {fuse_all!r}; it has to be True or False')
        if not (isinstance(plain, (list, tuple)) and all(isinstance(name, str) for name in plain)):
            raise CompressionError(f'plain is {plain!r}; it has to be a list of names of layers')
        self.fuse_all = fuse_all
        self.plain = tuple(plain)

    def prepare(self, architecture: nn.Module) -> list[ChannelRange]:
        """Swap the producers for ops of the unit's compact width."""
        filters = [
            channel
            for channel in self.filters(architecture)
            if not any(fnmatch.fnmatchcase(channel.name, pattern) for pattern in self.plain)
        ]
        for channel in filters:
            op: Any = architecture.get_submodule(channel.name)
            if not isinstance(op, FusedConv2d):
                op = FusedConv2d(op)
            self.put(architecture, channel.name, op)
            op.set_width(channel.start, channel.end, self.width, self.fuse_all)
        return filters
