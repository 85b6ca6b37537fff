"""The authors' way computes what a convolution with filters at zero computes."""

import pytest
import torch
from torch import nn

from mmcompress.core.layers.partial_add import Expanded
from mmcompress.report.squeeze_expand import SqueezeExpand, narrowed_convs, squeeze_expand


@pytest.mark.parametrize(('kept_in', 'kept_out'), [(3, 5), (8, 5), (3, 12), (8, 12)])
def test_equals_the_dense_convolution_with_zeros(kept_in, kept_out):
    way = SqueezeExpand(nn.Conv2d(kept_in, kept_out, 3, stride=2, bias=False), 8, 12)
    ins = getattr(way.squeeze, 'kept', torch.arange(8))
    outs = getattr(way.expand, 'kept', torch.arange(12))
    dense = nn.Conv2d(8, 12, 3, stride=2, bias=False)
    with torch.no_grad():
        dense.weight.zero_()
        dense.weight[outs[:, None], ins] = way.conv.weight
    assert len(ins.unique()) == kept_in
    assert len(outs.unique()) == kept_out
    x = torch.randn(2, 8, 9, 9)
    torch.testing.assert_close(way(x), dense(x))


def test_only_narrowed_convolutions_are_changed():
    dense = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1), nn.ReLU())
    compact = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1), nn.ReLU())
    assert narrowed_convs(dense, compact) == {'2': compact[2]}
    model = squeeze_expand(dense, compact)
    assert [type(m).__name__ for m in model] == ['Conv2d', 'BatchNorm2d', 'SqueezeExpand', 'ReLU']
    assert type(model[2].squeeze) is nn.Identity
    assert model(torch.randn(1, 3, 4, 4)).shape == (1, 4, 4, 4)
    assert type(dense[2]) is nn.Conv2d
    assert model[2].conv is not compact[2]


def test_a_layer_whose_channels_were_put_back_keeps_its_name():
    dense = nn.Sequential(nn.Conv2d(3, 8, 1))
    conv = nn.Conv2d(3, 2, 1)
    compact = nn.Sequential(Expanded(conv, torch.tensor([1, 5]), 8))
    assert narrowed_convs(dense, compact) == {'0': conv}
    assert squeeze_expand(dense, compact)(torch.randn(1, 3, 4, 4)).shape == (1, 8, 4, 4)
