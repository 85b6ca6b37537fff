"""DCFF's networks and training against a literal restatement of the authors' program."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS

from mmcompress.core import Clock
from mmcompress.core.export.static import to_static
from mmcompress.methods.dcff import FusedConv2d
from mmcompress.methods.dcff.importance import temperature

_spec = importlib.util.spec_from_file_location('authors', Path(__file__).with_name('authors.py'))
authors = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(authors)

EPOCHS = 300
#: As published for ResNet-110: the first convolutions of 54 blocks, and three streams.
RESNET110 = [
    *[0.2, 0.0, 0.2, 0.3, 0.7, 0.7, 0.1, 0.3, 0.3, 0.4, 0.7, 0.7, 0.5, 0.1, 0.3, 0.0, 0.6, 0.0],
    *[0.2, 0.5, 0.0, 0.7, 0.7, 0.5, 0.7, 0.7, 0.4, 0.4, 0.0, 0.3, 0.1, 0.5, 0.1, 0.1, 0.1, 0.7],
    *[0.1, 0.1, 0.3, 0.3, 0.3, 0.3, 0.3, 0.5, 0.7, 0.2, 0.4, 0.7, 0.7, 0.7, 0.7, 0.7, 0.5, 0.1],
    *[0.6, 0.2, 0.5],
]


def build(classifier_cfg, blocks, rates):
    """Ours and theirs, with the same weights."""
    keep = {
        f'backbone.layer{i // blocks + 1}.{i % blocks}.conv1_*': 1 - rate
        for i, rate in enumerate(rates[:-3])
    }
    streams = ('backbone.conv1_*', 'backbone.layer2.0.conv2_*', 'backbone.layer3.0.conv2_*')
    keep.update({name: 1 - rate for name, rate in zip(streams, rates[-3:], strict=True)})
    units = dict(type='DCFFUnit', default_args=dict(fuse_all=True))
    ours = MODELS.build(
        dict(
            type='mmcompress.DCFF',
            architecture=classifier_cfg(6 * blocks + 2),
            mutator_cfg=dict(type='DCFFMutator', channel_unit_cfg=units),
            target_pruning_ratio=keep,
        )
    ).double()
    ours.init_weights()
    theirs = authors.ResNet(blocks, rates)
    own = dict(ours.architecture.named_parameters())
    mapping = authors.names(dict(theirs.named_parameters()))
    assert set(mapping.values()) == set(own)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            assert parameter.shape == own[mapping[name]].shape, name
            parameter.copy_(own[mapping[name]])
    return ours, theirs, mapping


def fuse(ours, theirs, epoch):
    ours.tick(Clock(epoch, epoch, EPOCHS, EPOCHS, True))
    theirs.fuse(epoch, EPOCHS)


def choices(ours, theirs):
    """The filters of every layer that leaves some out, in ours and theirs, by name."""
    for name, layer in theirs.named_modules():
        if isinstance(layer, authors.Fuse) and layer.kept < layer.n:
            op = ours.architecture.backbone.get_submodule(name)
            yield name, op.chosen.nonzero().flatten().tolist(), layer.chosen


def compare(ours, theirs, mapping, x, target):
    """Largest differences of outputs and of gradients relative to each parameter's largest."""
    ours.zero_grad(), theirs.zero_grad()
    found, expected = ours.architecture(x), theirs(x)
    F.cross_entropy(found, target).backward()
    F.cross_entropy(expected, target).backward()
    own = dict(ours.architecture.named_parameters())
    pairs = [(own[mapping[name]].grad, p.grad) for name, p in theirs.named_parameters()]
    apart = max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-3)) for a, b in pairs)
    return float((found - expected).detach().abs().max()), apart


@pytest.mark.slow
@pytest.mark.parametrize('epoch', [0, 1])
def test_resnet110_with_published_rates(classifier_cfg, epoch):
    """The whole network: 109 fused layers, two shortcuts between streams of 6, 25 and 32."""
    ours, theirs, mapping = build(classifier_cfg, 18, RESNET110)
    for step in range(epoch + 1):
        fuse(ours, theirs, step)
    ops = [op for op in ours.modules() if isinstance(op, FusedConv2d)]
    assert len(ops) == 109
    assert sum(p.numel() for p in to_static(ours).parameters()) == 555368
    backbone = ours.architecture.backbone
    for stage, first, more in ((2, 9, 19), (3, 3, 7)):
        source = backbone.get_submodule(f'layer{stage}.0.shortcut').source.tolist()
        width = len(source) - more
        assert source == [-1] * first + list(range(width)) + [-1] * (more - first)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    outputs, gradients = compare(ours, theirs, mapping, x, torch.tensor([3, 7]))
    assert outputs < 1e-9
    assert gradients < 1e-9
    for name, own, other in choices(ours, theirs):
        assert own == other, name


def test_the_literal_scores_say_nothing_at_the_second_step(classifier_cfg):
    """NaN in every layer: what ours treats as ties."""
    _, theirs, _ = build(classifier_cfg, 1, [0.5] * 6)
    layer = theirs.layer2[0].conv1
    layer.fuse(0, EPOCHS)
    assert layer.score.isfinite().all()
    kept = layer.score.clone()
    layer.fuse(1, EPOCHS)
    assert torch.equal(layer.score, kept)
    assert torch.equal(layer.proxies, torch.eye(32, dtype=torch.float64)[layer.chosen])
    assert temperature(1, EPOCHS) == pytest.approx(4621.7, abs=0.1)
