"""The checkpoints of deeply shared bases' authors.

A block's convolution has its own filters, ``basis_convI``, beside shared ones, which the file has
for each block again. Maps come as ``[own; shared]`` there and as ``[shared; own]`` here, so that
what reads them is permuted: the norm ``basis_bnI`` and the coefficients ``coeff_convI``, or where
there are none the norm and the convolution of the block that follow.

Source: Kang & Kim, arXiv:2006.05066, and their program.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.export.convert import Conversion, Rules, no_layer, put_names

from .op import SharedBasisConv2d

MARKS = {
    'a network with shared bases': r'(^|\.)shared_basis|\.basis_conv\d\.|\.basis_bn\d\.',
    "a network of shared bases' authors": r'residual_function|bottle_neck_layer|^pre\.0\.weight$',
}


def _dense_layer(found: re.Match) -> str:
    """Norms of theirs are numbered from 0."""
    block, layer, kind, number = found.groups()
    place = f'features.dense_block_layer_{int(block) - 1}.bottle_neck_layer_{layer}'
    return f'{place}.{kind}{int(number) - (kind == "bn")}'


def _transition(found: re.Match) -> str:
    place = f'features.transition_layer_{int(found[1]) - 1}.down_sample'
    return f'{place}.{int(found[2] == "conv")}'


DENSENET: Rules = {
    r'backbone\.conv1': 'conv1',
    r'backbone\.bn': 'features.bn',
    r'backbone\.layer(\d)\.(\d+)\.body\.(bn|conv)(\d)': _dense_layer,
    r'backbone\.transition(\d)\.(bn|conv)': _transition,
}
MOBILENET: Rules = {
    r'backbone\.conv1': 'pre.0',
    r'backbone\.bn1': 'pre.1',
    r'backbone\.conv2': 'conv1.0',
    r'backbone\.bn2': 'conv1.1',
    r'backbone\.layer([17])\.0\.(.+)': r'stage\1.\2',
    r'backbone\.layer(\d)\.(.+)': r'stage\1.\2',
}
RESNET: Rules = {
    r'backbone\.((?:conv|bn)1)': r'\1',
    r'backbone\.(layer\d\.\d+\.)downsample(\.\d)': r'\1shortcut\2',
    r'backbone\.(layer\d\.\d+\..+)': r'\1',
}
#: Parts of the blocks that ResNeXt has no names for, and those of dense DenseNets.
PLACES = dict(conv1=0, bn1=1, conv2=3, bn2=4, conv3=6, bn3=7)
DENSE_PLACES = dict(bn0=0, conv1=2, bn1=3, conv2=5)


def convert(conversion: Conversion, model: nn.Module) -> None:
    """Give each tensor its place, with maps in our order."""
    names = _names(conversion)
    ops: dict[int, list[tuple[str, SharedBasisConv2d, str]]] = {}
    orders: dict[str, Tensor] = {}
    for name, layer in conversion.layers():
        theirs = names(name)
        if not theirs:
            raise no_layer(name, "shared bases' authors", 'ResNet, ResNeXt, DenseNet, MobileNetV2')
        if name == 'head.fc':
            # Behind a pooling to one position, a 1x1 convolution may classify.
            conversion.move(f'{theirs}.weight', f'{name}.weight', lambda value: value.flatten(1))
            conversion.move(f'{theirs}.bias', f'{name}.bias')
        elif isinstance(layer, SharedBasisConv2d):
            ops.setdefault(id(layer.owner), []).append((name, layer, theirs))
            order = order_of(layer)
            if order is not None and layer.coefficients is None:
                # What stands behind it reads its maps.
                block, _, number = name.rpartition('conv')
                orders[f'{block}bn{number}'] = orders[f'{block}conv{int(number) + 1}'] = order
        else:
            side = int(isinstance(layer, nn.Conv2d))
            conversion.plain(theirs, name, orders.get(name), side)
    for together in ops.values():
        _shared(conversion, together)
        for name, layer, theirs in together:
            _own(conversion, name, layer, theirs)
    _leave_copies(conversion)


def order_of(layer: SharedBasisConv2d) -> Tensor | None:
    """Where each map of ours, ``[shared; own]``, is in theirs, ``[own; shared]``.

    Returns:
        ``LongTensor[r]``; ``None`` where there is one kind of filters only.
    """
    shared: Any = layer.owner.shared_basis
    if shared is None or layer.unique_basis is None:
        return None
    s, u = len(shared), len(layer.unique_basis)
    groups = layer.basis_groups if layer.is_one else 1
    of_shared = torch.arange(u, u + s).view(groups, -1)
    of_own = torch.arange(u).view(groups, -1)
    return torch.cat([of_shared, of_own], dim=1).flatten()


def _names(conversion: Conversion) -> Callable[[str], str]:
    """A function that gives their name of one of our layers."""
    backbone: Any = getattr(conversion.architecture, 'backbone', conversion.architecture)
    rules = RESNET
    if hasattr(backbone, 'layer7'):
        rules = MOBILENET
    elif hasattr(backbone, 'transition1'):
        rules = DENSENET
    head = conversion.first_of('fc', 'linear', 'classifier.1', 'conv2')
    if rules is MOBILENET and head == 'fc':
        head = 'conv2'

    def names(name: str) -> str:
        if name == 'head.fc':
            return head
        theirs = put_names(rules, name)
        block, _, part = theirs.rpartition('.')
        places = DENSE_PLACES if rules is DENSENET else PLACES
        if part in places and f'{block}.residual_function.0.weight' in conversion:
            return f'{block}.residual_function.{places[part]}'
        return theirs

    return names


def _shared(conversion: Conversion, together: list[tuple[str, SharedBasisConv2d, str]]) -> None:
    """What some layers share, which the file has for each of their blocks."""
    owner, layer, _ = together[0]
    if layer.owner.shared_basis is None:
        return
    keys = [key for _, _, theirs in together if (key := _shared_key(conversion, theirs))]
    # Without copies in blocks it is missing, and called as in the first of them.
    first = f'{together[0][2].rpartition(".")[0]}.shared_basis.weight'
    key, *copies = list(dict.fromkeys(keys)) or [first]
    conversion.move(key, f'{owner}.shared_basis', copies=copies)


def _shared_key(conversion: Conversion, theirs: str) -> str:
    """The key of the shared filters of a convolution in its block."""
    block, _, conv = theirs.rpartition('.')
    number = int(conv.removeprefix('conv'))
    # Of bottlenecks the second convolution is the first that shares, of MobileNetV2 the third is
    # the second one.
    is_bottleneck = f'{block}.bn3.weight' in conversion
    if is_bottleneck:
        number = number - 1 if number > 1 else number
    found = (f'shared_basis_{number}', f'shared_basis{number}', 'shared_basis')
    keys = [f'{block}.{name}.weight' for name in found]
    return next((key for key in keys if key in conversion), '')


def _own(conversion: Conversion, name: str, layer: SharedBasisConv2d, theirs: str) -> None:
    """What a layer has of its own, in our order."""
    block, _, conv = theirs.rpartition('.')
    number = conv.removeprefix('conv')
    if layer.unique_basis is not None:
        conversion.move(f'{block}.basis_conv{number}.weight', f'{name}.unique_basis')
    order = order_of(layer)
    if layer.norm is not None:
        conversion.plain(f'{block}.basis_bn{number}', f'{name}.norm', order)
    if layer.coefficients is not None:
        change, how = None, ''
        if order is not None:
            change, how = (lambda value: value.index_select(1, order)), 'maps in our order'
        conversion.move(f'{block}.coeff_conv{number}.weight', f'{name}.coefficients', change, how)


def _leave_copies(conversion: Conversion) -> None:
    """The shared filters stand on top of the file once more, or are used by no layer."""
    inside = [
        key for key in conversion.state if re.search(r'\..*shared_basis(_?\d)?\.weight$', key)
    ]
    for key in conversion.state:
        if re.fullmatch(r'shared_basis_\d(_\d)?\.weight', key):
            value = conversion.state[key]
            copies = [other for other in inside if torch.equal(conversion.state[other], value)]
            conversion.leave(key, f'a copy of {copies[0]}' if copies else 'no layer uses it')
