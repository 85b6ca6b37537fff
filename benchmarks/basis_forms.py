"""Ops of filter basis and shared basis against the way in which their authors compute the same."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcompress.core.filters.basis_op import BasisConv2d
from mmcompress.report.conv_timer import conv_inputs
from mmcompress.report.latency import compare_latency

#: What is timed: inference, and a step of training without its optimizer.
PASSES = ('forward', 'forward + backward')
#: Settings of a convolution, and the shape of its input.
Kind = tuple[int, int, tuple[int, int], tuple[int, ...]]
Way = Callable[[Tensor], Tensor]


def split_basis(op: BasisConv2d) -> Way:
    """Filter basis as its authors do it: split channels, convolve every part, concatenate.

    Args:
        op: Of filter basis, without norm and activation; its parameters are used.
    """

    def forward(x: Tensor) -> Tensor:
        parts = x.split(op.basis_size, 1)
        return _combine(op, [_convolve(op, part, op.shared_basis) for part in parts])

    return forward


def two_bases(op: BasisConv2d) -> Way:
    """Shared basis as its authors do it: two convolutions, whose maps are concatenated.

    Args:
        op: Of shared basis, without norm and activation; its parameters are used.
    """

    def forward(x: Tensor) -> Tensor:
        bases = (op.shared_basis, op.unique_basis)
        return _combine(op, [_convolve(op, x, basis) for basis in bases])

    return forward


def kinds_of_convs(model: nn.Module, images: Tensor) -> Counter[Kind]:
    """How often a model has a 3x3 convolution of a kind, but for one that sees the images.

    Args:
        model: A function of the images.
        images: ``Tensor[N, 3, H, W]``.

    Returns:
        Counts by input channels, filters, stride, and shape of the input.
    """
    kinds: Counter[Kind] = Counter()
    for name, shape in conv_inputs(model, images)[0].items():
        conv = model.get_submodule(name)
        if conv.kernel_size == (3, 3) and conv.groups == 1 and shape[1] != images.shape[1]:
            kinds[conv.in_channels, conv.out_channels, conv.stride, shape] += 1
    return kinds


def compare_forms(
    op: BasisConv2d,
    authors: Way,
    shape: tuple[int, ...],
    repeats: int = 30,
    threads: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[dict[str, Any]]:
    """Time an op against the authors' way, in turn, forward and with gradients of everything.

    Args:
        op: The op, without norm and activation.
        authors: :func:`split_basis` or :func:`two_bases` of it.
        shape: ``(N, C, H, W)`` of its input.
        repeats: Timed rounds.
        threads: CPU threads; None leaves them alone.
        clock: See :func:`~mmcompress.report.compare_latency`.

    Returns:
        For each of :data:`PASSES` a row: ``pass``; ``authors ms`` and ``ours ms``, medians;
        ``ours / authors`` and ``iqr``, the median and the interquartile range of the ratio of
        the times in a round; ``difference``, the largest one of the outputs over the largest
        output.
    """
    x = torch.randn(shape, requires_grad=True)
    wanted = [x, *op.parameters()]
    ways = dict(authors=authors, ours=op)
    with torch.no_grad():
        theirs, ours = (way(x) for way in ways.values())
        difference = float((ours - theirs).abs().max() / theirs.abs().max())
        upstream = torch.randn_like(theirs)

    def step(way: Way) -> Callable[[Tensor], None]:
        def run(x: Tensor) -> None:
            with torch.enable_grad():
                torch.autograd.grad(way(x), wanted, upstream)

        return run

    rows = []
    steps = {name: step(way) for name, way in ways.items()}
    for label, calls in zip(PASSES, (ways, steps), strict=True):
        theirs, ours = compare_latency(calls, x, repeats, threads=threads, clock=clock)
        rows.append(
            {
                'pass': label,
                'authors ms': theirs['median_ms'],
                'ours ms': ours['median_ms'],
                'ours / authors': ours['ratio'],
                'iqr': ours['ratio_iqr'],
                'difference': difference,
            }
        )
    return rows


def _convolve(op: BasisConv2d, x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, None, op.stride, op.padding, op.dilation)


def _combine(op: BasisConv2d, maps: list[Tensor]) -> Tensor:
    return F.conv2d(torch.cat(maps, 1), op.coefficients, op.bias)
