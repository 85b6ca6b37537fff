"""Put one layer in the place of another."""

from __future__ import annotations

from torch import nn


def names_of(root: nn.Module, name: str) -> list[str]:
    """All names of the module ``name`` in ``root``.

    Heads of several levels share layers by having one module in several places.
    """
    found = root.get_submodule(name)
    return [
        alias for alias, module in root.named_modules(remove_duplicate=False) if module is found
    ]


def replace_everywhere(root: nn.Module, name: str, new: nn.Module) -> list[str]:
    """Put ``new`` wherever the module ``name`` is in ``root``; returns all of its names."""
    names = names_of(root, name)
    for alias in names:
        replace_module(root, alias, new)
    return names


def replace_module(root: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` where ``name`` is in ``root``; it takes over the training mode."""
    parent_name, _, child = name.rpartition('.')
    parent = root.get_submodule(parent_name)
    new.train(getattr(parent, child).training)
    setattr(parent, child, new)
