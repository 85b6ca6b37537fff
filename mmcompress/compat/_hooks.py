"""Acting at the moment when a module is imported, without importing it ourselves.

Most faults sit in libraries that are slow to import and that a given run may never need. So
the patches register here what they want done, and nothing happens until somebody imports the
module concerned.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

Around = Callable[[ModuleType, Callable[[], None]], None]

_arounds: dict[str, Around] = {}


class _Finder:
    """First entry of ``sys.meta_path``: lets the others find, and wraps what they found."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See :meth:`importlib.abc.MetaPathFinder.find_spec`."""
        if name not in _arounds:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, 'find_spec', None)
            spec = None if finder is self or find is None else find(name, path, target)
            if spec is not None:
                break
        else:
            return None
        loader = spec.loader
        if loader is None or not hasattr(loader, 'exec_module'):
            return spec

        def exec_module(module: ModuleType) -> None:
            # Once only: a reload, or another module of the same loader, is left alone.
            del loader.exec_module
            around = _arounds.get(module.__name__)
            if around is None:
                loader.exec_module(module)
            else:
                around(module, lambda: loader.exec_module(module))

        # On the instance: the loader stays what it is for everyone who reads its attributes
        # (resources, source, pickling of tracebacks).
        loader.exec_module = exec_module
        return spec


_finder = _Finder()


def around_import(name: str, around: Around) -> None:
    """Run ``around(module, execute)`` when the module ``name`` is imported.

    Args:
        name: Full name of the module. If it is already imported, nothing happens.
        around: Is handed the new, empty module and a function that executes its code.
    """
    if name in sys.modules:
        return
    _arounds[name] = around
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def after_import(name: str, action: Callable[[ModuleType], None]) -> None:
    """Run ``action(module)`` once the module ``name`` is imported; at once if it already is.

    Args:
        name: Full name of the module.
        action: What to do with it.
    """
    if name in sys.modules:
        action(sys.modules[name])
        return

    def around(module: ModuleType, execute: Callable[[], None]) -> None:
        execute()
        action(module)

    around_import(name, around)


def is_importable(name: str) -> bool:
    """Whether a top-level module of this name could be imported; imports nothing.

    Args:
        name: Name of the module.
    """
    if name in sys.modules:
        return sys.modules[name] is not None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    # Without an origin it is a namespace package: any folder of that name would do.
    return spec is not None and spec.origin is not None
