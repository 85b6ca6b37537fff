"""MMRazor's recorders look for layers of the student under the names of the dense network.

Fault: a distiller records what a layer returns by its name (``source='neck.gap'``). In a student
that mmcompress compresses the same layer is called ``architecture.neck.gap``.

Remedy: where the student has a method ``named_as_dense``, names are looked up in what it returns,
unless they begin with ``architecture.``.

Does nothing for other students, and without MMRazor.
"""

from __future__ import annotations

from functools import wraps
from types import ModuleType
from typing import Any

from .._hooks import after_import


def apply() -> None:
    """Wait for MMRazor's recorders."""
    after_import('mmrazor.models.task_modules.recorder.base_recorder', _patch)


def _patch(module: ModuleType) -> None:
    original = module.BaseRecorder.initialize

    @wraps(original)
    def initialize(self: Any, model: Any = None) -> Any:
        own = str(self.source).startswith('architecture.')
        if not own and hasattr(model, 'named_as_dense'):
            model = model.named_as_dense()
        return original(self, model)

    module.BaseRecorder.initialize = initialize
