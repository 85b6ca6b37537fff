"""Optimizer constructors take the model that is trained for the outermost one.

Fault: layer-wise learning rates of mmdet, mmpretrain, mmseg and mmpose come from the names of
parameters, which they expect to begin with ``backbone.``. In a model inside of another they begin
otherwise: every layer gets the learning rate of the last one, silently, or an error.

Remedy: a model with a method ``named_as_dense`` says whose names count. It stands in the one place
where all constructors begin, mmengine's ``DefaultOptimWrapperConstructor.__call__``.

Does nothing for other models, and for constructors that don't extend mmengine's.
"""

from __future__ import annotations

from functools import wraps
from types import ModuleType
from typing import Any

from ._hooks import after_import


def apply() -> None:
    """Wait for mmengine's constructor."""
    after_import('mmengine.optim.optimizer.default_constructor', _patch)


def _patch(constructors: ModuleType) -> None:
    kind = constructors.DefaultOptimWrapperConstructor
    original = kind.__call__

    @wraps(original)
    def call(self: Any, model: Any) -> Any:
        # As in the original: the model of a distributed wrapper.
        inner = model.module if hasattr(model, 'module') else model
        if hasattr(inner, 'named_as_dense'):
            model = inner.named_as_dense()
        return original(self, model)

    kind.__call__ = call
