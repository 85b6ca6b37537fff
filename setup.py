"""The one step of building mmcompress that pyproject.toml has no words for.

OpenMMLab's tools (openmim, mmengine's ``lib::path/of/config.py``) look for a library's configs
and scripts in the folder ``.mim`` inside the package. :class:`BuildWithMim` puts them there:
copied into a wheel, linked in an editable install so that an edited config is never stale.
"""

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Builds the package together with its ``.mim`` folder."""

    def run(self) -> None:
        """Build, then copy or link what belongs into ``.mim``."""
        super().run()
        editable = getattr(self, 'editable_mode', False)
        target = (ROOT if editable else Path(self.build_lib)) / 'mmcompress' / '.mim'
        target.mkdir(parents=True, exist_ok=True)
        for name in MIM:
            source, place = ROOT / name, target / name
            if place.is_symlink() or place.is_file():
                place.unlink()
            elif place.is_dir():
                shutil.rmtree(place)
            if not source.exists():
                continue
            if editable:
                place.symlink_to(os.path.relpath(source, target))
            elif source.is_dir():
                shutil.copytree(
                    source, place, ignore=shutil.ignore_patterns('__pycache__', '*.pyc')
                )
            else:
                shutil.copy2(source, place)


setup(cmdclass={'build_py': BuildWithMim})
