"""methods/shared_basis/regularizer.py against the formulas, entry by entry in float64."""

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


class Sum:
    """Squares of the entries of B B^T - I that are counted, and how many they are."""

    def __init__(self) -> None:
        self.total, self.entries = torch.zeros(()).double(), 0

    def add(self, rows: list[Tensor], others: list[Tensor]) -> None:
        for row in rows:
            for other in others:
                product = (row * other).sum()
                self.total = self.total + (product - float(row is other)) ** 2
                self.entries += 1

    def mean(self) -> Tensor:
        return self.total / self.entries


def rows_of(basis: Basis) -> tuple[list[Tensor], list[list[Tensor]]]:
    shared = [] if basis.shared is None else over_all_channels(basis.shared, basis.shared_groups)
    return shared, [over_all_channels(filters, basis.unique_groups) for filters in basis.unique]


# One function for each published row, written down without looking at the others.


def cifar10_single(groups: list[list[Basis]]) -> Tensor:
    """Shared against shared and unique filters, and every layer's unique ones."""
    found = Sum()
    for (basis,) in groups:
        shared, unique = rows_of(basis)
        found.add(shared, shared + [row for layer in unique for row in layer])
        for layer in unique:
            found.add(layer, layer)
    return found.mean()


def cifar10_double(groups: list[list[Basis]]) -> Tensor:
    """Rows [S1; S2; all U] of a group: the shared ones against all, and the unique blocks."""
    found = Sum()
    for first, second in groups:
        (shared, unique), (others, further) = rows_of(first), rows_of(second)
        own = [layer for pair in zip(unique, further, strict=True) for layer in pair]
        found.add(shared + others, shared + others + [row for layer in own for row in layer])
        for layer in own:
            found.add(layer, layer)
    return found.mean()


def shared_together(groups: list[list[Basis]]) -> Tensor:
    """ImageNet's Double and CIFAR-10's SharedOnly: rows [S1; S2] of a group."""
    found = Sum()
    for group in groups:
        shared = [row for basis in group for row in rows_of(basis)[0]]
        found.add(shared, shared)
    return found.mean()


def shared_alone(groups: list[list[Basis]]) -> Tensor:
    """CIFAR-100, DenseNet, ImageNet's Single, ResNet-50 Shared, MobileNetV2."""
    found = Sum()
    for group in groups:
        for basis in group:
            shared, _ = rows_of(basis)
            found.add(shared, shared)
    return found.mean()


def as_they_are(groups: list[list[Basis]]) -> Tensor:
    """ResNeXt-50: the weights of grouped filters, one filter after another."""
    found = Sum()
    for (basis,) in groups:
        shared = [filters.flatten() for filters in basis.shared]
        found.add(shared, shared)
    return found.mean()


def plus_plus(groups: list[list[Basis]]) -> Tensor:
    """One mean for the first bases of all groups, and one for the second."""
    return sum(shared_alone([[group[i]] for group in groups]) for i in range(2))


def separate(groups: list[list[Basis]]) -> Tensor:
    """As for ``++``, each with the unique filters of its own layers."""
    means = []
    for i in range(2):
        found = Sum()
        for group in groups:
            shared, unique = rows_of(group[i])
            found.add(shared, shared + [row for layer in unique for row in layer])
        means.append(found.mean())
    return sum(means)


def borrowed(groups: list[list[Basis]]) -> Tensor:
    """Five days in May 2021: both with the unique filters of the first convolutions."""
    means = []
    for i in range(2):
        found = Sum()
        for group in groups:
            shared, _ = rows_of(group[i])
            _, unique = rows_of(group[0])
            found.add(shared, shared + [row for layer in unique for row in layer])
        means.append(found.mean())
    return sum(means)


def filters(n: int, c: int, kernel: int = 3) -> Tensor:
    return (0.4 * torch.randn(n, c, kernel, kernel)).double().requires_grad_()


def single() -> list[list[Basis]]:
    """Two stages, ranks and channels twice as large in the second."""
    return [
        [Basis(filters(3, 2), [filters(1, 2) for _ in range(4)])],
        [Basis(filters(6, 4), [filters(2, 4) for _ in range(6)])],
    ]


def double() -> list[list[Basis]]:
    return [
        [
            Basis(filters(3, 2), [filters(1, 2) for _ in range(2)], position='conv1'),
            Basis(filters(3, 2), [filters(1, 2) for _ in range(2)], position='conv2'),
        ],
        [
            Basis(filters(6, 4), [filters(2, 4) for _ in range(3)], position='conv1'),
            Basis(filters(6, 4), [filters(2, 4) for _ in range(3)], position='conv2'),
        ],
    ]


def bottlenecks() -> list[list[Basis]]:
    """3x3 and 1x1 filters, which can't meet."""
    return [
        [
            Basis(filters(2 * i, 2 * i), position='conv2'),
            Basis(filters(8 * i, 2 * i, 1), position='conv3'),
        ]
        for i in (1, 2)
    ]


def uneven() -> list[list[Basis]]:
    return [[Basis(filters(3, 2), [filters(1, 2), filters(2, 2), filters(1, 2)])]]


def grouped(shared_groups: int, unique_groups: int) -> list[list[Basis]]:
    unique = [filters(4, 12 // unique_groups) for _ in range(2)]
    return [[Basis(filters(12, 12 // shared_groups), unique, shared_groups, unique_groups)]]


ROWS = {
    'CIFAR-10 Single': (single, dict(unique=True), cifar10_single),
    'CIFAR-10 Double': (double, dict(unique=True, joint=True), cifar10_double),
    'CIFAR-10 SharedOnly': (
        lambda: [[Basis(b.shared, position=b.position) for b in group] for group in double()],
        dict(joint=True),
        shared_together,
    ),
    'CIFAR-100 Single': (single, dict(), shared_alone),
    'CIFAR-100 ResNeXt-50': (lambda: grouped(4, 2), dict(as_one_group=True), as_they_are),
    'ImageNet Double': (double, dict(joint=True), shared_together),
    '++': (bottlenecks, dict(joint='separate'), plus_plus),
    'separate': (double, dict(unique='cross', joint='separate'), separate),
    'borrowed': (double, dict(unique='cross', joint='separate', borrow=True), borrowed),
    # Of no published row.
    'each of two bases': (double, dict(), shared_alone),
    'joint, of two lengths': (
        bottlenecks,
        dict(joint=True),
        lambda groups: shared_alone([[basis] for group in groups for basis in group]),
    ),
    'layers with different numbers': (uneven, dict(unique=True), cifar10_single),
    'unique only': (
        lambda: [[Basis(None, [filters(3, 2), filters(3, 2)])]], dict(unique=True), cifar10_single,
    ),
    'unique only, joint': (
        lambda: [[Basis(None, basis.unique) for basis in group] for group in double()],
        dict(unique=True, joint=True),
        cifar10_double,
    ),
    # Groups of shared filters within those of unique ones, the other way round, and neither.
    'finer': (lambda: grouped(4, 2), dict(unique=True), cifar10_single),
    'coarser': (lambda: grouped(2, 4), dict(unique=True), cifar10_single),
    'crossing': (lambda: grouped(3, 2), dict(unique=True), cifar10_single),
    'groups, shared only': (lambda: grouped(4, 2), dict(), shared_alone),
}  # fmt: skip


def tensors_of(groups: list[list[Basis]]) -> list[Tensor]:
    bases = [basis for group in groups for basis in group]
    return [t for basis in bases for t in (basis.shared, *basis.unique) if t is not None]


@pytest.mark.parametrize('row', ROWS)
def test_the_formula_and_its_gradients(row: str) -> None:
    torch.manual_seed(0)
    make, terms, literal = ROWS[row]
    groups = make()
    found, expected = orthogonality(groups, **terms), literal(groups)
    assert found.shape == ()
    assert found > 0
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    tensors = tensors_of(groups)
    gradients = [
        torch.autograd.grad(loss, tensors, allow_unused=True, materialize_grads=True)
        for loss in (found, expected)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_the_rows_are_different_losses() -> None:
    """For the same filters: none of them is another one under a new name."""
    torch.manual_seed(0)
    groups = double()
    terms = [
        dict(unique=unique, joint=joint, borrow=borrow)
        for unique in (False, 'cross', True)
        for joint in (False, True, 'separate')
        for borrow in ((False, True) if unique and joint == 'separate' else (False,))
    ]
    values = [float(orthogonality(groups, **each).detach()) for each in terms]
    assert len({round(value, 9) for value in values}) == len(terms) == 11


@pytest.mark.parametrize('joint', [False, True, 'separate'])
def test_unique_filters_are_left_out(joint: bool | str) -> None:
    torch.manual_seed(0)
    groups = double()
    tensors = tensors_of(groups)
    loss = orthogonality(groups, joint=joint)
    for tensor, gradient in zip(
        tensors, torch.autograd.grad(loss, tensors, allow_unused=True), strict=True
    ):
        is_shared = any(tensor is basis.shared for group in groups for basis in group)
        assert (gradient is not None) == is_shared


def test_unique_filters_of_two_layers_do_not_meet() -> None:
    same = torch.eye(4).view(4, 1, 2, 2)
    basis = Basis(same[:2], [same[2:3], same[2:3], same[3:]])
    assert orthogonality([[basis]], unique=True) == 0
    # The two shared filters see unique ones: 2 of the 2 x 3 + 1 entries are 1.
    shared = [[Basis(same[:2], [same[:1]])]]
    assert orthogonality(shared, unique=True) == pytest.approx(1 / 7)
    assert orthogonality(shared, unique='cross') == pytest.approx(1 / 6)
    assert orthogonality(shared) == 0


def test_bases_of_the_same_blocks_meet_if_joint() -> None:
    same = torch.eye(4).view(4, 1, 2, 2)
    groups = [[Basis(same[:2], position='a'), Basis(same[:2], position='b')]]
    assert orthogonality(groups) == orthogonality(groups, joint='separate') == 0
    # Of 4 x 4 entries each filter meets its twin, twice.
    assert orthogonality(groups, joint=True) == pytest.approx(4 / 16)


def test_grouped_filters_as_of_one_group() -> None:
    """Two filters on different channels are orthogonal, unless channels are forgotten."""
    basis = Basis(torch.eye(4)[[0, 1, 0, 1]].view(4, 1, 2, 2), shared_groups=2)
    assert orthogonality([[basis]]) == 0
    assert orthogonality([[basis]], as_one_group=True) == pytest.approx(4 / 16)


@pytest.mark.parametrize('terms', [dict(unique=True), dict(), dict(as_one_group=True)])
def test_orthonormal_filters_lose_nothing(terms: dict) -> None:
    shared, first, second = tensors = [torch.empty(n, 4, 3, 3) for n in (8, 2, 2)]
    orthogonal_(tensors)
    assert orthogonality([[Basis(shared, [first, second])]], **terms) < 1e-12
    # The diagonal pulls norms to 1: (4 - 1)^2 on 12 of 8 x 12 + 2 x 4 entries, 8 of 8 x 8.
    doubled = orthogonality([[Basis(2 * shared, [2 * first, 2 * second])]], **terms)
    expected = 12 * 9 / (8 * 12 + 2 * 4) if terms.get('unique') else 8 * 9 / (8 * 8)
    assert doubled == pytest.approx(expected)


def test_leads_to_orthonormal_filters() -> None:
    torch.manual_seed(0)
    tensors = [(0.1 * torch.randn(n, 2, 3, 3)).requires_grad_() for n in (6, 2, 2)]
    optimizer = torch.optim.SGD(tensors, lr=0.5)
    losses = []
    for _ in range(200):
        losses.append(orthogonality([[Basis(tensors[0], tensors[1:])]], unique=True))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert all(b < a for a, b in pairwise(losses) if a > 1e-6)
    assert losses[-1] < 1e-3 * losses[0]


@pytest.mark.parametrize('joint', [False, True, 'separate'])
@pytest.mark.parametrize('unique', [False, True, 'cross'])
def test_nothing_to_count(unique: bool | str, joint: bool | str) -> None:
    empty = Basis(torch.empty(0, 2, 3, 3), [torch.empty(0, 2, 3, 3)])
    for groups in ([], [[]], [[Basis()]], [[empty]]):
        assert orthogonality(groups, unique, joint) == 0
    without = [[Basis(None, [torch.ones(2, 2, 3, 3).double()])]]
    found = orthogonality(without, unique, joint)
    assert found.dtype == torch.float64
    assert (found == 0) == (unique is not True)
