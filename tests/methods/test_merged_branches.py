"""Re-parameterised blocks: compressed, trained, exported, and merged."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import MobileOne, RepVGG
from mmpretrain.registry import MODELS
from torch import nn

import mmcompress
from mmcompress.core.errors import CompressionError
from mmcompress.core.layers.deploy import deploy

from .loops import METHODS, compressed, exported, train

NARROW = ('dcff', 'fcf', 'magnitude')

#: See ``conftest.py``.
REHEARSES = True


class Classifier(nn.Module):
    def __init__(self, backbone, width):
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(width, 4)

    def forward(self, x):
        out = self.backbone(x)
        return self.head((out[-1] if isinstance(out, tuple) else out).mean((2, 3)))


def repvgg():
    arch = dict(
        num_blocks=[2, 1, 1, 1], width_factor=[0.25, 0.25, 0.125, 1 / 16], stem_channels=16,
        group_layer_map=None, se_cfg=None,
    )  # fmt: skip
    return Classifier(RepVGG(arch), 32)


def mobileone():
    arch = dict(
        num_blocks=[1, 2, 1, 1], width_factor=[0.25, 0.25, 0.125, 0.0625],
        num_conv_branches=[2, 2, 2, 2], num_se_blocks=[0, 0, 0, 1],
    )  # fmt: skip
    return Classifier(MobileOne(arch), 32)


def fused(conv, norm):
    """Weight and bias of a convolution and its norm."""
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    return conv.weight * factor.view(-1, 1, 1, 1), norm.bias - norm.running_mean * factor


def conv_norm(i, o, k):
    return nn.Sequential(nn.Conv2d(i, o, k, padding=k // 2, bias=False), nn.BatchNorm2d(o))


class Diverse(nn.Module):
    """Diverse branches (DBB): 3x3, 1x1, and 1x1 followed by a mean; merged like theirs."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.origin = conv_norm(in_channels, out_channels, 3)
        self.point = conv_norm(in_channels, out_channels, 1)

    def forward(self, x):
        if hasattr(self, 'reparam'):
            return self.reparam(x).relu()
        return (self.origin(x) + self.point(x)).relu()

    def switch_to_deploy(self):
        self.reparam = nn.Conv2d(self.in_channels, self.out_channels, 3, padding=1)
        (w3, b3), (w1, b1) = fused(*self.origin), fused(*self.point)
        self.reparam.weight.data = w3 + F.pad(w1, [1, 1, 1, 1])
        self.reparam.bias.data = b3 + b1
        del self.origin, self.point


class QARep(nn.Module):
    """QARepVGG: branches without norms of their own, the input itself, one norm behind the sum."""

    def __init__(self, width):
        super().__init__()
        self.in_channels = self.out_channels = width
        self.dense = conv_norm(width, width, 3)
        self.point = nn.Conv2d(width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        if hasattr(self, 'reparam'):
            return self.reparam(x).relu()
        return self.norm(self.dense(x) + self.point(x) + x).relu()

    def switch_to_deploy(self):
        weight, bias = fused(*self.dense)
        same = torch.eye(self.in_channels)[:, :, None, None]
        weight = weight + F.pad(self.point.weight + same, [1, 1, 1, 1])
        factor = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
        self.reparam = nn.Conv2d(self.in_channels, self.out_channels, 3, padding=1)
        self.reparam.weight.data = weight * factor.view(-1, 1, 1, 1)
        self.reparam.bias.data = (bias - self.norm.running_mean) * factor + self.norm.bias
        del self.dense, self.point, self.norm


def diverse():
    return Classifier(nn.Sequential(Diverse(3, 16), Diverse(16, 16), Diverse(16, 16)), 16)


def qarep():
    return Classifier(nn.Sequential(conv_norm(3, 16, 3), QARep(16), QARep(16)), 16)


NETS = dict(repvgg=repvgg, mobileone=mobileone, diverse=diverse, qarep=qarep)


#: All but bases in MobileOne, whose kernels are 1x1, or of one channel each.
CASES = [(n, m) for n in NETS for m in METHODS if n != 'mobileone' or 'basis' not in m]


@pytest.mark.parametrize(('name', 'method'), CASES)
def test_merged_by_the_export_and_by_hand(name, method):
    torch.manual_seed(0)
    net, x = NETS[name](), torch.randn(2, 3, 32, 32)
    algorithm = train(compressed(net, method, x), x)
    merged = exported(algorithm, net, x, deploy=True)
    left = [m for m in merged.modules() if hasattr(m, 'branch_norm') or hasattr(m, 'origin')]
    assert not left
    loaded = exported(algorithm, net, x)
    if 'basis' not in method:
        by_hand = copy.deepcopy(loaded)
        deploy(by_hand)
        torch.testing.assert_close(by_hand(x), loaded(x), rtol=1e-4, atol=1e-5)
    sizes = [sum(p.numel() for p in m.parameters()) for m in (merged, loaded, net)]
    if method in NARROW:
        assert sizes[0] < sizes[1] < 0.75 * sizes[2]
        dense = copy.deepcopy(net)
        deploy(dense)
        assert sizes[0] < 0.8 * sum(p.numel() for p in dense.parameters())


def test_a_config_of_the_library(tmp_path):
    """Through mmengine: the files of the export build the merged network."""
    from mmengine.config import Config

    from mmcompress.core.export.checkpoint import load_into
    from mmcompress.core.export.export import export

    arch = dict(
        num_blocks=[1, 1, 1, 1], width_factor=[0.25, 0.25, 0.125, 1 / 16], stem_channels=16,
        group_layer_map=None, se_cfg=None,
    )  # fmt: skip
    model = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmpretrain.RepVGG', arch=arch),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=4, in_channels=32),
    )
    cfg = Config(dict(model=dict(type='mmcompress.DCFF', architecture=model)))
    cfg.model.target_pruning_ratio = 0.5
    algorithm = MODELS.build(cfg.model)
    algorithm.fuse(1.0)
    files = export(algorithm, cfg, tmp_path / 'out', deploy=True)
    compact = Config.fromfile(files['config'])
    loaded = MODELS.build(compact.model)
    load_into(loaded, files['checkpoint'])
    assert loaded.backbone.stage_1[0].branch_reparam.out_channels == 8
    assert not hasattr(loaded.backbone.stage_1[0], 'branch_3x3')
    x = torch.randn(1, 3, 32, 32)
    before = algorithm.eval()(x, mode='tensor')
    torch.testing.assert_close(loaded.eval()(x, mode='tensor'), before, rtol=1e-4, atol=1e-5)


def test_there_has_to_be_a_block(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 3))
    algorithm = compressed(net, 'dcff', torch.randn(1, 3, 8, 8))
    with pytest.raises(CompressionError, match='deploy is True'):
        mmcompress.export(algorithm, tmp_path / 'out', deploy=True)
    assert not (tmp_path / 'out').exists()
