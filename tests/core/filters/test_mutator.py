"""Filter mutators: settings in, units out and in again, and every mistake in one sentence."""

from __future__ import annotations

import copy
import json

import pytest
import torch

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

# isort: split
from mmengine.config import Config
from mmengine.model import BaseModel, ExponentialMovingAverage
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.core.base.build import build_model
from mmcompress.core.filters import mutator as source

LAYER = 'backbone.layer1.0.conv1'
SIZES = dict(FilterBasis=dict(num_filters=8), SharedBasis=dict(shared_rank=8, unique_rank=1))


@pytest.fixture
def build(classifier_cfg):
    """Build an algorithm on a ResNet of two blocks a stage, as the tools do."""

    def make(method, architecture=None, **model):
        architecture = architecture or classifier_cfg(14)
        model = dict(type=f'mmcompress.{method}', architecture=architecture, **model)
        return build_model(Config(dict(model=model)))

    return make


def mutator(method, default=None, units=None, **kwargs):
    config = dict(default_args=default or {}, units=units or {})
    return dict(type=f'{method}Mutator', filter_unit_cfg=config, **kwargs)


def shapes(model):
    return {key: value.shape for key, value in model.state_dict().items()}


# Mistakes: model settings or units, and words of the one sentence.

BOTH = {
    'no size': (dict(), ['no filter unit has a size', 'target_pruning_ratio', 'init_args']),
    'keep all': (dict(target_pruning_ratio=1), ['no filter unit has a size']),
    'no ratio': (dict(target_pruning_ratio='a'), ['target_pruning_ratio', "no file 'a'"]),
    'ratio 0': (dict(target_pruning_ratio=0), ['target_pruning_ratio is 0', 'at most 1']),
    'ratio nan': (dict(target_pruning_ratio=float('nan')), ['target_pruning_ratio is nan']),
    'tiny ratio': (dict(target_pruning_ratio=1e-4), ['cannot keep 0.0001', 'take']),
    'ratio of nothing': (
        dict(target_pruning_ratio={'backbone.layr1*': 0.5}),
        ["'backbone.layr1*' matches no filter unit", "'backbone.layer"],
    ),
    'budget': (dict(budget=dict(macs=0.5)), ['budget', 'target_pruning_ratio']),
    'init': (dict(target_pruning_ratio=0.5, init='sdv'), ["init is 'sdv'", 'kaiming, svd']),
    'reconstruction': (
        dict(target_pruning_ratio=0.5, reconstruction=-1), ['reconstruction is -1', 'at least 0'],
    ),
    'unknown argument': (
        dict(target_pruning_ratio=0.5, recon=1), ['model.recon ', "'reconstruction'"],
    ),
    'mutator of channels': (
        dict(target_pruning_ratio=0.5, mutator_cfg=dict(type='DCFFMutator')),
        ["mutator_cfg.type is 'DCFFMutator'", "Basis"],
    ),
}  # fmt: skip

IN_MUTATOR = {
    'channel_unit_cfg': (dict(channel_unit_cfg={}), ['channel_unit_cfg']),
    'init of the mutator': (dict(init='svd'), ["mutator_cfg has 'init'"]),
    'unknown key': (dict(filter_unit_cfg=dict(unitz={})), ["filter_unit_cfg has 'unitz'", 'units']),
    'no dict': (dict(parse_cfg=3), ['parse_cfg is 3']),
    'rule': (dict(parse_cfg=dict(rule='layr')), ["parse_cfg.rule is 'layr'", "'layer'"]),
    'unknown rule key': (dict(parse_cfg=dict(rules='layer')), ['parse_cfg is wrong', "'rules'"]),
    'finder of channels': (
        dict(parse_cfg=dict(type='DependencyAnalyzer')), ['parse_cfg.type', 'FilterFinder'],
    ),
    'pattern of nothing': (
        dict(parse_cfg=dict(rule={'a': 'backbone.layer9.*'})), ["'backbone.layer9.*' matches no"],
    ),
    'layer in two units': (
        dict(parse_cfg=dict(rule={'a': 'backbone.layer1.*', 'b': '*.conv1'})),
        ["is in 'a' and in 'b'"],
    ),
    'shape': (dict(parse_cfg=dict(input_shape=[3, 2])), ['input_shape', 'four positive integers']),
}  # fmt: skip

LISTED = {
    'no list': ('x', 'no list of `layers`'),
    'empty': ([], 'no list of `layers`'),
    'numbers': ([3], 'names the layer 3'),
    'lists': ([['x']], r"names the layer \['x'\]"),
    'no such layer': (['backbone.layer1.0.conv9'], "nearest are 'backbone.layer1.0.conv2'"),
    'norm': (['backbone.bn1'], 'is no convolution of ImageClassifier'),
    'block': (['backbone.layer1.0'], 'is no convolution of ImageClassifier'),
    'twice': ([LAYER, LAYER], 'is also in unit'),
}

UNIT = {
    'no dict': (3, 'has to be a dict with init_args, layers or choice'),
    'no arguments': (dict(init_args=3), 'has to be a dict'),
    'unknown key': (dict(choic=0.5), "has 'choic'"),
    'unknown argument': (dict(init_args=dict(nothing=3)), "'nothing'"),
    'not theirs': (dict(init_args=dict(init='svd')), "'init' is no argument"),
    'no number': (dict(choice='a'), "choice of .* is 'a'"),
    'negative': (dict(choice=-0.5), 'choice of .* is -0.5'),
    'above 1': (dict(choice=1.5), 'choice of .* is 1.5'),
    'true': (dict(choice=True), 'choice of .* is True'),
    'GN': (dict(norm_cfg=dict(type='GN', num_groups=1)), 'norm_cfg is .*batch norm'),
    'norm of a name': (dict(norm_cfg='BN'), "norm_cfg is 'BN'"),
    'no norm': (dict(norm_cfg=dict(type='Nothing')), 'norm_cfg is .*Nothing'),
    'no statistics': (dict(norm_cfg=dict(type='BN', track_running_stats=False)), 'statistics'),
    'bias': (dict(coefficient_bias=3), 'coefficient_bias of .* is 3'),
}
FILTER_BASIS = {
    'divisor': (
        dict(basis_size=5),
        'basis_size of .* is 5.*not divide the 16.*divisor is 16',
    ),
    'wide': (dict(basis_size=32), 'does not divide'),
    'zero': (dict(basis_size=0), 'basis_size of .* is 0'),
    'float': (dict(basis_size=4.0), 'basis_size of .* is 4.0'),
    'no filter': (dict(num_filters=0), 'num_filters of .* is 0'),
    'many': (dict(num_filters=1000), 'num_filters of .* is 1000; .* at most 16'),
    'true': (dict(num_filters=True), 'num_filters of .* is True'),
    'activation': (dict(act_cfg=dict(type='Nothing')), 'act_cfg is .*Nothing'),
    'basis bias': (dict(basis_bias='no'), "basis_bias of .* is 'no'"),
    'kernel': (dict(coefficient_kernel=5), 'coefficient_kernel of .* is 5'),
    'kernel of true': (dict(coefficient_kernel=True), 'coefficient_kernel of .* is True'),
    'start': (dict(basis_start='kaiming'), "basis_start of .* is 'kaiming'.*fan_out"),
    'start of coefficients': (dict(coefficient_start=3), 'coefficient_start of .* is 3'),
    'activation of nothing': (
        dict(act_cfg=dict(type='ReLU', shared='backbone.rel')),
        "'backbone.rel'.*'backbone.relu'",
    ),
    'another activation': (
        dict(act_cfg=dict(type='PReLU', shared='backbone.relu')),
        'act_cfg is .*PReLU.*ReLU',
    ),
}
SHARED_BASIS = {
    'nothing': (dict(shared_rank=0, unique_rank=0), 'shared_rank and unique_rank .* both 0'),
    'negative': (dict(shared_rank=-1), 'shared_rank of .* is -1'),
    'many': (dict(shared_rank=40), 'are 40 and 1; .* rank of at most 32'),
    'many unique': (dict(unique_rank=17), 'at most 32, those of one layer 16'),
    'misspelled': (dict(shared_rank='ful'), "shared_rank of .* is 'ful'"),
    'groups': (dict(shared_groups=3), 'shared_groups.* divide both'),
    'groups and coefficients': (dict(shared_groups=2), 'without coefficients'),
    'text': (dict(coefficients='no'), "coefficients of .* is 'no'"),
    'norm of nothing': (dict(coefficients=False, norm_cfg=dict(type='BN')), 'norm_cfg .* None'),
    'tied channels': (
        dict(coefficients=False), "channels of 'backbone.layer1.1.conv2' are tied.*'full'"
    ),
}  # fmt: skip


def refused(build, words, *args, **kwargs):
    with pytest.raises(CompressionError) as raised:
        build(*args, **kwargs)
    message = str(raised.value)
    assert '\n' not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize('case', BOTH)
@pytest.mark.parametrize('method', SIZES)
def test_wrong_settings(build, method, case):
    settings, words = BOTH[case]
    refused(build, words, method, **settings)


@pytest.mark.parametrize('case', IN_MUTATOR)
@pytest.mark.parametrize('method', SIZES)
def test_wrong_settings_of_the_mutator(build, method, case):
    settings, words = IN_MUTATOR[case]
    cfg = {**mutator(method, SIZES[method]), **settings}
    refused(build, words, method, mutator_cfg=cfg)


@pytest.mark.parametrize('case', LISTED)
@pytest.mark.parametrize('method', SIZES)
def test_wrong_layers(build, method, case):
    layers, message = LISTED[case]
    units = dict(a=dict(layers=layers, init_args=SIZES[method]))
    with pytest.raises(CompressionError, match=message):
        build(method, mutator_cfg=mutator(method, units=units))


@pytest.mark.parametrize('method', SIZES)
def test_listed_layers_that_are_unlike(build, classifier_cfg, method):
    layers = ['backbone.layer2.0.conv2', 'backbone.layer2.0.shortcut.0']
    if method == 'SharedBasis':
        layers[1] = 'backbone.layer3.1.conv1'
    units = dict(a=dict(layers=layers, init_args=SIZES[method]))
    differ = 'kernel_size' if method == 'FilterBasis' else 'in_channels'
    with pytest.raises(CompressionError, match=f'its layers differ in {differ}'):
        build(
            method,
            classifier_cfg(14, shortcut='projection'),
            mutator_cfg=mutator(method, units=units),
        )


@pytest.mark.parametrize('method', SIZES)
def test_a_layer_of_two_listed_units(build, method):
    unit = dict(layers=[LAYER], init_args=SIZES[method])
    with pytest.raises(CompressionError, match=rf"\['b'\]: '{LAYER}' is also in unit 'a'"):
        build(method, mutator_cfg=mutator(method, units=dict(a=unit, b=unit)))


@pytest.mark.parametrize('case', UNIT)
@pytest.mark.parametrize('method', SIZES)
def test_wrong_units(build, method, case):
    unit, message = UNIT[case]
    if isinstance(unit, dict) and {'init_args', 'choice', 'choic'}.isdisjoint(unit):
        unit = dict(init_args={**SIZES[method], **unit})
    with pytest.raises(CompressionError, match=message) as raised:
        build(method, mutator_cfg=mutator(method, units={'backbone.layer1*': unit}))
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize(
    ('method', 'case'),
    [('FilterBasis', case) for case in FILTER_BASIS]
    + [('SharedBasis', case) for case in SHARED_BASIS],
)
def test_wrong_sizes(build, method, case):
    changes, message = (FILTER_BASIS if method == 'FilterBasis' else SHARED_BASIS)[case]
    with pytest.raises(CompressionError, match=message):
        build(method, mutator_cfg=mutator(method, {**SIZES[method], **changes}))


@pytest.mark.parametrize('method', SIZES)
def test_svd_is_for_linear_ops(build, method):
    default = dict(SIZES[method], norm_cfg=dict(type='BN'))
    for setting in (dict(init='svd'), dict(reconstruction=1.0)):
        with pytest.raises(CompressionError, match='norm_cfg or act_cfg stand between'):
            build(method, mutator_cfg=mutator(method, default), **setting)


def test_svd_is_for_small_coefficients(build):
    default = dict(SIZES['FilterBasis'], coefficient_kernel=3)
    for setting in (dict(init='svd'), dict(reconstruction=1.0)):
        with pytest.raises(CompressionError, match='coefficient_kernel is 3'):
            build('FilterBasis', mutator_cfg=mutator('FilterBasis', default), **setting)


@pytest.mark.parametrize('method', SIZES)
def test_one_size_is_enough(build, method):
    size, name = SIZES[method], LAYER if method == 'FilterBasis' else 'backbone.layer1'
    with pytest.raises(CompressionError, match=r'keeps 0.5 by target_pruning_ratio, but has'):
        build(method, mutator_cfg=mutator(method, size), target_pruning_ratio=0.5)
    units = {name: dict(init_args=size, choice=0.3)}
    with pytest.raises(CompressionError, match='keeps 0.3 by `choice`, but'):
        build(method, mutator_cfg=mutator(method, units=units))
    units = {name: dict(choice=0.3)}
    with pytest.raises(CompressionError, match='keeps 0.3 by filter_unit_cfg, but 0.5 by target'):
        build(method, mutator_cfg=mutator(method, units=units), target_pruning_ratio=0.5)
    both = dict(mutator_cfg=mutator(method, units=units), target_pruning_ratio=0.3)
    assert build(method, **both).mutator.choice_template[name] <= 0.3


def test_units_by_pattern_and_by_name(build):
    """A full name wins over a pattern, wherever it stands; what nothing names stays dense."""
    units = {
        LAYER: dict(init_args=dict(num_filters=3)),
        'backbone.layer1.*': dict(init_args=dict(num_filters=8)),
        'backbone.layer1.1.*': dict(init_args=dict(num_filters=5)),
    }
    algorithm = build('FilterBasis', mutator_cfg=mutator('FilterBasis', units=units))
    sizes = {name: unit.num_filters for name, unit in algorithm.mutator.units.items()}
    assert sizes == {
        LAYER: 3,
        'backbone.layer1.0.conv2': 8,
        'backbone.layer1.1.conv1': 5,
        'backbone.layer1.1.conv2': 5,
    }
    assert type(algorithm.architecture.backbone.layer2[0].conv1) is torch.nn.Conv2d


@pytest.mark.parametrize('method', SIZES)
def test_ratios_by_pattern(build, method):
    algorithm = build(method, target_pruning_ratio={'backbone.layer1*': 0.5, '*layer3*': 0.25})
    choices = algorithm.mutator.choice_template
    assert {name.split('.')[1] for name in choices} == {'layer1', 'layer3'}
    for name, choice in choices.items():
        assert 0.8 < choice / (0.5 if 'layer1' in name else 0.25) <= 1


# Units written and read again

WRITTEN = {
    'filter basis': ('FilterBasis', dict(norm_cfg=dict(type='BN')), {
        'backbone.layer1.*': dict(init_args=dict(basis_size=4, num_filters=7)),
        'backbone.layer3.*': dict(init_args=dict(num_filters=37)),
    }, None),
    'settings of one': ('FilterBasis', {}, {
        LAYER: dict(init_args=dict(num_filters=7, norm_cfg=dict(type='BN'), basis_bias=True)),
        'backbone.layer2.*': dict(choice=0.3),
    }, None),
    'sliced': ('FilterBasis', dict(basis_size='slice'), {}, 0.4),
    'large coefficients': ('FilterBasis', dict(coefficient_kernel=3), {}, 0.4),
    'shared activation': (
        'FilterBasis', dict(act_cfg=dict(type='ReLU', inplace=True, shared='backbone.relu')), {},
        0.4,
    ),
    'shared basis': ('SharedBasis', dict(norm_cfg=dict(type='BN')), {
        'backbone.layer1': dict(init_args=dict(shared_rank=11, unique_rank=2)),
        'backbone.layer3': dict(init_args=dict(shared_rank=0, unique_rank=16)),
    }, None),
    'by ratio': ('SharedBasis', dict(unique_rank=2), {}, 0.37),
    'whole filters': ('SharedBasis', dict(coefficients=False, unique_rank=0), {
        '*': dict(init_args=dict(shared_rank='full')),
    }, None),
}  # fmt: skip


@pytest.mark.parametrize('case', WRITTEN)
@pytest.mark.parametrize('flags', [(True, True), (True, False)], ids=['all', 'init_args'])
@pytest.mark.parametrize('place', ['mutator_cfg', 'filter_unit_cfg', 'units'])
def test_what_is_written_is_read(build, tmp_path, case, flags, place):
    method, default, units, ratio = WRITTEN[case]
    first = build(method, mutator_cfg=mutator(method, default, units), target_pruning_ratio=ratio)
    written = json.loads(json.dumps(first.mutator.config_template(*flags)))
    path = tmp_path / 'units.json'
    path.write_text(json.dumps(written))
    cfg = dict(
        mutator_cfg=written,
        filter_unit_cfg=dict(type=f'{method}Mutator', filter_unit_cfg=str(path)),
        units=mutator(method, default, str(path)),
    )[place]
    second = build(method, mutator_cfg=cfg)
    assert shapes(second) == shapes(first)
    assert repr(second.architecture) == repr(first.architecture)
    assert second.mutator.choice_template == first.mutator.choice_template


@pytest.mark.parametrize('ratios', [False, True], ids=['choice', 'ratio'])
@pytest.mark.parametrize(
    ('method', 'default', 'size'),
    [
        ('FilterBasis', {}, dict(num_filters=13)),
        ('FilterBasis', dict(basis_size='slice'), dict(num_filters=13)),
        ('SharedBasis', {}, dict(shared_rank=13)),
        ('SharedBasis', dict(unique_rank=0), dict(shared_rank=7)),
    ],
    ids=str,
)
def test_rounded_choices_give_the_same_sizes(build, tmp_path, method, default, size, ratios):
    """Six digits of a keep ratio are enough to find the number of filters again."""
    first = build(method, mutator_cfg=mutator(method, {**default, **size}))
    path = tmp_path / 'units.json'
    if ratios:
        path.write_text(json.dumps(first.mutator.choice_template))
        cfg = dict(mutator_cfg=mutator(method, default), target_pruning_ratio=str(path))
    else:
        path.write_text(json.dumps(first.mutator.config_template(False, True)))
        cfg = dict(mutator_cfg=mutator(method, default, str(path)))
    second = build(method, **cfg)
    assert second.mutator.choice_template == first.mutator.choice_template
    assert shapes(second) == shapes(first)


@pytest.mark.parametrize('method', SIZES)
def test_a_choice_edited_by_hand(build, method):
    first = build(method, target_pruning_ratio=0.5)
    written = first.mutator.config_template(True, True)
    name, *others = written['filter_unit_cfg']['units']
    unit = written['filter_unit_cfg']['units'][name]
    unit['choice'] = 0.25
    with pytest.raises(CompressionError, match='keeps 0.25 by `choice`, but .* remove one'):
        build(method, mutator_cfg=copy.deepcopy(written))
    del unit['init_args']
    second = build(method, mutator_cfg=written).mutator.choice_template
    assert 0.2 < second[name] <= 0.25
    assert [second[n] for n in others] == [first.mutator.choice_template[n] for n in others]


def test_the_order_of_listed_layers_does_not_matter(build):
    """A checkpoint fits whichever layer was written first."""
    layers = ['backbone.layer1.1.conv1', 'backbone.layer1.1.conv2']
    algorithms = []
    for order in (layers, layers[::-1]):
        unit = dict(layers=order, init_args=SIZES['SharedBasis'])
        cfg = mutator('SharedBasis', units=dict(a=unit))
        algorithms.append(build('SharedBasis', mutator_cfg=cfg))
    assert shapes(algorithms[0]) == shapes(algorithms[1])
    assert f'architecture.{layers[0]}.shared_basis' in algorithms[1].state_dict()


# Static forms


def test_forms_by_macs_and_by_parameters(build):
    """A unit that is large where maps are large: fewest MACs and fewest parameters differ."""
    layers = ['backbone.layer1.0.conv1', 'backbone.layer3.0.conv1']
    units = dict(a=dict(layers=layers, init_args=dict(basis_size=16, num_filters=24)))
    algorithm = build('FilterBasis', mutator_cfg=mutator('FilterBasis', units=units))
    # Each stage has maps of a quarter of the area.
    areas = dict(zip(layers, (16, 1), strict=True))
    totals = dict(macs={}, params={})
    for form in ('factored', 'merged'):
        ops = [algorithm.architecture.get_submodule(layer) for layer in layers]
        totals['params'][form] = sum(op.cost(form) for op in ops)
        totals['macs'][form] = sum(
            op.cost(form) * areas[layer] for op, layer in zip(ops, layers, strict=True)
        )
    assert len({min(costs, key=costs.get) for costs in totals.values()}) == 2
    for prefer, costs in totals.items():
        forms = algorithm.mutator.static_forms(algorithm.architecture, prefer)
        assert forms == dict.fromkeys(layers, min(costs, key=costs.get)), costs
    assert not any(module._forward_hooks for module in algorithm.architecture.modules())


@MODELS.register_module(force=True)
class MomentumModel(BaseModel):
    """A backbone and its moving average."""

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.backbone = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3))
        self.average = ExponentialMovingAverage(nn.Sequential(self.backbone))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.backbone(inputs)


@pytest.mark.parametrize('method', SIZES)
def test_momentum_copies(build, method):
    rule = dict(parse_cfg=dict(rule='layer'))
    refused(
        build, ["'backbone.1' has a momentum copy in 'average.module.0'", 'parse_cfg.exclude'],
        method, dict(type='mmengine.MomentumModel'), target_pruning_ratio=0.5,
        mutator_cfg=mutator(method, **rule),
    )  # fmt: skip


def test_shapes_are_those_of_the_size_given(build):
    """Models that accept no other size find their static forms at this one, too."""
    parse_cfg = dict(rule='stage', input_shape=(1, 3, 40, 24))
    model = build(
        'FilterBasis', mutator_cfg=mutator('FilterBasis', SIZES['FilterBasis'], parse_cfg=parse_cfg)
    )
    seen = model.mutator.shapes_seen(model.architecture)
    assert list(seen) == [layer for unit in model.mutator.units.values() for layer in unit.layers]
    assert {shape[-2:] for pairs in seen.values() for shape, _ in pairs} == {
        (40, 24), (20, 12), (10, 6),
    }  # fmt: skip


def test_units_without_a_size_are_told(build, monkeypatch):
    told = []
    monkeypatch.setattr(source, 'print_log', lambda text, **_: told.append(text))
    model = build('FilterBasis', target_pruning_ratio={'backbone.layer1.0.*': 0.5})
    assert list(model.mutator.units) == ['backbone.layer1.0.conv1', 'backbone.layer1.0.conv2']
    assert sum('left dense: backbone.layer' in text for text in told) == 10
