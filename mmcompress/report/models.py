"""The two models that reports compare: dense, and compact as a config makes it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from mmengine.config import Config
from torch import nn

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import build_architecture, build_model
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.export.checkpoint import load_into
from mmcompress.core.export.export import dense_config
from mmcompress.core.export.static import dense_part, is_sub_model, to_static
from mmcompress.core.probe.example import Example, Images

from .complexity import complexity_by_stage, complexity_of_modules

#: What a config may make, in the order of reports.
NETWORKS = ('dense', 'compact', 'static')


def dense_and_compact(
    cfg: Config,
    checkpoint: str | None = None,
    names: Collection[str] = NETWORKS,
    built: nn.Module | None = None,
) -> dict[str, nn.Module]:
    """The dense model of a config as ``dense``, and ``compact`` where the config makes one.

    Where what is exported has other parameters than what is trained and stored (layers that share
    some get their own), there is also ``static``, the exported model.

    Args:
        cfg: A dense model's, a method's, or that of an export.
        checkpoint: For the model of the config, whichever it is.
        names: Those of :data:`NETWORKS` that are wanted; others are not built where that saves
            time.
        built: The model of the config, if it has been built.

    Raises:
        CompressionError: If the config is wrong, or the checkpoint is of another model.
    """
    if set(names) == {'dense'} and 'architecture' in cfg.model:
        return dict(dense=build_architecture(dense_config(cfg), cfg.get('data_preprocessor')))
    model = build_model(cfg) if built is None else built
    if checkpoint is not None:
        load_into(model, checkpoint)
    preprocessor = cfg.get('data_preprocessor')
    found: dict[str, nn.Module] = {}
    if isinstance(model, CompressionAlgorithm):
        if 'dense' in names:
            found['dense'] = build_architecture(dense_config(cfg), preprocessor)
        counted = model.counted()
        if counted is None:
            return dict(found, compact=to_static(model))
        found['compact'] = counted
        return dict(found, static=to_static(model)) if 'static' in names else found
    if is_sub_model(cfg.model):
        if 'dense' in names:
            found['dense'] = build_architecture(dense_part(cfg.model), preprocessor)
        return dict(found, compact=model)
    return dict(dense=model)


def report(
    name: str, model: nn.Module, shape: Images, modules: Sequence[str] = ()
) -> dict[str, Any]:
    """Figures of one model, with the breakdown by stage, and those of some modules.

    What is counted is the forward pass without post-processing, or else the prediction of one
    image (mmseg's PointRend has no other that works).

    Raises:
        CompressionError: If the model runs neither, or has no module of such a name.
    """
    known = dict(model.named_modules())
    for module in modules:
        if module not in known:
            raise CompressionError(
                f'--module: {type(model).__name__} has no module {module!r}; the nearest are '
                f'{nearest(module, known)}'
            )

    def count(mode: str) -> dict[str, Any]:
        stages = complexity_by_stage(model, shape, mode=mode)
        params, macs = (sum(stage[key] for stage in stages) for key in ('params', 'macs'))
        found = dict(model=name, params=params, macs=macs, mode=mode, stages=stages)
        if modules:
            found['modules'] = complexity_of_modules(model, modules, shape, mode=mode)
        return found

    return in_a_mode(model, shape, count)


def in_a_mode(
    model: nn.Module, shape: Images, count: Callable[[str], dict[str, Any]]
) -> dict[str, Any]:
    """What ``count`` returns for the first mode of a forward pass that the model runs in.

    Raises:
        CompressionError: If it runs in none.
    """
    failures = []
    for mode in ('tensor', 'predict'):
        try:
            return count(mode)
        except Exception as error:  # whatever a user's model raises
            failures.append(f'{type(error).__name__}: {" ".join(str(error).split())}')
    if isinstance(shape, Example):
        raise CompressionError(
            f'{shape.key}: {type(model).__name__} does not run on them ({failures[0]})'
        )
    raise CompressionError(
        f'{type(model).__name__} does not run on an image of {shape[1]} x {shape[2]} '
        f'({failures[0]}); give another size with --shape'
    )
