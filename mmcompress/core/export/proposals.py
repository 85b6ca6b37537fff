"""Two detectors that are compared on the same proposals."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from mmcompress.core.probe.probe import tensors_in


class Proposals:
    """The proposals of a first detector, with which a second one goes on.

    Which boxes are proposed, and in which order, hangs on a ranking of scores. Rounding turns
    scores around that are nearly equal, and what comes behind would then be about other boxes. So
    the maps that proposals are made of are compared, and the same proposals are handed on.

    Attributes:
        maps: Of the model that ran last, in the order of its proposal heads' calls.
    """

    def __init__(self) -> None:
        self.maps: list[Tensor] = []
        self._made: list[Any] = []
        self._used = 0

    @contextmanager
    def of(self, model: nn.Module, first: bool) -> Iterator[None]:
        """Inside, the model makes proposals; or it takes those of the first one.

        Args:
            model: Left as it was afterwards.
            first: Whether it makes them.
        """
        self.maps, self._used = [], 0
        if first:
            self._made = []
        heads: list[Any] = [
            module
            for name, module in model.named_modules()
            if name.rpartition('.')[2] == 'rpn_head' and hasattr(module, 'predict_by_feat')
        ]
        for head in heads:
            head.predict_by_feat = partial(self._propose, head.predict_by_feat, first)
        try:
            yield
        finally:
            for head in heads:
                del head.predict_by_feat

    def _propose(self, make: Callable[..., Any], first: bool, *args: Any, **kwargs: Any) -> Any:
        self.maps += tensors_in([list(args), kwargs])
        made = make(*args, **kwargs)
        if first:
            self._made.append(copy.deepcopy(made))
            return made
        self._used += 1
        return copy.deepcopy(self._made[self._used - 1])
