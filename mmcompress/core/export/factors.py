"""Weights that are stored as the factors they are made of, and made again when they are loaded.

The factors are what an op answers to ``stored()``, and how they are multiplied what it answers to
``recipe()``; see :class:`~mmcompress.core.base.op.Op`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmcompress.core.base.op import Op
from mmcompress.core.errors import CompressionError, first_line, nearest
from mmcompress.registry import TASK_UTILS

#: What a state dict has in front of the name of a factor, behind that of the layer.
MARK = 'factors'

State = dict[str, Tensor]
#: By layer: the spec of its op, and the shapes of its tensors as ``tensors``.
Specs = dict[str, dict[str, Any]]


def factored_state(architecture: nn.Module, static: nn.Module) -> tuple[State, Specs]:
    """The state dict of a static model, with factors wherever an op has some that are smaller.

    Args:
        architecture: Trained; its ops are asked for their factors.
        static: Made of it.

    Returns:
        Tensors on the CPU: ``layer.factors.name`` for each factor in place of ``layer.weight``;
        and how to make the weights again.

    Raises:
        CompressionError: If no op has factors.
    """
    modules = architecture.named_modules()
    ops = {name: op for name, op in modules if isinstance(op, Op) and op.recipe() is not None}
    if not ops:
        raise CompressionError(
            "store is 'factors', but the layers of this method have none that their "
            "weights could be made of; set it to 'weights'"
        )
    state: State = {}
    specs: Specs = {}
    for key, value in static.state_dict().items():
        layer, _, leaf = key.rpartition('.')
        if leaf != 'weight' or layer not in ops:
            state[key] = value.cpu()
            continue
        spec, tensors = ops[layer].recipe(), ops[layer].stored()
        if sum(t.nbytes for t in tensors.values()) >= value.nbytes:
            state[key] = value.cpu()
            continue
        specs[layer] = dict(spec, tensors={name: list(t.shape) for name, t in tensors.items()})
        for name, tensor in tensors.items():
            # What is saved of a view is all that it is a view of.
            state[_key(layer, name)] = tensor.detach().cpu().clone()
    return state, specs


def materialise(state: State, specs: Specs) -> State:
    """A state dict of plain weights, from one of :func:`factored_state`.

    Args:
        state: Left as it is.
        specs: What :func:`factored_state` returns.

    Raises:
        CompressionError: If a factor is missing, or doesn't fit.
    """
    state = dict(state)
    for layer, spec in specs.items():
        tensors = {}
        for name, shape in spec['tensors'].items():
            key = _key(layer, name)
            tensor = state.pop(key, None)
            if tensor is None:
                raise CompressionError(f'checkpoint: {key!r} is missing')
            if list(tensor.shape) != shape:
                raise CompressionError(
                    f'checkpoint: {key!r} is {tuple(tensor.shape)}, not {tuple(shape)}'
                )
            tensors[name] = tensor
        state[f'{layer}.weight'] = _weight(layer, spec, tensors)
    return state


def check_specs(specs: Any, key: str) -> Specs:
    """``specs`` if they can be those of factors.

    Args:
        specs: As read from a file.
        key: Where they are from, for the error.

    Raises:
        CompressionError: If they are malformed, or of a type that isn't registered.
    """
    for layer, spec in specs.items() if isinstance(specs, dict) else [('', None)]:
        parts = dict(shape=list, tensors=dict)
        if not isinstance(spec, dict) or not all(
            isinstance(spec.get(name), kind) for name, kind in parts.items()
        ):
            raise CompressionError(
                f'{key}: `factors` has to be a dict by layer name of dicts with type, shape and '
                f'tensors; {layer!r} is {spec!r}'
            )
        if _function(spec) is None:
            raise CompressionError(
                f'{key}: factors[{layer!r}] is of type {spec.get("type")!r}, which is not '
                f'registered; the nearest are {nearest(spec.get("type"), TASK_UTILS.module_dict)}'
            )
    return specs


def _weight(layer: str, spec: dict[str, Any], tensors: dict[str, Tensor]) -> Tensor:
    settings = {key: value for key, value in spec.items() if key not in ('type', 'tensors')}
    try:
        weight = _function(spec)(tensors, **settings)
    except Exception as error:  # whatever a damaged file makes of it
        raise CompressionError(
            f'checkpoint: the weight of {layer!r} cannot be made of its factors: '
            f'{first_line(error, type(error).__name__)}'
        ) from error
    if list(weight.shape) != spec['shape']:
        raise CompressionError(
            f'checkpoint: the weight of {layer!r} comes out as {tuple(weight.shape)}, not '
            f'{tuple(spec["shape"])}'
        )
    return weight


def _function(spec: dict[str, Any]) -> Any:
    kind = spec.get('type')
    return TASK_UTILS.get(kind) if isinstance(kind, str) else None


def _key(layer: str, name: str) -> str:
    return f'{layer}.{MARK}.{name}'
