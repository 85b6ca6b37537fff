"""Every method on EDSR and SRResNet, whose convolutions end in pixel shuffles."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.structures import BaseDataElement

from mmcompress.core.base.algorithm import Clock
from mmcompress.core.channels.analyzer import DependencyAnalyzer
from mmcompress.core.export.export import compare, export
from mmcompress.core.export.static import to_static
from mmcompress.models.sr.edsr import EDSR
from mmcompress.registry import MODELS

BLOCKS = 'backbone.blocks'
METHODS = dict(
    DCFF=dict(target_pruning_ratio=0.5),
    FCF=dict(target_pruning_ratio=0.5),
    FilterBasis=dict(
        mutator_cfg=dict(
            type='FilterBasisMutator',
            parse_cfg=dict(rule='block', include=[BLOCKS]),
            filter_unit_cfg=dict(default_args=dict(basis_bias=True)),
        ),
        target_pruning_ratio=0.5,
    ),
    SharedBasis=dict(
        mutator_cfg=dict(type='SharedBasisMutator', parse_cfg=dict(rule='stage', include=[BLOCKS])),
        target_pruning_ratio=0.5,
    ),
    LinearConv=dict(target_pruning_ratio=0.5),
)


def config(network, method, scale=2, **backbone):
    backbone = dict(type=f'mmcompress.{network}', num_blocks=2, width=16, scale=scale, **backbone)
    architecture = dict(type='mmcompress.SuperResolver', backbone=backbone)
    return dict(type=f'mmcompress.{method}', architecture=architecture, **METHODS[method])


def trained(cfg):
    """After two steps on one random batch, as the runner takes them."""
    algorithm = MODELS.build(cfg)
    scale = algorithm.architecture.scale
    samples = [BaseDataElement(gt_img=255 * torch.rand(3, 6 * scale, 7 * scale)) for _ in range(2)]
    batch = dict(inputs=[255 * torch.rand(3, 6, 7) for _ in range(2)], data_samples=samples)
    optimizer = torch.optim.Adam([p for p in algorithm.parameters() if p.requires_grad], lr=1e-3)
    wrapper = OptimWrapper(optimizer)
    algorithm.start(wrapper)
    before = copy.deepcopy(dict(algorithm.architecture.named_parameters()))
    for step in range(2):
        algorithm.tick(Clock(step, step, 2, 2, True))
        logged = algorithm.train().train_step(copy.deepcopy(batch), wrapper)
        assert logged['loss_l1'].isfinite()
    after = dict(algorithm.architecture.named_parameters())
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert {name for name, p in after.items() if p.requires_grad} == moved
    if hasattr(algorithm, 'binarize'):
        algorithm.binarize()
    return algorithm.eval()


@pytest.mark.parametrize('network', ['EDSR', 'SRResNet'])
@pytest.mark.parametrize('method', METHODS)
def test_trains_and_becomes_static(method, network):
    algorithm = trained(config(network, method, scale=4 if network == 'EDSR' else 3))
    static = to_static(algorithm)
    assert not any(type(m).__module__.startswith('mmcompress.methods') for m in static.modules())
    difference, _ = compare(algorithm, static, relative=True)
    assert difference < 1e-5
    dense = MODELS.build(algorithm_cfg := config(network, method)['architecture'])
    assert algorithm_cfg['backbone']['width'] == dense.backbone.head.out_channels
    counted = algorithm.counted() or static
    size = {m: sum(p.numel() for p in m.backbone.blocks.parameters()) for m in (dense, counted)}
    assert size[counted] < 0.8 * size[dense]


@pytest.mark.parametrize(('method', 'stream'), [('DCFF', 8), ('FCF', 16)])
def test_channels_before_a_pixel_shuffle_stay(method, stream):
    """It makes pixels of them: four neighbours are one channel afterwards.

    FCF removes filters of blocks alone, and adds what is left of them to the stream.
    """
    cfg = config('EDSR', method)
    algorithm = MODELS.build(cfg)
    units = algorithm.mutator.units
    assert {f'{BLOCKS}.{block}.conv1_(0, 16)_16' for block in range(2)} < set(units)
    assert not any('upsample' in name or 'tail' in name for name in units)
    rejected = DependencyAnalyzer().analyze(MODELS.build(cfg['architecture'])).rejected
    assert 'pixel shuffle' in rejected['backbone.upsample.conv1_(0, 64)_64']
    network = to_static(algorithm).backbone
    assert network.blocks[0].conv1.out_channels == 8
    assert (network.upsample.conv1.in_channels, network.upsample.conv1.out_channels) == (stream, 64)
    assert network.tail.in_channels == 16


def test_the_mean_of_a_network_stays(tmp_path):
    """Its layers are fixed, are no convolution to compress, and part of the export."""
    from mmengine.config import Config

    mean = (114.4, 111.5, 103.0)
    cfg = config('EDSR', 'DCFF', mean=mean)
    cfg['architecture']['data_preprocessor'] = dict(type='mmcompress.SRDataPreprocessor', mean=None)
    algorithm = trained(cfg)
    assert export(algorithm, Config(dict(model=cfg)), tmp_path / 'out')['max_difference'] < 1e-5
    network = to_static(algorithm).backbone
    assert isinstance(network, EDSR)
    assert tuple(network.add_mean.bias.tolist()) == pytest.approx(mean)
