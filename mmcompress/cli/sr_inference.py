"""The arguments ``--chop`` and ``--self-ensemble`` of super-resolution."""

from __future__ import annotations

import argparse

from mmengine.config import Config, ConfigDict

from mmcompress.core.errors import CompressionError
from mmcompress.core.export.static import is_sub_model
from mmcompress.models.sr.super_resolution import SuperResolver
from mmcompress.registry import MODELS


def apply_inference_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Put the arguments into the ``test_cfg`` of the model of a config.

    The overlap of tiles stays as the config sets it.

    Raises:
        CompressionError: If they are given, and the model isn't one for super-resolution.
    """
    given = _given(args)
    if not given:
        return
    model = dense_model_config(cfg.model)
    kind = model.get('type')
    kind = kind if isinstance(kind, type) else MODELS.get(str(kind))
    if not (isinstance(kind, type) and issubclass(kind, SuperResolver)):
        raise CompressionError(
            f'{" and ".join(given)}: the model of the config is a {model.get("type")!r}; only '
            'models for super-resolution (SuperResolver) have tiles and self-ensembles'
        )
    test_cfg = ConfigDict(model.get('test_cfg') or {})
    if args.chop is not None:
        test_cfg.chop = ConfigDict(test_cfg.get('chop') or {}, tile=args.chop)
    if args.self_ensemble:
        test_cfg.self_ensemble = True
    model.test_cfg = test_cfg


def refuse_inference_arguments(args: argparse.Namespace) -> None:
    """Refuse the arguments, where a file is run as it is.

    Raises:
        CompressionError: If one is given.
    """
    given = _given(args)
    if given:
        raise CompressionError(
            f'{" and ".join(given)}: a model takes that, and {args.checkpoint!r} is a file that '
            'runs as it is; test the checkpoint'
        )


def _given(args: argparse.Namespace) -> list[str]:
    return [
        name
        for name, value in (('--chop', args.chop), ('--self-ensemble', args.self_ensemble or None))
        if value is not None
    ]


def dense_model_config(model: ConfigDict) -> ConfigDict:
    """The dense model inside the config of a model, which may be compressed or exported."""
    while True:
        if isinstance(model.get('architecture'), dict):
            model = model.architecture
        elif is_sub_model(model) and isinstance(model.get('cfg'), dict):
            model = model.cfg
        else:
            return model
