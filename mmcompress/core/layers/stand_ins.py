"""Modules whose own code hides which channels go together, and what to do about each.

Three kinds of trouble: compiled operations that autograd shows as one opaque node, channels that
are counted off through a view, and widths that a module keeps in a Python attribute. For the first
two, a forward pass that couples channels just as the real one does takes its place while the graph
is drawn; for the third, the attribute is written anew after narrowing. Modules are known by their
attributes, so that none of the libraries need be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseAveragedModel
from torch import Tensor, nn

from .narrow import is_deformable, is_narrowable


@contextmanager
def traceable(model: nn.Module) -> Iterator[None]:
    """Inside, modules that hide their coupling run a forward pass that shows it."""
    changed = []
    for module in model.modules():
        forward = _stand_in(module)
        if forward is not None:
            module.forward = partial(forward, module)
            changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def parts_added_up(model: nn.Module) -> dict[str, int]:
    """Layers whose output channels are several equal parts that add up to one, by name."""
    parts: dict[str, int] = {}
    module: Any
    for name, module in model.named_modules():
        if _is_split_attention(module):
            parts[f'{name}.conv'] = parts[f'{name}.fc2'] = module.radix
        elif _is_bottle2neck(module):
            parts[f'{name}.conv1'] = module.scales
    return parts


def fixed_layers(model: nn.Module) -> set[str]:
    """Layers whose output channels are counted off into heads; they keep their width."""
    return {
        f'{name}.{layer}'
        for name, module in model.named_modules()
        if _is_generalized_attention(module)
        for layer in ('query_conv', 'key_conv', 'value_conv')
    }


def update_widths(model: nn.Module) -> None:
    """Write anew the widths that modules keep in attributes, after layers were narrowed."""
    module: Any
    for module in model.modules():
        if _is_bottle2neck(module):
            module.width = module.conv1.out_channels // module.scales
        elif _is_non_local(module):
            values: Any = (module.g[0] if isinstance(module.g, nn.Sequential) else module.g).conv
            module.in_channels, module.inter_channels = values.in_channels, values.out_channels
        elif hasattr(module, 'bbox_roi_extractor'):
            _update_extractors(module)
        elif isinstance(module, BaseAveragedModel):
            # It averages into the tensors that it found when it was built.
            averaged = module.module
            module.avg_parameters = (
                averaged.state_dict()
                if module.update_buffers
                else dict(averaged.named_parameters())
            )


#: What the name of a part that pools boxes of a map ends with, and that of the part behind it.
EXTRACTOR, HEAD = '_roi_extractor', '_head'
#: Where heads on boxes keep their layers, those that run first in front.
FIRST = ('shared_convs', 'convs', 'shared_fcs', 'fcs')


def _update_extractors(roi_head: Any) -> None:
    """Write how many channels are pooled: as many as the first layer behind takes."""
    for name, extractor in roi_head.named_children():
        if not name.endswith(EXTRACTOR):
            continue
        head = getattr(roi_head, name.removesuffix(EXTRACTOR) + HEAD, None)
        several = isinstance(extractor, nn.ModuleList)
        pairs = zip(extractor, head or (), strict=False) if several else [(extractor, head)]
        part: Any
        for part, behind in pairs:
            channels = _pooled_channels(getattr(roi_head, 'shared_head', None) or behind)
            if channels is not None and hasattr(part, 'out_channels'):
                part.out_channels = channels


def _pooled_channels(head: Any) -> int | None:
    """Channels of the pooled maps that a head takes; ``None`` where that can't be told."""
    parts = [getattr(head, name, None) for name in FIRST]
    for part in [part for part in parts if isinstance(part, nn.Module)] or [head]:
        layer: Any = next(filter(is_narrowable, part.modules()), None)
        if isinstance(layer, nn.Linear):
            pooled = getattr(head, 'with_avg_pool', False)
            area = 1 if pooled else getattr(head, 'roi_feat_area', None)
            return layer.in_features // area if area and layer.in_features % area == 0 else None
        if layer is not None:
            return layer.in_channels if hasattr(layer, 'in_channels') else None
    return None


def _stand_in(module: nn.Module) -> Callable | None:
    if is_deformable(module):
        return _deformable
    if _is_split_attention(module):
        return _split_attention
    if _is_bottle2neck(module):
        return _bottle2neck
    if _is_context_block(module):
        return _context_block
    if _is_non_local(module):
        return _non_local
    if _is_generalized_attention(module):
        return _generalized_attention
    return None


def _deformable(layer: Any, x: Tensor, *offsets: Tensor) -> Tensor:
    """A plain convolution: offsets move where it looks, not what it mixes."""
    return F.conv2d(
        x,
        layer.weight,
        getattr(layer, 'bias', None),
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
    )


def _is_split_attention(module: nn.Module) -> bool:
    """ResNeSt's SplitAttentionConv2d."""
    return all(hasattr(module, name) for name in ('radix', 'fc1', 'fc2', 'rsoftmax', 'conv'))


def _split_attention(module: Any, x: Tensor) -> Tensor:
    """Splits are added up, weighed each by its part of the attention."""
    x = _sum_of_parts(module.relu(module.norm0(module.conv(x))), module.radix)
    gap = module.relu(module.norm1(module.fc1(F.adaptive_avg_pool2d(x, 1))))
    return x * _sum_of_parts(module.fc2(gap), module.radix)


def _sum_of_parts(x: Tensor, number: int) -> Tensor:
    """Channel i of all parts is one channel. Torch-Pruning follows a part to one user only."""
    total: Any = sum(x.chunk(number, dim=1))
    return total


def _is_bottle2neck(module: nn.Module) -> bool:
    """Res2Net's Bottle2neck."""
    return all(hasattr(module, name) for name in ('scales', 'width', 'convs', 'bns', 'conv1'))


def _bottle2neck(block: Any, x: Tensor) -> Tensor:
    """All splits of the first convolution have one width, even where none is added to another."""
    part = _sum_of_parts(block.relu(block.norm1(block.conv1(x))), block.scales)
    done: list[Tensor] = []
    for conv, norm in zip(block.convs, block.bns, strict=True):
        added = part + done[-1] if done and block.stage_type == 'normal' else part
        done.append(block.relu(norm(conv(added))))
    last = F.adaptive_avg_pool2d(part, (done[0].shape[2], done[0].shape[3]))
    out = block.norm3(block.conv3(torch.cat([*done, last], dim=1)))
    return block.relu(out + (x if block.downsample is None else block.downsample(x)))


def _is_context_block(module: nn.Module) -> bool:
    """GCNet's ContextBlock."""
    return all(hasattr(module, name) for name in ('channel_add_conv', 'channel_mul_conv'))


def _context_block(module: Any, x: Tensor) -> Tensor:
    """The context is a mean over places, weighed by one map."""
    if module.pooling_type == 'att':
        module.conv_mask(x)
    context = F.adaptive_avg_pool2d(x, 1)
    if module.channel_mul_conv is not None:
        x = x * module.channel_mul_conv(context)
    return x if module.channel_add_conv is None else x + module.channel_add_conv(context)


def _is_non_local(module: nn.Module) -> bool:
    """A non-local block with an embedding."""
    return all(hasattr(module, name) for name in ('g', 'theta', 'phi', 'inter_channels'))


def _non_local(module: Any, x: Tensor) -> Tensor:
    """Queries and keys are multiplied channel by channel; values count one width with them."""
    embedded = module.g(x), module.theta(x), module.phi(x)
    mixed = sum(F.adaptive_avg_pool2d(part, 1) for part in embedded)
    return x + module.conv_out(mixed)


def _is_generalized_attention(module: nn.Module) -> bool:
    """Attention by heads with the parts of mmcv's GeneralizedAttention."""
    return all(hasattr(module, name) for name in ('attention_type', 'value_conv', 'proj_conv'))


def _generalized_attention(module: Any, x: Tensor) -> Tensor:
    """What goes in is embedded, what comes out is added."""
    for name in ('query_conv', 'key_conv'):
        if hasattr(module, name):
            getattr(module, name)(x)
    return x + module.proj_conv(module.value_conv(x))
