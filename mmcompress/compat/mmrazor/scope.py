"""The scope ``mmrazor``: what a config of MMRazor means when mmcompress is imported.

Names in that scope are looked up in this order:

1. MMRazor's names for what mmcompress does (``DCFF``, ``DCFFChannelMutator``, ``DCFFChannelUnit``,
   ``sub_model``, ``ItePruneValLoop``). They build ours, from MMRazor's arguments.
2. Everything else of MMRazor, where it is installed.
3. Everything else of mmcompress: ``mmrazor.FCF`` is a network that MMRazor's tools can train.

Where MMRazor is missing, the scope has registries all the same, so that its configs run without
it. They are found as ``mmrazor.registry``, which is where mmengine looks; there is no ``mmrazor``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from mmengine import registry as roots
from mmengine.registry import Registry

from .._hooks import after_import, is_importable
from . import dcff

SCOPE = 'mmrazor'
#: Hooks that mmcompress's algorithms need; MMRazor's configs don't name them.
HOOKS = ('mmcompress.CompressionHook', 'mmcompress.ReseedHook')

_named: dict[str, dict[str, Any]] = {}
_ours: dict[str, Registry] = {}


def apply() -> None:
    """Let names of the scope be looked up as above."""
    original = Registry.get

    @wraps(original)
    def get(self: Registry, key: str) -> Any:
        if self.scope != SCOPE or not isinstance(key, str):
            return original(self, key)
        name = key.removeprefix(f'{SCOPE}.')
        found = named(self.name, name) or original(self, key)
        if found is None and self.name in _ours:
            found = _ours[self.name].module_dict.get(name)
        return found

    Registry.get = get
    if not is_importable(SCOPE):
        _stand_in()


def named(kind: str, name: str) -> Any:
    """What mmcompress has behind one of MMRazor's names, if anything.

    Args:
        kind: The name of the registry, such as ``model``.
        name: MMRazor's, without the scope.
    """
    return _named.get(kind, {}).get(name)


def serve(registries: Mapping[str, Registry], loop: type) -> None:
    """Put what mmcompress has behind MMRazor's names.

    Args:
        registries: Ours, by the names of mmengine's roots: ``MODELS``, ``LOOPS`` and so on.
        loop: The validation loop that exports; MMRazor calls it ``ItePruneValLoop``.
    """
    _ours.update({registry.name: registry for registry in registries.values()})
    models = registries['MODELS']
    named = {
        'DCFF': _algorithm(models),
        dcff.THEIR_MUTATOR: _mutator(models),
        dcff.THEIR_UNIT: _unit(models),
        'sub_model': _sub_model(models),
    }
    _named[models.name] = named
    # Bare names that only MMRazor's configs have are known in ours as well, so that a config that
    # was moved over half-way runs.
    for name in (dcff.THEIR_MUTATOR, dcff.THEIR_UNIT):
        models.register_module(name, module=named[name], force=True)
    loops = registries['LOOPS']
    _named[loops.name] = {'ItePruneValLoop': _loop(loops, loop)}
    after_import('mmengine.runner.runner', _patch_runner)


def _algorithm(models: Registry) -> Callable:
    def DCFF(**args: Any) -> Any:  # noqa: N802  (the name shows in mmengine's messages)
        """Mmcompress's DCFF from MMRazor's arguments."""
        algorithm = models.module_dict[dcff.ALGORITHM](**dcff.algorithm(args))
        algorithm._needed_hooks = HOOKS
        return algorithm

    return DCFF


def _mutator(models: Registry) -> Callable:
    def DCFFChannelMutator(**args: Any) -> Any:  # noqa: N802
        """Mmcompress's mutator from MMRazor's arguments."""
        config = dcff.mutator(args)
        config.pop('type')
        return models.module_dict[dcff.MUTATOR](**config)

    return DCFFChannelMutator


def _unit(models: Registry) -> Callable:
    def DCFFChannelUnit(*args: Any, **kwargs: Any) -> Any:  # noqa: N802
        """Mmcompress's unit from MMRazor's arguments."""
        return models.module_dict[dcff.UNIT](*args, **dcff.without_rounding(kwargs))

    return DCFFChannelUnit


def _sub_model(models: Registry) -> Callable:
    def sub_model(
        cfg: dict,
        fix_subnet: Any,
        mode: str = 'mutable',
        prefix: str = '',
        extra_prefix: str = '',
        init_weight_from_supernet: bool = False,
        init_cfg: dict | None = None,
        **kwargs: Any,
    ) -> Any:
        """The static model of a ``fix_subnet.json``, of mmcompress or of MMRazor's DCFF.

        Raises:
            ValueError: If the file is that of another algorithm of MMRazor, and it isn't installed.
        """
        content = _contents(fix_subnet)
        ours = isinstance(content, dict) and ('layers' in content or content.get('architecture'))
        algorithm = dcff.subnet(content)
        if isinstance(content, dict) and not ours and algorithm is None:
            return _theirs(
                models,
                cfg=cfg,
                fix_subnet=fix_subnet,
                mode=mode,
                prefix=prefix,
                extra_prefix=extra_prefix,
                init_weight_from_supernet=init_weight_from_supernet,
                init_cfg=init_cfg,
                **kwargs,
            )
        build = models.module_dict['sub_model']
        return build(cfg, algorithm or fix_subnet, init_cfg=init_cfg, **kwargs)

    return sub_model


def _contents(fix_subnet: Any) -> Any:
    """What a ``fix_subnet.json`` holds; ``None`` if ours is to say what is wrong with it."""
    if isinstance(fix_subnet, dict):
        return fix_subnet
    try:
        return json.loads(Path(fix_subnet).read_text(encoding='utf-8'))
    except (OSError, TypeError, ValueError):
        return None


def _theirs(models: Registry, **args: Any) -> Any:
    """A sub model of another algorithm, which MMRazor itself builds."""
    build = _their_own(models, 'sub_model')
    if build is None:
        raise ValueError(
            'fix_subnet is neither an export of mmcompress nor of DCFF, and MMRazor, which other '
            'algorithms need, is not installed'
        )
    return build(**args)


def _their_own(registry: Registry, name: str) -> Any:
    """What MMRazor itself has under a name; ``None`` where it isn't installed."""
    theirs = registry.root._search_child(SCOPE)
    if theirs is None:
        return None
    theirs.import_from_location()
    return theirs.module_dict.get(name)


def _loop(loops: Registry, ours: Any) -> Callable:
    def ItePruneValLoop(runner: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N802
        """Mmcompress's loop for its algorithms, MMRazor's for those of MMRazor."""
        if ours.fits(runner.model):
            return ours(runner, *args, **kwargs)
        theirs = _their_own(loops, 'ItePruneValLoop')
        if theirs is None:
            raise ValueError(
                f"ItePruneValLoop can't export a {type(runner.model).__name__}, which is no "
                'algorithm of mmcompress; MMRazor is not installed'
            )
        return theirs(runner, *args, **kwargs)

    return ItePruneValLoop


def _patch_runner(module: ModuleType) -> None:
    """Add the hooks that models of MMRazor's configs need, where the config has none of them."""
    original = module.Runner.train

    @wraps(original)
    def train(self: Any) -> Any:
        inner = getattr(self.model, 'module', self.model)
        for kind in vars(inner).get('_needed_hooks', ()):
            if all(type(hook).__name__ != kind.split('.')[-1] for hook in self.hooks):
                self.register_hook(dict(type=kind))
        return original(self)

    module.Runner.train = train


def _stand_in() -> None:
    """Registries of the scope where MMRazor isn't installed."""
    name = f'{SCOPE}.registry'
    module = ModuleType(name, 'Stand-in of mmcompress: MMRazor is not installed.')
    for key, root in vars(roots).items():
        if isinstance(root, Registry) and root.parent is None:
            child = Registry(root.name, parent=root, scope=SCOPE, locations=['mmcompress'])
            setattr(module, key, child)
    sys.modules[name] = module
