"""The contract of every trainable layer that stands in for one of the architecture's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

#: The only form of an op that has no others.
PLAIN = 'plain'


@dataclass(frozen=True)
class Recipe:
    """How one tensor of a static layer is made of stored ones.

    Attributes:
        function: Name of a function in ``TASK_UTILS``. It is called with the stored tensors by
            name and the shape of what it makes, and returns that in float64.
        tensors: What is stored, by name; of several recipes, one tensor is stored once.
        settings: Keyword arguments of the function; JSON.
    """

    function: str
    tensors: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)


class Op(nn.Module, ABC):
    """A trainable layer that stands in for a layer of the architecture.

    An op answers four questions: which plain layers replace it after training
    (:meth:`to_static`), in which :attr:`forms`, at what :meth:`cost`; which tensors a file has
    to hold (:meth:`stored`); and what it becomes when a dense network is loaded
    (:meth:`fill_missing`).
    """

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms that :meth:`to_static` can give; at equal cost the first is the better one."""
        return (PLAIN,)

    @property
    def rank(self) -> int | None:
        """How many filters all filters of the layer are made of; None where they are made of none.

        Reports show it; ops whose filters are combinations of others extend it.
        """
        return None

    @abstractmethod
    def to_static(self, form: str | None = None) -> nn.Module:
        """Plain layers that do the same in eval mode.

        Args:
            form: One of :attr:`forms`; by default the one that the op prefers.
        """

    def cost(self, form: str) -> int:
        """Weights of a form, which are its MACs for one position of the output."""
        weights = [p for p in self.to_static(form).parameters() if p.ndim > 1]
        return sum(weight.numel() for weight in weights)

    def stored(self) -> dict[str, Tensor]:
        """The tensors that a compact file needs for this layer, by name.

        What ops share is the same tensor in the answer of each of them.
        """
        return {key: value.detach() for key, value in self.to_static().state_dict().items()}

    def recipes(self, form: str | None = None) -> dict[str, Recipe]:
        """How tensors of the static layers are made of fewer stored numbers.

        Args:
            form: As for :meth:`to_static`.

        Returns:
            By the name of a tensor in ``to_static(form).state_dict()``; tensors that a file has to
            hold as they are are left out.
        """
        return {}

    def fill_missing(self, state: dict[str, Tensor], prefix: str) -> None:
        """Complete the weights of a dense layer: keys that they lack keep their current value.

        Args:
            state: What is loaded; changed in place.
            prefix: Of this op's keys in it.
        """
        for key, value in self.state_dict().items():
            state.setdefault(prefix + key, value.clone())
