"""``demo_inputs``: what a model is run on, as a user gives it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.utils import get_object_from_string
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, IterableDataset

from mmcompress.core.errors import CompressionError, first_line
from mmcompress.core.layers.copying import copied
from mmcompress.core.probe.example import BatchShape, Example, LikelyShape
from mmcompress.core.probe.probe import seeded

from .names import demo_shape, is_batch_shape

KEY = 'demo_inputs'
#: The word for a batch of the config's own data, and the data it is taken from, likeliest first.
DATALOADER = 'dataloader'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


#: Of the images of the config that is being built.
_IMAGES: ContextVar[tuple[int, int, int] | None] = ContextVar('images', default=None)


@contextmanager
def images_of(shape: tuple[int, int, int] | None) -> Iterator[None]:
    """Inside, algorithms that are given nothing to run on try images of this shape.

    Args:
        shape: ``(C, H, W)``, or ``None``.
    """
    before = _IMAGES.set(shape)
    try:
        yield
    finally:
        _IMAGES.reset(before)


def likely_shape() -> LikelyShape | None:
    """A batch of one image of the config that is being built."""
    shape = _IMAGES.get()
    return None if shape is None else LikelyShape((1, *shape))


def demo_of(value: Any, model: nn.Module, key: str = KEY) -> BatchShape | Example | None:
    """Read what a user gives a model to run on.

    Args:
        value: One of these.

            - a tensor, a tuple of several inputs, or a dict of inputs by name. A dict whose names
              are none of the model's forward pass is its only input. A list is one input;
            - such inputs with a shape, such as ``(1, 3, 64, 64)``, for each tensor: random ones;
            - one shape or, for a model of mmengine, one tensor: random images of this shape, with
              data samples to match the model's library;
            - a callable that returns inputs, or its dotted name; it may take the model;
            - a dataloader, or the config of one: its first sample, as the model's data
              preprocessor gives it.
        model: What runs on it.
        key: The argument, for errors.

    Raises:
        CompressionError: If it is none of these, or fails.
    """
    if value is None or isinstance(value, (Example, BatchShape)):
        return value
    if isinstance(value, str):
        value = _named(value, key)
    if callable(value) and not isinstance(value, (Tensor, Mapping)):
        value = _called(value, model, key)
    if isinstance(value, DataLoader):
        value = _preprocessed(model, partial(_sample_of, value), key)
    elif isinstance(value, Mapping) and isinstance(value.get('dataset'), Mapping):
        value = _preprocessed(model, partial(_first_sample, value), key)
    elif isinstance(value, Tensor) and isinstance(model, BaseModel):
        shape = list(value.shape)
        value = shape if is_batch_shape(shape) else value
    if isinstance(value, (list, tuple)) and value and all(type(n) is int for n in value):
        return demo_shape(value, key)
    return Example(_random(value), key, model)


def name_dataloader(cfg: Any) -> None:
    """Put the config of its data in the place of the word ``'dataloader'``, in a config.

    Args:
        cfg: Changed in place, where an algorithm's ``demo_inputs`` is this word.

    Raises:
        CompressionError: If it has no data.
    """
    model = cfg.get('model')
    if not isinstance(model, dict) or model.get(KEY) != DATALOADER:
        return
    for name in LOADERS:
        if cfg.get(name) is not None:
            model[KEY] = cfg[name]
            return
    raise CompressionError(
        f'model.{KEY} is {DATALOADER!r}, and the config has no {", ".join(LOADERS)}'
    )


def _named(name: str, key: str) -> Any:
    """What a dotted name means."""
    if name == DATALOADER:
        raise CompressionError(
            f'{key} is {name!r}: only the tools know the data of a config; give the config of the '
            f'dataloader itself, such as {key}=_base_.train_dataloader'
        )
    found = get_object_from_string(name) if '.' in name else None
    if not callable(found):
        raise CompressionError(
            f'{key} is {name!r}; a word has to be {DATALOADER!r}, or the dotted name of a callable'
        )
    return found


def _called(function: Callable[..., Any], model: nn.Module, key: str) -> Any:
    """What a callable returns, which may take the model."""
    try:
        needed = [
            parameter
            for parameter in inspect.signature(function).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):  # some that are written in C have no signature
        needed = []
    try:
        found = function(model) if needed else function()
    except Exception as error:  # whatever a user's function raises
        raise CompressionError(
            f'{key} was called and raised {type(error).__name__}: {first_line(error)}'
        ) from error
    if found is None or (callable(found) and not isinstance(found, (Tensor, Mapping))):
        raise CompressionError(
            f'{key} was called and returned {type(found).__name__!r}; it has to return inputs of '
            'the model'
        )
    return found


def _preprocessed(model: nn.Module, batch: Callable[[], Any], key: str) -> Any:
    """A batch of data, as the model's preprocessor gives it to the forward pass in training."""
    preprocessor: Any = getattr(model, 'data_preprocessor', None)
    try:
        with seeded():
            data = batch()
            if preprocessor is not None:
                data = copied(preprocessor).cpu()(data, True)
    except Exception as error:  # data that are missing, and whatever transforms raise
        why = first_line(error, type(error).__name__)
        raise CompressionError(f'{key}: the data cannot be loaded: {why}') from error
    # A list of several inputs is how dataloaders collate them.
    return tuple(data) if isinstance(data, list) else data


def _first_sample(config: Mapping[str, Any]) -> Any:
    """A batch of the first sample of a dataloader's config, the same in all processes."""
    from mmengine.runner import Runner

    loader = Runner.build_dataloader(dict(config, num_workers=0, persistent_workers=False), seed=0)
    return _sample_of(loader)


def _sample_of(loader: DataLoader) -> Any:
    """A batch of the first sample of a dataloader, or its first batch where it makes its own."""
    if isinstance(loader.dataset, IterableDataset) or not callable(loader.collate_fn):
        return next(iter(loader))
    return loader.collate_fn([loader.dataset[0]])


def _random(inputs: Any) -> Any:
    """Random tensors for shapes, where inputs are given by shapes alone."""
    leaves, _ = pytree.tree_flatten(inputs)
    if any(isinstance(leaf, Tensor) for leaf in leaves):
        return inputs
    generator = torch.Generator().manual_seed(0)

    def fill(part: Any) -> Any:
        if isinstance(part, (list, tuple)) and part and all(type(n) is int for n in part):
            return torch.randn(*part, generator=generator)
        if isinstance(part, Mapping):
            return {name: fill(value) for name, value in part.items()}
        return type(part)(map(fill, part)) if isinstance(part, (list, tuple)) else part

    return fill(inputs)
