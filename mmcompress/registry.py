"""Registries of mmcompress: scope ``mmcompress``, children of mmengine's roots.

A class registered here is reachable as ``mmcompress.X`` from every default scope. Inside a
component of ours, nested configs (a mutator, a unit) need no scope at all: :func:`build`
looks a bare name up here first and leaves the default scope of the run alone, so that an
``architecture`` nested in the same config still resolves in the user's library.
"""

from __future__ import annotations

from typing import Any

from mmengine import registry as root
from mmengine.registry import Registry, build_from_cfg


def build(cfg: dict, registry: Registry, *args: Any, **kwargs: Any) -> Any:
    """Build ``cfg``, resolving a bare ``type`` in ``registry`` before the default scope.

    Args:
        cfg: A config with a ``type``.
        registry: The registry whose ``build`` was called.
        *args: For the object's constructor.
        **kwargs: For the object's constructor.

    Returns:
        The built object.

    Raises:
        KeyError: If ``type`` is found in no registry.
    """
    kind = cfg.get('type') if isinstance(cfg, dict) else None
    if isinstance(kind, str):
        name = kind.removeprefix('mmcompress.')
        if name in registry.module_dict and cfg.get('_scope_') in (None, registry.scope):
            cfg = {key: value for key, value in cfg.items() if key != '_scope_'}
            cfg['type'] = registry.module_dict[name]
    return build_from_cfg(cfg, registry, *args, **kwargs)


def _child(parent: Registry, location: str) -> Registry:
    return Registry(
        parent.name,
        build_func=build,
        parent=parent,
        scope='mmcompress',
        locations=[f'mmcompress.{location}'],
    )


MODELS = _child(root.MODELS, 'methods')
TASK_UTILS = _child(root.TASK_UTILS, 'core')
DATASETS = _child(root.DATASETS, 'datasets')
TRANSFORMS = _child(root.TRANSFORMS, 'datasets')
METRICS = _child(root.METRICS, 'engine')
HOOKS = _child(root.HOOKS, 'engine')
LOOPS = _child(root.LOOPS, 'engine')
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, 'datasets')

#: All of them, by the names of mmengine's.
ROOTS = {key: value for key, value in vars().items() if isinstance(value, Registry)}
