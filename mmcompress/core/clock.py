"""Where training stands, as a hook hands it to an algorithm."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """The runner's time at the beginning of an iteration.

    An epoch is one pass over the data, also in a loop that counts iterations.

    Attributes:
        epoch: Epochs that are over.
        iteration: Iterations that are over, in all epochs.
        max_epochs: Length of training in epochs; not whole in a loop that counts iterations.
        max_iterations: Length of training in iterations.
        starts_epoch: Whether this iteration is the first of an epoch.
    """

    epoch: int
    iteration: int
    max_epochs: float
    max_iterations: int
    starts_epoch: bool
