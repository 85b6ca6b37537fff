"""Folding: a batch norm behind a convolution becomes part of that convolution's weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.layers.replace import replace_module
from mmcompress.core.probe.followers import norms_behind
from mmcompress.core.probe.probe import Probe

Pairs = list[tuple[str, str]]


def foldable(model: nn.Module, probe: Probe | None = None) -> Pairs:
    """Names of the convolutions and batch norms of a model that can be folded.

    Args:
        model: Any model of plain layers; left as it is.
        probe: See :func:`~mmcompress.core.probe.followers.norms_behind`.

    Raises:
        CompressionError: If no forward pass can be run.
    """
    modules = dict(model.named_modules())
    pairs = norms_behind(model, probe=probe).items()
    return [(conv, norm) for conv, norm in pairs if _fits(modules[conv], modules[norm])]


def fold_norms(model: nn.Module, pairs: Iterable[tuple[str, str]] | None = None) -> Pairs:
    """Fold batch norms into the convolutions in front of them, in place.

    With the statistics of eval mode, ``y = gamma (W x + b - mean) / sqrt(var + eps) + beta`` is
    itself a convolution. Afterwards the model is for inference only: there is nothing left that
    would collect statistics. An ``nn.Identity`` keeps the norm's place.

    Args:
        model: Any model of plain layers.
        pairs: Names of convolutions and norms; by default all that are :func:`foldable`.

    Returns:
        The pairs.

    Raises:
        CompressionError: If a pair isn't a plain ``nn.Conv2d`` and a batch norm as wide.
    """
    pairs = foldable(model) if pairs is None else list(pairs)
    for pair in pairs:
        _check(model, pair)
    for conv, norm in pairs:
        # A new layer: where the old one is in a second place too, it keeps its norm there.
        replace_module(model, conv, _folded(model.get_submodule(conv), model.get_submodule(norm)))
        replace_module(model, norm, nn.Identity())
    return pairs


def _folded(conv: Any, norm: Any) -> nn.Conv2d:
    """The convolution that equals ``norm(conv(x))`` in eval mode."""
    folded = copy.deepcopy(conv)
    # In float64: every weight is rounded once.
    parts = (conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    mean, var, gamma, beta = (None if p is None else p.detach().double() for p in parts[2:])
    weight, bias = (None if p is None else p.detach().double() for p in parts[:2])
    # Its hints don't know layers without a bias.
    fuse: Any = fuse_conv_bn_weights
    weight, bias = fuse(weight, bias, mean, var, norm.eps, gamma, beta)
    folded.weight = nn.Parameter(weight.to(conv.weight.dtype))
    folded.bias = nn.Parameter(bias.to(conv.weight.dtype))
    return folded


def _fits(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether the two are a plain convolution and a batch norm as wide, with statistics."""
    return (
        type(conv) is nn.Conv2d
        and isinstance(norm, _BatchNorm)
        and norm.running_var is not None
        and norm.num_features == conv.out_channels
    )


def _check(model: nn.Module, pair: object) -> None:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise CompressionError(f'folded: {pair!r} has to be the names of a Conv2d and its norm')
    modules = dict(model.named_modules())
    for name in pair:
        if name not in modules:
            raise CompressionError(
                f'folded: {type(model).__name__} has no layer {name!r}; the nearest are '
                f'{nearest(name, modules)}'
            )
    layers = [modules[name] for name in pair]
    if not _fits(*layers):
        kinds = ' and a '.join(type(layer).__name__ for layer in layers)
        raise CompressionError(
            f'folded: {list(pair)} are a {kinds}; they have to be a Conv2d and a batch norm of the '
            'same width'
        )
