"""What the convolutions of a model do in its real forward pass: their work and their time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor, nn

from mmcompress.core.layers.narrow import is_convolution

from .latency import measuring
from .squeeze_expand import Expand, Squeeze

#: What the time of a convolution is made of, the authors' way; plain ones are all ``conv``.
PARTS = ('squeeze', 'conv', 'expand')


def conv_inputs(model: nn.Module, images: Tensor) -> tuple[dict[str, tuple[int, ...]], int]:
    """Shapes that convolutions see, and the multiply-accumulates of all of them.

    Args:
        model: A function of the images.
        images: ``Tensor[N, 3, H, W]``.

    Returns:
        Shape of the first input of each convolution by its name, and the MACs for the batch.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    macs = 0

    def note(name: str) -> Callable[..., None]:
        def hook(conv: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            nonlocal macs
            shapes.setdefault(name, tuple(inputs[0].shape))
            macs += conv_macs(conv, inputs[0], output)

        return hook

    hooks = [
        module.register_forward_hook(note(name))
        for name, module in model.named_modules()
        if is_convolution(module)
    ]
    try:
        with measuring(model):
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes, macs


def conv_macs(conv: Any, x: Tensor, output: Tensor) -> int:
    """Multiply-accumulates of one call: every weight is used once for each position.

    The positions are those of the output, and of a transposed convolution those of the input.
    """
    at = x if getattr(conv, 'transposed', False) else output
    return conv.weight.numel() * at.shape[0] * at[0, 0].numel()


def conv_times(
    models: dict[str, nn.Module],
    images: Tensor,
    repeats: int = 30,
    warmup: int = 2,
    threads: int | None = None,
) -> dict[str, dict[str, np.ndarray]]:
    """Seconds that convolutions take within the forward pass of each model, models in turn.

    Hooks read the clock before and after every convolution, so that caches are in the state in
    which the model leaves them. The modules of
    :class:`~mmcompress.report.squeeze_expand.SqueezeExpand` count as theirs.

    Args:
        models: Functions of the images, by name, on the CPU.
        images: ``Tensor[N, 3, H, W]``.
        repeats: Timed rounds.
        warmup: Rounds before those.
        threads: CPU threads; None leaves them alone.

    Returns:
        By name of the model and part (:data:`PARTS`), ``float[repeats]``.
    """
    parts = {
        name: {module: part for module, layer in model.named_modules() if (part := _part(layer))}
        for name, model in models.items()
    }
    none = np.zeros(repeats)
    return {
        name: {part: times.get(part, none) for part in PARTS}
        for name, times in times_within(models, parts, images, repeats, warmup, threads).items()
    }


def times_within(
    models: Mapping[str, nn.Module],
    labels: Mapping[str, Mapping[str, str]],
    images: Any,
    repeats: int = 30,
    warmup: int = 2,
    threads: int | None = None,
) -> dict[str, dict[str, np.ndarray]]:
    """Seconds that modules take within the forward pass of each model, models in turn.

    Args:
        models: Functions of the images, by name, on the CPU.
        labels: For each of them, what modules count as, by their names in the model.
        images: As the models take them.
        repeats: Timed rounds.
        warmup: Rounds before those.
        threads: CPU threads; None leaves them alone.

    Returns:
        By model and label, ``float[repeats]``; modules of one label, and a module that runs several
        times, have the sum.
    """
    rounds: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in models}
    with measuring(*models.values(), threads=threads):
        for number in range(warmup + repeats):
            for name, model in models.items():
                with _clocks(model, labels[name]) as spent:
                    model(images)
                for label, seconds in spent.items() if number >= warmup else ():
                    rounds[name][label].append(seconds)
    return {
        name: {label: np.array(values) for label, values in own.items()}
        for name, own in rounds.items()
    }


@contextmanager
def _clocks(model: nn.Module, labels: Mapping[str, str]) -> Iterator[dict[str, float]]:
    spent = dict.fromkeys(labels.values(), 0.0)
    begun: dict[nn.Module, float] = {}

    def start(module: nn.Module, *_: Any) -> None:
        begun[module] = time.perf_counter()

    def stop(label: str) -> Callable[..., None]:
        def hook(module: nn.Module, *_: Any) -> None:
            spent[label] += time.perf_counter() - begun[module]

        return hook

    hooks = []
    for name, label in labels.items():
        module = model.get_submodule(name)
        hooks += [module.register_forward_pre_hook(start)]
        hooks += [module.register_forward_hook(stop(label))]
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()


def _part(module: nn.Module) -> str:
    if isinstance(module, Squeeze):
        return 'squeeze'
    if isinstance(module, Expand):
        return 'expand'
    return 'conv' if is_convolution(module) else ''
