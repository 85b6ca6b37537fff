"""report/basis_forms.py: the authors' ways give what the ops give."""

import math

import pytest
import torch
from basis_forms import PASSES, Way, compare_forms, kinds_of_convs, split_basis, two_bases
from torch import nn

from mmcompress.core.filters.basis_op import BasisConv2d
from mmcompress.methods.filter_basis import FilterBasisConv2d
from mmcompress.methods.shared_basis import SharedBasisConv2d


def op_and_way(kind: str, stride: int = 1, bias: bool = False) -> tuple[BasisConv2d, Way]:
    conv = nn.Conv2d(8, 6, 3, stride, 1, bias=bias)
    if kind == 'shared':
        op = SharedBasisConv2d(conv, 3, 2)
        return op.double(), two_bases(op)
    op = FilterBasisConv2d(conv, 5, 8 // int(kind))
    return op.double(), split_basis(op)


@pytest.mark.parametrize('merged', [False, True])
@pytest.mark.parametrize(('stride', 'bias'), [(1, False), (2, True)])
@pytest.mark.parametrize('kind', ['1', '2', '4', 'shared'])
def test_authors_compute_the_same(kind: str, stride: int, bias: bool, merged: bool) -> None:
    op, way = op_and_way(kind, stride, bias)
    op.merge_from = 0 if merged else math.inf
    with torch.no_grad():
        for parameter in op.parameters():
            parameter.normal_()
    x = torch.randn(2, 8, 7, 5).double().requires_grad_()
    wanted = [x, *op.parameters()]
    theirs, ours = way(x), op(x)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-10)
    upstream = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad(theirs, wanted, upstream),
        torch.autograd.grad(ours, wanted, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_concatenates_the_maps_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    cat = torch.cat

    def noted(tensors: list[torch.Tensor], dim: int = 0) -> torch.Tensor:
        shapes.append([tuple(t.shape) for t in tensors])
        return cat(tensors, dim)

    monkeypatch.setattr(torch, 'cat', noted)
    x = torch.randn(1, 8, 7, 5).double()
    op_and_way('4')[1](x)
    op_and_way('shared')[1](x)
    assert shapes == [[(1, 5, 7, 5)] * 4, [(1, 3, 7, 5), (1, 2, 7, 5)]]


@pytest.mark.parametrize('kind', ['2', 'shared'])
def test_rows(kind: str) -> None:
    op, way = op_and_way(kind)
    op.float()
    rows = compare_forms(op, way, (2, 8, 6, 6), repeats=3, threads=1)
    assert [row['pass'] for row in rows] == list(PASSES)
    for row in rows:
        assert min(row['authors ms'], row['ours ms'], row['ours / authors']) > 0
        assert row['difference'] < 1e-5
    assert all(parameter.grad is None for parameter in op.parameters())


def test_a_slow_op_is_told() -> None:
    """By a clock that only moves in the op: forward once, and once more in a backward."""
    ticks = [0.0]
    op, way = op_and_way('2')

    def slow(x: torch.Tensor) -> torch.Tensor:
        ticks[0] += 0.003
        return op(x)

    def quick(x: torch.Tensor) -> torch.Tensor:
        ticks[0] += 0.001
        return way(x)

    slow.parameters = op.parameters
    x = (2, 8, 6, 6)
    with torch.random.fork_rng():
        op.float()
        rows = compare_forms(slow, quick, x, repeats=2, clock=lambda: ticks[0])
    assert [row['ours / authors'] for row in rows] == pytest.approx([3, 3])


def test_kinds_of_convolutions() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 16, 1),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Conv2d(16, 24, 3, 2, padding=1),
        nn.Conv2d(24, 24, 3, padding=1),
    )
    assert kinds_of_convs(model, torch.zeros(2, 3, 6, 6)) == {
        (8, 8, (1, 1), (2, 8, 6, 6)): 2,
        (16, 24, (2, 2), (2, 16, 6, 6)): 1,
        (24, 24, (1, 1), (2, 24, 3, 3)): 1,
    }
