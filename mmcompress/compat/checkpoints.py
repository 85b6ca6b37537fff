"""mmengine cannot load its own training checkpoints.

Fault: since torch 2.6, ``torch.load`` refuses every class it was not told about ("Weights only
load failed"). mmengine 0.10.7 saves the log with each checkpoint, in ``HistoryBuffer`` objects
that hold numpy arrays, and calls ``torch.load`` without telling. Resuming and testing both stop.

Remedy: name exactly those classes to torch as safe. Checkpoints are still loaded under torch's
rule that nothing unknown is executed; ``weights_only=False`` is never used. The log also refers
to ``getattr``, through which a crafted file could reach into loaded modules, so torch is given
a substitute that finds the statistics of ``HistoryBuffer`` and nothing else.

Does nothing under torch < 2.6.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.utils import digit_version

# Characters of the plain numeric dtypes. Never 'O': an object array may hold anything.
NUMERIC = '?bhilqBHILQefd'
# numpy moved this module in 2.0; a checkpoint names the place it was saved from.
NUMPY_HOMES = ('numpy.core.multiarray', 'numpy._core.multiarray')
# The methods that mmengine saves with every buffer.
STATISTICS = ('min', 'max', 'mean', 'current')


def apply() -> None:
    """Tell torch which classes mmengine's checkpoints hold."""
    if digit_version(torch.__version__) < digit_version('2.6'):
        return
    multiarray = (np._core if hasattr(np, '_core') else np.core).multiarray
    safe: list = [HistoryBuffer, np.ndarray, np.dtype]
    # The same type may stand behind several characters, and a list may name it twice.
    safe += sorted({type(np.dtype(char)) for char in NUMERIC}, key=lambda kind: kind.__name__)
    for home in NUMPY_HOMES:
        safe.append((multiarray._reconstruct, f'{home}._reconstruct'))
        safe.append((multiarray.scalar, f'{home}.scalar'))
    safe.append((_statistic, 'builtins.getattr'))
    torch.serialization.add_safe_globals(safe)


def _statistic(owner: object, name: str) -> Callable:
    """Stands in for ``getattr`` while a checkpoint is loaded.

    Args:
        owner: Whose attribute the checkpoint asks for.
        name: Name of the attribute.

    Returns:
        One of the statistics of ``HistoryBuffer`` (mean, max, ...).

    Raises:
        pickle.UnpicklingError: If anything else is asked for.
    """
    if owner is not HistoryBuffer or name not in STATISTICS:
        raise pickle.UnpicklingError(
            f'The checkpoint asks for the attribute {name!r} of {owner!r}. No training checkpoint '
            'of mmengine does that; it was refused.'
        )
    return getattr(HistoryBuffer, name)
