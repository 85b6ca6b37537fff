"""LinearConv across groups: all filters of a layer are combined, whatever their group."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

# isort: split
from mmengine.model import BaseModel
from mmengine.registry import MODELS

from mmcompress.core import CompressionError
from mmcompress.core.export.factors import factored_state, weights_of_factors
from mmcompress.core.export.static import to_static
from mmcompress.methods.linear_conv.op import LinearConv2d
from mmcompress.methods.linear_conv.storage import linear_conv_factors

VARIANTS = {
    'linear': dict(),
    'lowrank': dict(rank=2),
    'rankratio': dict(rank_ratio=0.5),
    'sparse': dict(target_sparsity=0.5),
}
# Settings of the dense convolution from 8 channels.
CASES = {
    'plain': dict(),
    'two groups': dict(groups=2, bias=True, stride=2),
    'four groups, three filters each': dict(groups=4, out_channels=12),
    'odd': dict(groups=1, out_channels=13, bias=True),
    'depthwise': dict(groups=8, out_channels=8, bias=True),
    'depthwise, dilated': dict(groups=8, out_channels=8, dilation=2, padding=2),
    'depthwise, widened': dict(groups=8, out_channels=32),
    'depthwise, 1x1': dict(groups=8, out_channels=8, kernel_size=1, padding=0),
}


def dense(out_channels=16, kernel_size=3, padding=1, bias=False, **settings):
    torch.manual_seed(0)
    conv = nn.Conv2d(8, out_channels, kernel_size, padding=padding, bias=bias, **settings)
    return conv.double()


def made(conv, variant):
    """An op with random tensors everywhere, filters in random order."""
    op = LinearConv2d(conv, variant=variant, across_groups=True, **VARIANTS[variant])
    for parameter in op.parameters():
        nn.init.normal_(parameter)
    op.order.copy_(torch.randperm(conv.out_channels))
    if op.is_sparse:
        op.mask.copy_(torch.rand(op.mask.shape) < 0.5)
    return op


def merged(op) -> Tensor:
    """The kernel of the layer, filter by filter: the first half, then sums over all of it."""
    matrix = op.left[0] @ op.right[0] if hasattr(op, 'left') else op.combination[0]
    if op.is_sparse:
        matrix = matrix * op.mask[0]
    half = op.out_channels // 2
    rows = [op.primary[i] for i in range(half)]
    for j in range(op.out_channels - half):
        rows.append(sum(matrix[j, i] * op.primary[i] for i in range(half)))
    return torch.stack([rows[int(row)] for row in op.order])


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('case', CASES)
def test_equals_convolution_with_the_merged_kernel(case, variant):
    conv = dense(**CASES[case])
    op = made(conv, variant)
    literal = copy.deepcopy(op)
    x = torch.randn(2, 8, 6, 7, dtype=torch.double, requires_grad=True)
    y = x.detach().clone().requires_grad_()

    out = op(x)
    kernel = merged(literal)
    assert kernel.shape == conv.weight.shape
    expected = conv._conv_forward(y, kernel, literal.bias)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)

    grad = torch.randn_like(out)
    out.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-10)
    for own, other in zip(op.parameters(), literal.parameters(), strict=True):
        assert other.grad.any()
        torch.testing.assert_close(own.grad, other.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('case', CASES)
def test_static_layer_storage_and_counts(case, variant):
    conv = dense(**CASES[case])
    op = made(conv, variant)
    x = torch.randn(2, 8, 6, 7, dtype=torch.double)
    expected = op(x).detach()

    static = op.to_static()
    assert type(static) is nn.Conv2d
    assert static.groups == conv.groups
    assert static.weight.shape == conv.weight.shape
    torch.testing.assert_close(static(x), expected, rtol=0, atol=1e-10)

    recipe = op.recipes()['weight']
    tensors = recipe.tensors
    weight = linear_conv_factors(tensors, op.dense_shape, **recipe.settings)
    assert torch.equal(weight, static.weight)

    half, size = op.num_primary, conv.weight[0].numel()
    assert half == conv.out_channels // 2
    others = conv.out_channels - half
    ranked = op.settings.rank_of(half)
    rest = others * half if ranked is None else (others + half) * ranked
    rest = int(op.mask.sum()) if op.is_sparse else rest
    counted = copy.deepcopy(op)
    counted.count_stored()
    biases = 0 if conv.bias is None else conv.out_channels
    assert sum(p.numel() for p in counted.parameters()) == half * size + rest + biases
    torch.testing.assert_close(counted(x), expected, rtol=0, atol=1e-10)


@MODELS.register_module(force=True)
class Grouped(BaseModel):
    """Grouped and depthwise convolutions, and a stem."""

    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = nn.Sequential()
        self.backbone.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.backbone.grouped = nn.Conv2d(16, 24, 3, padding=1, groups=2)
        self.backbone.depthwise = nn.Conv2d(24, 24, 3, padding=1, groups=24)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        out = self.backbone(inputs).mean(dim=(2, 3))
        return dict(loss=out.square().mean()) if mode == 'loss' else out


def build(variant='linear', init='kaiming', across_groups=True, units=None, target=None, **args):
    settings = dict(variant=variant, across_groups=across_groups, **VARIANTS[variant])
    config = dict(
        type='mmcompress.LinearConv',
        architecture=dict(type='mmengine.Grouped'),
        mutator_cfg=dict(
            type='LinearConvMutator',
            filter_unit_cfg=dict(default_args=settings, units=units or {}),
        ),
        init=init,
        target_pruning_ratio=target,
        **args,
    )
    return MODELS.build(config)


def only_op(unit):
    [op] = unit.ops.values()
    return op


def test_depthwise_convolutions_have_a_form():
    algorithm = build()
    assert [*algorithm.mutator.units] == [f'backbone.{n}' for n in ('stem', 'grouped', 'depthwise')]
    half = 12
    op = only_op(algorithm.mutator.units['backbone.depthwise'])
    assert op.primary.shape == (half, 1, 3, 3)
    assert op.combination.shape == (1, half, half)
    op = only_op(algorithm.mutator.units['backbone.grouped'])
    assert op.primary.shape == (half, 8, 3, 3)
    assert op.combination.shape == (1, half, half)
    for unit in algorithm.mutator.units.values():
        assert sum(p.numel() for p in only_op(unit).weights()) == unit.num_parameters


def test_of_single_layers():
    """A unit's own settings win over those of all, in either direction."""
    units = {'backbone.grouped': dict(init_args=dict(across_groups=False))}
    algorithm = build(units=units)
    assert only_op(algorithm.mutator.units['backbone.grouped']).combination.shape == (2, 6, 6)
    assert 'backbone.depthwise' in algorithm.mutator.units
    units = {'backbone.grouped': dict(init_args=dict(across_groups=True))}
    algorithm = build(units=units, across_groups=False)
    assert only_op(algorithm.mutator.units['backbone.grouped']).combination.shape == (1, 12, 12)
    assert 'backbone.depthwise' not in algorithm.mutator.units


@pytest.mark.parametrize('variant', VARIANTS)
def test_what_the_tools_write_builds_the_same(variant):
    algorithm = build(variant, target=0.7)
    shapes = {key: value.shape for key, value in algorithm.state_dict().items()}
    for options in ((False, False), (True, False), (True, True)):
        config = algorithm.mutator.config_template(*options)
        again = MODELS.build(
            dict(
                type='mmcompress.LinearConv',
                architecture=dict(type='mmengine.Grouped'),
                mutator_cfg=config,
                target_pruning_ratio=None if options[0] else algorithm.mutator.choice_template,
            )
        )
        assert {key: value.shape for key, value in again.state_dict().items()} == shapes


@pytest.mark.parametrize('init', ['qr', 'svd'])
def test_dense_network_of_such_filters_is_fitted_exactly(init):
    torch.manual_seed(0)
    network = to_static(build().double())
    fitted = build(init=init).double()
    fitted.load_state_dict(network.state_dict(), strict=False)
    for unit in fitted.mutator.units.values():
        assert unit.error < 1e-9
    x = torch.randn(2, 3, 6, 6, dtype=torch.double)
    torch.testing.assert_close(fitted.eval()(x), network(x), rtol=0, atol=1e-9)


def test_fits_as_near_as_there_is():
    """Of all filters of a layer: primary ones are dense filters, and svd reaches the bound."""
    torch.manual_seed(0)
    network = MODELS.build(dict(type='mmengine.Grouped')).double()
    for init in ('qr', 'svd'):
        fitted = build(init=init).double()
        fitted.load_state_dict(network.state_dict(), strict=False)
        for name, unit in fitted.mutator.units.items():
            weight = network.get_submodule(name).weight.detach()
            rows, op = weight.flatten(1), only_op(unit)
            if init == 'qr':
                assert all((rows == own).all(1).any() for own in op.primary.detach().flatten(1))
            else:
                rest = torch.linalg.svdvals(rows)[op.num_primary :].square().sum()
                best = float((rest / rows.square().sum()).sqrt())
                assert unit.error == pytest.approx(best, abs=1e-9)
            gap = (op.filters().detach() - weight).norm() / weight.norm()
            assert unit.error == pytest.approx(float(gap), abs=1e-9)


@pytest.mark.parametrize('variant', VARIANTS)
def test_stored_factors_of_a_network(variant):
    torch.manual_seed(0)
    algorithm = build(variant)
    for unit in algorithm.mutator.units.values():
        op = only_op(unit)
        if op.is_sparse:
            op.mask.copy_(torch.rand(op.mask.shape) < 0.5)
    static = to_static(algorithm)
    state, specs = factored_state(algorithm.architecture, static)
    assert 'backbone.grouped.weight' in specs
    again = weights_of_factors(state, specs)
    for key, value in static.state_dict().items():
        assert torch.equal(again[key], value), key


def test_correlations_are_between_filters_of_all_groups():
    algorithm = build(correlation=0.5).double()
    expected = 0.0
    for unit in algorithm.mutator.units.values():
        rows = only_op(unit).primary.detach().flatten(1)
        expected += (torch.corrcoef(rows) - torch.eye(len(rows))).abs().sum()
    found = algorithm.own_losses()['loss_correlation'].detach()
    torch.testing.assert_close(found, 0.5 * expected)


@pytest.mark.parametrize('ratio', [0.7, 0.9])
def test_primary_filters_by_a_keep_ratio(ratio):
    algorithm = build(target=ratio)
    for unit in algorithm.mutator.units.values():
        op = only_op(unit)
        n, size = op.out_channels, op.primary[0].numel()

        def weights(p, n=n, size=size):
            return p * size + (n - p) * p

        assert weights(op.num_primary) <= ratio * n * size < weights(op.num_primary + 1)


@pytest.mark.parametrize('value', [1, 'yes', None])
def test_wrong_setting(value):
    with pytest.raises(CompressionError, match='across_groups.*it has to be True or False') as info:
        LinearConv2d(nn.Conv2d(8, 16, 3), across_groups=value)
    assert repr(value) in str(info.value)
