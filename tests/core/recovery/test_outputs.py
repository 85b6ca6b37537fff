"""core/recovery/outputs.py: factors that give the outputs of dense layers on data."""

import pytest
import torch
from torch import nn

from mmcompress.core.recovery.outputs import fit_outputs
from mmcompress.methods.filter_basis import FilterBasisUnit
from mmcompress.methods.linear_conv import LinearConvUnit
from mmcompress.methods.shared_basis import SharedBasisUnit


def made(unit, count=1, channels=8):
    """A unit that was fitted to the weights of layers, these weights, and covariances."""
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(count)))
    network = network.double()
    dense = {name: layer.weight.detach().clone() for name, layer in network.named_children()}
    unit.measure(network)
    unit.prepare(network)
    state = {f'{name}.weight': weight for name, weight in dense.items()}
    unit.load_dense(state)
    network.load_state_dict(state, strict=False)
    mix = torch.randn(count, channels * 9, channels * 9).double()
    scale = torch.logspace(0, -3, channels * 9).double()
    covariances = {str(i): ((m * scale) @ m.T / len(scale))[None] for i, m in enumerate(mix)}
    return unit, dense, covariances


def error(unit, dense, covariances):
    """Literally: the squared error of the outputs."""
    total = 0.0
    for name, op in unit.ops.items():
        gap = (dense[name] - op.filters().detach()).flatten(1)
        total += float(torch.trace(gap @ covariances[name][0] @ gap.T))
    return total


def test_the_best_basis_of_one_layer():
    """That of the weights in the metric of the covariance (Eckart and Young)."""
    unit, dense, covariances = made(
        FilterBasisUnit('x', ['0'], init='svd', basis_size=8, num_filters=3)
    )
    values, vectors = torch.linalg.eigh(covariances['0'][0])
    root = vectors * values.clamp_min(0).sqrt()
    least = float(torch.linalg.svdvals(dense['0'].flatten(1) @ root)[3:].square().sum())
    before = error(unit, dense, covariances)
    for _ in range(12):
        fit_outputs(unit, dense, covariances)
    assert least <= error(unit, dense, covariances) <= 1.01 * least < 0.9 * before


@pytest.mark.parametrize(
    'unit',
    [
        FilterBasisUnit('x', ['0', '1'], init='svd', basis_size=4, num_filters=9),
        SharedBasisUnit('x', ['0', '1'], init='svd', shared_rank=4, unique_rank=2),
        LinearConvUnit('x', ['0'], init='qr', primary_ratio=0.5),
    ],
    ids=lambda unit: type(unit).__name__,
)
def test_every_method_comes_nearer(unit):
    unit, dense, covariances = made(unit, len(unit.layers))
    before = error(unit, dense, covariances)
    errors = []
    for _ in range(3):
        fit_outputs(unit, dense, covariances)
        errors.append(error(unit, dense, covariances))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.9 * before


def test_without_a_covariance_the_fit_to_weights_stays():
    unit, dense, _ = made(FilterBasisUnit('x', ['0'], init='svd', basis_size=8, num_filters=3))
    kernel = unit.ops['0'].filters().detach().clone()
    fit_outputs(unit, dense, {})
    torch.testing.assert_close(unit.ops['0'].filters().detach(), kernel)
