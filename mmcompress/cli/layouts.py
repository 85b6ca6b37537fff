"""The layouts of checkpoints that ``convert`` reads.

Imports nothing but the standard library, for help texts to wait for nothing.
"""

from __future__ import annotations

from .program import PACKAGE

#: Files of methods that know a layout, by its name behind this.
PREFIX = 'layout_'


def layouts() -> dict[str, str]:
    """The modules that know a layout, by its name; found by their files, nothing is imported."""
    return {
        file.stem.removeprefix(PREFIX): f'mmcompress.methods.{file.parent.name}.{file.stem}'
        for file in sorted(PACKAGE.glob(f'methods/*/{PREFIX}*.py'))
    }
