"""Filter basis as an algorithm: sizes by keep ratio, dense weights fitted over a whole unit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

# isort: split
from mmengine.model import BaseModel
from mmengine.registry import MODELS

from mmcompress.core.errors import CompressionError
from mmcompress.core.export.static import to_static


@MODELS.register_module(force=True)
class Growing(BaseModel):
    """Convolutions whose inputs grow, as in a DenseNet, and a grouped one."""

    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = nn.Module()
        self.backbone.convs = nn.ModuleList(
            nn.Conv2d(channels, 8, 3, padding=1, bias=False) for channels in (8, 16, 24)
        )
        self.backbone.grouped = nn.Conv2d(32, 32, 3, groups=2)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        x = inputs
        for conv in self.backbone.convs:
            x = torch.cat([x, conv(x).relu()], 1)
        return self.backbone.grouped(x).mean(dim=(2, 3))


def build(layers, target=None, init='kaiming', groups=1, **settings):
    return MODELS.build(
        dict(
            type='mmcompress.FilterBasis',
            architecture=dict(type='mmengine.Growing'),
            mutator_cfg=dict(
                type='FilterBasisMutator',
                parse_cfg=dict(rule={'unit': layers}, min_channels=8, groups=groups),
                filter_unit_cfg=dict(default_args=settings),
            ),
            target_pruning_ratio=target,
            init=init,
        )
    ).eval()


def kept(unit, num_filters):
    """Parameters of the unit with so many filters, by the formula."""
    each = num_filters * unit.ops[unit.layers[0]].owner.shared_basis[0].numel()
    for op in unit.ops.values():
        n, channels, *_ = op.dense_shape
        each += n * num_filters * (channels // op.basis_size)
    return each


CASES = {
    'one size': ('backbone.convs', {}, 1),
    'small': ('backbone.convs', dict(basis_size=2), 1),
    'sliced': ('backbone.convs', dict(basis_size='slice'), 1),
    'grouped': ('backbone.grouped', dict(basis_size=4), 2),
}


@pytest.mark.parametrize('ratio', [0.2, 0.37, 0.5])
@pytest.mark.parametrize('case', CASES)
def test_as_many_filters_as_the_ratio_leaves_room_for(case, ratio):
    layers, settings, groups = CASES[case]
    (unit,) = build(layers, ratio, groups=groups, **settings).mutator.units.values()
    dense = sum(torch.Size(op.dense_shape).numel() for op in unit.ops.values())
    assert unit.num_parameters == kept(unit, unit.num_filters) <= ratio * dense
    assert kept(unit, unit.num_filters + 1) > ratio * dense
    assert unit.choice == pytest.approx(unit.num_parameters / dense, abs=1e-6)


@pytest.mark.parametrize('ratio', [0.3, 0.5])
def test_large_coefficients_count(ratio):
    """Nine coefficients for each filter and map."""
    made = build('backbone.convs', ratio, basis_size=8, coefficient_kernel=3)
    (unit,) = made.mutator.units.values()
    dense = sum(8 * channels * 9 for channels in (8, 16, 24))
    each = 8 * 9 + 9 * 8 * (1 + 2 + 3)
    assert unit.num_filters == int(ratio * dense / each)
    assert unit.num_parameters == unit.num_filters * each


@pytest.mark.parametrize('case', CASES)
def test_fit_over_the_whole_unit(case):
    """As good as any basis of so many filters; exact where weights have such a basis."""
    layers, settings, groups = CASES[case]
    made = build(layers, init='svd', groups=groups, num_filters=5, **settings)
    dense = MODELS.build(dict(type='mmengine.Growing'))
    made.load_state_dict(dense.state_dict(), strict=False)
    (unit,) = made.mutator.units.values()
    convs = [dense.get_submodule(layer) for layer in unit.layers]
    missed = sum(
        (conv.weight - op.filters()).square().sum()
        for conv, op in zip(convs, unit.ops.values(), strict=True)
    )
    total = sum(conv.weight.square().sum() for conv in convs)
    assert unit.error == pytest.approx(float((missed / total).detach()) ** 0.5, rel=1e-4)
    if case != 'sliced':
        # Eckart and Young, on all pieces of all filters of all layers.
        size = convs[0].weight[0, 0].numel() * next(iter(unit.ops.values())).basis_size
        rows = torch.cat([conv.weight.detach().reshape(-1, size) for conv in convs]).double()
        rest = torch.linalg.svdvals(rows)[5:].square().sum()
        assert unit.error == pytest.approx(float(rest / rows.square().sum()) ** 0.5, rel=1e-4)
    # Of low rank now: fitted again, nothing is lost.
    with torch.no_grad():
        for conv, op in zip(convs, unit.ops.values(), strict=True):
            conv.weight.copy_(op.filters())
    made.load_state_dict(dense.state_dict(), strict=False)
    assert unit.error < (1e-3 if case != 'sliced' else 0.2)
    x = torch.randn(2, 8, 7, 7)
    if case != 'sliced':
        torch.testing.assert_close(made(x), dense(x), rtol=0, atol=1e-5)
    static = to_static(made)
    torch.testing.assert_close(static(x), made(x), rtol=0, atol=1e-5)


def test_sliced_layers_use_the_first_channels():
    made = build('backbone.convs', num_filters=3, basis_size='slice', basis_bias=True)
    ops = list(made.architecture.backbone.convs)
    basis = ops[0].shared_basis
    assert basis.shape == (3, 24, 3, 3)
    with torch.no_grad():
        ops[1].basis_bias.copy_(torch.tensor([1.0, 2, 3]))
    for op, channels in zip(ops, (8, 16, 24), strict=True):
        x = torch.randn(2, channels, 6, 6)
        maps = nn.functional.conv2d(x, basis[:, :channels], op.basis_bias, padding=1)
        torch.testing.assert_close(op(x), nn.functional.conv2d(maps, op.coefficients))
    # Each layer has a bias of its own, behind the shared filters.
    assert not ops[0].basis_bias.any()


def test_the_authors_loss_norm():
    """A mean for each layer, and the size of its basis; the literal kernels are sums of filters."""
    model = dict(
        type='mmcompress.FilterBasis',
        architecture=dict(type='mmengine.Growing'),
        mutator_cfg=dict(
            type='FilterBasisMutator',
            parse_cfg=dict(rule={'unit': ['backbone.convs']}, min_channels=8),
        ),
        target_pruning_ratio=0.5,
        loss_norm=True,
    )
    algorithm = MODELS.build(model).double()
    dense = MODELS.build(dict(type='mmengine.Growing')).double()
    algorithm.load_state_dict(dense.state_dict(), strict=False)
    apart = norms = 0.0
    for index, conv in enumerate(dense.backbone.convs):
        op = algorithm.architecture.backbone.convs[index]
        basis, mixed = algorithm.architecture.backbone.convs[0].shared_basis, op.coefficients
        b, s = basis.shape[:2]
        kernel = torch.zeros_like(conv.weight)
        for out in range(conv.out_channels):
            for part in range(conv.in_channels // s):
                for q in range(b):
                    kernel[out, part * s : (part + 1) * s] += (
                        mixed[out, part * b + q, 0, 0] * basis[q]
                    )
        apart += float(((kernel - conv.weight) ** 2).mean())
        norms += float((basis**2).mean())
    losses = algorithm.own_losses()
    assert float(losses['loss_reconstruction']) == pytest.approx(apart, rel=1e-12)
    assert float(losses['loss_norm']) == pytest.approx(0.05 * norms, rel=1e-12)
    for wrong in (dict(loss_norm=1), dict(reconstruction=0.0), dict(norm_weight=-1.0)):
        with pytest.raises(CompressionError, match='loss_norm|norm_weight'):
            MODELS.build({**model, **wrong})
