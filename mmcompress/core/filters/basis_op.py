"""Base of ops whose filters are combinations of basis filters, which several layers may share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import build_activation_layer, build_norm_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmcompress.core.base.op import Recipe
from mmcompress.core.errors import CompressionError
from mmcompress.core.layers.plain import conv_layer
from mmcompress.registry import TASK_UTILS

from .op import MERGED, FilterOp, Static, double
from .starts import fill

#: The other static form of an op: a basis convolution and a 1x1 behind it.
FACTORED = 'factored'
#: Kernels that coefficients can have.
COEFFICIENT_KERNELS = (1, 3)


class BasisConv2d(FilterOp):
    """A convolution with basis filters, and a 1x1 convolution that combines their maps.

    Subclasses say what the basis is. What layers share is a parameter of the first op of their
    unit, its owner, alone: counted, saved, moved and optimized once. The other ops reach it
    through a link that isn't registered; a copy of an op without its model is one with an owner of
    its own.

    Args:
        conv: The dense convolution to stand in for.
        maps: Number r of maps that the basis convolution puts out.
        groups: Groups of the basis convolution; with coefficients a multiple of the G groups of
            ``conv``.
        owner: The op of the unit that has the shared parameters; itself by default.
        coefficients: Whether there is a 1x1 convolution; without one the op puts out the maps.
        coefficient_bias: Whether it has a bias; by default as ``conv`` has.
        norm_cfg: Batch norm between the two, as OpenMMLab configures it.
        act_cfg: Activation behind that.
        act: The module to run as that activation, one of the architecture, which has its
            parameters and saves them; by default one of the op's own. A static model gets a copy.
        coefficient_kernel: 1, or 3 for coefficients that see the 3x3 neighbourhood of a position.
            The op then is no convolution of the dense kernel's size, and has no merged form.
        coefficient_start: How they start, one of :data:`~mmcompress.core.filters.starts.STARTS`.

    Attributes:
        coefficients: ``Tensor[n, r / G, 1, 1]``, a 1x1 convolution in G groups (or 3x3), or
            ``None``.
        bias: ``Tensor[n]`` or ``None``.
        merge_from: From so many positions in the output on, over all images, the forward pass
            runs the merged kernel: the same, and less work; ``inf`` for never.

    Raises:
        CompressionError: If the norm is no batch norm with statistics, ``act`` is not what
            ``act_cfg`` says, or there are settings for coefficients where there are none.
    """

    factors: tuple[str, ...] = ('coefficients',)
    default_form = FACTORED
    _owner: BasisConv2d | None

    def __init__(
        self,
        conv: nn.Conv2d,
        maps: int,
        groups: int,
        owner: BasisConv2d | None = None,
        coefficients: bool = True,
        coefficient_bias: bool | None = None,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        act: nn.Module | None = None,
        coefficient_kernel: int = 1,
        coefficient_start: str = 'fan_out',
    ) -> None:
        super().__init__(conv)
        self.out_channels = conv.out_channels if coefficients else maps
        self.basis_groups, self.maps = groups, maps
        like = conv.weight
        if not coefficients and (norm_cfg or act_cfg):
            raise CompressionError(
                'norm_cfg and act_cfg stand in front of coefficients; set them '
                'to None where coefficients=False'
            )
        self.norm: Any = None if norm_cfg is None else _batch_norm(norm_cfg, maps).to(like)
        own = None if act_cfg is None else _activation(act_cfg).to(like)
        if act is None:
            self.act = own
        elif repr(act) != repr(own):
            raise CompressionError(
                f'act_cfg is {act_cfg!r}, but the module that it is to share is {act!r}'
            )
        else:
            # A link that isn't registered, as that to the owner: the module stays where it is.
            self.__dict__['act'] = act
        self.act_cfg = None if act_cfg is None else dict(act_cfg)
        self.coefficients: Any = None
        self.coefficient_kernel = coefficient_kernel
        if coefficients:
            kernel = (coefficient_kernel, coefficient_kernel)
            self.coefficients = nn.Parameter(
                like.new_empty(conv.out_channels, maps // conv.groups, *kernel)
            )
            fill(self.coefficients, coefficient_start)
        has_bias = conv.bias is not None
        if coefficient_bias is False and has_bias:
            raise CompressionError(
                'coefficient_bias is False, but the convolution has a bias; '
                'it has to be True or None'
            )
        self.bias = None
        if has_bias or coefficient_bias:
            self.bias = nn.Parameter(like.new_zeros(self.out_channels))
        self.merge_from = self._least_positions()
        self.__dict__['_owner'] = owner

    # What subclasses say

    @abstractmethod
    def basis(self) -> Tensor:
        """The weight of the basis convolution, ``Tensor[r, c / groups, kh, kw]``."""

    @abstractmethod
    def stored_basis(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors that :meth:`basis` is made of, and settings of :func:`basis_factors`."""

    def offset(self) -> Tensor | None:
        """The bias of the basis convolution, ``Tensor[r]``, if any."""
        return None

    def convolve(self, x: Tensor) -> Tensor:
        """The basis convolution, ``Tensor[N, c, H, W]`` to ``Tensor[N, r, H', W']``."""
        return self._conv(x, self.basis(), self.offset(), self.basis_groups)

    # The layer

    def forward(self, x: Tensor) -> Tensor:
        """``Tensor[N, c, H, W]`` to ``Tensor[N, n, H', W']``."""
        if self.merges(x.shape):
            bias = self._lift(self.offset(), self.coefficients, self.bias)
            return self._conv(x, self.filters(), bias, self.groups)
        x = self.convolve(x)
        if self.norm is not None:
            x = self.norm(x)
        if self.act is not None:
            x = self.act(x)
        if self.coefficients is not None:
            padding = self.coefficient_kernel // 2
            return F.conv2d(x, self.coefficients, self.bias, padding=padding, groups=self.groups)
        return x if self.bias is None else x + self.bias.view(1, -1, 1, 1)

    def merges(self, shape: Sequence[int]) -> bool:
        """Whether the forward pass runs the merged kernel.

        Args:
            shape: ``(N, c, H, W)`` of its input.
        """
        return self.merge_from < math.inf and self.positions(shape) >= self.merge_from

    def positions(self, shape: Sequence[int]) -> int:
        """Positions in the output, over all images; padding is taken to keep the size.

        Args:
            shape: ``(N, c, H, W)`` of the input.
        """
        height, width = (math.ceil(n / s) for n, s in zip(shape[2:], self.stride, strict=True))
        return shape[0] * height * width

    def _least_positions(self) -> float:
        """Where the merged kernel saves as many MACs as it takes to make it."""
        if self.coefficients is None or not self.is_linear:
            return math.inf
        saved = self.cost(FACTORED) - self.cost(MERGED)
        parts = self.basis_groups // self.groups
        making = self.coefficients.numel() * math.prod(self.dense_shape[1:]) // parts
        return making / saved if saved > 0 else math.inf

    def count_stored(self) -> None:
        """Never run the merged kernel."""
        self.merge_from = math.inf

    @property
    def owner(self) -> BasisConv2d:
        """The op that has the shared parameters."""
        return self if self._owner is None else self._owner

    @property
    def rank(self) -> int:
        """The number of maps that the coefficients combine."""
        return self.maps

    @property
    def is_linear(self) -> bool:
        """Whether the op is one convolution in disguise, in training too."""
        return self.norm is None and self.act is None and self.coefficient_kernel == 1

    def filters(self) -> Tensor:
        """The merged kernel, ``Tensor[n, c / G, kh, kw]``; norm and activation left out.

        Raises:
            ValueError: If coefficients are larger than 1x1, with which there is none of that size.
        """
        if self.coefficient_kernel > 1:
            raise ValueError('3x3 coefficients make no kernel of the dense size')
        basis = self.basis()
        return basis if self.coefficients is None else self._combine(basis, self.coefficients)

    def _combine(self, basis: Tensor, coefficients: Tensor) -> Tensor:
        return combine(basis, coefficients, self.dense_shape, self.groups, self.basis_groups)

    def _lift(
        self, offset: Tensor | None, coefficients: Tensor, bias: Tensor | None
    ) -> Tensor | None:
        """What the bias of the basis convolution comes to behind the coefficients, plus theirs."""
        if offset is None:
            return bias
        split = coefficients.view(self.groups, -1, self.maps // self.groups)
        lift = (offset.view(self.groups, 1, -1) * split).sum(2).flatten()
        return lift if bias is None else lift + bias

    # Static forms

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms that :meth:`to_static` can give; at equal cost the first is the better one."""
        has_any = self.coefficients is not None
        merges = has_any and self.act is None and self.coefficient_kernel == 1
        return (MERGED, FACTORED) if merges else (FACTORED,)

    def cost(self, form: str) -> int:
        """Weights of a form, which are its MACs for one position of the output."""
        if form == MERGED:
            return math.prod(self.dense_shape)
        seen = self.in_channels // self.basis_groups
        coefficients = 0 if self.coefficients is None else self.coefficients.numel()
        return self.maps * seen * math.prod(self.kernel_size) + coefficients

    def _static(self, form: str) -> Static:
        # With the norm folded.
        basis, offset = self._folded()
        bias = double(self.bias)
        if self.coefficients is None:
            return self._static_basis(basis, bias)
        combine = double(self.coefficients)
        if form == MERGED:
            return self._plain(self._combine(basis, combine), self._lift(offset, combine, bias))
        layers, weights = self._static_basis(basis, offset)
        if self.act is not None:
            # A PReLU has learned its slopes.
            slopes = {key: double(value) for key, value in self.act.state_dict().items()}
            layers, weights = [*layers, dict(self.act_cfg or {})], [*weights, slopes]
        last = dict(
            type='Conv2d',
            in_channels=self.maps,
            out_channels=self.out_channels,
            kernel_size=self.coefficient_kernel,
            groups=self.groups,
            bias=bias is not None,
        )
        if self.coefficient_kernel > 1:
            last['padding'] = self.coefficient_kernel // 2
        return [*layers, last], [*weights, dict(weight=combine, bias=bias)]

    def _static_basis(self, basis: Tensor, offset: Tensor | None) -> Static:
        """The basis convolution as plain layers."""
        layer = conv_layer(self, basis.shape, self.basis_groups, offset is not None)
        return [layer], [dict(weight=basis, bias=offset)]

    def recipes(self, form: str | None = None) -> dict[str, Recipe]:
        """The basis, once for all layers that share it; merged kernels also of coefficients."""
        form = form or self.default_form
        tensors, settings = self.stored_basis()
        settings['basis_groups'] = self.basis_groups
        scale = self._scale()
        if scale is not None:
            tensors['scale'] = scale
        if form == MERGED:
            tensors['coefficients'] = self.coefficients
            settings['groups'] = self.groups
        several = self.coefficients is not None and form != MERGED
        return {'0.weight' if several else 'weight': Recipe('BasisFactors', tensors, settings)}

    def _scale(self) -> Tensor | None:
        """What the norm multiplies the maps by, ``Tensor[r]`` in float64, if there is one."""
        if self.norm is None:
            return None
        scale = (self.norm.running_var.double() + self.norm.eps).rsqrt()
        return scale * double(self.norm.weight) if self.norm.affine else scale

    def _folded(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the basis convolution and the norm behind it, as one."""
        basis, offset = double(self.basis()), double(self.offset())
        scale = self._scale()
        if scale is None:
            return basis, offset
        offset = ((0 if offset is None else offset) - self.norm.running_mean.double()) * scale
        if self.norm.affine:
            offset = offset + double(self.norm.bias)
        return basis * scale.view(-1, 1, 1, 1), offset

    def extra_repr(self) -> str:
        """Settings of the convolution, and the number of maps."""
        return f'{super().extra_repr()}, maps={self.maps}'


def combine(
    basis: Tensor, coefficients: Tensor, shape: Sequence[int], groups: int, basis_groups: int
) -> Tensor:
    """The merged kernel of a basis convolution and 1x1 coefficients.

    Args:
        basis: ``Tensor[r, c / basis_groups, kh, kw]``.
        coefficients: ``Tensor[n, r / G, 1, 1]``.
        shape: Of the kernel, ``(n, c / G, kh, kw)``.
        groups: G.
        basis_groups: A multiple of G.
    """
    # A map sees one part of the channels of a group, a filter all parts of its group.
    n, channels, *kernel = shape
    parts = basis_groups // groups
    split = coefficients.reshape(groups, n // groups, parts, -1)
    rows = basis.reshape(groups, parts, -1, basis[0].numel())
    return torch.einsum('gnpq,gpqd->gnpd', split, rows).reshape(n, channels, *kernel)


def stack(bases: Sequence[Tensor], groups: int) -> Tensor:
    """Several bases ``Tensor[r_i, c / groups, kh, kw]`` as one, group by group."""
    if len(bases) == 1:
        return bases[0]
    if groups == 1:
        return torch.cat(list(bases))
    split = [basis.unflatten(0, (groups, -1)) for basis in bases]
    return torch.cat(split, dim=1).flatten(0, 1)


@TASK_UTILS.register_module(name='BasisFactors')
def basis_factors(
    tensors: dict[str, Tensor],
    shape: Sequence[int],
    basis_groups: int = 1,
    groups: int = 1,
    channels: int | None = None,
    repeat: int = 1,
) -> Tensor:
    """The weight of a basis convolution, or a merged kernel; in float64.

    Args:
        tensors: ``shared_basis`` and ``unique_basis``, or one of them; ``scale``, ``Tensor[r]``,
            of the maps; ``coefficients``, for a merged kernel.
        shape: Of the weight.
        basis_groups: Groups of the basis convolution.
        groups: Of the merged kernel.
        channels: How many channels of the basis the layer uses, the first ones.
        repeat: How often the basis stands in the weight: once for each group of channels.
    """
    names = ('shared_basis', 'unique_basis')
    basis = stack([tensors[name].double() for name in names if name in tensors], basis_groups)
    if channels is not None:
        basis = basis[:, :channels]
    basis = basis.repeat(repeat, 1, 1, 1)
    if 'scale' in tensors:
        basis = basis * tensors['scale'].double().view(-1, 1, 1, 1)
    if 'coefficients' not in tensors:
        return basis
    return combine(basis, tensors['coefficients'].double(), shape, groups, basis_groups)


def _activation(act_cfg: dict) -> nn.Module:
    try:
        return build_activation_layer(dict(act_cfg))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CompressionError(
            f'act_cfg is {act_cfg!r}; no activation can be built from it: {error}'
        ) from None


def _batch_norm(norm_cfg: dict, channels: int) -> _BatchNorm:
    try:
        norm = build_norm_layer(dict(norm_cfg), channels)[1]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CompressionError(
            f'norm_cfg is {norm_cfg!r}; no norm can be built from it: {error}'
        ) from None
    if not isinstance(norm, _BatchNorm) or norm.running_var is None:
        raise CompressionError(
            f'norm_cfg is {norm_cfg!r}; it has to be a batch norm with statistics (BN, SyncBN), '
            'which becomes a part of the convolution in front of it on export'
        )
    return norm
