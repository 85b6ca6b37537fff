"""Narrowing: take channels away from one layer, in place.

This is the only place that knows how the tensors of a layer type are laid out. The analyzer
uses it to verify units, methods use it to make consumers compact, and ``sub_model`` uses it
to rebuild an exported network.

A module that is not listed here takes part by offering the same protocol: attributes
``in_channels`` and ``out_channels`` and a method ``narrow(in_keep, out_keep)``. One that pads, and
so gives channels places among zeros, may offer ``pad_evenly()`` besides, for methods whose channels
are new ones.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

#: Layers that hand channel i of their input to channel i of their output.
PASS_THROUGH = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.PReLU)


def keep_evenly(total: int, groups: int, width: int) -> Tensor:
    """The first ``width`` of ``total`` channels, taken evenly from each of ``groups`` groups.

    Returns:
        ``LongTensor[width]``, ascending.
    """
    rows = torch.arange(total).view(groups, total // groups)
    return rows[:, : width // groups].flatten()


class NarrowError(ValueError):
    """A layer cannot be narrowed as asked; the message says why."""


def has_protocol(module: nn.Module) -> bool:
    """Whether ``module`` brings its own ``narrow``."""
    return callable(getattr(module, 'narrow', None)) and hasattr(module, 'in_channels')


def is_padding(module: nn.Module) -> bool:
    """Whether ``module`` puts its channels among zeros, and can do so anew."""
    return has_protocol(module) and callable(getattr(module, 'pad_evenly', None))


def is_convolution(module: nn.Module) -> bool:
    """Whether ``module`` is a convolution of any kind."""
    return isinstance(module, _ConvNd) or is_deformable(module)


def is_deformable(module: nn.Module) -> bool:
    """Whether ``module`` is one of mmcv's deformable convolutions.

    Known by their attributes, since mmcv may be installed without compiled ops.
    """
    return hasattr(module, 'deform_groups') and hasattr(module, 'out_channels')


def is_depthwise(module: nn.Module) -> bool:
    """Whether ``module`` is a convolution with one filter for each input channel."""
    return (
        isinstance(module, _ConvNd)
        and module.groups > 1
        and module.groups == module.in_channels == module.out_channels
    )


def is_pass_through(module: nn.Module) -> bool:
    """Whether the input and output channels of ``module`` are one and the same."""
    return isinstance(module, PASS_THROUGH) or is_depthwise(module)


def is_narrowable(module: nn.Module) -> bool:
    """Whether :func:`narrow` knows the layer type of ``module``."""
    return (
        isinstance(module, (_ConvNd, nn.Linear, *PASS_THROUGH))
        or is_deformable(module)
        or has_protocol(module)
    )


def channels_of(module: Any) -> tuple[int, int]:
    """``(input channels, output channels)`` of a narrowable layer."""
    if isinstance(module, (_BatchNorm, _InstanceNorm)):
        return module.num_features, module.num_features
    if isinstance(module, nn.GroupNorm):
        return module.num_channels, module.num_channels
    if isinstance(module, nn.LayerNorm):
        # (C,) behind channels last, (C, 1, 1) behind global pooling
        width = module.normalized_shape[0 if _pooled_norm(module) else -1]
        return width, width
    if isinstance(module, nn.PReLU):
        return module.num_parameters, module.num_parameters
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    return module.in_channels, module.out_channels


def groups_of(module: Any, is_output: bool) -> int:
    """Groups that have to keep equally many channels on one side of a narrowable layer."""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups
    if is_deformable(module):
        return math.lcm(module.groups, 1 if is_output else module.deform_groups)
    if isinstance(module, _ConvNd) and not is_depthwise(module):
        return module.groups
    return 1


def narrow(module: Any, in_keep: Tensor | None = None, out_keep: Tensor | None = None) -> None:
    """Keep only some input and output channels of one layer, in place.

    Args:
        module: A narrowable layer.
        in_keep: LongTensor of the input channels to keep, ascending; ``None`` keeps all.
        out_keep: The same for output channels. For a layer that passes channels through,
            either of the two (or both, equal) says what to keep.

    Raises:
        NarrowError: If the layer's groups make that impossible, or its type is unknown.
    """
    if has_protocol(module):
        module.narrow(in_keep, out_keep)
    elif is_pass_through(module):
        _narrow_pass_through(module, out_keep if in_keep is None else in_keep)
    elif isinstance(module, _ConvNd):
        _narrow_conv(module, in_keep, out_keep)
    elif is_deformable(module):
        _narrow_deformable(module, in_keep, out_keep)
    elif isinstance(module, nn.Linear):
        _select(module, 'weight', out_keep, 0)
        _select(module, 'weight', in_keep, 1)
        _select(module, 'bias', out_keep, 0)
        module.out_features, module.in_features = module.weight.shape
    else:
        raise NarrowError(f'{type(module).__name__} is not a layer whose channels are known')


def _select(module: nn.Module, name: str, keep: Tensor | None, dim: int) -> None:
    """Replace the parameter or buffer ``name`` by its rows ``keep`` along ``dim``."""
    tensor = getattr(module, name, None)
    if tensor is None or keep is None:
        return
    chosen = tensor.detach().index_select(dim, keep.to(tensor.device))
    if isinstance(tensor, nn.Parameter):
        chosen = nn.Parameter(chosen, requires_grad=tensor.requires_grad)
    setattr(module, name, chosen)


def _narrow_pass_through(module: nn.Module, keep: Tensor | None) -> None:
    if keep is None:
        return
    if isinstance(module, nn.GroupNorm):
        _split_by_group(keep, module.num_channels, module.num_groups, 'group norm')
    if isinstance(module, nn.LayerNorm) and not (
        len(module.normalized_shape) == 1 or _pooled_norm(module)
    ):
        raise NarrowError('layer norm over more than the channel dimension')
    shared_slope = isinstance(module, nn.PReLU) and module.num_parameters == 1
    if not shared_slope:
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            _select(module, name, keep, 0)
    width = len(keep)
    if isinstance(module, _ConvNd):
        module.groups = module.in_channels = module.out_channels = width
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = width
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = (width, *module.normalized_shape[1:])
    elif isinstance(module, nn.PReLU):
        module.num_parameters = 1 if shared_slope else width
    elif isinstance(module, (_BatchNorm, _InstanceNorm)):
        module.num_features = width


def _pooled_norm(module: nn.LayerNorm) -> bool:
    """Whether a layer norm is over the channels of feature maps of one pixel."""
    return len(module.normalized_shape) > 1 and set(module.normalized_shape[1:]) == {1}


def _narrow_conv(module: _ConvNd, in_keep: Tensor | None, out_keep: Tensor | None) -> None:
    # A transposed convolution stores Tensor[C_in, C_out / groups, ...], others
    # Tensor[C_out, C_in / groups, ...]: the grouped side is always the second dimension.
    transposed = isinstance(module, _ConvTransposeNd)
    first, second = (in_keep, out_keep) if transposed else (out_keep, in_keep)
    if second is not None:
        total = module.out_channels if transposed else module.in_channels
        if module.groups == 1:
            _select(module, 'weight', second, 1)
        else:
            _select_grouped(module, _split_by_group(second, total, module.groups, 'grouped conv'))
    if first is not None:
        total = module.in_channels if transposed else module.out_channels
        if module.groups > 1:
            _split_by_group(first, total, module.groups, 'grouped conv')
        _select(module, 'weight', first, 0)
    _select(module, 'bias', out_keep, 0)
    if in_keep is not None:
        module.in_channels = len(in_keep)
    if out_keep is not None:
        module.out_channels = len(out_keep)


def _narrow_deformable(module: Any, in_keep: Tensor | None, out_keep: Tensor | None) -> None:
    """Weights are laid out as in a plain convolution; offsets are computed from the same input."""
    if in_keep is not None:
        _split_by_group(in_keep, module.in_channels, module.deform_groups, 'deformable conv')
        if hasattr(module, 'conv_offset'):
            narrow(module.conv_offset, in_keep)
    _narrow_conv(module, in_keep, out_keep)


def _select_grouped(module: _ConvNd, kept_by_group: Tensor) -> None:
    weight = module.weight
    rows = weight.detach().unflatten(0, (module.groups, -1))
    pairs = zip(rows, kept_by_group, strict=True)
    chosen = [part.index_select(1, kept) for part, kept in pairs]
    module.weight = nn.Parameter(torch.cat(chosen), requires_grad=weight.requires_grad)


def _split_by_group(keep: Tensor, total: int, groups: int, what: str) -> Tensor:
    """Kept channels by group, ``Tensor[groups, kept / groups]``, counted within the group."""
    size = total // groups
    owner = torch.div(keep, size, rounding_mode='floor')
    counts = torch.bincount(owner, minlength=groups)
    if len(keep) % groups or not bool((counts == counts[0]).all()) or len(keep) == 0:
        raise NarrowError(f'{what}: its {groups} groups do not divide {len(keep)} kept channels')
    return (keep - owner * size).view(groups, -1)
