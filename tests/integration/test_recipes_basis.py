"""The recipes of filter basis and shared basis: their networks have the published sizes."""

from __future__ import annotations

import copy
import functools
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmcompress.cli.launch import build_algorithm, read_config
from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.report.models import dense_and_compact

FOLDER = Path(__file__).resolve().parents[2] / 'configs/pruning/mmcls'

#: Those of the papers, which train from scratch.
FILES = {file.stem: file for file in sorted(FOLDER.glob('*_basis/*_[134][05]0e_*.py'))}
DENSE = [stem for stem in FILES if stem.startswith('dense_')]
METHODS = [stem for stem in FILES if stem not in DENSE]

#: Model, parameters and MACs of the authors' own networks, by the config.
PUBLISHED = {
    'filter_basis_vgg16_300e_cifar10': ('compact', 3229642, 203068416),
    'filter_basis_vgg16_bias_300e_cifar10': ('compact', 3235146, 203068416),
    'dense_vgg16_nobn_300e_cifar10': ('dense', 14715594, 313201664),
    'filter_basis_resnet56_400e_cifar10': ('compact', 203846, 199787136),
    'filter_basis_resnet56_300e_cifar10': ('compact', 203846, 199787136),
    'dense_resnet56_stem_bias_300e_cifar10': ('dense', 853034, 126550656),
    'shared_basis_resnet32_s8u1_300e_cifar10': ('compact', 150666, 48497280),
    'shared_basis_resnet32_s16u1_300e_cifar10': ('compact', 197258, 80183936),
    'shared_basis_resnet56_s8u1_300e_cifar10': ('compact', 201850, 84603520),
    'shared_basis_resnet56_double_s16u1_300e_cifar10': ('compact', 319226, 147976832),
    'shared_basis_resnet34_s8u1_300e_cifar100': ('compact', 5865428, 397277184),
    'shared_basis_resnet34_s32u1_300e_cifar100': ('compact', 7726676, 775256064),
    'shared_basis_resnet34_double_s32u1_150e_in1k': ('compact', 9762776, 2488376064),
    'shared_basis_mobilenetv2_300e_cifar100': ('compact', 2163812, 69217952),
    'shared_basis_mobilenetv2_150e_in1k': ('compact', 3243080, 327841088),
    'shared_basis_resnext50_s16u1_300e_cifar100': ('compact', 19333380, 1187397632),
    'shared_basis_resnet50_150e_in1k': ('compact', 20506664, 4111512576),
}

#: Parameters without MACs: those of the authors' own network, and counted by hand.
BY_HAND = {
    'filter_basis_densenet40_400e_cifar10': 353938,
    'filter_basis_densenet40_300e_cifar10': 353938,
    'filter_basis_densenet40_k1_400e_cifar10': 229522,
    'shared_basis_densenet121_s64u4_300e_cifar100': 5606708,
}


@functools.cache
def _read(stem: str) -> Config:
    return read_config(str(FILES[stem]))


def _build(stem: str) -> CompressionAlgorithm:
    cfg = _read(stem)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return build_algorithm(cfg)


@pytest.mark.parametrize('stem', PUBLISHED)
def test_published_sizes(tool: ModuleType, stem: str) -> None:
    """As tools/get_flops.py counts them."""
    get_flops = tool.module('get_flops')
    name, params, macs = PUBLISHED[stem]
    cfg = _read(stem)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = dense_and_compact(cfg)[name]
        counted = get_flops.report(name, model, get_flops.image_shape(cfg, None))
    assert counted['params'] == params
    assert counted['macs'] == pytest.approx(macs, rel=0.005)


def test_on_the_command_line(tool: ModuleType) -> None:
    stem = 'shared_basis_resnet32_s8u1_300e_cifar10'
    rows = json.loads(tool.succeed('get_flops', FILES[stem], '--json'))['models']
    (counted,) = (row for row in rows if row['model'] == 'compact')
    assert counted['params'] == PUBLISHED[stem][1]
    assert counted['macs'] == pytest.approx(PUBLISHED[stem][2], rel=0.005)


@pytest.mark.parametrize('stem', BY_HAND)
def test_sizes_by_hand(stem: str) -> None:
    compact = _build(stem).counted()
    assert sum(p.numel() for p in compact.parameters()) == BY_HAND[stem]


@pytest.mark.parametrize(
    ('variant', 'units', 'ranks'),
    [
        ('s8u1', 1, (8, 1)),
        ('s16u1', 1, (16, 1)),
        ('double_s16u1', 2, (16, 1)),
        ('shared_only_s16u0', 2, (16, 0)),
        ('non_shared_s0u16', 1, (0, 16)),
    ],
)
def test_variants_of_sharing(variant: str, units: int, ranks: tuple[int, int]) -> None:
    """Ranks times 1, 2 and 4; one basis a stage, or one for each place in a block."""
    found = _build(f'shared_basis_resnet32_{variant}_300e_cifar10').mutator.units
    assert len(found) == 3 * units
    layers = [layer for unit in found.values() for layer in unit.layers]
    assert len(layers) == len(set(layers)) == 3 * 4 * 2
    for unit in found.values():
        (stage,) = {int(layer.split('.')[1].removeprefix('layer')) for layer in unit.layers}
        assert not any(layer.split('.')[2] == '0' for layer in unit.layers)
        assert len({layer.split('.')[3] for layer in unit.layers}) == 3 - units
        size = tuple(rank * 2 ** (stage - 1) for rank in ranks)
        assert (unit.init_args['shared_rank'], unit.init_args['unique_rank']) == size


def test_resnet56_is_compressed_as_resnet32() -> None:
    twins = [stem for stem in METHODS if stem.startswith('shared_basis_resnet32_')]
    assert len(twins) == 5
    for name in twins:
        model = dict(_read(name.replace('resnet32', 'resnet56')).model)
        model['architecture'] = _read(name).model.architecture
        assert model == _read(name).model


@pytest.mark.parametrize('stem', METHODS)
def test_published_training(stem: str) -> None:
    """And a dense network beside it that is trained alike."""
    cfg = _read(stem)
    imagenet = '_in1k' in stem
    filters = stem.startswith('filter_basis')
    length = int(re.search(r'_(\d+)e_', stem)[1])
    steps = {150: [60, 100, 140], 300: [150, 225], 400: [250, 325]}[length]
    assert imagenet == (length == 150)
    decay = 1e-4 if imagenet or (filters and 'vgg' not in stem) else 5e-4
    batch = 256 if not filters else 128 if 'vgg' in stem else 64
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (0.1, 0.9, decay)
    assert cfg.param_scheduler == dict(
        type='MultiStepLR', by_epoch=True, milestones=steps, gamma=0.1
    )
    assert cfg.train_cfg.max_epochs == length
    assert cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.train_dataloader.batch_size == (32 if imagenet else batch)
    assert filters or cfg.model.orthogonality == 10.0
    assert not filters or cfg.data_preprocessor.std == [63.0, 62.1, 66.7]
    assert set(cfg.default_hooks) > {'compression', 'reseed'}
    architecture = copy.deepcopy(cfg.model.architecture)
    # Dense DenseNets have the paper's transitions.
    assert architecture.backbone.pop('transition_reduction', 6) == 6
    dense = [_read(name) for name in DENSE if _read(name).model == architecture]
    assert [other.optim_wrapper for other in dense] == [cfg.optim_wrapper]
