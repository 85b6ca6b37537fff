"""compat/mmrazor/units.py: unit files of MMRazor in our form."""

import pytest

from mmcompress.compat.mmrazor.units import as_ours, is_step, without_rounding

ARGS = dict(num_channels=64, choice_mode='ratio', divisor=1, min_value=1, min_ratio=0.9)


def entry(name, is_output=False):
    return dict(name=name, start=0, end=64, is_output_channel=is_output)


def test_a_unit_of_mmrazor():
    channels = dict(
        input_related=[entry('bn'), entry('<built-in function add>'), entry('view'), entry('fc')],
        output_related=[entry('conv', True), entry('size', True)],
    )
    found = as_ours({'conv_(0, 64)_64': dict(init_args=ARGS, channels=channels, choice=0.5)})
    assert found == {
        'conv_(0, 64)_64': dict(
            init_args=dict(num_channels=64, divisor=1),
            channels=dict(
                input_related=[entry('bn'), entry('fc')], output_related=[entry('conv', True)]
            ),
            choice=0.5,
        )
    }


def test_a_number_becomes_a_ratio_that_means_it():
    for total in range(1, 200):
        for width in range(1, total + 1):
            args = dict(ARGS, num_channels=total, choice_mode='number')
            ratio = as_ours({'u': dict(init_args=args, choice=width)})['u']['choice']
            assert max(1, int(total * ratio + 1e-6)) == width


@pytest.mark.parametrize('choice', [1, 0.5, 'half'])
def test_ratios_stay(choice):
    assert as_ours({'u': dict(init_args=ARGS, choice=choice)})['u']['choice'] == choice


@pytest.mark.parametrize('unit', [0.5, None, 'x', dict(init_args=3), dict(choice=0.5), {}])
def test_what_is_not_mmrazor_s_is_left_alone(unit):
    assert as_ours({'u': unit}) == {'u': unit}


def test_steps_of_the_forward_pass():
    assert is_step('<built-in function add>')
    assert is_step('view')
    assert not is_step('backbone.view')
    assert not is_step('backbone')
    assert not is_step(None)


def test_rounding_is_left_out():
    assert without_rounding(dict(choice_mode='ratio', divisor=8)) == dict(divisor=8)
    assert without_rounding(None) is None
