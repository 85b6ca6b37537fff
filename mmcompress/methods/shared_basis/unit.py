"""The unit of shared basis."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.basis_op import BasisConv2d
from mmcompress.core.filters.unit import FilterUnit
from mmcompress.registry import MODELS

from .init import fit_shared_basis
from .op import SharedBasisConv2d

#: ``shared_rank`` of layers that share whole filters.
FULL = 'full'


@MODELS.register_module()
class SharedBasisUnit(FilterUnit):
    """Convolutions of one shape with s filters in common and u of each layer's own.

    Args:
        name: Name of the unit in configs, such as ``backbone.layer1``.
        layers: Names of the convolutions, in the order of the architecture's modules.
        shared_rank: ``s``; ``'full'`` for as many as a layer has filters, ``None`` for as many
            as ``choice`` leaves parameters for.
        unique_rank: ``u``; one in each group by default.
        coefficients: Whether 1x1 convolutions combine the filters. Without them the layers behind
            get the ``s + u`` maps as they are.
        shared_groups: Groups of the shared filters; by default those of the layers.
        unique_groups: Groups of the layers' own filters; likewise.
        coefficient_bias: Whether the 1x1 convolutions have a bias; ``None`` as the dense ones.
        norm_cfg: Batch norm in front of the 1x1 convolutions, of every layer.
        **kwargs: ``choice``, ``init`` and ``remember_dense`` of
            :class:`~mmcompress.core.filters.unit.FilterUnit`.

    Raises:
        CompressionError: If a setting is wrong, or doesn't fit the layers.
    """

    def __init__(
        self,
        name: str,
        layers: list[str],
        shared_rank: int | str | None = None,
        unique_rank: int | None = None,
        coefficients: bool = True,
        shared_groups: int | None = None,
        unique_groups: int | None = None,
        coefficient_bias: bool | None = None,
        norm_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, layers, **kwargs)
        if shared_rank not in (None, FULL):
            self.check_size('shared_rank', shared_rank, least=0)
        if unique_rank is not None:
            self.check_size('unique_rank', unique_rank, least=0)
        if shared_rank == unique_rank == 0:
            raise CompressionError(
                f'shared_rank and unique_rank of filter unit {name!r} are both 0; one has to be '
                'positive'
            )
        for key, groups in (('shared_groups', shared_groups), ('unique_groups', unique_groups)):
            if groups is not None:
                self.check_size(key, groups)
        self.check_flag('coefficients', coefficients)
        if coefficient_bias is not None:
            self.check_flag('coefficient_bias', coefficient_bias)
        #: Numbers once the unit is settled.
        self.shared_rank: Any = shared_rank
        self.unique_rank: Any = unique_rank
        self.groups: dict[str, Any] = dict(shared_groups=shared_groups, unique_groups=unique_groups)
        self.settings: dict[str, Any] = dict(
            coefficients=coefficients, coefficient_bias=coefficient_bias, norm_cfg=norm_cfg
        )

    @property
    def has_size(self) -> bool:
        """Whether ``shared_rank`` is given."""
        return self.shared_rank is not None

    @property
    def init_args(self) -> dict[str, Any]:
        """Ranks, and groups where they are given."""
        groups = {key: value for key, value in self.groups.items() if value is not None}
        return dict(shared_rank=self.shared_rank, unique_rank=self.unique_rank, **groups)

    def settle(self, convs: list[nn.Conv2d]) -> None:
        """Turn ``choice`` into the ranks, and check the settings."""
        groups = convs[0].groups
        self._groups = tuple(given or groups for given in self.groups.values())
        if self.unique_rank is None:
            self.unique_rank = self._groups[1]
        filter_size = convs[0].weight[0].numel()
        widths = [conv.out_channels for conv in convs]
        self._filters = widths[0]
        if self.shared_rank == FULL:
            self.shared_rank = self._full(widths)
        if self.shared_rank is None:
            self.shared_rank = self._rank_of_choice(convs)
        if self.settings['coefficients']:
            self._check_rank(filter_size * groups, widths)
        elif self.shared_rank + self.unique_rank > self._full(widths):
            raise CompressionError(
                f'shared_rank and unique_rank of filter unit {self.name!r} are {self.shared_rank} '
                f'and {self.unique_rank}; without coefficients they are at most the {widths[0]} '
                'filters of a layer together'
            )

    def _full(self, widths: list[int]) -> int:
        if len(set(widths)) > 1:
            raise CompressionError(
                f'layers of filter unit {self.name!r} have {sorted(set(widths))} filters; layers '
                'that share whole filters need equally many'
            )
        return widths[0]

    def _rank_of_choice(self, convs: list[nn.Conv2d]) -> int:
        """The largest number of shared filters that ``choice`` leaves parameters for."""
        dense = sum(conv.weight.numel() for conv in convs)
        widths = [conv.out_channels for conv in convs]
        seen = convs[0].in_channels * math.prod(convs[0].kernel_size)
        in_groups, own_groups = self._groups
        # A filter costs its weights, and a coefficient for each filter that it is a part of.
        combine = sum(widths) / convs[0].groups if self.settings['coefficients'] else 0
        each = seen / in_groups + combine
        own = self.unique_rank * (len(convs) * seen / own_groups + combine)
        rank = self.affordable(dense, own, each) // in_groups * in_groups
        if rank < 1:
            least = (own + in_groups * each) / dense
            raise CompressionError(
                f'filter unit {self.name!r} cannot keep {self.choice!r} of its parameters: '
                f'{in_groups} shared and {self.unique_rank} filters of each layer take {least:.3g}'
            )
        most = self._most(seen, widths)
        if not self.settings['coefficients']:
            most = widths[0] - self.unique_rank
        return min(rank, most // in_groups * in_groups)

    def _most(self, filter_size: int, widths: list[int]) -> int:
        return max(min(filter_size, sum(widths)) - self.unique_rank, 0)

    def _check_rank(self, filter_size: int, widths: list[int]) -> None:
        most = self._most(filter_size, widths)
        if self.shared_rank > most or self.unique_rank > min(filter_size, *widths):
            raise CompressionError(
                f'shared_rank and unique_rank of filter unit {self.name!r} are {self.shared_rank} '
                f'and {self.unique_rank}; filters of {filter_size} weights, '
                f'{sum(widths)} in {len(widths)} layers, have a rank of at most '
                f'{min(filter_size, sum(widths))}, those of one layer {min(filter_size, *widths)}'
            )

    @property
    def narrows(self) -> bool:
        """Whether the layers put out other numbers of channels than the dense ones."""
        return not self.settings['coefficients'] and (
            self.shared_rank + self.unique_rank != self._filters
        )

    def make_ops(self, convs: list[nn.Conv2d]) -> list[BasisConv2d]:
        """Make the op of each convolution; the first one owns what they share."""
        ops: list[BasisConv2d] = []
        for conv in convs:
            owner = ops[0] if ops else None
            ranks = dict(shared_rank=self.shared_rank, unique_rank=self.unique_rank)
            settings = {**ranks, **self.groups, **self.settings}
            ops.append(SharedBasisConv2d(conv, owner=owner, **settings))
        return ops

    def fit(self, weights: list[Tensor]) -> list[dict[str, Tensor]]:
        """Fit bases and coefficients to dense weights.

        Without coefficients, the shared filters are the mean of the filters of all layers.
        """
        if not self.settings['coefficients']:
            mean: Any = sum(weights) / len(weights)
            return [dict(shared_basis=mean), *({} for _ in weights[1:])]
        groups = self.ops[self.layers[0]].groups
        # Each group has a basis of its own.
        split = [weight.unflatten(0, (groups, -1)) for weight in weights]
        ranks = self.shared_rank // groups, self.unique_rank // groups
        fits = [fit_shared_basis([w[i] for w in split], *ranks) for i in range(groups)]
        fitted = []
        for index in range(len(weights)):
            own = [unique[index] for _, unique, _ in fits]
            combine = [coefficients[index] for _, _, coefficients in fits]
            fitted.append(dict(coefficients=torch.cat(combine)))
            if self.unique_rank:
                fitted[-1]['unique_basis'] = torch.cat(own)
        if self.shared_rank:
            fitted[0]['shared_basis'] = torch.cat([shared for shared, _, _ in fits])
        return fitted

    def check_fits(self, op: Any) -> None:
        """Refuse ops that cannot be compared with dense weights."""
        super().check_fits(op)
        whole = op.is_one and not self.unique_rank and op.basis().shape == op.dense_shape
        if op.coefficients is None and not whole:
            raise CompressionError(
                f'filter unit {self.name!r}: {self.why}, but without coefficients only whole '
                f"filters compare with dense ones (shared_rank='full', unique_rank=0)"
            )
