"""The settings of LinearConv, and the sizes that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmcompress.core.checks import check_count, is_number
from mmcompress.core.errors import CompressionError, nearest

#: Variants, and the setting that each of them alone has.
VARIANTS = dict(linear=None, lowrank='rank', rankratio='rank_ratio', sparse='target_sparsity')
#: What random numbers a layer may start from.
STARTS = ('scaled', 'uniform')


@dataclass(frozen=True)
class Settings:
    """How the filters of a layer are made of its primary ones.

    Attributes:
        variant: What the matrix of combinations is: ``'linear'``, any; ``'lowrank'``, of a
            constant rank; ``'rankratio'``, of a rank in proportion to the primary filters;
            ``'sparse'``, with entries that become zero.
        primary_ratio: Share of the filters that are primary, between 0 and 1.
        rank: For ``'lowrank'``.
        rank_ratio: For ``'rankratio'``, in (0, 1].
        target_sparsity: For ``'sparse'``, the share of the entries that are to become zero,
            between 0 and 1.
        across_groups: Whether the filters of all groups are combined with each other, as in the
            authors' program. Otherwise combinations are of the filters of one group.
        start: What a layer starts from. ``'scaled'``: filters that are all as large as those of a
            dense layer by Kaiming's rule, and biases of 0. ``'uniform'``, as in the authors'
            program: primary filters by Glorot's rule (Xavier, uniform); combinations, or both of
            their factors, and biases uniform in (-0.1, 0.1).

    Raises:
        CompressionError: If one is none of these, lacks, or is that of another variant.
    """

    variant: str = 'linear'
    primary_ratio: float = 0.5
    rank: int | None = None
    rank_ratio: float | None = None
    target_sparsity: float | None = None
    across_groups: bool = False
    start: str = STARTS[0]

    def __post_init__(self) -> None:
        if not isinstance(self.variant, str) or self.variant not in VARIANTS:
            raise CompressionError(
                f'variant is {self.variant!r}; the nearest are '
                f'{nearest(str(self.variant), VARIANTS, len(VARIANTS))}'
            )
        _check('primary_ratio', self.primary_ratio, 'a number between 0 and 1', lambda r: r < 1)
        for variant, key in VARIANTS.items():
            value = getattr(self, key) if key else None
            if key and variant != self.variant and value is not None:
                raise CompressionError(
                    f'{key} is {value!r}, which is for variant {variant!r}, but variant is '
                    f'{self.variant!r}; set {key} to None'
                )
            if key and variant == self.variant and value is None:
                raise CompressionError(f'variant is {variant!r}, which needs {key}; it is None')
        if self.variant == 'lowrank':
            check_count(self.rank, 'rank')
        if self.variant == 'rankratio':
            _check('rank_ratio', self.rank_ratio, 'a number above 0, up to 1', lambda r: r <= 1)
        if self.variant == 'sparse':
            key = 'target_sparsity'
            _check(key, self.target_sparsity, 'a number between 0 and 1', lambda s: s < 1)
        if not isinstance(self.across_groups, bool):
            raise CompressionError(
                f'across_groups is {self.across_groups!r}; it has to be True or False'
            )
        if not isinstance(self.start, str) or self.start not in STARTS:
            raise CompressionError(
                f'start is {self.start!r}; it has to be one of {", ".join(STARTS)}'
            )

    @property
    def own(self) -> dict[str, Any]:
        """The variant and its own setting, and what else is not the default."""
        key = VARIANTS[self.variant]
        own: dict[str, Any] = dict(variant=self.variant)
        if key:
            own[key] = getattr(self, key)
        if self.across_groups:
            own['across_groups'] = True
        if self.start != STARTS[0]:
            own['start'] = self.start
        return own

    def sets(self, groups: int) -> int:
        """Into how many sets the filters of a layer fall: combinations are of filters of one set.

        Args:
            groups: Groups of the layer.
        """
        return 1 if self.across_groups else groups

    def num_primary(self, filters: int) -> int:
        """How many of the filters of a set are primary."""
        # 0.29 * 100 is 28.999999999999996 in floating point and means 29.
        count = int(filters * self.primary_ratio + 1e-6)
        # Of two or more at least one is combined.
        return max(1, min(count, filters - 1))

    def rank_of(self, primary: int) -> int | None:
        """The rank of the combinations of so many primary filters, where it is limited.

        Raises:
            CompressionError: If ``rank`` is larger than their number.
        """
        if self.variant == 'rankratio' and self.rank_ratio is not None:
            return max(1, int(primary * self.rank_ratio + 1e-6))
        if self.variant == 'lowrank' and self.rank is not None and self.rank > primary:
            raise CompressionError(
                f'rank is {self.rank}, but the layer has {primary} primary filters (in a group); '
                'it can be at most that'
            )
        return self.rank if self.variant == 'lowrank' else None

    def num_weights(self, filters: int, primary: int, size: int) -> int:
        """Weights of a set once it is trained; of sparse combinations those that are left.

        Args:
            filters: Filters of the set.
            primary: How many of them are primary.
            size: Weights of one filter.
        """
        combined = filters - primary
        rank = self.rank_of(primary)
        if rank is not None:
            return primary * size + filters * rank
        kept = 1 - (self.target_sparsity or 0)
        return primary * size + round(combined * primary * kept)


def _check(key: str, value: Any, valid: str, below: Callable[[float], bool]) -> None:
    if not is_number(value) or not value > 0 or not below(value):
        raise CompressionError(f'{key} is {value!r}; it has to be {valid}')
