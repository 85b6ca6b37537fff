"""Layers and operations that are not what they look like: every method exports what it trained.

What a method can't make smaller stays dense, and the reason is known before training.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from mmcompress.core.errors import CompressionError

from .loops import METHODS, compressed, exported, there_and_back, train

CHANNELS = ('dcff', 'fcf', 'magnitude')
FILTERS = ('filter_basis', 'shared_basis', 'linear_conv')

#: See ``conftest.py``.
REHEARSES = True


def block(i, o, conv=nn.Conv2d):
    return nn.Sequential(conv(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())


class Net(nn.Module):
    """Two blocks, something between them, and a head."""

    def __init__(self, middle, stem=None, width=16):
        super().__init__()
        self.stem = stem or block(3, 16)
        self.middle = middle
        self.last = nn.Sequential(block(width, 16), block(16, 16))
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.last(self.middle(self.stem(x))).mean((2, 3)))


def images(size=16):
    torch.manual_seed(1)
    return torch.randn(4, 3, size, size)


def reasons(algorithm):
    """Why something stays dense, by its name, whoever found out."""
    analysis = getattr(algorithm.mutator, 'analysis', None)
    return {**algorithm.mutator.refused, **(analysis.rejected if analysis else {})}


# Weights


class Double(nn.Module):
    def forward(self, weight):
        return 2 * weight


def parametrized(conv):
    parametrize.register_parametrization(conv, 'weight', Double())
    return conv


class Tied(nn.Sequential):
    def __init__(self):
        super().__init__(block(16, 16), block(16, 16), block(16, 16))
        self[2][0].weight = self[1][0].weight


class ByHand(nn.Module):
    """The weight of a convolution, used without it."""

    def __init__(self):
        super().__init__()
        self.a, self.b = block(16, 16), block(16, 16)

    def forward(self, x):
        return self.b(self.a(x)) * self.a[0].weight.abs().mean() * 20


def made(change):
    middle = nn.Sequential(block(16, 16), block(16, 16))
    middle[1][0] = change(middle[1][0])
    return middle


WEIGHTS = {
    'weight norm': lambda: made(nn.utils.weight_norm),
    'spectral norm': lambda: made(nn.utils.spectral_norm),
    'new spectral norm': lambda: made(parametrizations.spectral_norm),
    'parametrized': lambda: made(parametrized),
    'tied': Tied,
    'by hand': ByHand,
}


@pytest.mark.filterwarnings('ignore:.*weight_norm')
@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('case', WEIGHTS)
def test_weights_that_are_not_only_the_layers_own(case, method):
    algorithm, loaded = there_and_back(Net(WEIGHTS[case]()), method, images())
    why = {name: text for name, text in reasons(algorithm).items() if 'a weight that' in text}
    assert why
    assert all('middle' in f'{name} {text}' for name, text in why.items())
    units = [name for name in algorithm.mutator.units if name.startswith('last')]
    assert units or method == 'shared_basis'
    weights = [m.weight for m in loaded.modules() if isinstance(m, nn.Conv2d)]
    assert all(isinstance(w, torch.Tensor) for w in weights)
    if case == 'tied':
        assert loaded.middle[1][0].weight.shape == loaded.middle[2][0].weight.shape


# Forward passes of one's own


class Padded(nn.Conv2d):
    """Pads to one side."""

    def forward(self, x):
        return super().forward(F.pad(x, [1, 0, 1, 0]))[..., :-1, :-1]


class Standardised(nn.Conv2d):
    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True)
        return self._conv_forward(x, (self.weight - mean) * (variance + 1e-5).rsqrt(), self.bias)


@pytest.mark.parametrize('method', METHODS)
def test_convolutions_that_pad(method):
    net = Net(nn.Sequential(block(16, 16, Padded), block(16, 16, Padded)))
    algorithm, loaded = there_and_back(net, method, images())
    assert type(loaded.middle[0][0]) is Padded
    if method in CHANNELS:
        assert loaded.middle[1][0].weight.shape[:2] == (8, 8)
        assert 'middle.1.0_(0, 16)_16' in algorithm.mutator.units
    else:
        assert 'no plain 2-d' in algorithm.mutator.refused['middle.1.0']


@pytest.mark.parametrize('method', CHANNELS)
def test_convolutions_that_standardise_their_weight(method):
    """Narrow from the start they can be trained; a channel can't be taken from them afterwards."""
    net = Net(nn.Sequential(block(16, 16, Standardised), block(16, 16, Standardised)))
    algorithm, loaded = there_and_back(net, method, images())
    width = loaded.middle[1][0].weight.shape[1]
    assert width == (8 if method == 'dcff' else 16)
    assert ('middle.0.0_(0, 16)_16' in algorithm.mutator.refused) == (method != 'dcff')


# Operations


class Behind(nn.Module):
    """An operation between a norm and the next convolution."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.conv, self.norm = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)

    def forward(self, x):
        return self.function(self.norm(self.conv(x)))


class Residual(Behind):
    def forward(self, x):
        return x + super().forward(x)


NOT_ZERO = {
    'sigmoid': torch.sigmoid,
    'softplus': F.softplus,
    'added': lambda x: x + 0.5,
    'softmax': lambda x: x.softmax(1),
}
MOVES = {
    'flip': lambda x: x.flip(1),
    'roll': lambda x: x.roll(3, 1),
    'sort': lambda x: x.sort(1)[0],
    'cumulated': lambda x: x.cumsum(1),
}
MIXES = {
    'mean taken off': lambda x: x - x.mean(1, keepdim=True),
    'mean multiplied': lambda x: x * x.mean(1, keepdim=True),
}


@pytest.mark.parametrize('method', ['fcf', 'magnitude'])
@pytest.mark.parametrize('case', {**NOT_ZERO, **MOVES, **MIXES})
def test_operations_behind_a_unit(case, method):
    net = Net(Behind({**NOT_ZERO, **MOVES, **MIXES}[case]))
    algorithm, loaded = there_and_back(net, method, images())
    name = 'middle.conv_(0, 16)_16'
    why = algorithm.mutator.refused[name]
    assert 'last.0.0' in why if case != 'mean multiplied' else 'differ' in why
    assert loaded.middle.conv.out_channels == 16
    assert loaded.last[0][0].out_channels == 8


@pytest.mark.parametrize('case', ['sigmoid', 'flip'])
def test_operations_in_a_residual_block(case):
    """FCF puts the channels of one summand back; of what is coupled, magnitude leaves all."""
    function = {**NOT_ZERO, **MOVES}[case]
    x = images()
    algorithm, _ = there_and_back(Net(Residual(function)), 'fcf', x)
    assert 'middle.conv_(0, 16)_16' in algorithm.mutator.units
    algorithm, loaded = there_and_back(Net(Residual(function)), 'magnitude', x)
    assert loaded.middle.conv.out_channels == 16
    assert any('keep zero' in why for why in algorithm.mutator.refused.values())


@pytest.mark.parametrize('case', ['sigmoid', 'flip'])
def test_methods_that_keep_no_silent_channels_need_nothing(case):
    net = Net(Behind({**NOT_ZERO, **MOVES}[case]))
    for method in ('dcff', 'linear_conv'):
        algorithm, _ = there_and_back(net, method, images())
        assert any(name.startswith('middle.conv') for name in algorithm.mutator.units)


# Stems, sizes, budgets


class Patches(nn.Module):
    """Pixels become channels by a view."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(12, 16, 1)

    def forward(self, x):
        n, c, h, w = x.shape
        x = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
        return self.conv(x.reshape(n, 4 * c, h // 2, w // 2))


STEMS = {
    'unshuffle': lambda: nn.Sequential(nn.PixelUnshuffle(2), block(12, 16)),
    'view': Patches,
    'strided': lambda: nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.BatchNorm2d(16)),
}


@pytest.mark.parametrize('stem', STEMS)
@pytest.mark.parametrize('method', METHODS)
def test_stems_that_make_channels_of_pixels(stem, method):
    net = Net(block(16, 16), STEMS[stem]())
    algorithm, _ = there_and_back(net, method, images(24))
    names = ' '.join(algorithm.mutator.units)
    assert 'last' in names or method == 'shared_basis'
    if method in ('dcff', 'magnitude'):
        assert 'stem' in names


class OneSize(Net):
    """Images of one size alone, of which no guess is right."""

    def forward(self, x):
        assert x.shape[2:] == (20, 12)
        return super().forward(x)


def test_the_size_that_a_user_gave_is_rehearsed():
    x = torch.randn(2, 3, 20, 12)
    algorithm, _ = there_and_back(OneSize(Behind(torch.sigmoid)), 'magnitude', x)
    assert 'middle.conv_(0, 16)_16' in algorithm.mutator.refused


def test_a_budget_is_spent_on_what_is_left():
    x, net = images(), Net(Behind(torch.sigmoid))
    options = dict(target_pruning_ratio=None, budget=dict(params=0.6))
    algorithm, loaded = there_and_back(net, 'magnitude', x, **options)
    assert 'middle.conv_(0, 16)_16' in algorithm.mutator.refused
    before, after = (sum(p.numel() for p in m.parameters()) for m in (net, loaded))
    assert 0.5 < after / before <= 0.6


def test_a_choice_is_the_same_whenever_it_is_made():
    x, net = images(), Net(Behind(torch.sigmoid))
    first = train(compressed(net, 'fcf', x), x)
    second = compressed(Net(Behind(torch.sigmoid)), 'fcf', x)
    second.load_state_dict(first.state_dict())
    exported(second.eval(), net, x)


def test_nothing_is_left():
    class Pairs(nn.Conv3d):
        pass

    net = nn.Sequential(Pairs(3, 8, 3), nn.BatchNorm3d(8), nn.ReLU(), Pairs(8, 4, 3))
    with pytest.raises(CompressionError, match=r'0 is a Pairs, not a plain Conv2d'):
        compressed(net, 'dcff', torch.randn(1, 3, 8, 8, 8))
    hidden = nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 16, 3)), nn.Conv2d(16, 4, 3))
    for method in ('fcf', 'linear_conv'):
        with pytest.raises(CompressionError, match='a weight that'):
            compressed(hidden, method, images(), include=['0'])
