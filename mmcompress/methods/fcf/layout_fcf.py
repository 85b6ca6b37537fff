"""The checkpoints of FCF's authors: dense networks, and those of both stages.

Stage 1 has a scalar ``v`` for each filter of a block, in front of its norm. Released files are of
stage 2 and have none: the weights of removed filters are zero, and so are those that read them;
norms have all channels, and put out the bias of a removed one.

Source: Li et al., CVPR 2019, and their program.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.channels.gate import Gate
from mmcompress.core.export.convert import Conversion, Rules, no_layer, put_names

from .algorithm import FCF
from .op import FactorizedConv2d

MARKS = {
    'a stage 1 checkpoint of FCF': r'layer\d\.\d+\.(left\.\d|conv\d)\.v$',
    'a CIFAR network of FCF': r'^layer\d\.\d+\.left\.\d',
}

IMAGENET: Rules = {
    r'backbone\.((?:conv|bn)1|layer\d\.\d+\..+)': r'\1',
    r'head\.fc': 'fc',
}
CIFAR: Rules = {
    r'backbone\.conv1': 'conv1.0',
    r'backbone\.bn1': 'conv1.1',
    r'backbone\.(layer\d\.\d+)\.conv1': r'\1.left.0',
    r'backbone\.(layer\d\.\d+)\.bn1': r'\1.left.1',
    r'backbone\.(layer\d\.\d+)\.conv2': r'\1.left.3',
    r'backbone\.(layer\d\.\d+)\.bn2': r'\1.left.4',
    r'backbone\.(layer\d\.\d+\.shortcut\.\d)': r'\1',
    r'head\.fc': 'fc',
}
#: What to change in a config of ours for networks of theirs.
SWITCH = "set mutator_cfg.scale='weight' (--cfg-options model.mutator_cfg.scale=weight)"


def convert(conversion: Conversion, model: nn.Module) -> None:
    """Give each tensor its place, and find the filters that are left."""
    cifar = any('.left.' in key for key in conversion.state)
    rules = CIFAR if cifar else IMAGENET
    ops: dict[str, FactorizedConv2d] = {}
    keys: dict[str, str] = {}
    for name, layer in conversion.layers():
        theirs = put_names(rules, name)
        if not theirs:
            raise no_layer(name, "FCF's authors", f'{"CIFAR" if cifar else "ImageNet"} ResNets')
        if isinstance(layer, FactorizedConv2d):
            conversion.move(f'{theirs}.weight', f'{name}.weight')
            ops[name], keys[name] = layer, theirs
        else:
            conversion.plain(theirs, f'{name}.norm' if isinstance(layer, Gate) else name)
    if isinstance(model, FCF):
        _scalars(conversion, model, ops, keys)


def loaded(conversion: Conversion, model: nn.Module) -> None:
    """Check what removed filters are read by; set widths that are by magnitude."""
    if not isinstance(model, FCF) or not model.started:
        return
    if model.binary:
        _check_cut(conversion, model)
    if not all(unit.width for unit in model.mutator.units.values()):
        model.set_widths()
        conversion.notes.append(
            'how many filters each layer keeps is by the magnitudes of its present weights'
        )


def _scalars(
    conversion: Conversion, model: FCF, ops: dict[str, FactorizedConv2d], keys: dict[str, str]
) -> None:
    """Give the scalars their places, by the op that has them."""
    rows = {name: _rows(conversion, theirs) for name, theirs in keys.items()}
    has_v = any(f'{theirs}.v' in conversion for theirs in keys.values())
    removed = not has_v and any(not row.all() for row in rows.values())
    scalars: dict[int, Tensor] = {}
    for name, op in ops.items():
        key = f'{keys[name]}.v'
        owner: Any = op if op._owner is None else op._owner
        own = conversion.state.get(key, rows[name].to(op.weight)) if has_v or removed else None
        if own is None or own.shape != owner.v.shape:
            own = torch.ones_like(owner.v)
        if not torch.equal(scalars.setdefault(id(owner), own), own):
            conversion.refuse(
                f'has other filters removed in {keys[name]!r} than in the layers that it shares '
                "scalars with here; set mutator_cfg.scope='filter'"
            )
        if owner is not op:
            conversion.leave(key, 'shared with another layer')
            continue
        if has_v:
            conversion.move(key, f'{name}.v')
        else:
            conversion.make(f'{name}.v', own)
        conversion.make(f'{name}.keep', own.sum().long() if removed else op.keep)
    if model.mutator.scale != 'weight' and any(not v.eq(1).all() for v in scalars.values()):
        conversion.refuse(
            'multiplies weights by its scalars, in front of norms, and CONFIG the output of norms; '
            f'{SWITCH}'
        )
    if has_v or removed:
        conversion.buffers['started'] = torch.tensor(True)
    if removed:
        conversion.buffers['binary'] = torch.tensor(True)
        left, all_of = (int(sum(s)) for s in zip(*((v.sum(), len(v)) for v in scalars.values())))  # noqa: B905
        conversion.notes.append(f'{left} of {all_of} filters are left; the others are zero')
    elif has_v:
        conversion.notes.append('its ADMM state was not saved: rho and duals start anew')


def _rows(conversion: Conversion, theirs: str) -> Tensor:
    """``BoolTensor[n]``: which filters are not zero."""
    weight = conversion.state.get(f'{theirs}.weight')
    return torch.ones(1, dtype=torch.bool) if weight is None else weight.flatten(1).any(1)


def _check_cut(conversion: Conversion, model: FCF) -> None:
    """See that the weights that CONFIG makes zero are zero in the file."""
    for name, op in model.architecture.named_modules():
        if isinstance(op, FactorizedConv2d) and op.weight[:, op.inputs().eq(0)].any():
            conversion.refuse(
                f'reads filters that are gone in what becomes {name!r}, and CONFIG does not; set '
                'mutator_cfg.cut_inputs=False'
            )
