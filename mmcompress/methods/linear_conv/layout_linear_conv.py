"""The checkpoints of LinearConv's authors, ``net_epoch_N.ckpt``.

A convolution has its primary filters in ``conv_weights``, ``[n / 2, c / G, k, k]``, and combines
them, across groups, by ``linear_weights``, or by ``column_weights`` times ``row_weights``; sparse
ones have a ``mask``. The threshold of the mask is not saved.

Source: Kahatapitiya & Rodrigo, arXiv:1907.11432, and their program.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.export.convert import Conversion, Rules, no_layer, put_names

from .op import LinearConv2d

MARKS = {'a checkpoint of LinearConv': r'\.(conv_weights|linear_weights|column_weights)$'}

#: Their names of our factors.
FACTORS = dict(combination='linear_weights', left='column_weights', right='row_weights')
#: Behind the pools of theirs, each stage is a chain of convolution, norm and ReLU.
TRIPLE = dict(conv=0, bn=1)


def _vgg(found: re.Match) -> str:
    stage, kind, number = found.groups()
    return f'feat.{int(stage) - 1}.{3 * (int(number) - 1) + TRIPLE[kind]}'


RULES: Rules = {
    r'backbone\.stage(\d+)\.(conv|bn)(\d+)': _vgg,
    r'backbone\.layers\.conv9': 'class_conv',
    r'backbone\.layers\.(conv\d)': r'\1',
    r'backbone\.((?:conv|bn)\d)': r'\1',
    r'backbone\.(layer\d\.\d+\.)downsample(\.\d)': r'\1shortcut\2',
    r'backbone\.(layer\d\.\d+\..+)': r'\1',
    r'neck\.fc\.?0?': 'fc',
}


def convert(conversion: Conversion, model: nn.Module) -> None:
    """Give each tensor its place."""
    flat = _flat_blocks(conversion)
    head = conversion.first_of('linear', 'fc')
    for name, layer in conversion.layers():
        theirs = head if name in ('head.fc', 'neck.fc') else put_names(RULES, name)
        for ours, block in flat.items():
            theirs = re.sub(rf'^{re.escape(ours)}\.', f'{block}.', theirs)
        if not theirs:
            networks = 'Base, VGG-11, AllConv, ResNet, ResNeXt, MobileNetV2'
            raise no_layer(name, "LinearConv's authors", networks)
        if isinstance(layer, LinearConv2d):
            _combined(conversion, theirs, name, layer)
        else:
            conversion.plain(theirs, name)


def _flat_blocks(conversion: Conversion) -> dict[str, str]:
    """Their MobileNetV2 has its blocks in one list, ours in stages."""
    if not any(key.startswith('layers.0.') for key in conversion.state):
        return {}
    found = (re.match(r'backbone\.(layer\d+\.\d+)\.', name) for name, _ in conversion.layers())
    blocks = dict.fromkeys(match[1] for match in found if match)
    return {block: f'layers.{index}' for index, block in enumerate(blocks)}


def _combined(conversion: Conversion, theirs: str, name: str, layer: LinearConv2d) -> None:
    conversion.move(f'{theirs}.conv_weights', f'{name}.primary')
    for leaf in layer.factors[1:]:
        key = f'{theirs}.{FACTORS[leaf]}'
        matrix = conversion.state.get(key)
        if (
            matrix is not None
            and layer.sets > 1
            and matrix.shape[0] > getattr(layer, leaf).shape[1]
        ):
            conversion.refuse(
                f'combines filters of different groups in {theirs!r}; set '
                'mutator_cfg.filter_unit_cfg.default_args.across_groups=True'
            )
        conversion.move(key, f'{name}.{leaf}', lambda value: value[None], 'renamed, as one set')
    if layer.bias is not None:
        conversion.move(f'{theirs}.bias', f'{name}.bias')
    conversion.make(f'{name}.order', layer.order)
    key = f'{theirs}.mask'
    mask = conversion.state.get(key)
    if layer.is_sparse:
        mask = torch.ones_like(layer.mask[0]) if mask is None else mask.bool()
        conversion.make(f'{name}.mask', mask[None], [key] * (key in conversion), 'as bits')
        conversion.make(f'{name}.threshold', _threshold(conversion, theirs, mask, layer))
    elif mask is not None:
        if not mask.bool().all():
            conversion.refuse(
                f'has sparse combinations in {theirs!r}, and CONFIG variant '
                f"{layer.settings.variant!r}; set it to 'sparse'"
            )
        conversion.leave(key, 'it masks nothing')


def _threshold(conversion: Conversion, theirs: str, mask: Tensor, layer: Any) -> Tensor:
    """The smallest that masks what is masked: theirs isn't saved."""
    matrix = conversion.state.get(f'{theirs}.linear_weights')
    note = 'thresholds of masks were not saved: each is the largest entry that is masked'
    if note not in conversion.notes:
        conversion.notes.append(note)
    if matrix is None or matrix.shape != mask.shape or bool(mask.all()):
        return torch.zeros_like(layer.threshold)
    return matrix[~mask].abs().max()
