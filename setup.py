"""Packaging of mmcompress.

OpenMMLab's tools (openmim, mmengine's ``lib::path/of/config.py``) look for a library's configs
and scripts in the folder ``.mim`` inside the package. :class:`BuildWithMim` puts them there:
copied into a wheel, linked in an editable install so that an edited config is never stale.
"""

import os
import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
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


def requirements(name: str) -> list[str]:
    """Read ``requirements/<name>.txt`` without its comments and pip options."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    stripped = (line.partition('#')[0].strip() for line in lines)
    return [line for line in stripped if line and not line.startswith('-')]


EXTRAS = ('cls', 'det', 'seg', 'pose', 'sr', 'demo', 'fit', 'plot')
extras = {name: requirements(name) for name in EXTRAS}
extras['all'] = sorted({line for name in EXTRAS for line in extras[name]})
readme = ROOT / 'README.md'

setup(
    name='mmcompress',
    version=runpy.run_path(str(ROOT / 'mmcompress' / 'version.py'))['__version__'],
    description='Compression of convolutional networks for every OpenMMLab task library',
    long_description=readme.read_text(encoding='utf-8') if readme.exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmcompress', 'mmcompress.*']),
    include_package_data=True,
    python_requires='>=3.10',
    install_requires=requirements('runtime'),
    extras_require=extras,
    entry_points={'console_scripts': ['mmcompress = mmcompress.cli:main']},
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
