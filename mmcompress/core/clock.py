"""Where training stands, as a hook hands it to an algorithm."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """The runner's time at the beginning of an iteration.

    Attributes:
        epoch: Epochs that are over.
        iteration: Iterations that are over, in all epochs.
        max_epochs: Length of training in epochs (1 in an iteration-based loop).
        max_iterations: Length of training in iterations.
        by_epoch: Whether the loop counts in epochs.
        starts_epoch: Whether this iteration is the first of an epoch.
    """

    epoch: int
    iteration: int
    max_epochs: int
    max_iterations: int
    by_epoch: bool
    starts_epoch: bool
