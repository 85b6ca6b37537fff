"""methods/shared_basis/regularizer.py against the formula, entry by entry in float64."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from mmcompress.methods.shared_basis.init import orthogonal_
from mmcompress.methods.shared_basis.regularizer import Basis, orthogonality


def over_all_channels(filters: Tensor, groups: int) -> list[Tensor]:
    """Each filter where it is in a filter without groups, zeros elsewhere."""
    n, part, *kernel = filters.shape
    found = []
    for j in range(n):
        group = j // (n // groups)
        before = torch.zeros(group * part, *kernel, dtype=filters.dtype)
        behind = torch.zeros((groups - 1 - group) * part, *kernel, dtype=filters.dtype)
        found.append(torch.cat([before, filters[j], behind]).flatten())
    return found


def literal(bases: list[Basis], unique_blocks: bool) -> Tensor:
    """All filters of a unit are rows of B; some entries of (B B^T - I)^2 are summed."""
    total, entries = torch.zeros(()).double(), 0
    for basis in bases:
        rows, layer_of = [], []
        if basis.shared is not None:
            rows += over_all_channels(basis.shared, basis.shared_groups)
            layer_of += ['shared'] * len(basis.shared)
        for index, filters in enumerate(basis.unique):
            rows += over_all_channels(filters, basis.unique_groups)
            layer_of += [index] * len(filters)
        for i, first in enumerate(rows):
            for j, second in enumerate(rows):
                own = unique_blocks and layer_of[i] == layer_of[j]
                if layer_of[i] == 'shared' or own:
                    total = total + ((first * second).sum() - float(i == j)) ** 2
                    entries += 1
    return total / entries


def filters(n: int, c: int) -> Tensor:
    return (0.4 * torch.randn(n, c, 3, 3)).double().requires_grad_()


def units(kind: str) -> list[Basis]:
    torch.manual_seed(0)
    if kind == 'two groups of layers':
        return [
            Basis(filters(3, 2), [filters(1, 2) for _ in range(3)]),
            Basis(filters(6, 4), [filters(2, 4) for _ in range(2)]),
        ]
    if kind == 'layers with different numbers':
        return [Basis(filters(3, 2), [filters(1, 2), filters(2, 2), filters(1, 2)])]
    if kind == 'shared only':
        return [Basis(filters(3, 2)), Basis(filters(5, 4))]
    if kind == 'unique only':
        return [Basis(None, [filters(3, 2), filters(3, 2)])]
    # Groups of shared filters within those of unique ones, the other way round, and neither.
    shared_groups, unique_groups = dict(finer=(4, 2), coarser=(2, 4), crossing=(3, 2))[kind]
    unique = [filters(4, 12 // unique_groups) for _ in range(2)]
    return [Basis(filters(12, 12 // shared_groups), unique, shared_groups, unique_groups)]


KINDS = [
    'two groups of layers', 'layers with different numbers', 'shared only', 'unique only',
    'finer', 'coarser', 'crossing',
]  # fmt: skip


@pytest.mark.parametrize('unique_blocks', [True, False])
@pytest.mark.parametrize('kind', KINDS)
def test_the_formula_and_its_gradients(kind: str, unique_blocks: bool) -> None:
    bases = units(kind)
    tensors = [t for basis in bases for t in (basis.shared, *basis.unique) if t is not None]
    found = orthogonality(bases, unique_blocks)
    assert found.shape == ()
    if kind == 'unique only' and not unique_blocks:
        assert found == 0
        return
    expected = literal(bases, unique_blocks)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    gradients = [
        torch.autograd.grad(loss, tensors, allow_unused=True) for loss in (found, expected)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
        assert ours.abs().sum() > 0


def test_unique_filters_of_two_layers_do_not_meet() -> None:
    same = torch.eye(4).view(4, 1, 2, 2)
    assert orthogonality([Basis(same[:2], [same[2:3], same[2:3], same[3:]])]) == 0
    # The two shared filters see unique ones: 2 of the 2 x 3 + 1 entries are 1.
    assert orthogonality([Basis(same[:2], [same[:1]])]) == pytest.approx(1 / 7)


def test_orthonormal_filters_lose_nothing() -> None:
    shared, first, second = tensors = [torch.empty(n, 4, 3, 3) for n in (8, 2, 2)]
    orthogonal_(tensors)
    assert orthogonality([Basis(shared, [first, second])]) < 1e-12
    # The diagonal pulls norms to 1: (4 - 1)^2 on 12 of 8 x 12 + 2 x 4 entries.
    doubled = orthogonality([Basis(2 * shared, [2 * first, 2 * second])])
    assert doubled == pytest.approx(12 * 9 / (8 * 12 + 2 * 4))


def test_leads_to_orthonormal_filters() -> None:
    torch.manual_seed(0)
    tensors = [(0.1 * torch.randn(n, 2, 3, 3)).requires_grad_() for n in (6, 2, 2)]
    optimizer = torch.optim.SGD(tensors, lr=0.5)
    losses = []
    for _ in range(200):
        losses.append(orthogonality([Basis(tensors[0], tensors[1:])]))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert all(b < a for a, b in pairwise(losses) if a > 1e-6)
    assert losses[-1] < 1e-3 * losses[0]


def test_nothing_to_count() -> None:
    assert orthogonality([]) == 0
    assert orthogonality([Basis()]) == 0
    assert orthogonality([Basis(torch.empty(0, 2, 3, 3), [torch.empty(0, 2, 3, 3)])]) == 0
