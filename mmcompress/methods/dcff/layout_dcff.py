"""The checkpoints of DCFF's authors.

``model_best.pt`` and ``model_last.pt`` have the filters that training mixes, ``weight``, and the
proxies that mix them, ``layeri_softmaxP``, whose rows are in the order that their ``topk`` gave;
``fused_weight`` and ``fused_bias`` are what comes of both. ``model_best_compact.pt`` is the compact
network alone.

Source: Lin et al., arXiv:2107.06916, and their program.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.export.convert import Conversion, Rules, no_layer, put_names

from .op import FusedConv2d

MARKS = {
    'a training checkpoint of DCFF': r'\.layeri_softmaxP$',
    "the GoogLeNet of DCFF's authors": r'^[ab]\d\.b\d\.\d+\.weight$',
}

BRANCHES = {'1x1': 'b1', '3x3': 'b2', '5x5': 'b3', '_pool': 'b4'}


def _inception(found: re.Match) -> str:
    """A branch is a chain of convolution, norm and ReLU; that of the pool begins with it."""
    block, branch, kind, number = found.groups()
    place = 3 * (int(number) - 1) + (kind == 'bn') + (branch == '_pool')
    return f'{block}.{BRANCHES[branch]}.{place}'


RULES: Rules = {
    r'backbone\.stem\.conv1': 'pre_layers.0',
    r'backbone\.stem\.bn1': 'pre_layers.1',
    r'backbone\.(\w\d)\.branch(1x1|3x3|5x5|_pool)\.(conv|bn)(\d)': _inception,
    r'backbone\.((?:conv|bn)\d|layer\d\.\d+\..+)': r'\1',
}


def convert(conversion: Conversion, model: nn.Module) -> None:
    """Give each tensor its place, under the names of the authors' networks."""
    places = vgg_places(conversion.architecture)
    head = conversion.first_of('fc', 'classifier', 'linear')

    def name_of(name: str) -> str:
        found = head if name == 'head.fc' else places.get(name) or put_names(RULES, name)
        if not found:
            raise no_layer(name, "DCFF's authors", 'ResNet, VGG-16, GoogLeNet')
        return found

    scores = conversion.extra.get('layers_iScore')
    convert_layers(conversion, name_of, scores if isinstance(scores, (list, tuple)) else ())
    epoch = conversion.extra.get('epoch')
    if isinstance(epoch, int) and not conversion.compact_only:
        conversion.buffers['fuse_steps'] = torch.tensor(epoch)


def vgg_places(network: Any) -> dict[str, str]:
    """Their names of the layers of our VGG: its stages are one chain, pools included."""
    places: dict[str, str] = {}
    count = 0
    backbone = getattr(network, 'backbone', network)
    for stage, module in backbone.named_children():
        if not re.fullmatch(r'stage\d', stage):
            return {}
        kinds = [kind for kind, _ in module.named_children()]
        for kind in kinds:
            places[f'backbone.{stage}.{kind}'] = f'features.{count}'
            count += 1
        # The last stage of theirs ends in a pool, which ours may leave to the neck.
        count += 'pool' not in kinds
    return places


def convert_layers(
    conversion: Conversion, name_of: Callable[[str], str], scores: tuple | list = ()
) -> None:
    """Give the tensors of all layers their places.

    Args:
        conversion: Of a training checkpoint with proxies, or of a compact network.
        name_of: Their name of one of our layers.
        scores: ``Tensor[n]``, the importance of the filters of each layer that is fused, in order.
    """
    trained = any(key.endswith('.layeri_softmaxP') for key in conversion.state)
    fused = [
        name
        for name, _ in conversion.layers()
        if f'{name_of(name)}.layeri_softmaxP' in conversion.state
    ]
    importance = dict(zip(fused, scores, strict=False)) if len(scores) == len(fused) else {}
    for name, layer in conversion.layers():
        theirs = name_of(name)
        if not isinstance(layer, FusedConv2d):
            if f'{theirs}.layeri_softmaxP' in conversion:
                _fold(conversion, theirs, name, layer)
            else:
                conversion.plain(theirs, name)
        elif not trained:
            _embed(conversion, theirs, name, layer)
        elif f'{theirs}.weight' in conversion and f'{theirs}.layeri_softmaxP' not in conversion:
            conversion.refuse(
                f'has a plain convolution at {theirs!r}, where CONFIG fuses filters; name it in '
                'mutator_cfg.channel_unit_cfg.default_args.plain'
            )
        else:
            _train(conversion, theirs, name, layer, importance.get(name))
    if not trained:
        conversion.compact_only = (
            'it holds fused filters; those that training mixes, and their proxies, are gone'
        )


def _leaves(layer: nn.Module) -> tuple[str, ...]:
    return ('weight',) if getattr(layer, 'bias', None) is None else ('weight', 'bias')


def _train(
    conversion: Conversion, theirs: str, name: str, layer: FusedConv2d, score: Tensor | None
) -> None:
    """Filters and proxies; the rows of proxies stay in their order, which norms agree with."""
    for leaf in _leaves(layer):
        conversion.move(f'{theirs}.{leaf}', f'{name}.{leaf}')
    key = f'{theirs}.layeri_softmaxP'
    conversion.move(key, f'{name}.proxies', how='proxies')
    for leaf in ('fused_weight', 'fused_bias'):
        conversion.leave(f'{theirs}.{leaf}', 'made of proxies and filters')
    n = layer.dense_channels
    fits = isinstance(score, Tensor) and score.shape == (n,) and bool(score.isfinite().all())
    importance = score if fits and score is not None else layer.importance
    conversion.make(f'{name}.importance', importance)
    chosen = layer.chosen
    if key in conversion:
        proxies = conversion.state[key].to(layer.proxies)
        chosen = layer.chosen_by(proxies, torch.ones_like(layer.importance))
    conversion.make(f'{name}.chosen', chosen)


def _fold(conversion: Conversion, theirs: str, name: str, layer: nn.Module) -> None:
    """A layer that keeps all its filters, and is plain here: what its proxies make of them."""
    proxies = conversion.state[f'{theirs}.layeri_softmaxP']
    for leaf in _leaves(layer):
        mix = partial(_mixed, proxies)
        conversion.move(f'{theirs}.{leaf}', f'{name}.{leaf}', mix, 'fused by its proxies')
    for leaf in ('layeri_softmaxP', 'fused_weight', 'fused_bias'):
        conversion.leave(f'{theirs}.{leaf}', 'the layer is plain in CONFIG (see fuse_all)')


def _mixed(proxies: Tensor, filters: Tensor) -> Tensor:
    return (proxies @ filters.reshape(len(filters), -1)).view(-1, *filters.shape[1:])


def _embed(conversion: Conversion, theirs: str, name: str, layer: FusedConv2d) -> None:
    """Put fused filters among those that would be mixed, and choose exactly them."""
    proxies = torch.zeros_like(layer.proxies)
    for rows, columns in layer.blocks():
        proxies[rows, columns].fill_diagonal_(1)
    for leaf in _leaves(layer):
        like = getattr(layer, leaf)
        expected = (layer.out_channels, *like.shape[1:])
        place = partial(_placed, proxies, expected)
        conversion.move(f'{theirs}.{leaf}', f'{name}.{leaf}', place, 'fused filters')
    conversion.make(f'{name}.proxies', proxies)
    conversion.make(f'{name}.importance', torch.zeros_like(layer.importance))
    conversion.make(f'{name}.chosen', torch.zeros_like(layer.chosen))


def _placed(proxies: Tensor, expected: tuple[int, ...], fused: Tensor) -> Tensor:
    """``Tensor[n, ...]`` of which the proxies choose ``fused``, ``Tensor[m, ...]``.

    Raises:
        RuntimeError: If it is not of the expected shape.
    """
    if tuple(fused.shape) != expected:
        raise RuntimeError(f'CONFIG makes {expected} of it')
    return _mixed(proxies.T.to(fused), fused)
