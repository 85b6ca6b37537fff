"""Weights that are stored as the factors they are made of, and made again when they are loaded.

The factors, and how they are multiplied, are what an op answers to ``recipes()``; see
:class:`~mmcompress.core.base.op.Op`. What several layers share is stored once. In a file,
``state_dict`` has a factor as ``layer.factors.name``, and ``factors`` says for each weight that is
made of some: the ``type`` of the function that makes it, its ``shape`` and ``dtype``, the names
of its ``tensors`` in ``state_dict``, and the function's settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from inspect import isfunction
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.base.op import Op, Recipe
from mmcompress.core.errors import CompressionError, first_line, nearest
from mmcompress.registry import TASK_UTILS

#: What a state dict has in front of the name of a factor, behind that of the layer.
MARK = 'factors'
#: Keys of a spec that are no settings of its function.
OURS = ('type', 'shape', 'dtype', 'tensors')

State = dict[str, Tensor]
#: By the name of a weight: how it is made.
Specs = dict[str, dict[str, Any]]


def factored_state(
    architecture: nn.Module,
    static: nn.Module,
    forms: dict[str, str] | None = None,
    changed: Iterable[str] = (),
) -> tuple[State, Specs]:
    """The state dict of a static model, with factors wherever they are smaller.

    Args:
        architecture: Trained; its ops are asked for their factors.
        static: Made of it.
        forms: The form of each op that has several, as for
            :func:`~mmcompress.core.export.static.to_static`.
        changed: Layers of the static model whose weights are others by now (norms were folded).

    Returns:
        Tensors on the CPU: ``layer.factors.name`` for each factor in place of the weights that are
        made of it; and how to make the weights again.
    """
    weights = {key: value.detach().cpu() for key, value in static.state_dict().items()}
    recipes = _recipes(architecture, forms or {}, set(changed))
    state = dict(weights)
    specs: Specs = {}
    names: dict[tuple, str] = {}
    for together in _sharing({key: recipe for key, recipe in recipes.items() if key in weights}):
        factors = {_identity(t): t for key in together for t in recipes[key].tensors.values()}
        made = {_identity(weights[key]): weights[key] for key in together}
        if sum(t.nbytes for t in factors.values()) >= sum(t.nbytes for t in made.values()):
            continue
        for key in together:
            recipe, weight = recipes[key], state.pop(key)
            tensors = {}
            for name, tensor in recipe.tensors.items():
                place = names.setdefault(_identity(tensor), f'{_layer(key)}.{MARK}.{name}')
                # What is saved of a view is all that it is a view of.
                state.setdefault(place, tensor.detach().cpu().clone())
                tensors[name] = place
            specs[key] = dict(
                type=recipe.function,
                shape=list(weight.shape),
                dtype=str(weight.dtype).removeprefix('torch.'),
                tensors=tensors,
                **recipe.settings,
            )
    return state, specs


def weights_of_factors(state: State, specs: Specs) -> State:
    """A state dict of plain weights, from one of :func:`factored_state`.

    Args:
        state: Left as it is.
        specs: What :func:`factored_state` returns.

    Raises:
        CompressionError: If a factor is missing, or doesn't fit.
    """
    made: State = {}
    for key, spec in specs.items():
        tensors = {}
        for name, place in spec['tensors'].items():
            if place not in state:
                raise CompressionError(f'checkpoint: {place!r} is missing')
            tensors[name] = state[place]
        made[key] = _weight(key, spec, tensors)
    used = {place for spec in specs.values() for place in spec['tensors'].values()}
    return {**{key: value for key, value in state.items() if key not in used}, **made}


def check_specs(specs: Any, key: str) -> Specs:
    """``specs`` if they can be those of factors.

    Args:
        specs: As read from a file.
        key: Where they are from, for the error.

    Raises:
        CompressionError: If they are malformed, or of a type that isn't registered.
    """
    spec: Any
    for weight, spec in specs.items() if isinstance(specs, dict) else [('', None)]:
        if not _is_spec(spec):
            raise CompressionError(
                f'{key}: `factors` has to be a dict by weight name of dicts with type, shape, '
                f'dtype and tensors; {weight!r} is {spec!r}'
            )
        if _function(spec) is None:
            raise CompressionError(
                f'{key}: factors[{weight!r}] is of type {spec["type"]!r}, which is not '
                f'registered; the nearest are {nearest(spec["type"], TASK_UTILS.module_dict)}'
            )
    return specs


def _is_spec(spec: Any) -> bool:
    return (
        isinstance(spec, dict)
        and isinstance(spec.get('type'), str)
        and isinstance(spec.get('shape'), list)
        and isinstance(getattr(torch, str(spec.get('dtype')), None), torch.dtype)
        and isinstance(spec.get('tensors'), dict)
        and all(isinstance(place, str) for place in spec['tensors'].values())
    )


def _recipes(
    architecture: nn.Module, forms: dict[str, str], changed: set[str]
) -> dict[str, Recipe]:
    """Recipes by the name of the weight that they make, in the static model."""
    found: dict[str, Recipe] = {}
    names: dict[int, str] = {}
    for layer, op in architecture.named_modules(remove_duplicate=False):
        if not isinstance(op, Op):
            continue
        # Forms are by the first name of a layer that has several.
        first = names.setdefault(id(op), layer)
        for name, recipe in op.recipes(forms.get(first)).items():
            key = f'{layer}.{name}'
            if _layer(key) not in changed:
                found[key] = recipe
    return found


def _sharing(recipes: dict[str, Recipe]) -> list[list[str]]:
    """Names of weights, those together that share factors: they are stored alike."""
    groups: list[tuple[set[tuple], list[str]]] = []
    for key, recipe in recipes.items():
        tensors, keys = {_identity(t) for t in recipe.tensors.values()}, [key]
        for group in [group for group in groups if group[0] & tensors]:
            groups.remove(group)
            tensors, keys = tensors | group[0], [*group[1], *keys]
        groups.append((tensors, keys))
    return [keys for _, keys in groups]


def _identity(tensor: Tensor) -> tuple:
    """The same for what is the same memory."""
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _layer(key: str) -> str:
    return key.rpartition('.')[0]


def _weight(key: str, spec: dict[str, Any], tensors: dict[str, Tensor]) -> Tensor:
    settings = {name: value for name, value in spec.items() if name not in OURS}
    try:
        weight = _function(spec)(tensors, spec['shape'], **settings)
    except Exception as error:  # whatever a damaged file makes of it
        raise CompressionError(
            f'checkpoint: {key!r} cannot be made of its factors: '
            f'{first_line(error, type(error).__name__)}'
        ) from error
    if list(weight.shape) != spec['shape']:
        raise CompressionError(
            f'checkpoint: {key!r} comes out as {tuple(weight.shape)}, not {tuple(spec["shape"])}'
        )
    return weight.to(getattr(torch, spec['dtype']))


def _function(spec: dict[str, Any]) -> Any:
    """The function that a spec names; a file can't have anything else called."""
    found = TASK_UTILS.module_dict.get(spec['type'])
    return found if isfunction(found) else None
