"""The algorithm of shared basis."""

from __future__ import annotations

from collections import defaultdict
from itertools import takewhile
from typing import Any

from mmengine.model import BaseModel
from torch import Tensor

from mmcompress.core.checks import weight_of_loss
from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.algorithm import FilterAlgorithm
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
        *,
        orthogonality: float = 10.0,
        **kwargs: Any,
    ) -> None:
        self.orthogonality = weight_of_loss(orthogonality, 'orthogonality')
        super().__init__(architecture, mutator_cfg, **kwargs)
        if self.orthogonality and self.is_double:
            self._check_double()
        self._start_orthogonal()

    def own_losses(self) -> dict[str, Tensor]:
        """The base class's, and ``loss_orthogonality``."""
        losses = super().own_losses()
        if self.orthogonality:
            # In `Double`, first and second convolutions have bases of their own: each kind has its
            # loss, in which unique filters count against the shared ones only.
            terms = [orthogonality(bases, not self.is_double) for bases in self._kinds()]
            losses['loss_orthogonality'] = self.orthogonality * sum(terms)
        return losses

    def _check_double(self) -> None:
        if all(basis.shared is None for bases in self._kinds() for basis in bases):
            raise CompressionError(
                f'orthogonality is {self.orthogonality!r}, but with parse_cfg.by_position and '
                'without shared filters there is nothing that it counts; set it to 0'
            )

    @property
    def is_double(self) -> bool:
        """Whether convolutions at different positions in a block have bases of their own."""
        return bool(self.mutator.parse_cfg.get('by_position', False))

    def _kinds(self) -> list[list[Basis]]:
        """Bases that share a loss: all, or in `Double` those at one position in their blocks."""
        kinds: dict[str, list[Basis]] = defaultdict(list)
        for unit in self.mutator.units.values():
            kinds[_position(unit) if self.is_double else ''].append(_basis(unit))
        return list(kinds.values())

    def _start_orthogonal(self) -> None:
        """Shared filters start orthonormal; those that serve the same blocks, all together."""
        together: dict[tuple, list[Tensor]] = defaultdict(list)
        for unit in self.mutator.units.values():
            shared = _basis(unit).shared
            if shared is not None:
                blocks = tuple(layer.rpartition('.')[0] for layer in unit.layers)
                together[blocks, shared[0].numel()].append(shared)
        for tensors in together.values():
            orthogonal_(tensors)


def _basis(unit: SharedBasisUnit) -> Basis:
    ops: list[SharedBasisConv2d] = list(unit.ops.values())
    unique = [op.unique_basis for op in ops if op.unique_basis is not None]
    return Basis(ops[0].shared_basis, unique, ops[0].basis_groups, ops[0].unique_groups)


def _position(unit: SharedBasisUnit) -> str:
    """The path that the unit's name and all of its layers end with, such as ``conv1``."""
    paths = [name.split('.')[::-1] for name in (unit.name, *unit.layers)]
    same = takewhile(lambda steps: len(set(steps)) == 1, zip(*paths, strict=False))
    return '.'.join(steps[0] for steps in same)
