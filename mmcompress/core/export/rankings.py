"""Two networks that are compared on the same proposals, and on the same points."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from mmcompress.core.probe.probe import tensors_in

#: Methods that choose by a ranking: boxes of an RPN head, and points of PointRend's heads, of mmseg
#: and of mmdet.
PROPOSE = 'predict_by_feat'
POINTS = (
    'get_points_test',
    'get_points_train',
    'get_roi_rel_points_test',
    'get_roi_rel_points_train',
)


class Rankings:
    """What a first network chooses by rankings, with which a second one goes on.

    Which boxes are proposed, which points are refined, and in which order, hangs on a ranking of
    scores. Rounding turns scores around that are nearly equal, and what comes behind would then be
    about other boxes or points. So the maps that are ranked are compared, and the same choice is
    handed on.

    Attributes:
        maps: Of the model that ran last, in the order of the calls.
    """

    def __init__(self) -> None:
        self.maps: list[Tensor] = []
        self._made: list[Any] = []
        self._used = 0

    @contextmanager
    def of(self, model: nn.Module, first: bool) -> Iterator[None]:
        """Inside, the model chooses; or it takes the choices of the first one.

        Args:
            model: Left as it was afterwards.
            first: Whether it chooses.
        """
        self.maps, self._used = [], 0
        if first:
            self._made = []
        methods = [
            (module, name) for place, module in model.named_modules() for name in _of(place, module)
        ]
        for module, name in methods:
            setattr(module, name, partial(self._rank, getattr(module, name), first))
        try:
            yield
        finally:
            for module, name in methods:
                delattr(module, name)

    def _rank(self, choose: Callable[..., Any], first: bool, *args: Any, **kwargs: Any) -> Any:
        self.maps += tensors_in([list(args), kwargs])
        made = choose(*args, **kwargs)  # always: it may draw random numbers
        if first:
            self._made.append(copy.deepcopy(made))
            return made
        self._used += 1
        return copy.deepcopy(self._made[self._used - 1])


def _of(place: str, module: nn.Module) -> list[str]:
    """Methods of a module that choose by a ranking."""
    names = [name for name in POINTS if hasattr(module, name)]
    if place.rpartition('.')[2] == 'rpn_head' and hasattr(module, PROPOSE):
        names.append(PROPOSE)
    return names
