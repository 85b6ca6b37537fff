"""Put one layer in the place of another."""

from __future__ import annotations

from torch import nn


def replace_everywhere(root: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` wherever the module ``name`` is in ``root``, also under other names.

    Heads of several levels share layers by having one module in several places.
    """
    old = root.get_submodule(name)
    for alias, module in list(root.named_modules(remove_duplicate=False)):
        if module is old:
            replace_module(root, alias, new)


def replace_module(root: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` where ``name`` is in ``root``; it takes over the training mode."""
    parent_name, _, child = name.rpartition('.')
    parent = root.get_submodule(parent_name)
    new.train(getattr(parent, child).training)
    setattr(parent, child, new)
