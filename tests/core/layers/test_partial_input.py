"""core/partial_input.py: a layer reads only some channels of a tensor that has more."""

import copy

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.core.export.folding import fold_norms
from mmcompress.core.layers.narrow import narrow
from mmcompress.core.layers.partial_add import add_partially, name_before, partial_adds_of
from mmcompress.core.layers.partial_input import Selected, partial_inputs_of, select_inputs
from mmcompress.models.cifar.resnet import CIFARBasicBlock

KEPT = torch.tensor([0, 2, 3, 6])


def pair(layer):
    """A layer with zero weights for some inputs, and one that does without these."""
    layer = layer.double()
    with torch.no_grad():
        gone = torch.ones(8, dtype=torch.bool)
        gone[KEPT] = False
        layer.weight[:, gone] = 0
    small = copy.deepcopy(layer)
    narrow(small, in_keep=KEPT)
    model = nn.ModuleDict(dict(layer=small))
    select_inputs(model, dict(layer=KEPT), dict(layer=8))
    return layer, model


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize('kind', [dict(), dict(kernel_size=1, stride=2, bias=False)], ids=str)
def test_outputs_and_gradients(kind, layout):
    whole, model = pair(
        nn.Conv2d(**{'in_channels': 8, 'out_channels': 5, 'kernel_size': 3, **kind})
    )
    x = torch.randn(2, 8, 7, 6).double().contiguous(memory_format=layout).requires_grad_()
    expected, found = whole(x), model['layer'](x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert found.is_contiguous(memory_format=layout)
    for one, other in zip(
        torch.autograd.grad(expected.square().sum(), [x, whole.weight]),
        torch.autograd.grad(found.square().sum(), [x, model['layer'].layer.weight]),
        strict=True,
    ):
        same = one if one.shape == other.shape else one[:, KEPT]
        torch.testing.assert_close(other, same, rtol=0, atol=1e-12)


def test_what_is_written_down_and_its_name():
    _, model = pair(nn.Conv2d(8, 5, 3))
    assert partial_inputs_of(model) == dict(layer=dict(channels=4, of=8))
    assert name_before(model, 'layer.layer') == 'layer'
    assert model['layer'].kept.tolist() == KEPT.tolist()
    assert list(model.state_dict()) == ['layer.kept', 'layer.layer.weight', 'layer.layer.bias']


def test_around_a_layer_whose_outputs_are_put_back():
    """Both in one place: names lead back to the one layer."""
    model = nn.Sequential(nn.Conv2d(8, 6, 3, bias=False), nn.BatchNorm2d(6)).eval()
    narrow(model[0], in_keep=KEPT, out_keep=torch.tensor([1, 4]))
    add_partially(model, {'0': torch.tensor([1, 4])}, {'0': 6})
    select_inputs(model, {'0': KEPT}, {'0': 8})
    assert name_before(model, '0.layer.layer') == '0'
    assert partial_adds_of(model) == {'0': dict(channels=2, of=6)}
    assert partial_inputs_of(model) == {'0': dict(channels=4, of=8)}
    out = model[0](torch.randn(1, 8, 5, 5))
    assert out.shape == (1, 6, 3, 3)
    assert out.abs().sum((0, 2, 3)).bool().tolist() == [False, True, False, False, True, False]


def test_within_a_block_that_adds_partially():
    """The graph of such a block calls what stands in the layer's place."""
    block = CIFARBasicBlock(8, 8, 1, 'pad').double().eval()
    whole = copy.deepcopy(block)
    outputs = torch.tensor([1, 2, 5])
    with torch.no_grad():
        for i in set(range(8)) - set(KEPT.tolist()):
            whole.conv1.weight[:, i] = 0
        for i in set(range(8)) - set(outputs.tolist()):
            whole.bn2.weight[i] = whole.bn2.bias[i] = 0
    narrow(block.conv1, in_keep=KEPT)
    narrow(block.conv2, out_keep=outputs)
    narrow(block.bn2, outputs)
    model = nn.ModuleDict(dict(block=block))
    assert add_partially(model, {'block.bn2': outputs}, {'block.bn2': 8}) == []
    select_inputs(model, {'block.conv1': KEPT}, {'block.conv1': 8})
    assert isinstance(model['block'].conv1, Selected)
    x = torch.randn(2, 8, 6, 6).double()
    torch.testing.assert_close(model['block'](x), whole(x), rtol=0, atol=1e-12)


def test_norms_behind_are_folded(tiny_cfg):
    model = MODELS.build(tiny_cfg).eval()
    conv = model.backbone.conv2
    kept = torch.arange(0, conv.in_channels, 2)
    narrow(conv, in_keep=kept)
    select_inputs(model, {'backbone.conv2': kept}, {'backbone.conv2': 2 * len(kept)})
    x = torch.randn(2, 3, 16, 16)
    before = model(x)
    pairs = fold_norms(model)
    assert 'backbone.conv2.layer' in [name for name, _ in pairs]
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('kept', 'of', 'says'),
    [
        ({'layr': KEPT}, 8, "no layer 'layr'"),
        ({'layer': KEPT[:3]}, 8, '3 channels are given'),
        ({'layer': KEPT}, 6, 'have to be 4 different'),
        ({'layer': torch.tensor([0, 1, 1, 2])}, 8, 'have to be 4 different'),
        ({'layer': torch.tensor([-1, 1, 3, 2])}, 8, 'have to be 4 different'),
    ],
    ids=str,
)
def test_what_does_not_fit(kept, of, says):
    model = nn.ModuleDict(dict(layer=nn.Conv2d(4, 5, 3)))
    with pytest.raises(CompressionError, match=f'partial_inputs: .*{says}'):
        select_inputs(model, kept, dict.fromkeys(kept, of))
