"""Run something right before and right after an optimizer moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mmengine.optim import OptimWrapper
from torch import nn
from torch.optim import Optimizer

from mmcompress.core.errors import CompressionError


def around_step(
    optim_wrapper: OptimWrapper,
    parameters: Iterable[nn.Parameter],
    before: Callable[[], None],
    after: Callable[[], None],
) -> None:
    """Call ``before`` and ``after`` around every step that the optimizer really takes.

    At that point gradients are accumulated, reduced across ranks, unscaled and clipped, in
    whatever way the wrapper does these; a step that AMP skips calls neither. Weight decay is
    kept from ``parameters``, whatever the optimizer's settings.

    Args:
        optim_wrapper: As the runner built it.
        parameters: Which are not to decay.
        before: May change gradients.
        after: Sees the parameters moved.

    Raises:
        CompressionError: If the optimizer doesn't train them, or unscales gradients itself.
    """
    optimizer = getattr(optim_wrapper, 'optimizer', None)
    if not isinstance(optimizer, Optimizer):
        raise CompressionError(
            f'optim_wrapper is a {type(optim_wrapper).__name__}; FCF needs one with one optimizer, '
            'such as OptimWrapper or AmpOptimWrapper'
        )
    chosen = {id(parameter) for parameter in parameters}
    present = {id(p) for group in optimizer.param_groups for p in group['params']}
    if not chosen <= present:
        raise CompressionError(
            f'optim_wrapper: {len(chosen - present)} of {len(chosen)} vectors of scalars are not '
            'among the parameters of the optimizer; its constructor has to pass on all of them'
        )
    decaying = _Decay(chosen)

    def start(optimizer: Optimizer, *_: Any) -> None:
        # Set for the time of a step of an optimizer that unscales, and skips steps, by itself.
        if getattr(optimizer, 'found_inf', None) is not None:
            raise CompressionError(
                'optim_wrapper.optimizer: with fused=True the optimizer itself unscales gradients '
                'and skips steps under AMP, where FCF cannot see it; set fused=False'
            )
        before()
        decaying.suspend(optimizer)

    def end(optimizer: Optimizer, *_: Any) -> None:
        decaying.restore(optimizer)
        after()

    optimizer.register_step_pre_hook(start)
    optimizer.register_step_post_hook(end)


class _Decay:
    """Keeps some parameters, for the time of one step, in groups without weight decay.

    Schedules and checkpoints see the groups as they were built.
    """

    def __init__(self, chosen: set[int]) -> None:
        self.chosen = chosen
        self.before: list[list[nn.Parameter]] = []

    def suspend(self, optimizer: Optimizer) -> None:
        groups = list(optimizer.param_groups)
        self.before = [group['params'] for group in groups]
        for group in groups:
            apart = [p for p in group['params'] if id(p) in self.chosen]
            if apart and group.get('weight_decay'):
                group['params'] = [p for p in group['params'] if id(p) not in self.chosen]
                optimizer.param_groups.append(dict(group, params=apart, weight_decay=0))

    def restore(self, optimizer: Optimizer) -> None:
        del optimizer.param_groups[len(self.before) :]
        for group, params in zip(optimizer.param_groups, self.before, strict=True):
            group['params'] = params
