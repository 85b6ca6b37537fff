"""From the arguments of ``convert`` to a checkpoint of ours."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from mmcompress.core.base.algorithm import INNER, CompressionAlgorithm
from mmcompress.core.base.build import build_model
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.checkpoint import write_whole
from mmcompress.core.export.convert import Conversion, Source, kind_of, read_source
from mmcompress.core.export.export import export

from .launch import load_config
from .layouts import layouts

#: What stands for a network whose file has no mark of anybody's.
PLAIN = 'a network of plain layers'


def convert(args: argparse.Namespace) -> dict[str, Any]:
    """Convert what the arguments say, see :mod:`mmcompress.cli.convert`.

    Returns:
        ``source``, ``kind``, ``layout``, ``config``, ``target`` and ``form`` (``training`` or
        ``compact``); ``keys``, a row for each key of the checkpoint; ``notes``; and of a compact
        form ``export``, what that returned.

    Raises:
        CompressionError: If the checkpoint is of another layout or network, or something is in
            the way; nothing is written then.
    """
    target = Path(args.target)
    if target.exists() and not args.overwrite:
        raise CompressionError(
            f'DST: {str(target)!r} exists; name another place or give --overwrite'
        )
    source = read_source(args.source)
    module, kind = layout_of(source, args.layout)
    cfg = load_config(args.config, args.compress, args.cfg_options)
    model: Any = build_model(cfg)
    conversion = Conversion(source, model)
    module.convert(conversion, model)
    compact = check_form(args, conversion, model)
    rows = conversion.finish()
    if hasattr(module, 'loaded'):
        module.loaded(conversion, model)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    if isinstance(model, CompressionAlgorithm):
        model.settle()  # finds what CONFIG asks for otherwise than SRC
    result: dict[str, Any] = dict(
        source=source.path,
        kind=kind,
        layout=args.layout,
        config=args.config,
        target=str(target),
        form='compact' if compact else 'training',
        keys=rows,
        notes=conversion.notes,
    )
    if compact:
        result['export'] = export(model, cfg, target, overwrite=args.overwrite)
    else:
        meta = dict(converted_from=source.path, layout=args.layout)
        write_whole(dict(meta=meta, state_dict=state), target)
    return result


def layout_of(source: Source, name: str) -> tuple[ModuleType, str]:
    """The module of a layout, and what kind of its files this is, in words.

    Raises:
        CompressionError: If the file is of another layout.
    """
    modules = {key: import_module(path) for key, path in layouts().items()}
    kinds = {key: kind_of(source.state, module.MARKS) for key, module in modules.items()}
    if not kinds[name]:
        for other, kind in kinds.items():
            if kind:
                raise CompressionError(
                    f'--from {name}: {source.path!r} looks like {kind} (--from {other}); it has '
                    f'none of the keys of {" or ".join(modules[name].MARKS)}'
                )
        if any(key.startswith(INNER) for key in source.state):
            raise CompressionError(
                f'--from {name}: {source.path!r} is a checkpoint of mmcompress already'
            )
    return modules[name], kinds[name] or PLAIN


def check_form(args: argparse.Namespace, conversion: Conversion, model: nn.Module) -> bool:
    """Whether to write an export.

    Raises:
        CompressionError: If there's nothing to export, or a name of a file for it.
    """
    is_algorithm = isinstance(model, CompressionAlgorithm)
    if args.compact and not is_algorithm:
        raise CompressionError(
            '--compact: the model of CONFIG is dense, and has no compact form; leave it out'
        )
    compact = args.compact or bool(conversion.compact_only and is_algorithm)
    if compact and Path(args.target).suffix in ('.pth', '.pt'):
        why = f' ({conversion.compact_only})' if conversion.compact_only else ''
        raise CompressionError(
            f'DST: {args.target!r} names a file, and a compact network is written to a folder{why}'
        )
    return compact
