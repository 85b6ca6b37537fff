"""The algorithm of filter basis."""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModel
from torch import Tensor

from mmcompress.core.checks import weight_of_loss
from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.algorithm import FilterAlgorithm
from mmcompress.registry import MODELS

from .mutator import FilterBasisMutator


@MODELS.register_module()
class FilterBasis(FilterAlgorithm):
    """Learned filter basis: layers are combinations of few filters over groups of channels.

    Args:
        architecture: The model to compress, or its config.
        mutator_cfg: A ``FilterBasisMutator`` by default, which gives every convolution larger
            than 1x1 a basis of its own.
        loss_norm: The authors' ``--loss_norm``: the reconstruction loss is the sum over the layers
            of ``mean((W - W')^2)``, instead of one relative distance of all layers, and
            ``norm_weight`` times the sum over the layers of ``mean(B^2)``, for their bases B, is
            added. ``reconstruction`` is 1 unless it is given.
        norm_weight: Weight of the second sum.
        **kwargs: ``init``, ``reconstruction``, ``target_pruning_ratio`` and the other arguments of
            :class:`~mmcompress.core.filters.algorithm.FilterAlgorithm`.

    Raises:
        CompressionError: If a setting is wrong.

    Source: Li et al., "Learning Filter Basis for Convolutional Neural Network Compression", ICCV
    2019. Starting from a dense network (``init='svd'``) is an addition.
    """

    mutator_type = FilterBasisMutator

    def __init__(
        self,
        architecture: BaseModel | dict,
        mutator_cfg: dict | None = None,
        *,
        loss_norm: bool = False,
        norm_weight: float = 0.05,
        **kwargs: Any,
    ) -> None:
        if not isinstance(loss_norm, bool):
            raise CompressionError(f'loss_norm is {loss_norm!r}; it has to be True or False')
        self.loss_norm = loss_norm
        self.norm_weight = weight_of_loss(norm_weight, 'norm_weight')
        if loss_norm and kwargs.setdefault('reconstruction', 1.0) == 0:
            raise CompressionError(
                'loss_norm is True and reconstruction is 0; remove one of the two'
            )
        super().__init__(architecture, mutator_cfg, **kwargs)

    def authors_mutator(self) -> dict[str, Any]:
        """The random numbers that bases and coefficients of the authors' ResNets start from."""
        args = dict(basis_start='uniform', coefficient_start='fan_in')
        return dict(filter_unit_cfg=dict(default_args=args))

    def own_losses(self) -> dict[str, Tensor]:
        """The reconstruction loss; with ``loss_norm`` also ``loss_norm``, that of the bases."""
        if not self.loss_norm:
            return super().own_losses()
        ops = self._ops()
        apart = sum((op.filters() - op.teacher).square().mean() for op in ops)
        norms = sum(op.sliced.square().mean() for op in ops)
        return dict(
            loss_reconstruction=self.reconstruction * apart, loss_norm=self.norm_weight * norms
        )
