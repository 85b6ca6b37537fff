"""The FCF recipes: three stages that fit each other, and the networks that they lead to."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Container
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmcompress.cli.launch import build_algorithm, load_config, read_config
from mmcompress.cli.stages import options_of, stages_of
from mmcompress.core.base.build import build_model
from mmcompress.core.base.image_shape import image_shape
from mmcompress.core.export.checkpoint import check_fits
from mmcompress.core.export.export import compare
from mmcompress.core.export.static import to_static
from mmcompress.core.layers.partial_add import name_before
from mmcompress.methods.fcf import FCF
from mmcompress.report.models import dense_and_compact, report

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FILES = sorted(CONFIGS.glob('pruning/*/fcf/*.py'))
DEMOS = sorted(CONFIGS.glob('demo/fcf_*_r18_digits.py'))
IDS = dict(ids=lambda file: file.stem)

#: FLOPs reductions of ResNet-34 in percent, as published.
REDUCTIONS = {'down27': 26.83, 'down41': 41.37, 'down55': 54.87, 'down66': 66.05}

#: The recipe of each of these, and what the authors' rates leave out, in percent: of the
#: multiplications of convolutions and classifier, of the convolutions in blocks, and of the first
#: where the inputs of blocks are kept.
RATES = {
    '_rate15': (26.83, 26.91, 27.96, 21.36),
    '': (41.37, 41.51, 43.14, 33.53),
    '_rate35': (54.87, 55.25, 57.40, 45.51),
    '_rate45': (66.05, 66.64, 69.24, 56.08),
}

#: Parameters: dense; of the authors' inference network, whose norms keep their width; and of ours.
#: Those of all networks are in test_tables.py.
PARAMETERS = {
    'resnet20_30e-150e_cifar10': (272_474, 155_978, 155_642),
    'resnet34_30e-90e_in1k': (21_797_672, 12_579_368, 12_575_592),
    'resnet50_30e-90e_in1k': (25_557_032, 16_511_784, 16_500_456),
}


@functools.cache
def _read(file: Path) -> Config:
    return read_config(str(file))


@functools.cache
def _stages(file: Path) -> dict[str, Config]:
    """Config of each stage, by name, as they are trained."""
    stages = stages_of(str(file))
    options = options_of(stages, None)
    return {stage.name: load_config(stage.content, None, options[stage.name]) for stage in stages}


def test_one_file_a_network() -> None:
    assert len(FILES) == 17
    assert all('stages' in _read(file) and file.stem.startswith('fcf_') for file in FILES)


@pytest.mark.parametrize('file', FILES + DEMOS, **IDS)
def test_each_stage_starts_where_the_one_before_ends(file: Path) -> None:
    stages = _stages(file)
    factorize, finetune = stages['factorize'], stages['finetune']
    assert list(stages)[-2:] == ['factorize', 'finetune']
    assert not any('stages' in cfg for cfg in stages.values())
    # All that the second says otherwise: so the checkpoint of one is that of the other.
    assert finetune.model == dict(factorize.model, stage='finetune')
    if 'dense' in stages:
        assert factorize.model.architecture == stages['dense'].model
    else:
        assert factorize.load_from.startswith('https://download.openmmlab.com/')
    if file not in DEMOS:
        # What is no stage's own is that of the file, which tools read as that of the first.
        assert factorize.model == _read(file).model


@pytest.mark.parametrize(
    ('name', 'admm', 'batch', 'epochs', 'milestones'),
    [
        ('resnet20_30e-150e_cifar10', (0.01, 1.01, 0.99), 128, 150, [60, 120]),
        ('resnet110_30e-150e_cifar10', (0.01, 1.01, 0.99), 128, 150, [60, 120]),
        ('resnet34_30e-90e_in1k', (0.001, 1.005, 0.65), 256, 90, [30, 60]),
        ('resnet50_30e-90e_in1k', (0.001, 1.005, 0.65), 256, 90, [30, 60]),
    ],
)
def test_published_training(
    name: str, admm: tuple, batch: int, epochs: int, milestones: list[int]
) -> None:
    stages = _stages(CONFIGS / f'pruning/mmcls/fcf/fcf_{name}.py')
    factorize, finetune = stages['factorize'], stages['finetune']
    model = factorize.model
    assert (model.rho, model.mu, model.alpha, model.target_pruning_ratio) == (*admm, 0.75)
    assert model.mutator_cfg == dict(type='FCFMutator', scope='filter', cut_inputs=True)
    assert factorize.auto_scale_lr.base_batch_size == batch
    for cfg, optimizer, steps, length in (
        (factorize, dict(type='SGD', lr=0.1), [10, 20], 30),
        (
            finetune,
            dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
            milestones,
            epochs,
        ),
    ):
        assert cfg.optim_wrapper.optimizer == optimizer
        schedule = dict(type='MultiStepLR', by_epoch=True, milestones=steps, gamma=0.1)
        assert cfg.param_scheduler == schedule
        assert cfg.train_cfg.max_epochs == length


@pytest.mark.parametrize('name', REDUCTIONS)
def test_published_reductions_of_resnet34(name: str) -> None:
    """As tools/get_flops.py counts them."""
    cfg = _read(CONFIGS / f'pruning/mmcls/fcf/fcf_resnet34_30e-90e_in1k_{name}.py')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        macs = {
            key: report(key, model, image_shape(cfg, None))['macs']
            for key, model in dense_and_compact(cfg).items()
        }
    reduction = 100 * (1 - macs['compact'] / macs['dense'])
    assert reduction == pytest.approx(REDUCTIONS[name], abs=0.5)


def _networks(name: str, **mutator: Any) -> tuple[nn.Module, nn.Module, FCF]:
    """Dense and inference network of a recipe, and its algorithm, whatever filters it keeps."""
    cfg = copy.deepcopy(_read(CONFIGS / f'pruning/mmcls/fcf/fcf_{name}.py'))
    cfg.model.mutator_cfg.update(mutator)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        algorithm = build_algorithm(cfg)
        return MODELS.build(cfg.model.architecture).eval(), to_static(algorithm), algorithm


@pytest.mark.parametrize('name', PARAMETERS)
def test_parameters_of_the_authors_networks(name: str) -> None:
    """Exactly, with their placement of v; ours has no norm for a filter that is gone."""
    dense, ours, algorithm = _networks(name)
    _, theirs, _ = _networks(name, scale='weight')
    counts = tuple(sum(p.numel() for p in m.parameters()) for m in (dense, theirs, ours))
    assert counts == PARAMETERS[name]
    gone = sum(unit.num_channels - unit.width for unit in algorithm.mutator.units.values())
    assert counts[1] - counts[2] == 2 * gone


def _products(model: nn.Module, only: Container[str] | None = None) -> int:
    """Multiplications of convolutions and linear layers for an image, as authors count them."""
    total, handles = 0, []

    def count(layer: nn.Module, _: Any, out: torch.Tensor) -> None:
        nonlocal total
        total += layer.weight.numel() * out[0, 0].numel()

    for name, layer in model.named_modules():
        counted = only is None or name_before(model, name) in only
        if counted and isinstance(layer, (nn.Conv2d, nn.Linear)):
            handles.append(layer.register_forward_hook(count))
    with torch.no_grad():
        model(torch.zeros(1, 3, 224, 224))
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.parametrize('suffix', RATES)
def test_published_rates_of_resnet34(suffix: str) -> None:
    """One rate for all layers, block inputs cut: what the published numbers are about."""
    published, model, convolutions, inputs_kept = RATES[suffix]
    dense, compact, algorithm = _networks(f'resnet34_30e-90e_in1k{suffix}')
    reduction = 100 * (1 - _products(compact) / _products(dense))
    assert round(reduction, 2) == model
    assert reduction == pytest.approx(published, abs=0.6)
    blocks = {unit.config.producers[0].name for unit in algorithm.mutator.units.values()}
    reduction = 100 * (1 - _products(compact, blocks) / _products(dense, blocks))
    assert round(reduction, 2) == convolutions
    _, compact, _ = _networks(f'resnet34_30e-90e_in1k{suffix}', cut_inputs=False)
    assert round(100 * (1 - _products(compact) / _products(dense)), 2) == inputs_kept


@pytest.mark.parametrize('name', REDUCTIONS)
def test_our_widths_keep_inputs(name: str) -> None:
    """They reach the published FLOPs without cut inputs."""
    stages = _stages(CONFIGS / f'pruning/mmcls/fcf/fcf_resnet34_30e-90e_in1k_{name}.py')
    for cfg in stages.values():
        assert cfg.model.mutator_cfg == dict(type='FCFMutator', scope='filter', cut_inputs=False)
        assert isinstance(cfg.model.target_pruning_ratio, dict)


@pytest.mark.parametrize(
    ('stem', 'convolutions'),
    [
        ('mmcls/fcf/fcf_resnet20_30e-150e_cifar10', 18),
        ('mmcls/fcf/fcf_resnet34_30e-90e_in1k', 32),
        ('mmcls/fcf/fcf_resnet34_30e-90e_in1k_down41', 32),
        ('mmcls/fcf/fcf_resnet34_30e-90e_in1k_rate35', 32),
        ('mmcls/fcf/fcf_resnet50_30e-90e_in1k', 48),
        ('mmcls/fcf/fcf_resnet50_30e-90e_in1k_rate31', 48),
        ('mmdet/fcf/fcf_faster-rcnn_r50_fpn_12e-12e_coco', 48),
        ('mmseg/fcf/fcf_pointrend_r50_30k-80k_cityscapes', 48),
        ('mmpose/fcf/fcf_td-hm_res50_30e-90e_coco', 48),
    ],
)
def test_the_network_of_a_recipe_takes_an_export(stem: str, convolutions: int) -> None:
    """Strictly, and it then computes the same, whichever filters were kept."""
    cfg = copy.deepcopy(_stages(CONFIGS / f'pruning/{stem}.py')['finetune'])
    cfg.model = dict(type='mmcompress.sub_model', cfg=cfg.model.architecture, fix_subnet=cfg.model)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.manual_seed(0)
        algorithm, compact = MODELS.build(cfg.model.fix_subnet), build_model(cfg)
    units = algorithm.mutator.units
    # Of blocks only: neither stem nor shortcuts.
    assert len(units) == convolutions
    assert all('.layer' in name for name in units)
    for unit in units.values():
        torch.nn.init.uniform_(unit.op.v)
    algorithm.binarize()
    static = to_static(algorithm)
    compact.load_state_dict(static.state_dict())
    assert compare(algorithm, compact)[0] < 1e-5


@pytest.mark.parametrize('file', DEMOS, **IDS)
def test_demo_of_each_task(file: Path) -> None:
    """Built, and the second stage takes what the first saves."""
    stages = _stages(file)
    with DefaultScope.overwrite_default_scope(stages['factorize'].default_scope):
        factorize, finetune = (build_algorithm(stages[n]) for n in ('factorize', 'finetune'))
    assert isinstance(finetune, FCF)
    assert len(finetune.mutator.units) == 16
    check_fits(finetune, factorize.state_dict(), 'stage 1')


def test_a_detector_through_all_stages(tool: ModuleType, tmp_path: Path) -> None:
    """In one command; what is exported scores as the last stage did, to the last digit."""
    options = (
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=4',
        'train_dataloader.dataset.indices=32',
        'val_dataloader.dataset.indices=12',
        'test_dataloader.dataset.indices=12',
        # Any box counts, whatever its class: after seconds of training no class is right.
        'val_evaluator.metric=proposal',
        'test_evaluator.metric=proposal',
        'dense.model.test_cfg.rcnn.score_thr=0.0',
        'factorize.model.architecture.test_cfg.rcnn.score_thr=0.0',
        'finetune.model.architecture.test_cfg.rcnn.score_thr=0.0',
    )
    config = 'configs/demo/fcf_faster-rcnn_r18_digits.py'
    tool.succeed('train', config, '--work-dir', tmp_path, '--cfg-options', *options)

    written = tmp_path.glob('*/*/vis_data/scalars.json')
    log = max(written, key=lambda file: file.stat().st_mtime).read_text().splitlines()
    trained, static = (
        {key: value for key, value in json.loads(text).items() if key.startswith('coco/')}
        for text in (log[-1], next(tmp_path.glob('test/*/*.json')).read_text())
    )
    assert trained == static
    # Not equal for want of anything right.
    assert any(0 < value < 1 for value in static.values())
    state = torch.load(tmp_path / 'export/compact.pth', weights_only=True)['state_dict']
    assert state['backbone.layer4.0.conv1.weight'].shape[:2] == (384, 256)
    assert state['backbone.layer4.0.conv2.weight'].shape[:2] == (384, 384)
    # What leaves the backbone is as wide as it was: shortcuts are.
    assert state['neck.lateral_convs.3.conv.weight'].shape[1] == 512
