"""The mutator of DCFF."""

from __future__ import annotations

from mmcompress.core.channels.mutator import ChannelMutator
from mmcompress.registry import MODELS


@MODELS.register_module()
class DCFFMutator(ChannelMutator):
    """Channel mutator whose units are :class:`~mmcompress.methods.dcff.unit.DCFFUnit`.

    Args:
        channel_unit_cfg: As in the base class; ``type`` defaults to ``DCFFUnit``.
        parse_cfg: As in the base class.
        init_cfg: As for every mmengine module.
    """

    def __init__(
        self,
        channel_unit_cfg: dict | str | None = None,
        parse_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(channel_unit_cfg or {}, parse_cfg, init_cfg)
        self.channel_unit_cfg.setdefault('type', 'DCFFUnit')
