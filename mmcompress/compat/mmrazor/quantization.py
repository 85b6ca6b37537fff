"""MMRazor's quantization tables do not import on a current torch.

Fault: ``mmrazor.structures.quantization`` builds tables of ``torch.ao.quantization`` classes
while it is imported. Names among them have been removed from torch, so the import ends in an
``ImportError``, and with it ``import mmrazor.models``, pruning included.

Remedy: when that one subpackage fails, it becomes a stand-in without tables, whose names say
what is wrong when somebody uses them. Pruning uses none of them.

Does nothing when the real subpackage imports, and when MMRazor is absent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .._hooks import around_import

NAME = 'mmrazor.structures.quantization'
# What the rest of MMRazor imports from it.
USED = ('BackendConfigs', 'QConfigHandler')


def apply() -> None:
    """Watch the import of the subpackage."""
    around_import(NAME, _import_or_stand_in)


def _import_or_stand_in(module: Any, execute: Callable[[], None]) -> None:
    try:
        execute()
    except Exception as error:
        # Whatever it got to before it failed is half-made.
        for name in [name for name in sys.modules if name.startswith(NAME + '.')]:
            del sys.modules[name]
        for name in [name for name in vars(module) if not name.startswith('__')]:
            delattr(module, name)
        reason = f'{type(error).__name__}: {error}'
        for name in USED:
            setattr(module, name, _unusable(name, reason))
        module.__all__ = list(USED)


def _unusable(name: str, reason: str) -> type:
    """A class that explains itself on any use but being imported."""

    def complain(*args: object, **kwargs: object) -> None:
        raise ImportError(
            f"{NAME}.{name} is not available: MMRazor's quantization does not work with the "
            f'installed torch ({reason}).'
        )

    meta = type('Unusable', (type,), {'__getitem__': complain, '__call__': complain})
    return meta(name, (), {'__doc__': f'Stand-in for ``{NAME}.{name}``.'})
