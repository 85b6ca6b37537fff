"""mmcompress: smaller and faster convolutional models for OpenMMLab.

Importing the package registers every algorithm, mutator, unit, network and data set.
"""

from typing import Any

from mmcompress.cli import program
from mmcompress.version import __version__

if not program.is_running():
    # Our own command line imports it as well, but answers --help and mistakes before.
    from mmcompress.everything import (
        compress,
        core,
        datasets,
        engine,
        export,
        load,
        load_compact,
        methods,
        models,
    )

__all__ = [
    '__version__',
    'compress',
    'core',
    'datasets',
    'engine',
    'export',
    'load',
    'load_compact',
    'methods',
    'models',
]


def __getattr__(name: str) -> Any:
    """What is imported later in a process of the command line."""
    if name in __all__:
        from mmcompress import everything

        return getattr(everything, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
