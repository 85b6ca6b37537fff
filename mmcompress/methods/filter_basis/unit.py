"""The unit of filter basis."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.filters.basis_op import COEFFICIENT_KERNELS, BasisConv2d
from mmcompress.core.filters.op import FilterOp
from mmcompress.core.filters.starts import STARTS
from mmcompress.core.filters.unit import FilterUnit
from mmcompress.registry import MODELS

from .init import fit_filter_basis
from .op import FilterBasisConv2d

#: ``basis_size`` of a unit whose layers use as many channels of the basis as they have.
SLICE = 'slice'
#: Key of an ``act_cfg`` that names the module of the architecture to run.
SHARED = 'shared'


@MODELS.register_module()
class FilterBasisUnit(FilterUnit):
    """Convolutions that share one basis of b filters over s channels.

    Args:
        name: Name of the unit in configs, such as ``backbone.layer1``.
        layers: Names of the convolutions, in the order of the architecture's modules.
        basis_size: ``s``, a divisor of the input channels of every layer. ``None`` takes the
            greatest common one; ``'slice'`` a basis as wide as the widest layer, of which
            layer ``l`` uses the first ``c_l`` channels.
        num_filters: ``b``; ``None`` takes as many as ``choice`` leaves parameters for.
        basis_bias: Whether every layer adds a bias of its own behind the basis.
        coefficient_bias: Whether the 1x1 convolutions have a bias; ``None`` as the dense ones.
        coefficient_kernel: 1, or 3 for 3x3 convolutions in their place (the authors' ``k_size2``).
        norm_cfg: Batch norm between basis and 1x1, of every layer.
        act_cfg: Activation behind it. With ``shared``, the name of a module of the architecture,
            that module is run instead of one of the layer's own: one slope for many layers, as in
            ``dict(type='PReLU', shared='backbone.act')``.
        basis_start: Random numbers of a basis without a dense network, one of
            :data:`~mmcompress.core.filters.starts.STARTS`. ``'fan_out'`` and ``'fan_in'`` are He's
            normal distribution, ``'uniform'`` is He's uniform one, and ``'torch'`` is that of a new
            ``nn.Conv2d``.
        coefficient_start: Random numbers of the coefficients, from the same list.
        **kwargs: ``choice``, ``init`` and ``remember_dense`` of
            :class:`~mmcompress.core.filters.unit.FilterUnit`.

    Raises:
        CompressionError: If a setting is wrong, or doesn't fit the layers.
    """

    def __init__(
        self,
        name: str,
        layers: list[str],
        basis_size: int | str | None = None,
        num_filters: int | None = None,
        basis_bias: bool = False,
        coefficient_bias: bool | None = None,
        coefficient_kernel: int = 1,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        basis_start: str = 'fan_out',
        coefficient_start: str = 'fan_out',
        **kwargs: Any,
    ) -> None:
        super().__init__(name, layers, **kwargs)
        if basis_size not in (None, SLICE):
            self.check_size('basis_size', basis_size)
        if num_filters is not None:
            self.check_size('num_filters', num_filters)
        self.check_flag('basis_bias', basis_bias)
        if coefficient_bias is not None:
            self.check_flag('coefficient_bias', coefficient_bias)
        if type(coefficient_kernel) is not int or coefficient_kernel not in COEFFICIENT_KERNELS:
            raise CompressionError(
                f'coefficient_kernel of filter unit {name!r} is {coefficient_kernel!r}; it has to '
                'be 1 or 3'
            )
        for key, start in (('basis_start', basis_start), ('coefficient_start', coefficient_start)):
            if not isinstance(start, str) or start not in STARTS:
                raise CompressionError(
                    f'{key} of filter unit {name!r} is {start!r}; it has to be one of '
                    f'{", ".join(STARTS)}'
                )
        #: Numbers once the unit is settled.
        self.basis_size: Any = basis_size
        self.num_filters: Any = num_filters
        self.shared_act = None
        if isinstance(act_cfg, dict):
            act_cfg = dict(act_cfg)
            self.shared_act = act_cfg.pop(SHARED, None)
        self.settings: dict[str, Any] = dict(
            basis_bias=basis_bias,
            coefficient_bias=coefficient_bias,
            coefficient_kernel=coefficient_kernel,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            basis_start=basis_start,
            coefficient_start=coefficient_start,
        )

    @property
    def has_size(self) -> bool:
        """Whether ``num_filters`` is given."""
        return self.num_filters is not None

    @property
    def init_args(self) -> dict[str, Any]:
        """Size of the basis."""
        return dict(basis_size=self.basis_size, num_filters=self.num_filters)

    def settle(self, convs: list[nn.Conv2d]) -> None:
        """Turn ``choice`` into the size of the basis, and check the settings."""
        seen = [conv.in_channels // conv.groups for conv in convs]
        if self.basis_size is None:
            self.basis_size = math.gcd(*seen)
        for layer, channels in zip(self.layers, seen, strict=True):
            if self.basis_size != SLICE and channels % self.basis_size:
                raise CompressionError(
                    f'basis_size of filter unit {self.name!r} is {self.basis_size}, which does not '
                    f'divide the {channels} channels that filters of {layer!r} see; their greatest '
                    f'common divisor is {math.gcd(*seen)}'
                )
        if self.basis_size == SLICE and any(conv.groups > 1 for conv in convs):
            raise CompressionError(
                f"basis_size of filter unit {self.name!r} is 'slice', which is not for grouped "
                'convolutions'
            )
        size = max(seen) if self.basis_size == SLICE else self.basis_size
        filter_size = size * math.prod(convs[0].kernel_size)
        parts = [1 if self.basis_size == SLICE else channels // size for channels in seen]
        # Every filter of a layer is as many rows as it has groups of channels, and, with larger
        # coefficients, as these have positions.
        rows = sum(conv.out_channels * count for conv, count in zip(convs, parts, strict=True))
        rows *= self.settings['coefficient_kernel'] ** 2
        if self.num_filters is None:
            dense = sum(conv.weight.numel() for conv in convs)
            self.num_filters = self.affordable(dense, 0, filter_size + rows)
            if not self.num_filters:
                raise CompressionError(
                    f'filter unit {self.name!r} cannot keep {self.choice!r} of its parameters: '
                    f'a basis of one filter takes {(filter_size + rows) / dense:.3g}'
                )
            self.num_filters = min(self.num_filters, filter_size, rows)
        most = min(filter_size, rows)
        if self.num_filters > most:
            raise CompressionError(
                f'num_filters of filter unit {self.name!r} is {self.num_filters}; the rank of its '
                f'filters is at most {most}'
            )

    def prepare(self, architecture: nn.Module) -> None:
        """Swap in the ops, with the activation that the layers share.

        Raises:
            CompressionError: If the architecture has no module of that name.
        """
        self._act = None
        if self.shared_act is not None:
            modules = dict(architecture.named_modules(remove_duplicate=False))
            if self.shared_act not in modules:
                raise CompressionError(
                    f'act_cfg of filter unit {self.name!r} shares {self.shared_act!r}, which is no '
                    f'module of {type(architecture).__name__}; the nearest are '
                    f'{nearest(str(self.shared_act), modules)}'
                )
            self._act = modules[self.shared_act]
        super().prepare(architecture)

    def check_fits(self, op: FilterOp) -> None:
        """Refuse ops that cannot be compared with dense weights, such as 3x3 coefficients."""
        if self.settings['coefficient_kernel'] > 1:
            raise CompressionError(
                f'filter unit {self.name!r}: {self.why}, which is about merged kernels, but '
                f'coefficient_kernel is {self.settings["coefficient_kernel"]}; set it to 1'
            )
        super().check_fits(op)

    def make_ops(self, convs: list[nn.Conv2d]) -> list[BasisConv2d]:
        """Make the op of each convolution; the first one owns what they share."""
        ops: list[BasisConv2d] = []
        widest = max(conv.in_channels for conv in convs)
        for conv in convs:
            sizes = dict(basis_size=self.basis_size)
            if self.basis_size == SLICE:
                sizes = dict(basis_size=conv.in_channels, slice_of=widest)
            owner = ops[0] if ops else None
            ops.append(
                FilterBasisConv2d(
                    conv,
                    self.num_filters,
                    owner=owner,
                    act=self._act,
                    **sizes,
                    **self.settings,
                )
            )
        return ops

    def fit(self, weights: list[Tensor]) -> list[dict[str, Tensor]]:
        """Fit the basis and the coefficients of all layers to dense weights."""
        size = None if self.basis_size == SLICE else self.basis_size
        # Groups of channels of a grouped convolution are rows like any others.
        basis, coefficients = fit_filter_basis(weights, size, self.num_filters)
        fitted = [dict(coefficients=tensor) for tensor in coefficients]
        fitted[0]['shared_basis'] = basis
        return fitted
