"""methods/linear_conv/diagnostics.py: correlations of primary filters, and sparsity."""

import itertools

import numpy as np
import pytest
from mmengine.registry import MODELS
from torch import nn

from mmcompress.methods.linear_conv.diagnostics import correlations, figures
from mmcompress.methods.linear_conv.op import LinearConv2d


@pytest.mark.parametrize('groups', [1, 2])
def test_correlations_of_all_pairs(groups):
    op = LinearConv2d(nn.Conv2d(4, 12, 3, groups=groups), variant='linear')
    rows = op.primary.detach().double().numpy().reshape(groups, op.num_primary, -1)
    expected = [
        abs(np.corrcoef(a, b)[0, 1])
        for group in rows
        for a, b in itertools.combinations(group, 2)
    ]  # fmt: skip
    assert sorted(correlations(op).tolist()) == pytest.approx(sorted(expected))


def test_a_filter_without_variance():
    op = LinearConv2d(nn.Conv2d(4, 6, 3), variant='linear')
    nn.init.ones_(op.primary)
    assert correlations(op).tolist() == [0, 0, 0]


def test_figures_of_the_layers():
    op = LinearConv2d(nn.Conv2d(4, 6, 3), variant='linear')
    sparse = LinearConv2d(nn.Conv2d(4, 6, 3), variant='sparse', target_sparsity=0.5)
    sparse.mask[..., 0] = False
    assert op.rank == op.num_primary == 3
    histogram, layers, sparsity = figures(dict(a=op, b=sparse))
    assert sum(histogram.series[0].y) == 6
    assert len(histogram.series[0].x) == len(histogram.series[0].y) + 1
    assert layers.series[0].y[0] == pytest.approx(float(correlations(op).mean()))
    assert (sparsity.series[0].x, sparsity.series[0].y) == (['b'], [pytest.approx(1 / 3)])


def test_one_primary_filter_has_no_pair():
    assert figures(dict(a=LinearConv2d(nn.Conv2d(4, 2, 3), variant='linear'))) == []


def test_diagnostics_of_the_algorithm(tiny_cfg):
    algorithm = MODELS.build(
        dict(type='mmcompress.LinearConv', architecture=tiny_cfg, target_pruning_ratio=0.5)
    )
    names = [figure.name for figure in algorithm.diagnostics()]
    assert names == ['correlations', 'correlations-layers']
    assert algorithm.diagnostics(MODELS.build(tiny_cfg).state_dict())[0].name == 'reconstruction'
