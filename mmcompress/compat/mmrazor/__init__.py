"""What users of MMRazor bring along: its configs, names, files and the faults of the package.

MMRazor is not needed. Where it is missing, its configs and files are understood all the same.
"""

from __future__ import annotations

from . import mmcls_scope, quantization, recorders, scope, types
from .scope import serve

__all__ = ['apply', 'serve']


def apply() -> None:
    """Put the remedies for MMRazor's own faults in place."""
    quantization.apply()
    types.apply()
    scope.apply()
    recorders.apply()
    mmcls_scope.apply()
