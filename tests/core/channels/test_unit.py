"""core/unit.py: widths and divisors."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from mmcompress.core import ChannelUnit, CompressionError, UnitConfig
from mmcompress.core.base.conv_op import is_plain_conv
from mmcompress.core.channels.config import ChannelRange
from mmcompress.core.layers.replace import replace_everywhere, replace_module


class Unit(ChannelUnit):
    def prepare(self, architecture):
        return []


def config(num_channels, divisor=1):
    return UnitConfig(
        num_channels,
        divisor,
        [ChannelRange('a', 0, num_channels, True), ChannelRange('b', 0, num_channels, False)],
    )


@pytest.mark.parametrize(
    ('channels', 'keep', 'width'),
    [
        (100, 0.29, 29),  # 28.999999999999996 in floating point
        (100, 0.57, 57),
        (2048, 0.9, 1843),
        (64, 0.65, 41),
        (64, 0.6, 38),
        (10, 0.99, 9),
        (3, 1 / 3, 1),
        (64, 1.0, 64),
        (64, 0.001, 1),
        (1, 0.5, 1),
    ],
)
def test_width_is_rounded_down(channels, keep, width):
    assert Unit(config(channels), keep).width == width


def test_width_for_every_ratio_of_two_digits():
    for channels in (10, 16, 64, 100, 256, 2048):
        for percent in range(1, 101):
            exact = max(1, int(Fraction(percent, 100) * channels))
            assert Unit(config(channels), percent / 100).width == exact


@pytest.mark.parametrize(('keep', 'width'), [(0.9, 48), (0.5, 32), (0.1, 16), (1.0, 64)])
def test_width_is_a_multiple_of_the_divisor(keep, width):
    assert Unit(config(64), keep, divisor=16).width == width


def test_the_divisor_goes_into_the_config():
    unit = Unit(config(64, 4), 0.5, divisor=8)
    assert unit.config.divisor == 8
    assert unit.config.keep(unit.width).tolist() == [8 * g + i for g in range(8) for i in range(4)]
    assert unit.as_dict()['init_args'] == dict(num_channels=64, divisor=8)


@pytest.mark.parametrize('divisor', [0, -2, 1.5, '8', True, None])
def test_a_divisor_is_a_positive_integer(divisor):
    with pytest.raises(CompressionError, match=r"divisor of unit 'a_\(0, 64\)_64' is .*positive"):
        Unit(config(64), divisor=divisor)


@pytest.mark.parametrize(('divisor', 'own'), [(48, 1), (128, 1), (6, 4), (2, 4)])
def test_a_divisor_that_does_not_fit(divisor, own):
    with pytest.raises(CompressionError, match=f'divide 64 and be a multiple of {own}'):
        Unit(config(64, own), divisor=divisor)


def test_as_dict():
    unit = Unit(config(8), 0.5)
    assert unit.name == 'a_(0, 8)_8'
    assert unit.num_channels == 8
    assert unit.as_dict(False, False) == dict(choice=0.5)
    assert set(unit.as_dict(True, False)) == {'init_args', 'choice'}
    assert unit.as_dict(False, True)['channels']['input_related'] == [
        dict(name='b', start=0, end=8, is_output_channel=False)
    ]


def test_what_ops_stand_in_for():
    class Own(nn.Conv2d):
        """A subclass whose forward pass may be another."""

    class Scaled(Own):
        """One with a tensor that is not known."""

        def __init__(self, *args):
            super().__init__(*args)
            self.register_buffer('gamma', torch.ones(8, 1, 1, 1))

    unit = Unit(config(8), 0.5)
    layers = dict(a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(8, 2, 1))
    assert unit.unsupported(nn.ModuleDict(layers)) == ''
    assert unit.unsupported(nn.ModuleDict(dict(layers, a=Own(3, 8, 1)))) == ''
    for other in (Scaled(3, 8, 1), nn.utils.spectral_norm(Own(3, 8, 1)), nn.Conv1d(3, 8, 1)):
        kind = type(other).__name__
        assert unit.unsupported(nn.ModuleDict(dict(layers, a=other))) == (
            f'a is a {kind}, not a plain Conv2d'
        )
    # What hands channels on is nothing to swap.
    assert unit.unsupported(nn.ModuleDict(dict(layers, a=nn.BatchNorm2d(8)))) == ''


def test_replace_module():
    root = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 1)).eval(), nn.ReLU())
    new = nn.Conv2d(1, 2, 1)
    replace_module(root, '0.1', new)
    assert root[0][1] is new
    assert not new.training
    replace_module(root, '1', other := nn.Tanh())
    assert root[1] is other
    assert other.training
    assert root(torch.zeros(1, 1, 1, 1)).shape == (1, 2, 1, 1)


def test_a_layer_in_two_places_stays_one_layer():
    """As the convolutions of heads that all levels share."""
    conv = nn.Conv2d(3, 3, 1)
    root = nn.ModuleList([nn.Sequential(conv, nn.BatchNorm2d(3)) for _ in range(3)])
    new = nn.Identity()
    replace_everywhere(root, '0.0', new)
    assert all(level[0] is new for level in root)
    assert len({id(level[1]) for level in root}) == 3


def test_convolutions_whose_weight_a_hook_makes_are_not_plain():
    assert is_plain_conv(nn.Conv2d(3, 3, 1))
    assert not is_plain_conv(nn.utils.spectral_norm(nn.Conv2d(3, 3, 1)))
    assert not is_plain_conv(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1)))
