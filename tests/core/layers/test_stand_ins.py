"""core/stand_ins.py: modules that hide their coupling, against networks with channels silenced."""

import copy

import pytest
import torch
from mmcv.cnn.bricks import ContextBlock, NonLocal2d
from mmcv.cnn.bricks.generalized_attention import GeneralizedAttention
from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack
from mmdet.models.backbones.res2net import Bottle2neck
from mmdet.models.backbones.resnest import SplitAttentionConv2d
from mmengine.model import ExponentialMovingAverage
from torch import nn

from mmcompress.core import DependencyAnalyzer
from mmcompress.core.channels.config import narrow_units
from mmcompress.core.layers.narrow import is_pass_through
from mmcompress.core.layers.stand_ins import traceable, update_widths


class Wrapped(nn.Module):
    """A module between two convolutions, all in the backbone, and a head."""

    def __init__(self, middle, width=8, out=8):
        super().__init__()
        self.backbone = nn.Sequential()
        self.backbone.add_module('before', nn.Conv2d(3, width, 3, padding=1))
        self.backbone.add_module('middle', middle)
        self.backbone.add_module('after', nn.Conv2d(out, 8, 1))
        self.head = nn.Conv2d(8, 5, 1)
        for module in self.modules():
            # Zeros, as some of these blocks begin with, would hide what is wrong.
            for parameter in module.parameters(recurse=False):
                nn.init.normal_(parameter, std=0.4)
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.normal_(module.running_mean)

    def forward(self, x):
        return self.head(self.backbone(x))


def silence(model, unit, width):
    """The dense model with the channels at zero that narrowing takes away."""
    gone = torch.ones(unit.num_channels, dtype=torch.bool)
    gone[unit.keep(width)] = False
    for channel in unit.producers:
        layer = model.get_submodule(channel.name)
        index = channel.expand(gone.nonzero().flatten(), unit.num_channels)
        with torch.no_grad():
            layer.weight[index] = 0
            if getattr(layer, 'bias', None) is not None:
                layer.bias[index] = 0


def check(model, unit, exact=True):
    """Narrowing a unit equals silencing its channels; returns the narrow model."""
    x = torch.randn(2, 3, 9, 9)
    model.eval()
    width = max(unit.num_channels // unit.divisor // 2, 1) * unit.divisor
    silent, slim = copy.deepcopy(model), copy.deepcopy(model)
    silence(silent, unit, width)
    narrow_units(slim, [(unit, width)])
    with torch.no_grad():
        expected, found = silent(x), slim(x)
        assert not torch.allclose(expected, model(x))
    if exact:
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert found.shape == expected.shape
    return slim


def analyzed(middle, width=8, out=8):
    model = Wrapped(middle, width, out)
    return model, DependencyAnalyzer().analyze(model)


@pytest.mark.parametrize('kind', [DeformConv2dPack, ModulatedDeformConv2dPack])
@pytest.mark.parametrize(('groups', 'deform_groups'), [(1, 1), (2, 1), (1, 4)])
def test_deformable_convolutions(kind, groups, deform_groups):
    middle = kind(8, 12, 3, padding=1, groups=groups, deform_groups=deform_groups)
    model, analysis = analyzed(middle, out=12)
    assert list(analysis.units) == [
        'backbone.before_(0, 8)_8',
        'backbone.middle_(0, 12)_12',
        'backbone.after_(0, 8)_8',
    ]
    assert analysis.units['backbone.before_(0, 8)_8'].divisor == max(groups, deform_groups)
    # Offsets that pass over silent channels are those of the narrow layer.
    slim = check(model, analysis.units['backbone.before_(0, 8)_8'])
    assert slim.backbone.middle.conv_offset.in_channels == 4
    slim = check(model, analysis.units['backbone.middle_(0, 12)_12'])
    assert slim.backbone.middle.weight.shape[0] == slim.backbone.after.in_channels == 6


@pytest.mark.parametrize('radix', [2, 3])
def test_split_attention(radix):
    middle = SplitAttentionConv2d(
        6, 10, 3, padding=1, radix=radix, norm_cfg=dict(type='BN'), reduction_factor=1
    )
    model, analysis = analyzed(middle, width=6, out=10)
    assert analysis.rejected == {}
    split = analysis.units['backbone.middle.conv_(0, 10)_10']
    producers = [(c.name.split('.')[-1], c.start) for c in split.producers]
    assert {('conv', 10 * part) for part in range(radix)} < set(producers)
    assert {('fc2', 10 * part) for part in range(radix)} < set(producers)
    slim = check(model, split, exact=False)
    assert slim.backbone.middle.conv.out_channels == 5 * radix
    assert slim.backbone.middle.fc2.out_channels == 5 * radix
    # A silent split has a silent sum, whatever the attention says.
    silent, narrow = copy.deepcopy(model), copy.deepcopy(model)
    silence(silent, split, 5)
    narrow_units(narrow, [(split, 5)])
    x = torch.randn(2, 3, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(narrow.eval()(x), silent.eval()(x), atol=1e-5, rtol=1e-4)
    check(model, analysis.units['backbone.before_(0, 6)_6'])


@pytest.mark.parametrize('stage_type', ['normal', 'stage'])
def test_bottle2neck(stage_type):
    down = nn.Conv2d(8, 16, 1)
    middle = Bottle2neck(8, 4, scales=4, base_width=64, stage_type=stage_type, downsample=down)
    model, analysis = analyzed(middle, out=16)
    assert analysis.rejected == {}
    parts = analysis.units['backbone.middle.conv1_(0, 4)_4']
    assert {c.start for c in parts.producers if c.name.endswith('conv1')} == {0, 4, 8, 12}
    slim = check(model, parts)
    assert slim.backbone.middle.width == 2
    assert slim.backbone.middle.conv1.out_channels == 8
    for unit in analysis.units.values():
        check(model, unit)


def test_context_block():
    model, analysis = analyzed(ContextBlock(8, 0.5, fusion_types=('channel_add', 'channel_mul')))
    assert analysis.rejected == {}
    before = analysis.units['backbone.before_(0, 8)_8']
    names = {c.name.removeprefix('backbone.middle.') for c in before.channels}
    assert {'conv_mask', 'channel_add_conv.0', 'channel_add_conv.3', 'channel_mul_conv.3'} <= names
    # Layer norm counts its channels, so the inner width is no matter of silence.
    check(model, before, exact=False)
    check(model, analysis.units['backbone.middle.channel_add_conv.0_(0, 4)_4'], exact=False)


@pytest.mark.parametrize('mode', ['embedded_gaussian', 'dot_product'])
def test_non_local(mode):
    model, analysis = analyzed(NonLocal2d(8, reduction=2, use_scale=False, mode=mode))
    assert analysis.rejected == {}
    inner = analysis.units['backbone.middle.g.conv_(0, 4)_4']
    assert {c.name.split('.')[2] for c in inner.producers} == {'g', 'theta', 'phi'}
    slim = check(model, inner)
    assert slim.backbone.middle.inter_channels == 2
    slim = check(model, analysis.units['backbone.before_(0, 8)_8'])
    assert slim.backbone.middle.in_channels == 4


def test_attention_heads_keep_their_width():
    model, analysis = analyzed(GeneralizedAttention(16, num_heads=2), width=16, out=16)
    assert 'counted off into attention heads' in next(iter(analysis.rejected.values()))
    assert all('query' in n or 'key' in n or 'value' in n for n in analysis.rejected)
    check(model, analysis.units['backbone.before_(0, 16)_16'])


def test_forward_passes_are_put_back():
    model = Wrapped(DeformConv2dPack(8, 8, 3, padding=1)).eval()
    x = torch.randn(1, 3, 9, 9)
    with torch.no_grad():
        before = model(x)
        with traceable(model):
            assert not torch.equal(model(x), before)
        assert torch.equal(model(x), before)
    assert 'forward' not in vars(model.backbone.middle)


@pytest.mark.parametrize(
    'name',
    [
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    ],
)
def test_boxes_are_pooled_from_maps_that_became_narrower(name, library_model):
    """An extractor knows the number of channels by heart, and the layers behind it take blocks."""
    small = dict(backbone__depth=18, backbone__init_cfg=None, neck__in_channels=[64, 128, 256, 512])
    model = library_model(name, **small)
    found = DependencyAnalyzer(['neck'], input_shape=(1, 3, 64, 64)).analyze(model)
    (unit,) = [unit for unit in found.units.values() if 'fpn_convs' in unit.name]
    narrow_units(model, [(unit, 64)])
    heads = model.roi_head
    assert heads.bbox_roi_extractor.out_channels == 64
    assert heads.bbox_head.shared_fcs[0].in_features == 64 * 49
    if 'mask' in name:
        assert heads.mask_roi_extractor.out_channels == 64
        assert heads.mask_head.convs[0].conv.in_channels == 64


def test_averages_follow_narrowed_parameters():
    model = nn.Sequential(nn.Conv2d(3, 8, 1))
    average = ExponentialMovingAverage(model)
    owner = nn.ModuleList([average])
    average.module[0].weight = nn.Parameter(torch.zeros(4, 3, 1, 1), requires_grad=False)
    average.module[0].bias = nn.Parameter(torch.zeros(4), requires_grad=False)
    update_widths(owner)
    average.update_parameters(nn.Sequential(nn.Conv2d(3, 4, 1)))
    assert average.module[0].weight.abs().sum() > 0


def test_norms_in_units_pass_channels_through():
    # What `silence` relies on: producers that aren't convolutions only scale what comes in.
    model, analysis = analyzed(Bottle2neck(8, 4, downsample=nn.Conv2d(8, 16, 1)), out=16)
    for unit in analysis.units.values():
        for channel in unit.producers:
            layer = model.get_submodule(channel.name)
            assert isinstance(layer, nn.Conv2d) or is_pass_through(layer)
