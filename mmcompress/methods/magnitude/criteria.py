"""What a channel is worth: one class a criterion.

A criterion gives each channel of a unit a score; those of the smallest scores go. Scores are means
over the weights of a channel, so that layers of different size can be ranked together. A new
criterion is a subclass of :class:`Criterion` in :data:`CRITERIA`.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from mmcompress.core.errors import CompressionError

from .unit import MagnitudeUnit


class Criterion:
    """Scores the channels of a unit.

    Args:
        seed: Of the criteria that draw numbers.
    """

    #: Whether :meth:`watch` wants to see the gradients of every step.
    watches = False

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def check(self, unit: MagnitudeUnit) -> None:
        """See that the criterion can score a unit.

        Raises:
            CompressionError: If it can't.
        """

    def watch(self, unit: MagnitudeUnit) -> None:
        """Note what a training step says about the channels; called right before the step."""

    def score(self, unit: MagnitudeUnit) -> Tensor:
        """``Tensor[n]``, larger for channels that matter more."""
        raise NotImplementedError


class L1(Criterion):
    """Mean absolute weight. Source: Li et al., ICLR 2017."""

    def score(self, unit: MagnitudeUnit) -> Tensor:
        """Mean absolute weight, ``Tensor[n]``."""
        return unit.weights.abs().mean(1)


class L2(Criterion):
    """Root of the mean squared weight; the order within a layer is that of the L2 norm.

    Source: He et al., IJCAI 2018 (soft filter pruning).
    """

    def score(self, unit: MagnitudeUnit) -> Tensor:
        """Root of the mean squared weight, ``Tensor[n]``."""
        return unit.weights.square().mean(1).sqrt()


class BatchNormScale(Criterion):
    """Absolute weight of the norms directly behind the convolutions, on average.

    Source: Liu et al., ICCV 2017 (network slimming), without its L1 loss.
    """

    def check(self, unit: MagnitudeUnit) -> None:
        """Refuse a unit without a norm that has weights.

        Raises:
            CompressionError: If there is none.
        """
        if not unit.norm_weights:
            raise CompressionError(
                f"criterion is 'bn_scale', but no norm with weights stands behind the convolutions "
                f"of {unit.name!r}; choose another, such as 'l1'"
            )

    def score(self, unit: MagnitudeUnit) -> Tensor:
        """Absolute weight of the norm, ``Tensor[n]``."""
        return torch.stack(unit.norm_weights).abs().mean(0)


class GeometricMedian(Criterion):
    """Mean distance to all filters that are left: those in the middle can be made up for.

    Divided by the root of the number of weights, as :class:`L2` is.

    Source: He et al., CVPR 2019 (FPGM), Eq. 6.
    """

    def score(self, unit: MagnitudeUnit) -> Tensor:
        """Mean distance to the other filters that are left, ``Tensor[n]``."""
        weights, mask = unit.weights.double(), unit.op.mask.double()
        exact = 'donot_use_mm_for_euclid_dist'  # which loses the digits of small distances
        distances = torch.cdist(weights, weights, compute_mode=exact)
        mean = distances @ mask / mask.sum()
        return (mean / weights.shape[1] ** 0.5).to(unit.op.mask.dtype)


class Random(Criterion):
    """A number drawn for each channel, from the seed and the name of the unit."""

    def score(self, unit: MagnitudeUnit) -> Tensor:
        """A random number for each channel, ``Tensor[n]``."""
        generator = torch.Generator().manual_seed(self.seed + zlib.crc32(unit.name.encode()))
        return torch.rand(unit.num_channels, generator=generator).to(unit.op.mask)


class Taylor(Criterion):
    """Sum over training steps of the mean of ``|weight * gradient|``.

    That is to first order how much the loss changes without the weights, taken one by one.

    Source: Molchanov et al., CVPR 2019, Eq. 8, with absolute values for squares.
    """

    watches = True

    @torch.no_grad()
    def watch(self, unit: MagnitudeUnit) -> None:
        """Add abs(weight * gradient) of this step."""
        unit.op.evidence += (unit.weights * unit.gradients).abs().mean(1)

    def score(self, unit: MagnitudeUnit) -> Tensor:
        """What the steps so far added up to, ``Tensor[n]``."""
        return unit.op.evidence


CRITERIA: dict[str, type[Criterion]] = dict(
    l1=L1, l2=L2, bn_scale=BatchNormScale, fpgm=GeometricMedian, random=Random, taylor=Taylor
)
