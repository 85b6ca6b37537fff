"""What the inputs of layers are like on data: means and covariances, gathered batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Inputs of a filter above which no covariance is taken: it would need 256 MiB.
MOST_INPUTS = 8192
#: Positions looked at for each input of a filter; more make a covariance hardly better.
POSITIONS = 4
#: The least number of positions of a layer.
LEAST_POSITIONS = 4096
#: Bytes of all covariances that are gathered in one pass over the data.
MEMORY = 2**29

Forward = Callable[[nn.Module, Any], Any]


class Moments:
    """Means and second moments of the inputs that the filters of a layer see.

    Args:
        groups: G of the layer.
        inputs: d of a filter, ``c / G * kh * kw``.

    Attributes:
        total: ``Tensor[G, d]``, sum of the inputs.
        squares: ``Tensor[G, d, d]``, sum of their products.
        count: Of positions.
    """

    def __init__(self, groups: int, inputs: int) -> None:
        self.total = torch.zeros(groups, inputs)
        self.squares = torch.zeros(groups, inputs, inputs)
        self.count = 0

    def add(self, columns: Tensor) -> None:
        """Take in more positions.

        Args:
            columns: ``Tensor[G, d, p]``.
        """
        columns = columns.float().cpu()
        self.total += columns.sum(2)
        self.squares += columns @ columns.transpose(1, 2)
        self.count += columns.shape[2]

    @property
    def mean(self) -> Tensor:
        """``Tensor[G, d]``."""
        return self.total / self.count

    def covariance(self, centred: bool = True, ridge: float = 1e-4) -> Tensor:
        """``Tensor[G, d, d]``.

        Args:
            centred: Whether means are taken off first.
            ridge: How much of the mean variance is added to the diagonal, so that inputs that
                hardly vary, or more inputs than positions, leave something to divide by.
        """
        result = self.squares / self.count
        if centred:
            result -= self.mean[:, :, None] * self.mean[:, None]
        diagonal = result.diagonal(dim1=1, dim2=2)
        diagonal += ridge * diagonal.mean(1, keepdim=True).clamp_min(1e-12)
        return result


def has_moments(layer: nn.Module) -> bool:
    """Whether a layer is a 2-d convolution or a matrix, and its filters are not too large."""
    inputs = inputs_of_filter(layer)
    return inputs is not None and inputs <= MOST_INPUTS


def inputs_of_filter(layer: nn.Module) -> int | None:
    """d: the number of inputs that a filter of a layer sees; ``None`` for other layers."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    if isinstance(layer, nn.Conv2d) and not isinstance(layer, nn.ConvTranspose2d):
        return layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return None


def columns_of(layer: Any, x: Tensor) -> Tensor:
    """What the filters of a layer see at each position.

    Args:
        layer: A convolution, or a matrix.
        x: Its input, ``Tensor[N, c, H, W]`` or ``Tensor[..., c]``.

    Returns:
        ``Tensor[G, d, p]``: for each group and position the d inputs, in the order of the weight.
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, layer.in_features).T[None]
    padding = layer.padding
    if isinstance(padding, str) or layer.padding_mode != 'zeros':
        mode = 'constant' if layer.padding_mode == 'zeros' else layer.padding_mode
        x, padding = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode), (0, 0)
    patches = F.unfold(x, layer.kernel_size, layer.dilation, padding, layer.stride)
    columns = patches.transpose(0, 1).reshape(layer.groups, -1, patches.shape[0], patches.shape[2])
    return columns.flatten(2)


def gather(
    model: nn.Module,
    names: Sequence[str],
    batches: Callable[[], Iterable[Any]],
    forward: Forward,
    images: int,
    seed: int = 0,
) -> Iterator[tuple[str, Moments]]:
    """The moments of layers, a few layers in each pass over the data, so that memory is bounded.

    Args:
        model: In eval mode.
        names: Of the layers, see :func:`has_moments`; the first one first.
        batches: Gives the same batches each time.
        forward: Runs the model on a batch.
        images: How many positions are shared by; each image gives equally many.
        seed: Of the positions.

    Yields:
        Name and moments. What is yielded is given away: keep no more than is needed.
    """
    waiting = list(names)
    while waiting:
        taken: list[str] = []
        size = 0
        while waiting and (not taken or size + _bytes(model, waiting[0]) <= MEMORY):
            size += _bytes(model, waiting[0])
            taken.append(waiting.pop(0))
        found = _gather(model, taken, batches, forward, images, seed)
        for name in taken:
            moments = found.pop(name)
            if moments.count:
                yield name, moments


def _bytes(model: nn.Module, name: str) -> int:
    layer: Any = model.get_submodule(name)
    return 4 * getattr(layer, 'groups', 1) * (inputs_of_filter(layer) or 0) ** 2


@torch.no_grad()
def _gather(
    model: nn.Module,
    names: Sequence[str],
    batches: Callable[[], Iterable[Any]],
    forward: Forward,
    images: int,
    seed: int,
) -> dict[str, Moments]:
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Moments] = {}
    hooks = []

    def watch(name: str) -> Callable[..., None]:
        layer: Any = model.get_submodule(name)
        inputs = inputs_of_filter(layer) or 0
        moments = found[name] = Moments(getattr(layer, 'groups', 1), inputs)
        each = max(POSITIONS * inputs, LEAST_POSITIONS) / images

        def see(_: nn.Module, args: tuple[Any, ...]) -> None:
            (x,) = args
            columns = columns_of(layer, x)
            count = max(math.ceil(each * len(x)), 1)
            if columns.shape[2] > count:
                chosen = torch.randperm(columns.shape[2], generator=generator)[:count]
                columns = columns[:, :, chosen.to(columns.device)]
            moments.add(columns)

        return see

    hooks = [model.get_submodule(name).register_forward_pre_hook(watch(name)) for name in names]
    try:
        for batch in batches():
            forward(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return found
