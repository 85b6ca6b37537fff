"""The algorithm of shared basis."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import takewhile
from typing import Any

from mmengine.model import BaseModel
from torch import Tensor, nn

from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.filters.algorithm import FilterAlgorithm, weight_of_loss
from mmcompress.registry import MODELS

from .init import orthogonal_
from .mutator import SharedBasisMutator
from .regularizer import CROSS, SEPARATE, Basis, orthogonality
from .unit import SharedBasisUnit

#: Terms of the loss, and what each can be; the first is the default.
TERMS: dict[str, tuple] = dict(
    unique=(False, True, CROSS),
    joint=(False, True, SEPARATE),
    borrow=(False, True),
    as_one_group=(False, True),
)


@MODELS.register_module()
class SharedBasis(FilterAlgorithm):
    """Deeply shared filter bases: the blocks of a stage share filters, beside a few of their own.

    Args:
        architecture: The model to compress, or its config.
        mutator_cfg: A ``SharedBasisMutator`` by default.
        orthogonality: Weight ``lambda`` of the loss that keeps the filters orthonormal.
        orthogonality_terms: What counts in it: ``unique``, ``joint``, ``borrow`` and
            ``as_one_group`` of :func:`~mmcompress.methods.shared_basis.regularizer.orthogonality`.
            By default the shared filters of each unit alone. With ``faithful=True`` those of the
            authors' program for CIFAR-10: ``unique=True``, and ``joint=True`` where filter units
            have layers in the same blocks.
        orthogonal_start: Whether shared filters start orthonormal, those that serve the same
            blocks together, and all else as Kaiming says. Without that, filters and coefficients
            start as PyTorch's own convolutions do.
        **kwargs: ``init``, ``reconstruction``, ``target_pruning_ratio`` and the other arguments of
            :class:`~mmcompress.core.filters.algorithm.FilterAlgorithm`.

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
        orthogonality_terms: dict | None = None,
        orthogonal_start: bool = True,
        **kwargs: Any,
    ) -> None:
        self.orthogonality = weight_of_loss(orthogonality, 'orthogonality')
        self.orthogonality_terms = _terms(orthogonality_terms)
        if not isinstance(orthogonal_start, bool):
            raise CompressionError(
                f'orthogonal_start is {orthogonal_start!r}; it has to be True or False'
            )
        super().__init__(architecture, mutator_cfg, **kwargs)
        self._together = _same_blocks(list(self.mutator.units.values()))
        if self.faithful:
            joint = any(len(names) > 1 for names in self._together)
            theirs = dict(unique=True, joint=joint)
            self.orthogonality_terms = _terms({**theirs, **(orthogonality_terms or {})})
        if self.orthogonality:
            self._check_counts()
        if orthogonal_start:
            self._start_orthogonal()
        else:
            self._start_as_convolutions()

    def own_losses(self) -> dict[str, Tensor]:
        """The base class's, and ``loss_orthogonality``."""
        losses = super().own_losses()
        if self.orthogonality:
            loss = orthogonality(self._bases(), **self.orthogonality_terms)
            losses['loss_orthogonality'] = self.orthogonality * loss
        return losses

    def _check_counts(self) -> None:
        terms = self.orthogonality_terms
        bases = [basis for group in self._bases() for basis in group]
        own = terms['unique'] is True and any(basis.unique for basis in bases)
        if not own and all(basis.shared is None for basis in bases):
            raise CompressionError(
                f'orthogonality is {self.orthogonality!r}, but there are no shared filters, and '
                f'orthogonality_terms.unique is {terms["unique"]!r}: there is nothing that it '
                'counts; set it to 0'
            )
        if terms['joint'] and all(len(names) == 1 for names in self._together):
            raise CompressionError(
                f'orthogonality_terms.joint is {terms["joint"]!r}, but no two filter units have '
                'layers in the same blocks; leave it out, or set parse_cfg.by_position'
            )

    def _bases(self) -> list[list[Basis]]:
        """The bases of all units, those that serve the same blocks together."""
        units = self.mutator.units
        return [[_basis(units[name]) for name in names] for names in self._together]

    def _start_orthogonal(self) -> None:
        """Shared filters start orthonormal; those that serve the same blocks, all together."""
        for group in self._bases():
            together: dict[int, list[Tensor]] = defaultdict(list)
            for basis in group:
                if basis.shared is not None:
                    together[basis.shared[0].numel()].append(basis.shared)
            for length, tensors in together.items():
                # More filters than one has weights can't all be orthonormal.
                fit = sum(map(len, tensors)) <= length
                for part in [tensors] if fit else [[tensor] for tensor in tensors]:
                    orthogonal_(part)

    def _start_as_convolutions(self) -> None:
        """Filters and coefficients start as those of ``torch.nn.Conv2d``."""
        for op in self._ops():
            for parameter in op.parameters():
                if parameter.dim() == 4:
                    nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))


def _terms(given: Any) -> dict[str, Any]:
    """All terms of the loss.

    Raises:
        CompressionError: If one is unknown, or is what it can't be.
    """
    terms = {key: values[0] for key, values in TERMS.items()}
    if given is None:
        return terms
    if not isinstance(given, dict):
        raise CompressionError(f'orthogonality_terms is {given!r}; it has to be a dict')
    for key, value in given.items():
        if key not in TERMS:
            raise CompressionError(
                f'orthogonality_terms has {key!r}; the nearest keys are {nearest(key, TERMS)}'
            )
        # 1 equals True, but is none of the values.
        if not any(type(value) is type(valid) and value == valid for valid in TERMS[key]):
            raise CompressionError(
                f'orthogonality_terms.{key} is {value!r}; it has to be one of '
                f'{", ".join(map(repr, TERMS[key]))}'
            )
        terms[key] = value
    if terms['borrow'] and not (terms['unique'] and terms['joint'] == SEPARATE):
        raise CompressionError(
            f'orthogonality_terms.borrow is True, with unique {terms["unique"]!r} and joint '
            f'{terms["joint"]!r}; it takes unique filters from another position, which needs '
            f"unique=True or 'cross', and joint='separate'"
        )
    return terms


def _same_blocks(units: list[SharedBasisUnit]) -> list[list[str]]:
    """Names of the units that have layers in the same blocks, together; both in order."""
    groups: list[tuple[set[str], list[str]]] = []
    for unit in units:
        blocks, names = _blocks(unit), [unit.name]
        met = [group for group in groups if group[0] & blocks]
        for group in met:
            groups.remove(group)
        groups.append(
            (
                blocks.union(*(group[0] for group in met)),
                [name for group in met for name in group[1]] + names,
            )
        )
    return [names for _, names in groups]


def _blocks(unit: SharedBasisUnit) -> set[str]:
    """The blocks that a unit has layers in."""
    end = f'.{_position(unit)}'
    return {
        layer.removesuffix(end) if layer.endswith(end) else layer.rpartition('.')[0]
        for layer in unit.layers
    }


def _basis(unit: SharedBasisUnit) -> Basis:
    ops: list[Any] = list(unit.ops.values())
    unique = [op.unique_basis for op in ops if op.unique_basis is not None]
    groups = ops[0].basis_groups, ops[0].unique_groups
    return Basis(ops[0].shared_basis, unique, *groups, position=_position(unit))


def _position(unit: SharedBasisUnit) -> str:
    """The path that the unit's name and all of its layers end with, such as ``conv1``."""
    paths = [name.split('.')[::-1] for name in (unit.name, *unit.layers)]
    same = takewhile(lambda steps: len(set(steps)) == 1, zip(*paths, strict=False))
    return '.'.join(steps[0] for steps in same)
