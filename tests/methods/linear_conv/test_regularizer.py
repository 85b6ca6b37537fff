"""methods/linear_conv/regularizer.py against numpy.corrcoef and the formula, in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mmcompress.methods.linear_conv.regularizer import correlation, sparsity_loss

#: Shape of the primary filters of a layer, and G.
LAYERS = {
    'one': [((5, 3, 3, 3), 1)],
    'more filters than weights': [((12, 1, 2, 2), 1)],
    'groups': [((6, 2, 3, 3), 2)],
    'several': [((4, 2, 3, 3), 1), ((6, 4, 1, 1), 3), ((4, 1, 3, 3), 4)],
}


def random(shape: tuple[int, ...]) -> Tensor:
    # Means that differ from 0, as without centring they would be part of the products.
    return (torch.randn(shape) + torch.randn(shape[0], 1, 1, 1)).double().requires_grad_()


def primaries(name: str) -> list[tuple[Tensor, int]]:
    torch.manual_seed(0)
    return [(random(shape), groups) for shape, groups in LAYERS[name]]


def literal(layers: list[tuple[Tensor, int]]) -> Tensor:
    """All pairs of filters of a group, one by one, the diagonal left out."""
    total = torch.zeros(()).double()
    for primary, groups in layers:
        for own in primary.chunk(groups):
            for i, first in enumerate(own):
                for j, second in enumerate(own):
                    if i != j:
                        a, b = first - first.mean(), second - second.mean()
                        total = total + ((a * b).sum() / (a.norm() * b.norm())).abs()
    return total


@pytest.mark.parametrize('name', LAYERS)
def test_value_is_that_of_numpy(name: str) -> None:
    expected = 0.0
    for primary, groups in primaries(name):
        for own in primary.detach().flatten(1).numpy().reshape(groups, len(primary) // groups, -1):
            corr = np.atleast_2d(np.corrcoef(own))
            expected += np.abs(corr - np.eye(len(corr))).sum()
    found = correlation(primaries(name))
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('name', LAYERS)
def test_gradient_is_that_of_the_formula(name: str) -> None:
    layers = primaries(name)
    tensors = [primary for primary, _ in layers]
    found, expected = (
        torch.autograd.grad(loss, tensors, materialize_grads=True)
        for loss in (correlation(layers), literal(layers))
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert found[0].abs().max() > 1e-3


def test_gradient_by_differences() -> None:
    primary = primaries('groups')[0][0]
    assert torch.autograd.gradcheck(lambda p: correlation([(p, 2)]), primary)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_filters_without_variance(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    primary = torch.randn(5, 2, 3, 3, dtype=dtype)
    rest = correlation([(primary[[0, 2, 4]], 1)])
    # 0.1 is no binary number: its mean isn't exactly it.
    primary[1], primary[3] = 0.1, 0
    primary.requires_grad_()
    found = correlation([(primary, 1)])
    torch.testing.assert_close(found, rest)
    found.backward()
    assert primary.grad.isfinite().all()
    assert not primary.grad[[1, 3]].any()
    assert primary.grad[[0, 2, 4]].any()


@pytest.mark.parametrize(
    ('shape', 'groups'),
    [((3, 4, 3, 3), 3), ((4, 1, 1, 1), 4), ((4, 1, 1, 1), 1)],
)
def test_nothing_to_correlate(shape: tuple[int, ...], groups: int) -> None:
    primary = torch.randn(shape, requires_grad=True)
    loss = correlation([(primary, groups)])
    assert loss == 0
    loss.backward()
    # Exactly, the diagonal too.
    assert not primary.grad.any()


def test_bounds() -> None:
    filters = torch.randn(1, 2, 3, 3).double()
    # Sign, length and mean don't count.
    same = torch.cat([filters, 2 * filters, 3 - filters])
    assert correlation([(same, 1)]).item() == pytest.approx(6)
    apart = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, -1], [1, 1, -1, -1]]).view(3, 1, 2, 2)
    assert correlation([(apart, 1)]).item() == pytest.approx(0, abs=1e-6)


def test_sparsity_loss() -> None:
    layers = [torch.randn(1, 3, 2).double(), torch.randn(4, 1, 5).double(), torch.empty(2, 0, 3)]
    expected = sum(abs(a) for layer in layers for a in layer.flatten().tolist())
    found = sparsity_loss([layer.requires_grad_() for layer in layers])
    assert found.item() == pytest.approx(expected, rel=1e-12)
    found.backward()
    assert all(torch.equal(layer.grad, layer.detach().sign()) for layer in layers)


def test_no_layers() -> None:
    for loss in (correlation([]), sparsity_loss([])):
        assert loss.shape == ()
        assert loss == 0
