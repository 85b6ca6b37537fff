"""compat/mmrazor/dcff.py: arguments of MMRazor's DCFF as those of ours."""

import pytest

from mmcompress.compat.mmrazor import dcff

MUTATOR = dict(
    type='DCFFChannelMutator',
    channel_unit_cfg=dict(type='DCFFChannelUnit', default_args=dict(choice_mode='ratio')),
    parse_cfg=dict(
        type='ChannelAnalyzer', demo_input=(1, 3, 224, 224), tracer_type='BackwardTracer'
    ),
)
OURS = dict(
    type='DCFFMutator',
    channel_unit_cfg=dict(type='DCFFUnit', default_args={}),
    parse_cfg=dict(input_shape=(1, 3, 224, 224)),
)


def test_a_published_config():
    given = dict(
        architecture=dict(type='X'),
        mutator_cfg=MUTATOR,
        data_preprocessor=None,
        target_pruning_ratio={'a': 0.5},
        step_freq=200,
        linear_schedule=False,
    )
    assert dcff.algorithm(given) == dict(
        architecture=dict(type='X'),
        mutator_cfg=OURS,
        data_preprocessor=None,
        target_pruning_ratio={'a': 0.5},
        fuse_interval=200,
        by_epoch=None,
    )
    assert given['mutator_cfg'] is MUTATOR


def test_defaults_are_mmrazor_s():
    found = dcff.algorithm(dict(architecture=1))
    assert found == dict(
        architecture=1, mutator_cfg=dict(type='DCFFMutator'), fuse_interval=1, by_epoch=None
    )


@pytest.mark.parametrize('other', [{}, dict(step_freq=0), dict(step_freq=-1)])
def test_a_number_of_fuse_steps(other):
    found = dcff.algorithm(dict(architecture=1, prune_times=10, linear_schedule=False, **other))
    assert found == dict(architecture=1, mutator_cfg=dict(type='DCFFMutator'), fuse_times=10)


def test_one_of_the_two_says_when_filters_are_fused():
    with pytest.raises(ValueError, match='prune_times is 10 and step_freq is 2'):
        dcff.algorithm(dict(architecture=1, prune_times=10, step_freq=2))


def test_our_own_arguments_pass():
    found = dcff.algorithm(dict(architecture=1, fuse_interval=3, by_epoch=False))
    assert (found['fuse_interval'], found['by_epoch']) == (3, False)


@pytest.mark.parametrize(
    ('key', 'value'),
    [('linear_schedule', True), ('is_deployed', True), ('fix_subnet', 'x')],
)
def test_what_has_no_counterpart_is_an_error(key, value):
    with pytest.raises(ValueError, match=f'{key} is {value!r}'):
        dcff.algorithm({'architecture': 1, key: value})


@pytest.mark.parametrize(
    ('theirs', 'ours'),
    [
        (dict(type='Config'), {}),
        (dict(type='ChannelAnalyzer'), {}),
        (
            dict(type='ChannelAnalyzer', demo_input=dict(type='D', input_shape=[1, 3, 8, 8])),
            dict(input_shape=(1, 3, 8, 8)),
        ),
        (dict(type='BackwardTracer', loss_calculator=dict(type='ImageClassifierPseudoLoss')), {}),
        (dict(type='mmrazor.ChannelAnalyzer', exclude=['neck']), dict(exclude=['neck'])),
        (dict(type='DependencyAnalyzer', include=['x']), None),
        (dict(include=['x']), None),
    ],
)
def test_analyzers(theirs, ours):
    found = dcff.mutator(dict(type='DCFFChannelMutator', parse_cfg=theirs))['parse_cfg']
    assert found == (theirs if ours is None else ours)


def test_predefined_units_are_an_error():
    with pytest.raises(ValueError, match=r"parse_cfg.type is 'Predefined'"):
        dcff.mutator(dict(type='DCFFChannelMutator', parse_cfg=dict(type='Predefined')))


def test_the_path_of_a_unit_file_stays():
    found = dcff.mutator(dict(type='mmrazor.DCFFChannelMutator', channel_unit_cfg='units.json'))
    assert found == dict(type='DCFFMutator', channel_unit_cfg='units.json')


def test_a_head_of_the_final_width_gets_the_dense_one():
    ratios = {'backbone.a_(0, 64)_64': 0.5, 'backbone.b_(0, 2048)_2048': 0.9}
    architecture = dict(backbone=1, head=dict(in_channels=1843, out_channels=17))
    given = dict(architecture=architecture, target_pruning_ratio=ratios)
    found = dcff.algorithm(given)['architecture']
    assert found == dict(backbone=1, head=dict(in_channels=2048, out_channels=17))
    assert architecture['head']['in_channels'] == 1843


@pytest.mark.parametrize(
    ('width', 'ratios'),
    [
        (2048, {'backbone.b_(0, 2048)_2048': 0.9}),
        (1843, {'backbone.b_(0, 2048)_2048': 0.8}),
        (1843, 0.9),
        (1843, None),
        (32, {'backbone.a_(0, 64)_64': 0.5, 'backbone.b_(0, 2048)_2048': 0.9}),
    ],
)
def test_other_heads_stay(width, ratios):
    architecture = dict(head=dict(in_channels=width))
    given = dict(architecture=architecture, target_pruning_ratio=ratios)
    assert dcff.algorithm(given)['architecture'] is architecture


def test_subnets():
    assert dcff.subnet(MUTATOR) == dict(type='DCFF', mutator_cfg=OURS)
    assert dcff.subnet(dict(layers={})) is None
    assert dcff.subnet(dict(MUTATOR, type='OneShotChannelMutator')) is None
    assert dcff.subnet(None) is None
