"""The algorithm of shared basis."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from mmengine.model import BaseModel
from torch import Tensor

from mmcompress.core.filter_algorithm import FilterAlgorithm, weight_of_loss
from mmcompress.registry import MODELS

from .init import orthogonal_
from .mutator import SharedBasisMutator
from .op import SharedBasisConv2d
from .regularizer import Basis, orthogonality
from .unit import SharedBasisUnit


@MODELS.register_module()
class SharedBasis(FilterAlgorithm):
    """Deeply shared filter bases: the blocks of a stage share filters, beside a few of their own.

    Args:
        architecture: See the base class.
        mutator_cfg: A ``SharedBasisMutator`` by default.
        orthogonality: Weight ``lambda`` of the loss that keeps the filters orthonormal.
        **kwargs: See the base class.

    Raises:
        CompressionError: If a setting is wrong.

    Source: Kang & Kim, "Deeply Shared Filter Bases for Parameter-Efficient Convolutional Neural
    Networks", arXiv:2006.05066. Starting from a dense network (``init='svd'``) is an addition.
    """

    mutator_type = SharedBasisMutator

    def __init__(
        self,
        architecture: BaseModel | dict,
        mutator_cfg: dict | None = None,
        orthogonality: float = 10.0,
        **kwargs: Any,
    ) -> None:
        self.orthogonality = weight_of_loss(orthogonality, 'orthogonality')
        super().__init__(architecture, mutator_cfg or dict(type='SharedBasisMutator'), **kwargs)
        self._start_orthogonal()

    def own_losses(self) -> dict[str, Tensor]:
        """The base class's, and ``loss_orthogonality``."""
        losses = super().own_losses()
        if self.orthogonality:
            kinds = self._kinds()
            # Where first and second convolutions have bases of their own, each has its loss, and
            # unique filters count against the shared ones only.
            terms = [
                orthogonality([self._basis(unit) for unit in units], unique_blocks=len(kinds) == 1)
                for units in kinds
            ]
            losses['loss_orthogonality'] = self.orthogonality * sum(terms)
        return losses

    def _kinds(self) -> list[list[SharedBasisUnit]]:
        """Units by the position that their layers have in blocks."""
        kinds: dict[str, list[SharedBasisUnit]] = defaultdict(list)
        for unit in self.mutator.units.values():
            positions = {layer.rpartition('.')[2] for layer in unit.layers}
            kinds[positions.pop() if len(positions) == 1 else ''].append(unit)
        return list(kinds.values())

    def _basis(self, unit: SharedBasisUnit) -> Basis:
        ops: list[SharedBasisConv2d] = [
            self.architecture.get_submodule(layer) for layer in unit.layers
        ]
        return Basis(
            ops[0].shared_basis,
            [op.unique_basis for op in ops if op.unique_basis is not None],
            ops[0].basis_groups,
            ops[0].unique_groups,
        )

    def _start_orthogonal(self) -> None:
        """Shared filters start orthonormal; those that serve the same blocks, all together."""
        together: dict[tuple, list[Tensor]] = defaultdict(list)
        for unit in self.mutator.units.values():
            shared = unit.ops[unit.layers[0]].shared_basis
            if shared is not None:
                blocks = tuple(layer.rpartition('.')[0] for layer in unit.layers)
                together[blocks, shared[0].numel()].append(shared)
        for tensors in together.values():
            orthogonal_(tensors)
