"""mmcompress: smaller and faster convolutional models for OpenMMLab.

Importing the package registers every algorithm, mutator, unit, network and data set.
"""

from mmcompress import compat

compat.apply()  # before anything that imports an old dependency

from mmcompress import core, datasets, engine, methods, models, registry  # noqa: E402
from mmcompress.core.export.checkpoint import load_compact  # noqa: E402
from mmcompress.version import __version__  # noqa: E402

compat.mmrazor.serve(registry.ROOTS, engine.ExportValLoop)

__all__ = ['__version__', 'core', 'datasets', 'engine', 'load_compact', 'methods', 'models']
