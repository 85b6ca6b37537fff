"""The checkpoints of MMRazor's DCFF.

``fix_subnet_weight.pth`` is the compact network, inside of the algorithm (``architecture.``), with
the masks of the mutator. A checkpoint of training has filters, norms and classifiers of full size,
of which the first channels count; it lacks the proxies, so that MMRazor itself has other filters
after loading than before saving.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from mmcompress.core.base.algorithm import INNER
from mmcompress.core.export.convert import Conversion

from .algorithm import DCFF
from .layout_dcff import convert_layers
from .op import FusedConv2d

MARKS = {"a checkpoint of MMRazor's DCFF": r'^mutator\..*mask$|\.mutable_attrs\.'}

#: The file that says the widths of the network beside it.
SUBNET = 'fix_subnet.json'


def convert(conversion: Conversion, model: nn.Module) -> None:
    """Give each tensor its place; names are those of our network already."""
    prefix = INNER if any(key.startswith(INNER) for key in conversion.state) else ''
    for key in conversion.state:
        if key.startswith('mutator.') or '.mutable_attrs.' in key or key.endswith('.mask'):
            conversion.leave(key, 'a mask, which widths say')
        elif key.removeprefix(INNER).startswith('data_preprocessor.'):
            conversion.leave(key, 'a setting of the config')
    if isinstance(model, DCFF):
        _check_subnet(conversion, model)
    if _is_trained(conversion, prefix):
        _train(conversion, prefix)
    else:
        convert_layers(conversion, lambda name: f'{prefix}{name}')


def _is_trained(conversion: Conversion, prefix: str) -> bool:
    """Whether any layer that is fused here has all of its filters."""
    for name, layer in conversion.layers():
        if isinstance(layer, FusedConv2d) and layer.out_channels < layer.dense_channels:
            weight = conversion.state.get(f'{prefix}{name}.weight')
            if weight is not None:
                return len(weight) == layer.dense_channels
    return False


def _train(conversion: Conversion, prefix: str) -> None:
    for name, layer in conversion.layers():
        for leaf, own in layer.state_dict().items():
            cut = partial(_first, shape=tuple(own.shape))
            key = f'{prefix}{name}.{leaf}'
            if isinstance(layer, FusedConv2d) and leaf not in ('weight', 'bias'):
                conversion.make(f'{name}.{leaf}', own)
            else:
                conversion.move(key, f'{name}.{leaf}', cut, 'its first channels')
    conversion.notes.append(
        'it has no proxies: the first filters stand for all of a layer until training fuses them '
        'anew; its fix_subnet_weight.pth is the network that it evaluates'
    )


def _first(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The first channels, as many as are asked for.

    Raises:
        RuntimeError: If there are fewer.
    """
    for dim, (there, here) in enumerate(zip(value.shape, shape, strict=True)):
        if here > there:
            raise RuntimeError(f'CONFIG makes {shape} of it')
        value = value.narrow(dim, 0, here)
    return value.clone()


def _check_subnet(conversion: Conversion, model: DCFF) -> None:
    """See that CONFIG has the widths of the file beside the checkpoint, if there is one."""
    path = Path(conversion.source.path).with_name(SUBNET)
    if not path.is_file():
        return
    try:
        units = json.loads(path.read_text(encoding='utf-8'))['channel_unit_cfg']['units']
        widths = {name: (unit['init_args'], unit['choice']) for name, unit in units.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # another's
    for name, (args, choice) in widths.items():
        unit = model.mutator.units.get(name)
        if unit is None:
            continue
        total = unit.num_channels
        asked = choice if args.get('choice_mode') == 'number' else int(total * choice)
        if asked != unit.width:
            conversion.refuse(
                f'has {asked} of {total} channels in unit {name!r}, by {SUBNET} beside it, and '
                f'CONFIG {unit.width}; set target_pruning_ratio[{name!r}] to {asked / total:.6g}'
            )
