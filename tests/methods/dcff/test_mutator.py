"""methods/dcff/mutator.py: a compact network, from an analysis or from a file."""

import copy
import json

import pytest
import torch
from mmengine.registry import MODELS

from mmcompress.core import CompressionError, DependencyAnalyzer
from mmcompress.core.export.static import layer_widths, sub_model, to_static
from mmcompress.methods.dcff import DCFFMutator, DCFFUnit, FusedConv2d


@pytest.fixture
def dense(classifier_cfg):
    return MODELS.build(classifier_cfg())


def prepared(dense, target=None, **kwargs):
    mutator, model = DCFFMutator(**kwargs), copy.deepcopy(dense)
    mutator.prepare_from_supernet(model, target)
    return mutator, model


def shapes(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def test_units_are_those_of_dcff(dense):
    mutator, model = prepared(dense, 0.5)
    assert all(type(unit) is DCFFUnit for unit in mutator.units.values())
    assert mutator.config_template()['channel_unit_cfg']['type'] == 'DCFFUnit'
    assert mutator.config_template()['type'] == 'DCFFMutator'
    assert sum(isinstance(m, FusedConv2d) for m in model.modules()) == 7


def test_widths_of_everything_that_follows(dense):
    mutator, model = prepared(dense, 0.6)
    backbone = model.backbone
    assert backbone.conv1.out_channels == 9
    assert backbone.conv1.weight.shape == (16, 3, 3, 3)
    assert backbone.bn1.num_features == 9
    assert backbone.layer1[0].conv1.weight.shape == (16, 9, 3, 3)
    assert backbone.layer2[0].conv1.weight.shape == (32, 9, 3, 3)
    assert backbone.layer2[0].conv1.proxies.shape == (19, 32)
    assert backbone.layer2[0].shortcut.out_channels == 19
    assert backbone.layer3[0].bn2.num_features == 38
    assert model.head.fc.in_features == 38
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert model.head.fc.weight.shape == (10, 38)


def test_a_file_builds_the_same_network_without_analysis(dense, tmp_path, monkeypatch):
    target = {'*conv1_*': 0.5, '*layer3*': 0.75}
    mutator, model = prepared(dense, target)
    path = tmp_path / 'units.json'
    path.write_text(json.dumps(mutator.config_template(True, True)))

    def analyze(self, model):
        raise AssertionError('an analysis was run')

    monkeypatch.setattr(DependencyAnalyzer, 'analyze', analyze)
    whole = json.loads(path.read_text())
    for kwargs in (
        dict(channel_unit_cfg=str(path)),
        dict(channel_unit_cfg=whole['channel_unit_cfg']),
        dict(channel_unit_cfg=dict(units=str(path))),
        dict(channel_unit_cfg=dict(type='DCFFUnit', units=str(path))),
    ):
        again, other = prepared(dense, **kwargs)
        assert shapes(other) == shapes(model)
        assert again.choice_template == mutator.choice_template
        assert list(again.units) == list(mutator.units)
    built = MODELS.build(dict(whole, type='mmcompress.DCFFMutator'))
    other = copy.deepcopy(dense)
    built.prepare_from_supernet(other)
    assert shapes(other) == shapes(model)


def test_the_file_as_a_target(dense, tmp_path):
    mutator, model = prepared(dense, {'*conv1_*': 0.5})
    path = tmp_path / 'units.json'
    path.write_text(json.dumps(mutator.config_template(True, True)))
    assert shapes(prepared(dense, str(path))[1]) == shapes(model)


def test_the_file_of_another_model(dense, tmp_path, classifier_cfg):
    mutator, _ = prepared(MODELS.build(classifier_cfg(14)))
    path = tmp_path / 'units.json'
    path.write_text(json.dumps(mutator.config_template(True, True)))
    with pytest.raises(CompressionError) as error:
        prepared(dense, channel_unit_cfg=str(path))
    assert "'backbone.layer1.1.conv" in str(error.value)
    assert 'written for another model' in str(error.value)


def test_a_divisor_edited_by_hand(dense, tmp_path):
    mutator, _ = prepared(dense, 0.6)
    content = mutator.config_template(True, True)
    units = content['channel_unit_cfg']['units']
    name = next(name for name in units if 'layer3.0.conv1' in name)
    units[name]['init_args']['divisor'] = 16
    again, model = prepared(dense, channel_unit_cfg=content['channel_unit_cfg'])
    assert again.units[name].width == 32
    assert model.backbone.layer3[0].conv1.out_channels == 32
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 10)


def test_unsupported_units_are_left_alone(tiny_cfg):
    dense = MODELS.build(tiny_cfg)

    class Mine(torch.nn.Conv2d):
        pass

    dense.backbone.conv1.__class__ = Mine
    dense.backbone.conv1.register_buffer('more', torch.ones(1))  # nobody knows what it is for
    mutator, model = prepared(dense, 0.5)
    assert list(mutator.units) == ['backbone.conv2_(0, 16)_16']
    assert type(model.backbone.conv1) is Mine
    assert model.backbone.conv2.in_channels == 8
    assert model.backbone.conv2.out_channels == 8


def test_what_the_parser_is_told(dense):
    mutator, model = prepared(
        dense, 0.5, parse_cfg=dict(type='DependencyAnalyzer', exclude=['*.layer1'])
    )
    assert not any('layer1' in name for name in mutator.units)
    # Its convolutions hold the channels of the stem.
    assert 'backbone.conv1' in mutator.analysis.rejected['backbone.conv1_(0, 16)_16'] or (
        'layer1' in mutator.analysis.rejected['backbone.conv1_(0, 16)_16']
    )


# Options of units, and shortcuts that pad


def options(**kwargs):
    return dict(channel_unit_cfg=dict(type='DCFFUnit', default_args=kwargs))


def test_layers_of_full_width_stay_as_they_are_by_default(dense):
    _, model = prepared(dense, {'*conv1_*': 0.5, 'backbone.conv1_*': 1.0})
    op = model.backbone.layer1[0].conv2
    op.fuse(1.0)
    assert torch.equal(op.proxies, torch.eye(16))
    assert not op.chosen.any()
    assert op.mixes == [False]


def test_layers_of_full_width_are_mixed_on_request(dense):
    _, model = prepared(dense, {'*layer*conv1_*': 0.5}, **options(fuse_all=True))
    op = model.backbone.layer1[0].conv2
    op.fuse(1.0)
    rows = op.weight.detach().double().flatten(1)
    expected = torch.softmax(-(rows[:, None] - rows[None]).norm(dim=2), dim=1)
    torch.testing.assert_close(op.proxies.double(), expected, rtol=1e-5, atol=1e-7)
    assert op.chosen.all()
    assert op.proxies.shape == (16, 16)
    assert model.backbone.layer1[0].conv1.proxies.shape == (8, 16)


def test_named_layers_stay_plain(classifier_cfg):
    dense = MODELS.build(classifier_cfg(shortcut='projection'))
    _, model = prepared(dense, 0.5, **options(plain=['*.shortcut.0']))
    for stage in (2, 3):
        block = model.backbone.get_submodule(f'layer{stage}.0')
        assert type(block.shortcut[0]) is torch.nn.Conv2d
        assert block.shortcut[0].weight.shape == (8 * 2 ** (stage - 1), 4 * 2 ** (stage - 1), 1, 1)
        assert type(block.conv2) is FusedConv2d
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('fuse_all', 1),
        ('fuse_all', 'yes'),
        ('plain', '*.downsample.*'),
        ('plain', [3]),
        ('plain', None),
    ],
)
def test_bad_options(dense, key, value):
    with pytest.raises(CompressionError, match=key):
        prepared(dense, 0.5, **options(**{key: value}))


def test_options_of_a_file(dense):
    """What a mutator writes builds the same network again."""
    mutator, model = prepared(dense, 0.5, **options(fuse_all=True, plain=['backbone.conv1']))
    assert type(model.backbone.conv1) is torch.nn.Conv2d
    again, other = prepared(
        dense, **{'channel_unit_cfg': mutator.config_template(True, True)['channel_unit_cfg']}
    )
    assert shapes(other) == shapes(model)
    assert type(other.backbone.conv1) is torch.nn.Conv2d


@pytest.mark.parametrize(
    'target',
    [
        {'backbone.conv1_*': 0.4, 'backbone.layer2.0.conv2_*': 0.8, '*layer3.0.conv2_*': 0.5},
        {'backbone.conv1_*': 0.3},
        {'backbone.layer3.0.conv2_*': 0.9},
        0.7,
    ],
)
def test_no_channel_is_lost_between_streams(dense, target):
    _, model = prepared(dense, target)
    for stage in (2, 3):
        shortcut = model.backbone.get_submodule(f'layer{stage}.0.shortcut')
        sources = shortcut.source[shortcut.source >= 0]
        assert sources.tolist() == list(range(shortcut.in_channels))
        front = int((shortcut.source >= 0).nonzero()[0])
        assert front == (shortcut.out_channels - shortcut.in_channels) // 2


def test_shortcuts_between_streams_that_stay_are_left_alone(dense):
    """Even if an earlier compression gave them places of their own."""
    shortcut = dense.backbone.layer2[0].shortcut
    shortcut.source.copy_(shortcut.source.roll(3))
    _, model = prepared(dense, {'*layer*conv1_*': 0.5})
    assert torch.equal(model.backbone.layer2[0].shortcut.source, shortcut.source)


def test_an_exported_network_pads_as_the_trained_one(classifier_cfg):
    target = {'backbone.conv1_*': 0.4, 'backbone.layer2.0.conv2_*': 0.8, '*layer3.0.conv2_*': 0.5}
    algorithm = dict(
        type='mmcompress.DCFF', architecture=classifier_cfg(), target_pruning_ratio=target
    )
    model = MODELS.build(algorithm).eval()
    model.fuse(1.0)
    static = to_static(model)
    widths = layer_widths(MODELS.build(classifier_cfg()), static)
    rebuilt = sub_model(classifier_cfg(), dict(layers=widths)).eval()
    rebuilt.load_state_dict(static.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(rebuilt(x), model(x))
