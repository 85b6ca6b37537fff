"""The scope in which an exported network is built from a config of the dense layout.

``compact.py`` says ``model = dict(type='FasterRCNN', backbone=dict(...), ...)`` as the dense config
does, so whatever reads ``cfg.model.backbone`` or ``cfg.model.test_cfg`` finds it. Two keys more
make it compact: ``_scope_`` leads mmengine here, and ``fix_subnet`` says what differs from the
dense network. mmengine imports the registry of a scope by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mmengine import registry as root
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope, Registry

from mmcompress.core.errors import CompressionError

from .static import SCOPE, contents_of, forget_starts, sub_model


def exported(
    kind: str, *, fix_subnet: dict | str | Path, init_cfg: dict | None = None, **settings: Any
) -> BaseModel:
    """Build an exported network.

    Args:
        kind: ``type`` of the dense architecture.
        fix_subnet: ``fix_subnet.json`` of an export, or its contents.
        init_cfg: Where the weights are, see :func:`~mmcompress.core.export.static.sub_model`.
        **settings: All other settings of the dense architecture.

    Raises:
        CompressionError: If ``fix_subnet`` doesn't fit the architecture.
    """
    subnet = contents_of(fix_subnet)
    if 'scope' not in subnet:
        raise CompressionError(
            f'fix_subnet has no `scope`, only {", ".join(subnet)}; with a file of this kind the '
            "model has to be dict(type='mmcompress.sub_model', cfg=..., fix_subnet=...)"
        )
    # The parts are of the library that the dense config is of.
    with DefaultScope.overwrite_default_scope(subnet['scope']):
        model = sub_model(dict(settings, type=kind), subnet, init_cfg=init_cfg)
    if init_cfg is None:
        # Weights come from elsewhere; those that the dense parts would fetch have other shapes.
        forget_starts(model)
    return model


class _Exported(Registry):
    """Answers every name with a function that builds that architecture and narrows it."""

    def get(self, key: str) -> Callable[..., BaseModel]:
        """What builds an exported ``key``."""
        return partial(exported, key)


MODELS = _Exported('model', parent=root.MODELS, scope=SCOPE)
