"""Checkpoints of FCF fit only models whose filters have scalars at the same places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from mmcompress.core.errors import CompressionError

#: Beside each v, and of one shape in every model.
MARK = '.keep'
#: Buffers that say how the mutator was set: its argument, and what False and True stand for.
SETTINGS = {
    'cut_inputs': ('cut_inputs', False, True),
    'scales_weight': ('scale', 'output', 'weight'),
}


def check_scalars(algorithm: nn.Module, state: dict[str, Tensor]) -> None:
    """Refuse scalars of another scope, or of another choice of layers.

    A dense network has none; its weights are loaded with scalars of 1. Where some are there and
    others not, the latter would be 1 too, and the filters to keep be the first ones.

    Args:
        algorithm: The model to load into.
        state: What is loaded; settings that it lacks are put in, as those of before they were.

    Raises:
        CompressionError: If layers have scalars in one of the two only, a norm is scaled in
            one of the two only, or a setting differs that both stages need the same of.
    """
    own = list(algorithm.state_dict())
    if 'admm.y1' in state:  # of a time when none was collected
        state.setdefault('admm.evidence', torch.zeros_like(state['admm.y1']))
    given = list(state)
    if not any(key.endswith(MARK) for key in given):
        return
    for name, (key, *values) in SETTINGS.items():
        here = getattr(algorithm, name)
        there = state.setdefault(name, torch.zeros_like(here))
        if bool(here) != bool(there):
            raise CompressionError(
                f'mutator_cfg.{key} is {values[bool(here)]!r}, but {values[bool(there)]!r} '
                'in the loaded checkpoint; both stages need the same'
            )
    for one, other, place in ((own, given, 'this model'), (given, own, 'the loaded checkpoint')):
        for layer in _differing(one, other):
            raise CompressionError(
                f'mutator_cfg: {layer.removeprefix("architecture.")!r} has scalars of its own in '
                f'{place} only; both stages need the same `scope` and `skip`'
            )


def _differing(one: Iterable[str], other: Iterable[str]) -> Iterator[str]:
    """Layers that have scalars, or a norm with a wrapper, in ``one`` and not in ``other``."""
    other = set(other)
    for key in one:
        if key in other:
            continue
        if key.endswith(MARK):
            yield key.removesuffix(MARK)
        parent, _, leaf = key.rpartition('.')
        if parent.endswith('.norm') and f'{parent.removesuffix(".norm")}.{leaf}' in other:
            yield parent.removesuffix('.norm')
