"""The mutator of DCFF."""

from __future__ import annotations

from mmcompress.core.channels.mutator import ChannelMutator
from mmcompress.registry import MODELS


@MODELS.register_module()
class DCFFMutator(ChannelMutator):
    """Channel mutator whose units fuse filters; see the base class."""

    unit_type = 'DCFFUnit'
