"""mmengine does not find packages that Python itself finds.

Fault: for ``lib::path/of/config.py``, ``mmengine.utils.package_utils`` asks pkg_resources where a
package is. Three things go wrong. pkg_resources is gone since setuptools 82, and the question
itself fails. A fork of a library is installed under another distribution name, and is taken for
missing. An editable install (PEP 660) has its metadata in one place and its code in another, and
the answer is a folder that does not exist.

It is slow, too: each question reads the metadata of all packages again.

Remedy: a package is installed, and is, where importlib finds its module. Only if importlib finds
none, the original is asked.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from contextlib import suppress
from functools import wraps
from importlib import metadata
from types import ModuleType

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.utils import package_utils

from ._hooks import after_import, is_importable

# Modules that have taken the functions over by name.
HOLDERS = (
    'mmengine.utils.package_utils',
    'mmengine.utils',
    'mmengine.config.config',
    'mmengine.hub.hub',
)

_original_is_installed = package_utils.is_installed
_original_get_installed_path = package_utils.get_installed_path


def apply() -> None:
    """Put the functions below in the places of mmengine's."""
    for holder in HOLDERS:
        after_import(holder, _replace)


def module_of(package: str) -> str:
    """The module that a package is imported as.

    Args:
        package: Name of a distribution, e.g. ``mmsegmentation``.

    Returns:
        Name of the module, e.g. ``mmseg``; the package's own name if no other is known.
    """
    modules = [module for module, name in MODULE2PACKAGE.items() if name == package]
    if modules:
        # `mmcls` may stand for mmpretrain too, see mmcls_scope.
        return package if package in modules else modules[0]
    try:
        top_level = metadata.distribution(package).read_text('top_level.txt')
    except metadata.PackageNotFoundError:
        top_level = None
    return top_level.split()[0] if top_level else package


@wraps(_original_is_installed)
def is_installed(package: str) -> bool:
    """Whether a package is installed, under whatever distribution name."""
    if is_importable(module_of(package)):
        return True
    try:
        return _original_is_installed(package)
    except ImportError:  # pkg_resources
        try:
            metadata.distribution(package)
            return True
        except metadata.PackageNotFoundError:
            return False


@wraps(_original_get_installed_path)
def get_installed_path(package: str) -> str:
    """The folder that a package's module lies in.

    Raises:
        ModuleNotFoundError: If there is no such module.
    """
    module = module_of(package)
    spec = importlib.util.find_spec(module) if is_importable(module) else None
    for folder in (spec and spec.submodule_search_locations) or ():
        return folder
    # pkg_resources' own exceptions cannot be named here: it may be missing itself.
    with suppress(Exception):
        path = _original_get_installed_path(package)
        if os.path.exists(path):
            return path
    raise ModuleNotFoundError(f'{package} is not installed')


def _replace(holder: ModuleType) -> None:
    for name, original in (
        ('is_installed', _original_is_installed),
        ('get_installed_path', _original_get_installed_path),
    ):
        if getattr(holder, name, None) is original:
            setattr(holder, name, getattr(sys.modules[__name__], name))
