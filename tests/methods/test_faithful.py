"""``faithful=True``: every departure of a method is the authors' way, unless the config says it."""

import pytest
from mmengine.registry import MODELS

from mmcompress.core import CompressionError
from mmcompress.methods.dcff import FusedConv2d


@pytest.fixture
def build(classifier_cfg):
    def made(method, mutator=None, **kwargs):
        kwargs.setdefault('target_pruning_ratio', 0.5)
        if mutator is not None:
            kwargs['mutator_cfg'] = dict(type=f'{method}Mutator', **mutator)
        # With one block in a stage there is none to share a basis with.
        depth = 14 if method == 'SharedBasis' else 8
        architecture = classifier_cfg(depth, shortcut='projection')
        return MODELS.build(dict(type=f'mmcompress.{method}', architecture=architecture, **kwargs))

    return made


def units_of(model):
    return list(model.mutator.units.values())


def unit_args(key, **args):
    return {key: dict(default_args=args)}


def test_dcff(build):
    shortcut = 'backbone.layer2.0.shortcut.0'
    for faithful in (False, True):
        model = build('DCFF', target_pruning_ratio=1.0, faithful=faithful)
        assert {unit.fuse_all for unit in units_of(model)} == {faithful}
        op = model.architecture.get_submodule(shortcut)
        assert isinstance(op, FusedConv2d) != faithful
    mutator = unit_args('channel_unit_cfg', fuse_all=False, divisor=8)
    model = build('DCFF', mutator, faithful=True)
    assert not any(unit.fuse_all for unit in units_of(model))
    assert not isinstance(model.architecture.get_submodule(shortcut), FusedConv2d)
    assert all(unit.width % 8 == 0 for unit in units_of(model))


def test_fcf(build):
    ours, theirs = (build('FCF', faithful=value) for value in (False, True))
    found = [
        (m.mutator.scale, m.mutator.cut_inputs, m.mutator.threshold, m.rounding)
        for m in (ours, theirs)
    ]
    assert found == [
        ('output', False, 'inclusive', 'exact'),
        ('weight', True, 'exclusive', 'threshold'),
    ]
    mixed = build('FCF', dict(scale='output'), faithful=True, rounding='exact')
    assert (mixed.mutator.scale, mixed.mutator.cut_inputs, mixed.rounding) == (
        'output', True, 'exact',
    )  # fmt: skip


def test_filter_basis(build):
    for faithful, starts in ((False, ('fan_out', 'fan_out')), (True, ('uniform', 'fan_in'))):
        for unit in units_of(build('FilterBasis', faithful=faithful)):
            settings = unit.settings
            assert (settings['basis_start'], settings['coefficient_start']) == starts
    mutator = unit_args('filter_unit_cfg', basis_start='torch')
    [unit, *_] = units_of(build('FilterBasis', mutator, faithful=True))
    assert unit.settings['basis_start'] == 'torch'
    assert unit.settings['coefficient_start'] == 'fan_in'


@pytest.mark.parametrize('by_position', [False, True])
def test_shared_basis(build, by_position):
    """Two bases of the same blocks are taken together, where there are two."""
    stage = dict(rule='stage', skip_first_block=True, by_position=by_position)
    mutator = dict(parse_cfg=stage)
    assert build('SharedBasis', mutator).orthogonality_terms['unique'] is False
    terms = build('SharedBasis', mutator, faithful=True).orthogonality_terms
    assert terms == dict(unique=True, joint=by_position, borrow=False, as_one_group=False)
    own = dict(unique=False)
    terms = build('SharedBasis', mutator, faithful=True, orthogonality_terms=own)
    assert terms.orthogonality_terms['unique'] is False
    assert terms.orthogonality_terms['joint'] is by_position


def test_linear_conv(build):
    def settings(model):
        [found] = {(u.settings.across_groups, u.settings.start) for u in units_of(model)}
        return found

    assert settings(build('LinearConv')) == (False, 'scaled')
    model = build('LinearConv', faithful=True)
    assert settings(model) == (True, 'uniform')
    assert model.count_evaluation is False  # of sparse combinations alone
    # A dense network to start from leaves nothing to random numbers.
    assert settings(build('LinearConv', faithful=True, init='qr')) == (True, 'scaled')
    sparse = unit_args('filter_unit_cfg', variant='sparse', target_sparsity=0.5)
    for faithful, given, expected in (
        (False, {}, False),
        (True, {}, True),
        (True, dict(count_evaluation=False), False),
        (False, dict(count_evaluation=True), True),
    ):
        model = build('LinearConv', sparse, faithful=faithful, **given)
        assert model.count_evaluation is expected
        assert hasattr(model, 'passes') == expected


@pytest.mark.parametrize('value', [1, 'yes', None])
def test_wrong_value(build, value):
    with pytest.raises(CompressionError, match='^faithful is .* True or False') as raised:
        build('DCFF', faithful=value)
    assert repr(value) in str(raised.value)


def test_a_file_in_the_place_of_a_dict(build):
    with pytest.raises(CompressionError, match=r"mutator_cfg.channel_unit_cfg is 'units.json'"):
        build('DCFF', dict(channel_unit_cfg='units.json'), faithful=True)


@pytest.mark.parametrize('value', ['round', 0.1, True])
def test_wrong_rounding(build, value):
    with pytest.raises(CompressionError, match='^rounding is .* exact, threshold') as raised:
        build('FCF', rounding=value)
    assert repr(value) in str(raised.value)
