"""mmcls has become mmpretrain, and older configs still say mmcls.

Fault: ``mmcls.ResNet``, ``_scope_='mmcls'``, ``default_scope = 'mmcls'`` and ``mmcls::resnet/...``
mean classes and configs that mmpretrain has taken over under the same names, but nothing connects
the two.

Remedy: the scope ``mmcls`` is read as ``mmpretrain``, in the four places where mmengine meets a
scope: the list of known libraries, the key of a registry, the default scope, and
``mmengine.hub.get_model``. There is no module ``mmcls``: to others it stays absent.

Does nothing when mmcls is installed, and when mmpretrain is absent.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import DefaultScope, Registry

from .._hooks import after_import, is_importable

OLD, NEW = 'mmcls', 'mmpretrain'


def apply() -> None:
    """Read ``mmcls`` as ``mmpretrain``."""
    if is_importable(OLD) or not is_importable(NEW):
        return
    MODULE2PACKAGE[OLD] = MODULE2PACKAGE[NEW]
    _patch_keys()
    _patch_default_scope()
    after_import('mmengine.hub', _patch_hub)


def _patch_keys() -> None:
    original = Registry.split_scope_key

    @wraps(original)
    def split_scope_key(key: str) -> tuple[str | None, str]:
        scope, name = original(key)
        return (NEW if scope == OLD else scope), name

    Registry.split_scope_key = staticmethod(split_scope_key)


def _patch_default_scope() -> None:
    # `_scope_` in a config and `default_scope` of a run both end up as such an object.
    original = DefaultScope.__init__

    @wraps(original)
    def init(self: DefaultScope, name: str, scope_name: str) -> None:
        original(self, name, NEW if scope_name == OLD else scope_name)

    DefaultScope.__init__ = init


def _patch_hub(hub: Any) -> None:
    # It imports the module that stands before the `::`.
    original = hub.get_model

    @wraps(original)
    def get_model(cfg_path: str, *args: Any, **kwargs: Any) -> Any:
        if cfg_path.startswith(f'{OLD}::'):
            cfg_path = NEW + cfg_path[len(OLD) :]
        return original(cfg_path, *args, **kwargs)

    hub.get_model = hub.hub.get_model = get_model
