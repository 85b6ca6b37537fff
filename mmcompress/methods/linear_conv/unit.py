"""The unit of LinearConv: one convolution."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.op import FilterOp
from mmcompress.core.filters.unit import RANDOM, FilterUnit
from mmcompress.registry import MODELS

from .init import fit_linear_conv
from .op import LinearConv2d
from .settings import STARTS, VARIANTS, Settings

#: ``primary_ratio`` where nothing else says how many filters are primary.
PUBLISHED = 0.5


@MODELS.register_module()
class LinearConvUnit(FilterUnit):
    """A convolution whose filters are combinations of some of them.

    Args:
        name: Name of the unit in configs, such as ``backbone.layer1``.
        layers: The name of one convolution.
        variant: What the matrix of combinations is: ``'linear'``, ``'lowrank'``, ``'rankratio'`` or
            ``'sparse'``, as in :class:`~mmcompress.methods.linear_conv.settings.Settings`.
        primary_ratio: Share of the filters that are primary; ``None`` takes as many as ``choice``
            leaves parameters for.
        rank: Rank of the combinations, for ``'lowrank'``.
        rank_ratio: Their rank as a share of the primary filters, for ``'rankratio'``.
        target_sparsity: Share of the combinations that become zero, for ``'sparse'``.
        across_groups: Whether filters of different groups are combined.
        start: Random numbers of ``init='kaiming'``: ``'scaled'`` or ``'uniform'``.
        **kwargs: ``choice``, ``init`` and ``remember_dense`` of
            :class:`~mmcompress.core.filters.unit.FilterUnit`. ``init='qr'`` takes primary filters
            from the dense network as they are. ``init='svd'`` takes them from the best
            approximation of the dense filters by that many independent ones. For combinations of
            any rank this has the smallest possible error.

    Raises:
        CompressionError: If a setting is wrong, or doesn't fit the layer.
    """

    inits = (RANDOM, 'qr', 'svd')

    def __init__(
        self,
        name: str,
        layers: list[str],
        variant: str = 'linear',
        primary_ratio: float | None = None,
        rank: int | None = None,
        rank_ratio: float | None = None,
        target_sparsity: float | None = None,
        across_groups: bool = False,
        start: str = STARTS[0],
        **kwargs: Any,
    ) -> None:
        super().__init__(name, layers, **kwargs)
        if len(layers) > 1:
            raise CompressionError(
                f'filter unit {name!r} has {len(layers)} layers ({layers[0]}, {layers[1]}, ...); '
                'combinations are of filters of one layer: give each a unit of its own (in '
                "parse_cfg, rule='layer' does so)"
            )
        self.primary_ratio = primary_ratio
        self._settings: dict[str, Any] = dict(
            variant=variant,
            rank=rank,
            rank_ratio=rank_ratio,
            target_sparsity=target_sparsity,
            across_groups=across_groups,
            start=start,
        )
        limited = VARIANTS[self.settings.variant] in ('rank', 'rank_ratio')
        if self.init == 'svd' and limited:
            raise CompressionError(
                f"filter unit {name!r}: init is 'svd', which has a larger error than 'qr' for "
                f"variant {variant!r}; set it to 'qr'"
            )
        if self.fits and self.settings.start != STARTS[0]:
            raise CompressionError(
                f'filter unit {name!r}: start is {start!r}, but init is {self.init!r}, which '
                'starts from a dense network; leave start out'
            )

    @property
    def settings(self) -> Settings:
        """The settings, as an op takes them."""
        ratio = PUBLISHED if self.primary_ratio is None else self.primary_ratio
        try:
            return Settings(primary_ratio=ratio, **self._settings)
        except CompressionError as error:
            raise CompressionError(f'filter unit {self.name!r}: {error}') from None

    @property
    def has_size(self) -> bool:
        """Whether ``primary_ratio`` is given."""
        return self.primary_ratio is not None

    def use_default_size(self) -> None:
        """Take the published share, where nothing else says one."""
        self.primary_ratio = PUBLISHED

    @property
    def init_args(self) -> dict[str, Any]:
        """The settings that the variant has."""
        return dict(primary_ratio=self.primary_ratio, **self.settings.own)

    def settle(self, convs: list[nn.Conv2d]) -> None:
        """Turn ``choice`` into the number of primary filters, and check the settings."""
        [conv] = convs
        each = conv.out_channels // self.settings.sets(conv.groups)
        size = conv.weight[0].numel()
        try:
            if self.primary_ratio is None:
                self.primary_ratio = self._affordable(each, size) / each
            self.settings.rank_of(self.settings.num_primary(each))
        except CompressionError as error:
            raise CompressionError(f'filter unit {self.name!r}: {error}') from None

    def _affordable(self, each: int, size: int) -> int:
        """The most primary filters of a group of ``each`` that ``choice`` leaves room for."""
        budget = self.affordable(each * size, 0, 1)
        settings = self.settings
        least = settings.rank or 1
        if least >= each:
            raise CompressionError(
                f'rank is {least}, but the layer has {each} filters (in a group), of which at most '
                f'{each - 1} can be primary'
            )
        counts = range(least, each)
        fitting = [p for p in counts if settings.num_weights(each, p, size) <= budget]
        if not fitting:
            cost = settings.num_weights(each, least, size) / (each * size)
            raise CompressionError(
                f'{self.choice!r} of the parameters cannot be kept: with {least} of {each} filters '
                f'primary it is {cost:.3g}; leave the layer out with parse_cfg.exclude'
            )
        return fitting[-1]

    def make_ops(self, convs: list[nn.Conv2d]) -> list[FilterOp]:
        """Make the op of the one convolution."""
        return [LinearConv2d(conv, **self.init_args) for conv in convs]

    @property
    def num_parameters(self) -> int:
        """Weights once trained; of sparse combinations those that are to be left."""
        op: Any
        [op] = self.ops.values()
        each, size = op.out_channels // op.sets, op.primary[0].numel()
        return op.sets * self.settings.num_weights(each, op.num_primary, size)

    def fit(self, weights: list[Tensor]) -> list[dict[str, Tensor]]:
        """Choose primary filters of a dense weight, and fit the combinations."""
        op: Any
        [op] = self.ops.values()
        rank = self.settings.rank_of(op.num_primary)
        project = self.init == 'svd'
        return [fit_linear_conv(weights[0], op.sets, op.num_primary, rank, project)]
