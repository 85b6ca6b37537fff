"""MMRazor, MMDetection and MMSegmentation refuse every mmcv after 2.1.0.

Fault: their ``__init__.py`` asserts a highest ``mmcv.__version__``. mmcv 2.2.0 and the forks that
carry on from it work with them. MMRazor tries to import the other two, and is prepared for their
absence but not for an ``AssertionError``: one of them refusing is enough to stop it.

Remedy: when the assertion fails because mmcv is too new, the library's own lower limit is what
``mmcv.__version__`` reads while that ``__init__.py`` is executed a second time, and only then.
For the task libraries, whose operators do depend on mmcv, there is a warning.

Does nothing when the assertion holds, and when it fails for any other reason.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from types import ModuleType

from mmengine.utils import digit_version

from ._hooks import around_import

LIBRARIES = ('mmrazor', 'mmdet', 'mmseg')


def apply() -> None:
    """Watch the import of the libraries."""
    for library in LIBRARIES:
        around_import(library, _import_with_accepted_version)


def _import_with_accepted_version(module: ModuleType, execute: Callable[[], None]) -> None:
    try:
        execute()
    except AssertionError:
        mmcv = sys.modules.get('mmcv')
        # mmseg calls the two limits MMCV_MIN and MMCV_MAX.
        lowest = getattr(module, 'mmcv_minimum_version', getattr(module, 'MMCV_MIN', None))
        highest = getattr(module, 'mmcv_maximum_version', getattr(module, 'MMCV_MAX', None))
        if mmcv is None or lowest is None or highest is None:
            raise
        installed = mmcv.__version__
        if digit_version(installed) < digit_version(highest):
            raise
        if module.__name__ != 'mmrazor':
            warnings.warn(
                f'{module.__name__} was made for mmcv before {highest}; it is used with mmcv '
                f'{installed} without its version check.',
                stacklevel=2,
            )
        mmcv.__version__ = lowest  # type: ignore[attr-defined]
        try:
            execute()
        finally:
            mmcv.__version__ = installed  # type: ignore[attr-defined]
