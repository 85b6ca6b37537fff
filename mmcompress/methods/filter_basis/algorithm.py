"""The algorithm of filter basis."""

from __future__ import annotations

from typing import Any

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
        **kwargs: ``init``, ``reconstruction``, ``target_pruning_ratio`` and the other arguments of
            :class:`~mmcompress.core.filters.algorithm.FilterAlgorithm`.

    Source: Li et al., "Learning Filter Basis for Convolutional Neural Network Compression", ICCV
    2019. Starting from a dense network (``init='svd'``) is an addition.
    """

    mutator_type = FilterBasisMutator

    def authors_mutator(self) -> dict[str, Any]:
        """The random numbers that bases and coefficients of the authors' ResNets start from."""
        args = dict(basis_start='uniform', coefficient_start='fan_in')
        return dict(filter_unit_cfg=dict(default_args=args))
