"""core/mutator.py: units from an analysis or from a file, and mistakes in files."""

import copy
import json

import pytest
import torch
from mmengine.registry import MODELS

from mmcompress.core import ChannelUnit, CompressionError, DependencyAnalyzer
from mmcompress.core.channels.mutator import ChannelMutator
from mmcompress.registry import MODELS as OURS

FIRST, SECOND = 'backbone.conv1_(0, 8)_8', 'backbone.conv2_(0, 16)_16'


@OURS.register_module(force=True)
class PlainUnit(ChannelUnit):
    """A unit that leaves its layers as they are; it refuses layers called in ``refused``."""

    refused: tuple = ()

    def unsupported(self, architecture):
        return 'refused' if self.config.producers[0].name in self.refused else ''

    def prepare(self, architecture):
        return []


class PlainMutator(ChannelMutator):
    pass


def mutator(units=None, **kwargs):
    cfg = dict(type='PlainUnit', **kwargs)
    if units is not None:
        cfg['units'] = units
    return PlainMutator(cfg)


@pytest.fixture
def model(tiny_cfg):
    return MODELS.build(tiny_cfg)


@pytest.fixture
def template(model):
    """A prepared mutator's config with everything in it."""
    found = mutator()
    found.prepare_from_supernet(copy.deepcopy(model), {FIRST: 0.5})
    return found.config_template(True, True)


def widths(model):
    return [model.backbone.conv1.out_channels, model.backbone.conv2.out_channels]


def no_analysis(monkeypatch):
    def analyze(self, model):
        raise AssertionError('an analysis was run')

    monkeypatch.setattr(DependencyAnalyzer, 'analyze', analyze)


def test_units_of_an_analysis(model):
    found = mutator()
    found.prepare_from_supernet(model, {'*conv2*': 0.25})
    assert list(found.units) == [FIRST, SECOND]
    assert found.mutable_units == list(found.units.values())
    assert found.choice_template == {FIRST: 1.0, SECOND: 0.25}
    assert widths(model) == [8, 4]
    assert found.analysis.rejected == {}
    assert not list(found.parameters())


def test_choices_of_the_config_unless_a_target_is_given(model):
    found = mutator({FIRST: dict(choice=0.5)})
    other = copy.deepcopy(model)
    found.prepare_from_supernet(model)
    assert found.choice_template == {FIRST: 0.5, SECOND: 1.0}
    again = mutator({FIRST: dict(choice=0.5)})
    again.prepare_from_supernet(other, {'*': 0.25, FIRST: 0.5})
    assert widths(other) == [4, 4]


def test_two_ratios_for_one_unit(model):
    found = mutator({FIRST: dict(choice=0.5)})
    with pytest.raises(CompressionError, match='0.5 by channel_unit_cfg.units and 0.25 by target'):
        found.prepare_from_supernet(model, 0.25)


def test_units_of_a_deeper_network_are_refused(model):
    """What a file leaves out shows when the model runs."""
    found = mutator()
    found.prepare_from_supernet(copy.deepcopy(model), 0.5)
    units = found.config_template(True, True)['channel_unit_cfg']['units']
    units[FIRST]['channels']['input_related'] = []
    with pytest.raises(CompressionError, match='leaves out layers'):
        mutator(units).prepare_from_supernet(model)


def test_one_channel_in_two_units(model):
    found = mutator()
    found.prepare_from_supernet(copy.deepcopy(model), 0.5)
    units = found.config_template(True, True)['channel_unit_cfg']['units']
    with pytest.raises(CompressionError, match='both have channel 0'):
        mutator({FIRST: units[FIRST], 'again': units[FIRST]}).prepare_from_supernet(model)


def test_templates(model):
    found = mutator(default_args=dict(divisor=2))
    found.prepare_from_supernet(model, 0.5)
    small = found.config_template()
    assert small['type'] == 'PlainMutator'
    assert small['channel_unit_cfg']['type'] == 'PlainUnit'
    assert small['channel_unit_cfg']['default_args'] == dict(divisor=2)
    assert small['channel_unit_cfg']['units'] == {
        FIRST: dict(choice=0.5),
        SECOND: dict(choice=0.5),
    }
    units = found.config_template(with_unit_init_args=True)['channel_unit_cfg']['units']
    assert units[FIRST]['init_args'] == dict(num_channels=8, divisor=2)
    json.dumps(found.config_template(True, True))


def test_a_file_builds_the_same_without_analysis(model, template, tmp_path, monkeypatch):
    expected = copy.deepcopy(model)
    mutator().prepare_from_supernet(expected, {FIRST: 0.5})
    no_analysis(monkeypatch)
    whole, units = tmp_path / 'whole.json', tmp_path / 'units.json'
    whole.write_text(json.dumps(template))
    units.write_text(json.dumps(template['channel_unit_cfg']['units']))
    for cfg in (
        template['channel_unit_cfg'],
        str(whole),
        whole,
        dict(type='PlainUnit', units=str(whole)),
        dict(type='PlainUnit', units=str(units)),
    ):
        found, thin = PlainMutator(cfg), copy.deepcopy(model)
        found.prepare_from_supernet(thin)
        assert found.analysis is None
        assert found.choice_template == {FIRST: 0.5, SECOND: 1.0}
        assert {k: v.shape for k, v in thin.state_dict().items()} == {
            k: v.shape for k, v in expected.state_dict().items()
        }


def test_a_divisor_edited_by_hand(model, template):
    units = template['channel_unit_cfg']['units']
    units[SECOND]['init_args']['divisor'] = 8
    units[SECOND]['choice'] = 0.9
    found = mutator(units)
    found.prepare_from_supernet(model)
    assert found.units[SECOND].width == 8
    assert found.units[FIRST].width == 4


def test_a_divisor_without_channels(model):
    found = mutator({SECOND: dict(init_args=dict(divisor=8))})
    found.prepare_from_supernet(model, 0.9)
    assert widths(model) == [7, 8]


@pytest.mark.parametrize('divisor', ['8', 0, -1, 5, 32, None, 2.0])
def test_a_wrong_divisor(model, divisor):
    with pytest.raises(CompressionError, match=r'divisor of unit .backbone\.conv2_\(0, 16\)_16.'):
        mutator({SECOND: dict(init_args=dict(divisor=divisor))}).prepare_from_supernet(model)


def test_a_divisor_for_all_units(model):
    mutator(default_args=dict(divisor=4)).prepare_from_supernet(model, 0.7)
    assert widths(model) == [4, 8]


def test_an_argument_that_no_unit_has(model):
    with pytest.raises(CompressionError, match='divisr'):
        mutator({SECOND: dict(init_args=dict(divisr=8))}).prepare_from_supernet(model)


def test_a_unit_that_the_method_cannot_handle_is_left_alone(model, monkeypatch):
    monkeypatch.setattr(PlainUnit, 'refused', ('backbone.conv1',))
    found = mutator()
    found.prepare_from_supernet(model, 0.5)
    assert list(found.units) == [SECOND]
    assert widths(model) == [8, 8]


def test_files_may_list_units_that_the_method_refuses(model, tmp_path, monkeypatch):
    monkeypatch.setattr(PlainUnit, 'refused', ('backbone.conv1',))
    file = tmp_path / 'ratios.json'
    file.write_text(json.dumps({FIRST: 1.0, SECOND: 0.5}))
    found = mutator()
    found.prepare_from_supernet(copy.deepcopy(model), file)
    assert found.choice_template == {SECOND: 0.5}
    with pytest.raises(CompressionError, match=r'conv1_.* has to keep all channels: refused'):
        mutator().prepare_from_supernet(model, {FIRST: 0.5, SECOND: 0.5})


def test_nothing_to_compress(model, monkeypatch):
    monkeypatch.setattr(PlainUnit, 'refused', ('backbone.conv1', 'backbone.conv2'))
    with pytest.raises(CompressionError, match='no channel unit of TinyNet can be compressed by'):
        mutator().prepare_from_supernet(model)


def test_a_misspelt_unit_is_told_with_the_nearest(model):
    with pytest.raises(CompressionError) as error:
        mutator({'backbone.conv1_(0, 8)_9': dict(choice=0.5)}).prepare_from_supernet(model)
    assert 'is no channel unit; the nearest names are' in str(error.value)
    assert repr(FIRST) in str(error.value)


def test_a_unit_that_was_turned_down_is_told_with_the_reason(tiny_cfg):
    model = MODELS.build(tiny_cfg)
    model.head = torch.nn.Flatten()
    with pytest.raises(CompressionError, match='cannot be used: narrowing it changes the shape'):
        mutator({SECOND: dict(choice=0.5)}).prepare_from_supernet(model)


def edit_name(unit):
    unit['channels']['input_related'][0]['name'] = 'backbone.layer9'


def edit_range(unit):
    unit['channels']['output_related'][0]['end'] = 99


def edit_start(unit):
    unit['channels']['output_related'][0]['start'] = -2


def edit_type(unit):
    unit['channels']['input_related'][0]['start'] = 'a'


def edit_activation(unit):
    unit['channels']['input_related'][0]['name'] = 'backbone.relu'


def edit_count(unit):
    unit['init_args']['num_channels'] = 4


def edit_zero(unit):
    unit['init_args']['num_channels'] = 0


def edit_text(unit):
    unit['init_args']['num_channels'] = '8'


def edit_outputs(unit):
    unit['channels']['output_related'] = []


def edit_side(unit):
    del unit['channels']['output_related']


def edit_args(unit):
    del unit['init_args']


def edit_channels(unit):
    unit['channels'] = None


EDITS = [
    (edit_name, "names the layer 'backbone.layer9'"),
    (edit_activation, "names the layer 'backbone.relu'"),
    (edit_range, 'takes channels 0 to 99'),
    (edit_start, 'takes channels -2 to'),
    (edit_type, 'takes channels a to'),
    (edit_count, 'takes channels 0 to 8'),
    (edit_zero, 'num_channels'),
    (edit_text, 'num_channels'),
    (edit_outputs, 'no output_related'),
    (edit_side, "lacks 'output_related'"),
    (edit_args, "lacks 'init_args'"),
    (edit_channels, 'mmcompress units'),
]


@pytest.mark.parametrize(('edit', 'says'), EDITS)
def test_files_that_were_edited_wrongly(model, template, edit, says):
    units = template['channel_unit_cfg']['units']
    edit(units[FIRST])
    with pytest.raises(CompressionError) as error:
        mutator(units).prepare_from_supernet(model)
    assert says in str(error.value)
    assert repr(FIRST) in str(error.value)


def test_the_file_of_another_model(classifier_cfg, template):
    other = MODELS.build(classifier_cfg())
    with pytest.raises(CompressionError) as error:
        PlainMutator(template['channel_unit_cfg']).prepare_from_supernet(other)
    assert 'Was the file written for another model?' in str(error.value)


@pytest.mark.parametrize('units', [{FIRST: 0.5}, {FIRST: None}, {FIRST: [1]}])
def test_units_are_dicts(units):
    with pytest.raises(CompressionError, match='has to be a dict with init_args'):
        mutator(units)


def test_units_that_are_no_dict_or_file(tmp_path):
    with pytest.raises(CompressionError, match='there is no file'):
        mutator('missing.json')
    with pytest.raises(CompressionError, match='there is no file'):
        PlainMutator('missing.json')
    with pytest.raises(CompressionError, match='units'):
        mutator([FIRST])
