"""mmengine reads configs of the libraries it knows by name only.

Fault: ``lib::path/of/config.py`` (in ``_base_``, ``mmengine.hub`` and configs of other projects)
is understood for a fixed list of libraries.

Remedy: add mmcompress to that list. The configs are found in ``mmcompress/.mim/configs``, where
setup.py puts them. Recipes are named by metafiles (model-index.yml) with the path that they have,
and mmengine takes what no metafile names for a path below configs/, so every such path works.

Does nothing when mmengine knows mmcompress.
"""

from __future__ import annotations

from mmengine.config.utils import MODULE2PACKAGE


def apply() -> None:
    """Make ``mmcompress::`` known."""
    MODULE2PACKAGE.setdefault('mmcompress', 'mmcompress')
