"""What users of MMRazor bring along: its configs, names, files and the faults of the package.

MMRazor is not needed. Where it is missing nothing of it is imported or looked for.
"""

from __future__ import annotations

from . import mmcls_scope, quantization, types

__all__ = ['apply']


def apply() -> None:
    """Put the remedies for MMRazor's own faults in place."""
    quantization.apply()
    types.apply()
    mmcls_scope.apply()
