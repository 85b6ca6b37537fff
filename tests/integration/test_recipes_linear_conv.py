"""The recipes of LinearConv: networks of the published sizes, trained as published."""

from __future__ import annotations

import ast
import copy
import functools
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmcompress.cli.launch import build_algorithm, load_config, read_config
from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import build_model
from mmcompress.core.base.image_shape import image_shape
from mmcompress.methods.linear_conv import LinearConv2d
from mmcompress.report.models import dense_and_compact, report

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FOLDER = CONFIGS / 'pruning/mmcls/linear_conv'
METHOD_FILES = CONFIGS / '_base_/methods'
#: What combines the filters of all groups of a layer.
ACROSS_GROUPS = 'model.mutator_cfg.filter_unit_cfg.default_args.across_groups'

#: Those of the paper, which train from scratch.
FILES = {
    file.stem: file
    for folder in (CONFIGS / 'dense', FOLDER)
    for epochs in (250, 350)
    for file in sorted(folder.glob(f'*_{epochs}e_*.py'))
}
DENSE = [stem for stem in FILES if stem.startswith('dense_')]
METHODS = [stem for stem in FILES if stem not in DENSE]
VARIANTS = ('linear', 'rankratio')

#: Networks with published counts, which are in test_tables.py.
PUBLISHED = ('vgg11', 'resnet18', 'all-conv')

#: Dense parameters of the other networks, counted from the authors' lists of layers.
OTHERS = {'base': 399626, 'resnext29-2x64d': 9128778, 'mobilenet-v2': 2296922}

#: Parameters of variant linear where layers have groups: combined within these, and across them as
#: in the authors' program.
GROUPED = {'resnext29-2x64d': (6345546, 6474570), 'mobilenet-v2': (2827482, 3923434)}

#: Learning rate, milestones and batch of the authors' scripts.
TRAINING = {
    'base': (1e-3, None, 50),
    'vgg11': (1e-3, None, 50),
    'all-conv': (1e-4, None, 50),
    'resnet18': (0.1, [75, 150, 200], 50),
    'resnext29-2x64d': (1e-3, [75, 150, 200], 32),
    'mobilenet-v2': (1e-3, [75, 150, 200], 32),
}


def _of_readme() -> dict[str, dict[str, str]]:
    """The options of its commands, by the variant that they are for."""
    text = (FOLDER / 'README.md').read_text()
    [inner] = re.findall(r'^    ARGS=(\S+)$', text, re.MULTILINE)
    commands = re.findall(r'--cfg-options (.*variant=.*)$', text, re.MULTILINE)
    pairs = [
        [word.split('=') for word in line.replace('$ARGS', inner).split()] for line in commands
    ]
    return {dict(words)[f'{inner}.variant']: dict(words) for words in pairs}


OF_README = _of_readme()


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text


@functools.cache
def _read(stem: str) -> Config:
    # Half a second, most of it for looking through mmpretrain's list of configs.
    return read_config(str(FILES[stem]))


def _build(cfg: Config) -> CompressionAlgorithm:
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return build_algorithm(cfg)


def _network(stem: str) -> str:
    return next(name for name in TRAINING if f'_{name}_' in stem)


def _dense_of(stem: str) -> str:
    """The dense recipe that a recipe of a method belongs to."""
    return f'dense_{stem.removeprefix("linear_conv_").partition("_")[2]}'


def _epochs(network: str) -> int:
    return 350 if network == 'all-conv' else 250


def test_a_file_a_network_and_one_more_for_each_other_published_count() -> None:
    recipes = [
        *(('linear', network) for network in TRAINING),
        *(('rankratio', network) for network in PUBLISHED),
    ]
    assert set(METHODS) == {
        f'linear_conv_{variant}_{network}_{_epochs(network)}e_cifar10'
        for variant, network in recipes
    }
    assert {_dense_of(stem) for stem in METHODS} == {s for s in DENSE if s.endswith('_cifar10')}


@pytest.mark.parametrize('variant', ['linear', 'rankratio'])
def test_an_export_costs_what_the_dense_network_does(variant: str) -> None:
    cfg = _read(f'linear_conv_{variant}_all-conv_350e_cifar10')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        models = dense_and_compact(cfg)
        shape = image_shape(cfg, None)
        rows = {name: report(name, model, shape) for name, model in models.items()}
    assert rows['static']['params'] == rows['dense']['params'] > rows['compact']['params']
    assert rows['static']['macs'] == rows['dense']['macs']


@pytest.mark.parametrize('network', OTHERS)
def test_other_networks(network: str) -> None:
    """All of the backbone but ResNeXt's stem, and layers without anything to combine."""
    cfg = _read(f'dense_{network}_250e_cifar10')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dense = build_model(cfg)
    assert sum(p.numel() for p in dense.parameters()) == OTHERS[network]
    left = {'resnext29-2x64d': ['backbone.conv1']}.get(network, [])
    convs = {
        name
        for name, module in dense.named_modules()
        if isinstance(module, nn.Conv2d) and module.out_channels > module.groups
    }
    units = _build(_read(f'linear_conv_linear_{network}_250e_cifar10')).mutator.units.values()
    assert {layer for unit in units for layer in unit.layers} == convs - set(left)


@pytest.mark.parametrize('across_groups', [False, True])
@pytest.mark.parametrize('network', GROUPED)
def test_counts_of_grouped_layers(network: str, across_groups: bool) -> None:
    cfg = copy.deepcopy(_read(f'linear_conv_linear_{network}_250e_cifar10'))
    args = cfg.model.mutator_cfg.filter_unit_cfg.default_args
    assert 'across_groups' not in args
    if across_groups:
        cfg.merge_from_dict({ACROSS_GROUPS: True})
    algorithm = _build(cfg)
    counted = sum(p.numel() for p in algorithm.counted().parameters())
    assert counted == sum(p.numel() for p in algorithm.parameters())
    assert counted == GROUPED[network][across_groups]
    convs = [m for m in algorithm.modules() if isinstance(m, (nn.Conv2d, LinearConv2d))]
    grouped = [conv for conv in convs if conv.groups > 1]
    dense = [conv for conv in grouped if isinstance(conv, nn.Conv2d)]
    assert len(grouped) == (9 if network == 'resnext29-2x64d' else 17)
    assert len(dense) == (17 if network == 'mobilenet-v2' and not across_groups else 0)


@pytest.mark.parametrize('stem', METHODS)
def test_starts_as_the_authors_program(stem: str) -> None:
    args = _read(stem).model.mutator_cfg.filter_unit_cfg.default_args
    assert args.start == 'uniform'


@pytest.mark.parametrize('name', sorted(f.stem for f in METHOD_FILES.glob('linear_conv_*.py')))
def test_method_files_keep_our_start(name: str) -> None:
    mutator = Config.fromfile(METHOD_FILES / f'{name}.py').compression.mutator_cfg
    assert 'start' not in mutator.get('filter_unit_cfg', {}).get('default_args', {})


def _options(stem: str) -> dict[str, str]:
    """What the comments of a recipe offer for ``--cfg-options``."""
    found = re.findall(r'^# .*: (model\.\S+)=(\S+)$', FILES[stem].read_text(), re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize('stem', [*METHODS, 'dense_all-conv_350e_cifar10'])
def test_the_authors_way_is_an_option_in_a_comment(stem: str) -> None:
    inner = 'model.backbone' if stem in DENSE else 'model.architecture.backbone'
    expected = {}
    if any(f'_{network}_' in stem for network in GROUPED):
        expected[ACROSS_GROUPS] = 'True'
    if '_all-conv_' in stem:
        expected[f'{inner}.dropout_in_evaluation'] = 'True'
        if stem not in DENSE:
            expected[f'{inner}.conv8_padding'] = '1'
    assert _options(stem) == expected


def test_the_authors_way_builds() -> None:
    stem = 'linear_conv_linear_all-conv_350e_cifar10'
    cfg = copy.deepcopy(_read(stem))
    options = {**_options(stem), **OF_README['sparse'], 'model.count_evaluation': 'True'}
    cfg.merge_from_dict({key: _value(value) for key, value in options.items()})
    algorithm = _build(cfg)
    assert algorithm.count_evaluation
    layers = algorithm.architecture.backbone.layers
    assert layers.conv8.padding == (1, 1)
    ones = torch.ones(1000)
    assert not torch.equal(layers.eval().drop3(ones), ones)


def test_all_conv_keeps_its_classifier() -> None:
    units = _build(_read('linear_conv_linear_all-conv_350e_cifar10')).mutator.units.values()
    layers = sorted(layer for unit in units for layer in unit.layers)
    assert layers == [f'backbone.layers.conv{i}' for i in range(1, 9)]


@pytest.mark.parametrize(
    ('variant', 'own'),
    [
        ('linear', {}),
        ('lowrank', dict(rank=1)),
        ('rankratio', dict(rank_ratio=0.055)),
        ('sparse', dict(target_sparsity=0.25)),
    ],
)
def test_variants(variant: str, own: dict) -> None:
    """As settings of the units, of the smallest network, by the options that the README gives."""
    cfg = copy.deepcopy(_read('linear_conv_linear_base_250e_cifar10'))
    cfg.merge_from_dict({k: _value(v) for k, v in OF_README.get(variant, {}).items()})
    method = read_config(str(METHOD_FILES / f'linear_conv_{variant}.py')).compression
    method.mutator_cfg.filter_unit_cfg.default_args.start = 'uniform'
    assert cfg.model == dict(method, architecture=cfg.model.architecture)
    algorithm = _build(cfg)
    for unit in algorithm.mutator.units.values():
        assert unit.init_args == dict(variant=variant, primary_ratio=0.5, start='uniform', **own)
    assert (algorithm.correlation, algorithm.loss_interval) == (0.01, 10)
    assert (algorithm.l1, algorithm.mask_interval, algorithm.threshold_step) == (0.01, 500, 1e-5)


@pytest.mark.parametrize('stem', DENSE)
def test_published_training(stem: str) -> None:
    cfg = _read(stem)
    network = _network(stem)
    rate, milestones, batch = TRAINING[network]
    assert cfg.optim_wrapper.optimizer == dict(type='Adam', lr=rate)
    assert cfg.train_cfg.max_epochs == _epochs(network)
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == batch
    scheduler = cfg.get('param_scheduler')
    assert (scheduler and scheduler.milestones) == milestones


@pytest.mark.parametrize('stem', METHODS)
def test_a_recipe_is_its_dense_network_and_its_variant(stem: str) -> None:
    """Read as text: nothing else, such as another training, is in it."""
    code = ast.parse(FILES[stem].read_text())
    names = {ast.unparse(node.targets[0]): node.value for node in code.body}
    [variant] = [variant for variant in VARIANTS if f'_{variant}_' in stem]
    method = f'../../../_base_/methods/linear_conv_{variant}.py'
    dense = f'../../../dense/{_dense_of(stem)}.py'
    assert ast.literal_eval(names.pop('_base_')) == [dense, method]
    model = 'dict(_delete_=True, architecture=_base_.model, **_base_.compression)'
    assert ast.unparse(names.pop('model')) == model
    assert all(name.startswith('_base_.compression.mutator_cfg.') for name in names)


@pytest.mark.parametrize(
    ('data', 'channels', 'classes'),
    [('cifar100', 3, 100), ('svhn', 3, 10), ('mnist', 1, 10), ('fashion-mnist', 1, 10)],
)
def test_other_data_sets(data: str, channels: int, classes: int) -> None:
    cfg = load_config(FILES[f'dense_base_250e_{data}'], 'linear_conv_rankratio')
    assert set(cfg.default_hooks) > {'compression', 'reseed'}
    assert image_shape(cfg, None) == (channels, 32, 32)
    assert cfg.data_preprocessor.num_classes == classes
    assert cfg.train_dataloader.dataset.type.split('.')[-1].lower() == data.replace('-', '')
    algorithm = _build(cfg)
    assert algorithm.architecture.backbone.stage1.conv1.in_channels == channels
    assert algorithm.architecture.neck.fc.out_features == classes
