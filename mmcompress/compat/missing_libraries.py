"""mmengine installs missing libraries on its own.

Fault: ``mmengine.hub.get_config('lib::...')`` and ``get_model`` run ``pip install`` when ``lib`` is
missing, unasked and in whatever environment answers to ``python``. ``_base_ = 'lib::...'`` stops
instead, but names the distribution only.

Remedy: both stop with one sentence that says what is missing and how to install it. Nothing in
a process that has imported mmcompress starts pip.

Does nothing when the library is there.
"""

from __future__ import annotations

from typing import Any

from ._hooks import after_import
from .installed_packages import is_installed, module_of

# Module: name for pip, our extra. mmcls has become mmpretrain.
LIBRARIES = {
    'mmcls': ('mmpretrain', 'cls'),
    'mmpretrain': ('mmpretrain', 'cls'),
    'mmdet': ('mmdet', 'det'),
    'mmseg': ('mmsegmentation', 'seg'),
    # The extra alone cannot bring mmpose, see requirements/pose.txt.
    'mmpose': ('--no-deps mmpose', 'pose'),
}


def apply() -> None:
    """Replace mmengine's installer, and its question in front of ``_base_``."""
    after_import('mmengine.hub.hub', _patch_hub)
    after_import('mmengine.config.config', _patch_config)


def require(package: str) -> bool:
    """Make sure that a package is installed.

    Args:
        package: Name of the distribution as mmengine knows it, e.g. ``mmsegmentation``.

    Returns:
        True.

    Raises:
        ModuleNotFoundError: If it is not installed.
    """
    if is_installed(package):
        return True
    module = module_of(package)
    name, extra = LIBRARIES.get(module, (package, None))
    install = f'`pip install {name}`'
    if name.startswith('-'):
        install = f'`pip install "mmcompress[{extra}]"` and {install}'
    elif extra:
        install += f' or `pip install "mmcompress[{extra}]"`'
    raise ModuleNotFoundError(f"{module} is needed for '{module}::...': install it with {install}")


def _patch_hub(hub: Any) -> None:
    hub.install_package = require


def _patch_config(config: Any) -> None:
    # Its only use there is to raise if the answer is no.
    config.is_installed = require
