"""Everything that ``import mmcompress`` imports, in the order that old dependencies need."""

from mmcompress import compat

compat.apply()  # before anything that imports an old dependency

from mmcompress import core, datasets, engine, latency, methods, models, registry  # noqa: E402, F401
from mmcompress.api import compress, export, load  # noqa: E402, F401
from mmcompress.core.export.checkpoint import load_compact  # noqa: E402, F401

compat.mmrazor.serve(registry.ROOTS, engine.ExportValLoop)
