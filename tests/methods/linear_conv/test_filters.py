"""methods/linear_conv/filters.py against its formula, filter by filter."""

import pytest
import torch
from torch import Tensor

from mmcompress.methods.linear_conv.filters import inverse_order, materialise

#: G, primary and combined filters of a group, channels that a filter sees.
LAYERS = {
    'plain': (1, 3, 4, 2),
    'all primary': (1, 4, 0, 2),
    'groups': (2, 2, 3, 2),
    'groups, all primary': (2, 3, 0, 1),
    'depthwise': (5, 1, 0, 1),
}
RANKS = [None, 1, 2]


def parts(name: str, rank: int | None) -> tuple[Tensor, tuple[Tensor, ...], tuple[int, ...]]:
    groups, p, m, channels = LAYERS[name]
    torch.manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    primary = random(groups * p, channels, 3, 2)
    shapes = [(groups, m, p)] if rank is None else [(groups, m, rank), (groups, rank, p)]
    return primary, tuple(random(*s) for s in shapes), (groups * (p + m), channels, 3, 2)


def literal(primary: Tensor, factors: tuple[Tensor, ...], order: list[int], groups: int) -> Tensor:
    """Filter o is row ``order[o]`` of ``[P_1; A_1 P_1; P_2; ...]``, sums written out."""
    p = len(primary) // groups
    rows = []
    for g in range(groups):
        own = primary[g * p : (g + 1) * p]
        A = factors[0][g] if len(factors) == 1 else factors[0][g] @ factors[1][g]
        rows += [*own]
        rows += [sum(A[i, j] * own[j] for j in range(p)) for i in range(len(A))]
    return torch.stack([rows[i] for i in order])


@pytest.mark.parametrize('rank', RANKS)
@pytest.mark.parametrize('name', LAYERS)
@pytest.mark.parametrize('ordered', [True, False])
def test_the_formula_and_its_gradients(name: str, rank: int | None, ordered: bool) -> None:
    primary, factors, shape = parts(name, rank)
    order = torch.arange(shape[0]) if ordered else torch.randperm(shape[0])
    found = materialise(primary, factors, None if ordered else order, LAYERS[name][0], shape)
    expected = literal(primary, factors, order.tolist(), LAYERS[name][0])
    assert found.shape == shape
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn(shape).double()
    tensors = [primary, *factors]
    gradients = [
        torch.autograd.grad((w * direction).sum(), tensors, allow_unused=w is expected)
        for w in (found, expected)
    ]
    # Ours reach every factor, even one without entries: DDP waits for all of them.
    for ours, theirs in zip(*gradients, strict=True):
        theirs = torch.zeros_like(ours) if theirs is None else theirs
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_groups_do_not_meet() -> None:
    primary, factors, shape = parts('groups', None)
    weight = materialise(primary, factors, None, 2, shape)
    touched = torch.autograd.grad(weight[5:].sum(), primary)[0].flatten(1).any(1)
    assert touched.tolist() == [False, False, True, True]


@pytest.mark.parametrize('chosen', [[[1, 4]], [[4, 1]], [[0, 3], [2, 3]], [[2], [0], [1]], [[0]]])
def test_inverse_order(chosen: list[list[int]]) -> None:
    each = max(max(row) for row in chosen) + 1
    stack = []
    for g, row in enumerate(chosen):
        stack += [g * each + i for i in (*row, *(i for i in range(each) if i not in row))]
    found = inverse_order(torch.tensor(chosen), each)
    assert found.dtype == torch.int64
    assert found.tolist() == [stack.index(o) for o in range(each * len(chosen))]
    # Thus a layer whose filters are told apart by their numbers comes out as it was.
    rows = torch.tensor(stack)
    assert rows[found].tolist() == list(range(len(stack)))
