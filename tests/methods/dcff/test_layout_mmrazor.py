"""Checkpoints of MMRazor's DCFF, written by the real package."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmcompress.core.errors import CompressionError

pytest.importorskip('mmrazor')

NET = dict(type='mmengine.TinyNet', width=8)
RATIOS = {'backbone.conv1_(0, 8)_8': 0.5, 'backbone.conv2_(0, 16)_16': 0.25}


@pytest.fixture(scope='module')
def razor():
    """MMRazor's algorithm with proxies."""
    import mmrazor.models  # noqa: F401
    from mmrazor.registry import MODELS

    theirs = MODELS.module_dict
    torch.manual_seed(0)
    parser = dict(type='ChannelAnalyzer', demo_input=(1, 3, 8, 8), tracer_type='FxTracer')
    with DefaultScope.overwrite_default_scope('mmrazor'):
        model = theirs['DCFF'](
            architecture=dict(NET),
            mutator_cfg=dict(
                type=theirs['DCFFChannelMutator'],
                channel_unit_cfg=theirs['DCFFChannelUnit'],
                parse_cfg=parser,
            ),
        )
        model.mutator.set_choices(RATIOS)
        model.mutator.calc_information(0.5)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.normal_(norm.running_mean)
            nn.init.normal_(norm.bias)
    return model.eval()


@pytest.fixture
def words(tmp_path):
    """The words for a config of ours."""
    path = tmp_path / 'config.py'
    model = dict(type='mmcompress.DCFF', architecture=NET, target_pruning_ratio=RATIOS)
    Config(dict(model=model, default_scope='mmengine')).dump(path)
    return ['--config', str(path)]


@pytest.fixture
def static(razor):
    from mmrazor.structures import export_fix_subnet

    with DefaultScope.overwrite_default_scope('mmrazor'):
        return export_fix_subnet(razor, export_subnet_mode='mutator', slice_weight=True)


def test_a_compact_network(runs, static, words):
    subnet, network = static
    source = runs.save(dict(state_dict=network.state_dict()))
    (runs.folder / 'fix_subnet.json').write_text(json.dumps(subnet))
    result = runs.run('mmrazor', source, words, 'export')
    assert result['form'] == 'compact'
    assert any(row['how'].startswith('left out: a mask') for row in result['keys'])
    images = torch.randn(2, 3, 8, 8)
    expected = network.eval()(images)
    torch.testing.assert_close(runs.ours('export').float()(images), expected)


def test_its_widths_are_those_of_the_config(runs, static, words):
    subnet, network = static
    source = runs.save(dict(state_dict=network.state_dict()))
    units = subnet['channel_unit_cfg']['units']
    units['backbone.conv1_(0, 8)_8']['choice'] = 6
    units['backbone.conv1_(0, 8)_8']['init_args']['choice_mode'] = 'number'
    (runs.folder / 'fix_subnet.json').write_text(json.dumps(subnet))
    with pytest.raises(CompressionError, match=r"6 of 8 .*'backbone.conv1_\(0, 8\)_8'.* 4;.*0.75"):
        runs.run('mmrazor', source, words, 'export')


def test_a_training(runs, razor, words):
    source = runs.save(dict(state_dict=razor.state_dict(), meta=dict(epoch=3)))
    result = runs.run('mmrazor', source, words)
    assert any('no proxies' in note for note in result['notes'])
    ours, theirs = runs.ours().architecture.float(), razor.architecture
    filters = theirs.backbone.conv2.weight
    assert torch.equal(ours.backbone.conv2.weight, filters[:, :4])
    assert torch.equal(ours.backbone.bn2.running_mean, theirs.backbone.bn2.running_mean[:4])
    assert torch.equal(ours.head.weight, theirs.head.weight[:, :4])
