"""The checkpoints of filter basis' authors: VGG, ResNet, DenseNet, EDSR and SRResNet.

What layers share stands in a file once for each of them, and once more on top: the basis of a
group, and the slope of SRResNet's PReLU. EDSR's layers for the mean colour were trained.

Source: Li et al., ICCV 2019, and their programs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mmcompress.core.errors import CompressionError
from mmcompress.core.export.convert import Conversion, no_layer

from .op import FilterBasisConv2d

MARKS = {
    'a network of filter basis': r'(^|\.)basis\d?$|\.basis_(weight|bias)$|\.proj_weight$'
    r'|^features\.\d+\.conv\.\d\.weight$',
    "a network of filter basis' authors": r'^features\.\d+\.\d+\.(body\.\d|weight)|^body\.\d+\.',
}


@dataclass(frozen=True)
class Style:
    """What the parts of a convolution with a basis are called, behind its own name."""

    basis: str
    basis_bias: str
    coefficients: str
    bias: str
    norm: str = ''


VGG = Style('0.weight', '0.bias', '3.weight', '3.bias', '1')
RESNET = Style('0.basis_weight', '0.basis_bias', '1.weight', '1.bias')
DENSENET = Style('2.basis', '2.basis_bias', '5.weight', '5.bias', '3')
EDSR = Style('basis_weight', 'basis_bias', 'proj_weight', 'proj_bias')
SRRESNET = Style('0.basis_weight', '0.basis_bias', '3.weight', '3.bias', '1')

#: Parts of a dense convolution of a residual block, and of the norm behind it.
RESIDUAL = dict(conv1=0, bn1=1, conv2=3, bn2=4)


def convert(conversion: Conversion, model: nn.Module) -> None:
    """Give each tensor its place."""
    names = _names(conversion)
    ops: dict[int, list[tuple[str, FilterBasisConv2d, str, Style]]] = {}
    for name, layer in conversion.layers():
        theirs, style = names(name)
        if not theirs:
            raise no_layer(name, "filter basis' authors", 'VGG, ResNet, DenseNet, EDSR, SRResNet')
        if isinstance(layer, FilterBasisConv2d):
            ops.setdefault(id(layer.owner), []).append((name, layer, theirs, style))
        else:
            conversion.plain(theirs, name)
    for shared in ops.values():
        _basis(conversion, shared)
        for name, layer, theirs, style in shared:
            _rest(conversion, name, layer, theirs, style)
    _leave_copies(conversion)


def _basis(conversion: Conversion, shared: list[tuple[str, FilterBasisConv2d, str, Style]]) -> None:
    """The basis of some layers, which the file has for each of them."""
    copies = [f'{theirs}.{style.basis}' for _, _, theirs, style in shared]
    first = next(name for name, layer, _, _ in shared if layer.owner is layer)
    conversion.move(copies[0], f'{first}.shared_basis', copies=copies[1:])
    value = conversion.state.get(copies[0])
    for key in conversion.state:
        on_top = re.fullmatch(r'basis\d?', key)
        if value is not None and on_top and torch.equal(conversion.state[key], value):
            conversion.leave(key, f'a copy of {copies[0]}')


def _rest(
    conversion: Conversion, name: str, layer: FilterBasisConv2d, theirs: str, style: Style
) -> None:
    """What a layer has of its own."""
    if layer.basis_bias is not None:
        conversion.move(f'{theirs}.{style.basis_bias}', f'{name}.basis_bias')
    conversion.move(f'{theirs}.{style.coefficients}', f'{name}.coefficients')
    if layer.bias is not None:
        conversion.move(f'{theirs}.{style.bias}', f'{name}.bias')
    if layer.norm is not None:
        if not style.norm:
            raise CompressionError(
                f'CONFIG: {name!r} has a norm behind its basis, which this network of theirs has '
                'not; set norm_cfg to None'
            )
        conversion.plain(f'{theirs}.{style.norm}', f'{name}.norm')


def _leave_copies(conversion: Conversion) -> None:
    """The slope of SRResNet's activation stands behind each layer."""
    slope = conversion.state.get('head.1.weight')
    if slope is None:
        return
    for key, value in conversion.state.items():
        if re.fullmatch(r'body\.\d+\.body\.(\d|\d\.conv\.[25])\.weight', key):
            if value.shape != slope.shape:
                continue
            if not torch.equal(value, slope):
                conversion.refuse(
                    f"has a slope of its own in {key!r}; CONFIG's network has one PReLU"
                )
            conversion.leave(key, 'a copy of head.1.weight')


def _names(conversion: Conversion) -> Any:
    """A function that gives their name of one of our layers, and the style of a basis there."""
    network: Any = conversion.architecture
    backbone = getattr(network, 'backbone', network)
    children = [name for name, _ in backbone.named_children()]
    if 'stage1' in children:
        return _vgg(backbone, conversion)
    if 'upsample' in children:
        return _super_resolution(backbone, conversion)
    if 'layer1' in children and hasattr(backbone.layer1[0], 'body'):
        return _densenet(backbone, conversion)
    return _resnet(conversion)


def _vgg(backbone: Any, conversion: Conversion) -> Any:
    places: dict[str, int] = {}
    count = 0
    for stage, module in backbone.named_children():
        for kind, _ in module.named_children():
            if kind.startswith('conv'):
                places[f'backbone.{stage}.{kind.removeprefix("conv")}'] = count
                count += 1
        count += 1  # the pool

    def names(name: str) -> tuple[str, Style]:
        if name == 'head.fc':
            return 'classifier', VGG
        found = re.fullmatch(r'(backbone\.stage\d+)\.(conv|bn)(\d+)', name)
        if not found:
            return '', VGG
        place = f'features.{places[f"{found[1]}.{found[3]}"]}'
        has_basis = f'{place}.conv.0.weight' in conversion
        if found[2] == 'bn':
            return f'{place}.conv.4' if has_basis else f'{place}.1', VGG
        layer = conversion.architecture.get_submodule(name)
        return f'{place}.conv' if isinstance(layer, FilterBasisConv2d) else f'{place}.0', VGG

    return names


def _resnet(conversion: Conversion) -> Any:
    def names(name: str) -> tuple[str, Style]:
        fixed = {'backbone.conv1': 'features.0.0', 'backbone.bn1': 'features.0.1'}
        fixed['head.fc'] = 'classifier'
        if name in fixed:
            return fixed[name], RESNET
        found = re.fullmatch(r'backbone\.layer(\d)\.(\d+)\.(conv\d|bn\d)', name)
        if not found:
            return '', RESNET
        place = f'features.{found[1]}.{found[2]}.body.{RESIDUAL[found[3]]}'
        layer = conversion.architecture.get_submodule(name)
        return f'{place}.conv' if isinstance(layer, FilterBasisConv2d) else place, RESNET

    return names


def _densenet(backbone: Any, conversion: Conversion) -> Any:
    blocks = [name for name, _ in backbone.named_children() if name.startswith('layer')]
    #: Transitions with a shortcut have their layers in a module.
    reduced = any('.module.' in key for key in conversion.state)
    parts = dict(bn=0, conv=2, conv1=2, conv2=3)

    def names(name: str) -> tuple[str, Style]:
        fixed = {'backbone.conv1': 'features.0', 'head.fc': 'classifier'}
        fixed['backbone.bn'] = f'features.{2 * len(blocks)}'
        if name in fixed:
            return fixed[name], DENSENET
        found = re.fullmatch(r'backbone\.transition(\d)\.(bn|conv\d?)', name)
        if found:
            middle = '.module' if reduced else ''
            return f'features.{2 * int(found[1])}{middle}.{parts[found[2]]}', DENSENET
        found = re.fullmatch(r'backbone\.layer(\d)\.(\d+)\.body\.(bn|conv)(\d)', name)
        if not found:
            return '', DENSENET
        place = f'features.{2 * int(found[1]) - 1}.{found[2]}.body'
        if f'{place}.0.conv.0.weight' in conversion:
            return f'{place}.0.conv' + ('.0' if found[3] == 'bn' else ''), DENSENET
        return f'{place}.{3 * (int(found[4]) - 1) + (0 if found[3] == "bn" else 2)}', DENSENET

    return names


def _super_resolution(backbone: Any, conversion: Conversion) -> Any:
    blocks = len(backbone.blocks)
    norms = hasattr(backbone.blocks[0], 'bn1')
    step = 3 if norms else 2
    if not norms and not getattr(backbone, 'has_mean', True) and 'sub_mean.weight' in conversion:
        conversion.refuse(
            "has layers for the mean colour, which were trained, and CONFIG's network none; set "
            'backbone.mean and data_preprocessor.mean=None, as in configs/_base_/models/edsr_*.py'
        )
    fixed = {
        'backbone.head': 'head.0',
        'backbone.act': 'head.1',
        'backbone.fuse': f'body.{blocks}',
        'backbone.fuse_bn': f'body.{blocks + 1}',
        'backbone.tail': 'tail.1',
        'backbone.sub_mean': 'sub_mean',
        'backbone.add_mean': 'add_mean',
    }

    def names(name: str) -> tuple[str, Style]:
        style = SRRESNET if norms else EDSR
        if name in fixed:
            return fixed[name], style
        found = re.fullmatch(r'backbone\.upsample\.(conv|act)(\d)', name)
        if found:
            return f'tail.0.{step * (int(found[2]) - 1) + 2 * (found[1] == "act")}', style
        found = re.fullmatch(r'backbone\.blocks\.(\d+)\.(conv|bn)(\d)', name)
        if not found:
            return '', style
        place, number = f'body.{found[1]}.body', int(found[3])
        if norms and f'{place}.0.conv.0.basis_weight' in conversion:
            return f'{place}.{number - 1}.conv' + ('.4' if found[2] == 'bn' else ''), style
        if norms:
            return f'{place}.{RESIDUAL[found[2] + found[3]]}', style
        return f'{place}.{2 * (number - 1)}', style

    return names
