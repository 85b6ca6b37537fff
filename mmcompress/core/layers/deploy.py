"""Re-parameterised blocks: branches that train side by side, and are merged for inference.

A block (RepVGG, MobileOne, diverse branches and others) has a method ``switch_to_deploy``, which
puts one convolution in the place of its branches. It goes by the widths that the block keeps in
attributes, so these have to follow when its layers become narrower.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from .narrow import is_convolution

SWITCH = 'switch_to_deploy'
WIDTHS = ('in_channels', 'out_channels', 'groups')


def merged_blocks(model: nn.Module) -> dict[str, str]:
    """Blocks whose branches can be merged, by name, each with a branch as wide as the block."""
    found: dict[str, str] = {}
    for name, block in model.named_modules():
        known = any(hasattr(block, key) for key in WIDTHS[:2])
        if not known or not _switches(block) or is_convolution(block):
            continue
        for part, layer in block.named_modules(prefix=name):
            if is_convolution(layer) and all(
                getattr(block, key, None) in (None, getattr(layer, key)) for key in WIDTHS
            ):
                found[name] = part
                break
    return found


@contextmanager
def blocks_follow(model: nn.Module) -> Iterator[None]:
    """Inside, layers may become narrower; afterwards blocks have their widths in attributes."""
    blocks = merged_blocks(model)
    yield
    for name, part in blocks.items():
        try:
            block, layer = model.get_submodule(name), model.get_submodule(part)
        except AttributeError:
            continue  # A graph is in the block's place.
        for key in WIDTHS:
            if hasattr(block, key) and hasattr(layer, key):
                setattr(block, key, getattr(layer, key))


def deploy(model: nn.Module) -> list[str]:
    """Merge the branches of all blocks, in place; the model is for inference from then on.

    Args:
        model: Of plain layers.

    Returns:
        Names of the modules that merged something; those around others do so for these.
    """
    switched: list[str] = []
    for name, module in list(model.named_modules()):
        inside = any(not above or name.startswith(f'{above}.') for above in switched)
        if _switches(module) and not inside:
            module.switch_to_deploy()
            switched.append(name)
    return switched


def _switches(module: nn.Module) -> bool:
    switch: Any = getattr(module, SWITCH, None)
    if not callable(switch):
        return False
    parameters = inspect.signature(switch).parameters.values()
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in optional for p in parameters)
