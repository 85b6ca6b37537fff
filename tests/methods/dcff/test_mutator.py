"""methods/dcff/mutator.py: a compact network, from an analysis or from a file."""

import copy
import json

import pytest
import torch
from mmengine.registry import MODELS

from mmcompress.core import CompressionError, DependencyAnalyzer
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
