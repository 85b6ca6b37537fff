"""What the end-to-end graphs of all tasks have in common."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from mmcompress.core.errors import CompressionError
from mmcompress.core.probe.demo_inputs import demo_batch


class EndToEnd(nn.Module):
    """A model from images to what its library predicts, in operations that a graph can hold.

    Args:
        model: A model of an OpenMMLab library; part of this module from then on.

    Attributes:
        names: What the outputs are called.
        says: For each of them, what it holds.
        left: What a user of the graph has to know, or do, besides.
    """

    names: tuple[str, ...] = ()
    says: tuple[str, ...] = ()

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.left: list[str] = []

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map preprocessed ``Tensor[N, C, H, W]`` to the outputs."""
        raise NotImplementedError

    def expected(self, images: Tensor) -> tuple[Tensor, ...]:
        """What the library's own ``predict`` says about the same images, in the same form."""
        raise NotImplementedError

    def differences(
        self, images: Tensor, found: list[Tensor], tolerance: float
    ) -> dict[str, float]:
        """How far outputs of a runtime are from the library's.

        What rounding decides isn't counted: the better of two labels whose scores are equal but
        for ``tolerance``, or a box whose score is that close to the lowest that counts.

        Args:
            images: Tensor[N, C, H, W].
            found: The outputs for them.
            tolerance: Differences of scores that are nothing but rounding.

        Returns:
            By the name of an output, the largest difference: of labels the number of those that
            differ, of places pixels, of scores themselves. Infinite where shapes differ.
        """
        expected = self.expected(images)
        if [t.shape for t in expected] != [t.shape for t in found]:
            return dict.fromkeys(self.names, float('inf'))
        return self._differences(images, expected, found, tolerance)

    def _differences(
        self, images: Tensor, expected: tuple[Tensor, ...], found: list[Tensor], tolerance: float
    ) -> dict[str, float]:
        raise NotImplementedError

    def limits(self, images: Tensor, tolerance: float) -> dict[str, float]:
        """The largest differences that are accepted."""
        raise NotImplementedError

    def samples(self, images: Tensor) -> list[Any]:
        """Data samples of the library that go with the images: nothing resized, nothing padded."""
        samples = demo_batch(self.model, tuple(images.shape), mode='predict')[1]
        return cast(list[Any], samples)  # only models of the libraries get here


def made_by(module: Any, method: str, *classes: str) -> bool:
    """Whether a method of a module is that of one of some classes, by their names.

    Args:
        module: Any module.
        method: Name of the method.
        classes: Names such as ``'mmdet.RPNHead'``, with the library in front. A subclass counts
            if it has not got a method of its own.
    """
    function = getattr(type(module), method, None)
    if function is None:
        return False
    owner = function.__qualname__.rpartition('.')[0]
    return f'{function.__module__.split(".")[0]}.{owner}' in classes


def unsupported(part: Any, why: str = 'its post-processing is its own') -> CompressionError:
    """The error for a part of a model that has no end-to-end graph."""
    name = part if isinstance(part, str) else type(part).__name__
    return CompressionError(
        f'--onnx end2end: {name} has no end-to-end graph ({why}); give --onnx raw'
    )


def largest(one: Tensor, other: Tensor) -> float:
    """The largest difference of two tensors; infinite where one isn't a number."""
    if not one.numel():
        return 0.0
    gap = (one.double() - other.double()).abs().max()
    return float(gap.nan_to_num(nan=torch.inf))


def undecided(scores: Tensor, tolerance: float, dim: int = 1) -> Tensor:
    """Where the two best scores along a dimension are equal but for a tolerance.

    Args:
        scores: Any tensor.
        tolerance: As a share of the largest score.
        dim: Which dimension.

    Returns:
        BoolTensor of the shape without that dimension.
    """
    if scores.shape[dim] < 2:
        return torch.zeros_like(scores.select(dim, 0), dtype=torch.bool)
    best, second = scores.topk(2, dim=dim).values.unbind(dim)
    return best - second < tolerance * max(1.0, float(scores.abs().max()))


def take(values: Tensor, at: Tensor) -> Tensor:
    """``values[n, at[n, i]]``: rows of each image, by one plain selection.

    Args:
        values: Tensor[N, A, ...].
        at: LongTensor[N, k].
    """
    n, length = values.shape[:2]
    first = torch.arange(n, device=at.device)[:, None] * length
    chosen = values.flatten(0, 1).index_select(0, (at + first).flatten())
    return chosen.reshape(n, at.shape[1], *values.shape[2:])
