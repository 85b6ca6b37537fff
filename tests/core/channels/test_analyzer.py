"""core/analyzer.py: units of small networks by hand and brute force, and of library models."""

import copy
import json
import random

import numpy as np
import pytest
import torch
from torch import nn

from mmcompress.core import CompressionError, DependencyAnalyzer, UnitConfig
from mmcompress.core.channels.analyzer import log_analysis
from mmcompress.core.channels.config import ChannelRange, narrow_layers, narrow_units
from mmcompress.core.layers.narrow import NarrowError, channels_of
from mmcompress.models import CIFARResNet, PadShortcut


class Net(nn.Module):
    """``backbone`` with named layers, a forward function, and a linear head after pooling."""

    def __init__(self, forward, head=None, **layers):
        super().__init__()
        self.backbone = nn.ModuleDict(layers)
        self.head = head
        self._forward = forward

    def forward(self, x):
        out = self._forward(self.backbone, x)
        if self.head is None:
            return out
        return self.head(out.mean(dim=(2, 3)))


def conv(c_in, c_out, k=3, **kwargs):
    return nn.Conv2d(c_in, c_out, k, padding=k // 2, **kwargs)


def residual():
    return Net(
        lambda b, x: b['c'](torch.relu((y := b['a'](x)) + b['n'](b['b'](y)))),
        nn.Linear(5, 3),
        a=conv(3, 8),
        b=conv(8, 8),
        n=nn.BatchNorm2d(8),
        c=conv(8, 5),
    )


def depthwise():
    return Net(
        lambda b, x: b['c'](b['d_bn'](b['d'](b['n'](b['a'](x))).relu())),
        nn.Linear(6, 3),
        a=conv(3, 8),
        n=nn.BatchNorm2d(8),
        d=conv(8, 8, groups=8),
        d_bn=nn.BatchNorm2d(8),
        c=conv(8, 6, 1),
    )


def grouped():
    return Net(
        lambda b, x: b['c'](b['g'](b['a'](x).relu()).relu()),
        nn.Linear(4, 3),
        a=conv(3, 12),
        g=conv(12, 6, groups=3),
        c=conv(6, 4),
    )


def group_norm():
    return Net(
        lambda b, x: b['c'](b['m'](b['b'](b['n'](b['a'](x)).relu())).relu()),
        nn.Linear(4, 3),
        a=conv(3, 8),
        n=nn.GroupNorm(4, 8),
        b=conv(8, 6),
        m=nn.GroupNorm(6, 6),
        c=conv(6, 4),
    )


def concatenation():
    return Net(
        lambda b, x: b['c'](b['n'](torch.cat([b['a'](x), b['b'](x)], 1)).relu()),
        nn.Linear(4, 3),
        a=conv(3, 6),
        b=conv(3, 4),
        n=nn.BatchNorm2d(10),
        c=conv(10, 4),
    )


def flattened():
    return Net(
        lambda b, x: b['l'](b['n'](b['p'](b['a'](x))).flatten(1)),
        a=conv(3, 4, stride=1),
        p=nn.AdaptiveAvgPool2d((2, 3)),
        n=nn.PReLU(4),
        l=nn.Linear(4 * 2 * 3, 5),
    )


def twice():
    """The same channels twice, one after the other."""
    return Net(
        lambda b, x: b['c'](torch.cat([y := b['p'](b['a'](x)), -y], 1)),
        nn.Linear(4, 3),
        a=conv(3, 6),
        p=nn.PReLU(1),
        c=conv(12, 4),
    )


def transposed():
    return Net(
        lambda b, x: b['c'](b['u'](b['a'](x)).relu()),
        nn.Linear(4, 3),
        a=conv(3, 6),
        u=nn.ConvTranspose2d(6, 5, 2, stride=2),
        c=conv(5, 4),
    )


def dense_block():
    def forward(b, x):
        x = b['a'](x)
        x = torch.cat([x, b['b'](b['bn'](x).relu())], 1)
        x = torch.cat([x, b['c'](b['cn'](x).relu())], 1)
        return b['d'](b['dn'](x))

    return Net(
        forward,
        nn.Linear(6, 3),
        a=conv(3, 6),
        bn=nn.BatchNorm2d(6),
        b=conv(6, 4),
        cn=nn.BatchNorm2d(10),
        c=conv(10, 4),
        dn=nn.BatchNorm2d(14),
        d=conv(14, 6),
    )


def channels(unit):
    """A unit as ``{(layer, start, end, side)}``."""
    return {(c.name, c.start, c.end, 'out' if c.is_output else 'in') for c in unit.channels}


def analyze(model, **kwargs):
    return DependencyAnalyzer(**kwargs).analyze(model)


# What belongs together


def test_a_residual_add_couples_both_convolutions():
    found = analyze(residual())
    assert list(found.units) == ['backbone.a_(0, 8)_8', 'backbone.c_(0, 5)_5']
    assert channels(found.units['backbone.a_(0, 8)_8']) == {
        ('backbone.a', 0, 8, 'out'),
        ('backbone.b', 0, 8, 'in'),
        ('backbone.b', 0, 8, 'out'),
        ('backbone.n', 0, 8, 'in'),
        ('backbone.n', 0, 8, 'out'),
        ('backbone.c', 0, 8, 'in'),
    }
    assert channels(found.units['backbone.c_(0, 5)_5']) == {
        ('backbone.c', 0, 5, 'out'),
        ('head', 0, 5, 'in'),
    }


def test_a_depthwise_convolution_passes_channels_through():
    found = analyze(depthwise())
    assert list(found.units) == ['backbone.a_(0, 8)_8', 'backbone.c_(0, 6)_6']
    unit = found.units['backbone.a_(0, 8)_8']
    names = {name for name, *_ in channels(unit)}
    assert names == {f'backbone.{name}' for name in ('a', 'n', 'd', 'd_bn', 'c')}
    assert unit.divisor == 1


def test_groups_make_a_divisor():
    units = analyze(grouped()).units
    assert {name: unit.divisor for name, unit in units.items()} == {
        'backbone.a_(0, 12)_12': 3,
        'backbone.g_(0, 6)_6': 3,
        'backbone.c_(0, 4)_4': 1,
    }


def test_group_norms_make_a_divisor():
    units = analyze(group_norm()).units
    assert units['backbone.a_(0, 8)_8'].divisor == 4
    assert units['backbone.b_(0, 6)_6'].divisor == 6  # one channel a group: nothing can go


def test_divisors_of_several_layers():
    model = Net(
        lambda b, x: b['g'](b['n'](b['a'](x))),
        nn.Linear(12, 2),
        a=conv(3, 12),
        n=nn.GroupNorm(4, 12),
        g=conv(12, 12, groups=6),
    )
    assert analyze(model).units['backbone.a_(0, 12)_12'].divisor == 12


def test_a_concatenation_gives_ranges():
    units = analyze(concatenation()).units
    assert ('backbone.c', 0, 6, 'in') in channels(units['backbone.a_(0, 6)_6'])
    assert ('backbone.n', 0, 6, 'out') in channels(units['backbone.a_(0, 6)_6'])
    assert ('backbone.c', 6, 10, 'in') in channels(units['backbone.b_(0, 4)_4'])


def cut_net(cut):
    def forward(b, x):
        first, second = cut(b['n'](b['a'](x)))
        return b['b'](first) + b['c'](second.relu())

    return Net(
        forward,
        nn.Linear(4, 3),
        a=conv(3, 8),
        n=nn.BatchNorm2d(8),
        b=conv(3, 4),
        c=conv(5, 4),
    )


def test_a_split_with_sizes_in_the_code_keeps_them():
    found = analyze(cut_net(lambda y: y.split([3, 5], dim=1)))
    assert list(found.units) == ['backbone.b_(0, 4)_4']
    assert 'backbone.c' in {c.name for c in found.units['backbone.b_(0, 4)_4'].producers}
    assert set(found.rejected) == {'backbone.a_(0, 3)_3', 'backbone.a_(3, 8)_5'}
    assert all(found.rejected.values())


@pytest.mark.parametrize(
    'cut', [lambda y: y.tensor_split([3], dim=1), lambda y: (y[:, :3], y[:, 3:])]
)
def test_what_follows_a_cut_is_a_range(cut):
    found = analyze(cut_net(cut))
    assert channels(found.units['backbone.a_(3, 8)_5']) == {
        ('backbone.a', 3, 8, 'out'),
        ('backbone.n', 3, 8, 'in'),
        ('backbone.n', 3, 8, 'out'),
        ('backbone.c', 0, 5, 'in'),
    }
    assert set(found.rejected) == {'backbone.a_(0, 3)_3'}


def test_halves_are_never_narrowed_apart():
    def forward(b, x):
        first, second = b['a'](x).chunk(2, dim=1)
        return b['c'](first * 2 + second)

    found = analyze(Net(forward, nn.Linear(4, 3), a=conv(3, 8), c=conv(4, 4)))
    assert list(found.units) == ['backbone.c_(0, 4)_4']
    assert found.rejected


def test_a_flattened_map_expands():
    unit = analyze(flattened()).units['backbone.a_(0, 4)_4']
    assert ('backbone.l', 0, 24, 'in') in channels(unit)
    consumer = next(c for c in unit.channels if c.name == 'backbone.l')
    indices = consumer.expand(torch.tensor([1, 3]), 4).tolist()
    assert indices == [6, 7, 8, 9, 10, 11, 18, 19, 20, 21, 22, 23]


def test_channels_concatenated_with_themselves():
    unit = analyze(twice()).units['backbone.a_(0, 6)_6']
    assert {('backbone.c', 0, 6, 'in'), ('backbone.c', 6, 12, 'in')} <= channels(unit)


NETS = [
    residual,
    depthwise,
    grouped,
    group_norm,
    concatenation,
    flattened,
    twice,
    transposed,
    dense_block,
    lambda: Net(lambda b, x: b['net'](x)[0], nn.Linear(64, 3), net=CIFARResNet(8)),
    lambda: Net(lambda b, x: b['net'](x)[0], nn.Linear(64, 3), net=CIFARResNet(8, 'projection')),
]


@pytest.mark.parametrize('make', NETS)
def test_every_unit_alone_at_every_width(make):
    """Narrowed, the model computes what the dense one does with the removed channels at zero."""
    model = make().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight)
            nn.init.uniform_(module.running_mean)
    found = analyze(model)
    model = model.double()
    assert found.units
    assert not found.rejected
    has_groups = any(isinstance(m, nn.GroupNorm) for m in model.modules())
    x = torch.randn(2, 3, 16, 12, dtype=torch.float64)
    for unit in found.units.values():
        step = max(unit.divisor, unit.num_channels // 3 // unit.divisor * unit.divisor)
        for width in range(unit.divisor, unit.num_channels, step):
            keep = unit.keep(width)
            gone = torch.ones(unit.num_channels, dtype=torch.bool)
            gone[keep] = False
            gone = gone.nonzero().flatten()
            silenced = copy.deepcopy(model)
            for channel in unit.producers:
                layer = silenced.get_submodule(channel.name)
                if isinstance(layer, PadShortcut):
                    layer.source[channel.expand(gone, unit.num_channels)] = -1
                rows = channel.expand(gone, unit.num_channels)
                with torch.no_grad():
                    for name in ('weight', 'bias', 'running_mean'):
                        tensor = getattr(layer, name, None)
                        if tensor is None or len(tensor) == 1:
                            continue
                        if isinstance(layer, nn.ConvTranspose2d) and name == 'weight':
                            tensor[:, rows] = 0
                        else:
                            tensor[rows] = 0
            thin = copy.deepcopy(model)
            narrow_units(thin, [(unit, width)])
            assert thin(x).shape == model(x).shape
            if not has_groups:  # the statistics of a group see the removed channels
                torch.testing.assert_close(thin(x), silenced(x), rtol=1e-9, atol=1e-9)
            assert sum(p.numel() for p in thin.parameters()) < sum(
                p.numel() for p in model.parameters()
            )


@pytest.mark.parametrize('make', NETS)
def test_all_units_together(make):
    model = make().eval()
    units = list(analyze(model).units.values())
    generator = random.Random(0)
    for _ in range(3):
        widths = [u.divisor * generator.randint(1, u.num_channels // u.divisor) for u in units]
        thin = copy.deepcopy(model)
        narrow_units(thin, zip(units, widths, strict=True))
        x = torch.randn(2, 3, 16, 12)
        assert thin(x).shape == model(x).shape
        for unit, width in zip(units, widths, strict=True):
            assert channels_of(thin.get_submodule(unit.producers[0].name))[1] == width


# What is turned down, and why


class BareConv(nn.Module):
    """A convolution that keeps its weight to itself, as deformable ones do."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.in_channels, self.out_channels = c_in, c_out
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3))

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight, padding=1)


def test_a_layer_with_a_bare_parameter():
    model = Net(
        lambda b, x: b['c'](b['d'](b['b'](b['a'](x)))),
        nn.Linear(4, 3),
        a=conv(3, 8),
        b=conv(8, 6),
        d=BareConv(6, 6),
        c=conv(6, 4),
    )
    found = analyze(model)
    assert list(found.units) == ['backbone.a_(0, 8)_8', 'backbone.c_(0, 4)_4']
    ((name, reason),) = found.rejected.items()
    assert name == 'backbone.b_(0, 6)_6'
    assert 'backbone.d' in reason


def test_a_scale_per_channel_as_a_bare_parameter():
    class Scale(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.gamma = nn.Parameter(torch.ones(1, width, 1, 1))

        def forward(self, x):
            return x * self.gamma

    model = Net(
        lambda b, x: b['c'](b['s'](b['a'](x))),
        nn.Linear(4, 3),
        a=conv(3, 8),
        s=Scale(8),
        c=conv(8, 4),
    )
    found = analyze(model)
    assert 'backbone.s.gamma' in found.rejected['backbone.a_(0, 8)_8']
    assert list(found.units) == ['backbone.c_(0, 4)_4']


def test_outputs_of_the_model_keep_their_width():
    model = Net(lambda b, x: b['b'](b['a'](x)), a=conv(3, 8), b=conv(8, 6))
    found = analyze(model)
    assert list(found.units) == ['backbone.a_(0, 8)_8']
    assert 'shape of the outputs' in found.rejected['backbone.b_(0, 6)_6']


def test_coupled_with_a_layer_that_is_not_included():
    class WithNeck(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.ModuleDict(dict(a=conv(3, 8), c=conv(8, 5)))
            self.neck = conv(3, 8)
            self.head = nn.Linear(5, 2)

        def forward(self, x):
            out = self.backbone['c'](torch.relu(self.backbone['a'](x) + self.neck(x)))
            return self.head(out.mean(dim=(2, 3)))

    model = WithNeck()
    found = analyze(model)
    assert found.rejected == {
        'backbone.a_(0, 8)_8': 'its channels are also those of neck, which is not included'
    }
    assert list(found.units) == ['backbone.c_(0, 5)_5']
    both = analyze(model, include=['backbone', 'neck'])
    assert not both.rejected
    assert ('neck', 0, 8, 'out') in channels(both.units['backbone.a_(0, 8)_8'])


def test_a_group_norm_over_two_units():
    model = concatenation()
    model.backbone['n'] = nn.GroupNorm(2, 10)
    found = analyze(model)
    assert set(found.rejected) == {'backbone.a_(0, 6)_6', 'backbone.b_(0, 4)_4'}
    assert 'part of the grouped layer backbone.n' in found.rejected['backbone.a_(0, 6)_6']


def test_a_grouped_convolution_over_two_units():
    # As wide out as each unit is: a width that matches the wrong side proves nothing.
    model = Net(
        lambda b, x: b['c'](torch.cat([b['a'](x), b['b'](x)], 1)),
        nn.Linear(8, 3),
        a=conv(3, 8),
        b=conv(3, 8),
        c=conv(16, 8, groups=2),
    )
    found = analyze(model)
    assert set(found.rejected) == {'backbone.a_(0, 8)_8', 'backbone.b_(0, 8)_8'}
    assert all('grouped layer backbone.c' in why for why in found.rejected.values())
    assert list(found.units) == ['backbone.c_(0, 8)_8']


def test_a_width_that_the_code_has_written_down():
    model = Net(
        lambda b, x: b['c'](b['b'](b['a'](x)).view(x.shape[0], 8, x.shape[2], x.shape[3])),
        nn.Linear(4, 3),
        a=conv(3, 8),
        b=conv(8, 8),
        c=conv(8, 4),
    )
    found = analyze(model)
    assert set(found.units) == {'backbone.a_(0, 8)_8', 'backbone.c_(0, 4)_4'}
    assert 'narrowing it breaks the forward pass' in found.rejected['backbone.b_(0, 8)_8']


def test_a_channel_shuffle():
    def forward(b, x):
        y = b['a'](x)
        n, c, h, w = y.shape
        return b['c'](y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))

    found = analyze(Net(forward, nn.Linear(4, 3), a=conv(3, 8), c=conv(8, 4)))
    assert list(found.units) == ['backbone.c_(0, 4)_4']


@pytest.mark.parametrize(
    ('shuffle', 'between'), [(nn.PixelShuffle(2), 2), (nn.PixelUnshuffle(2), 32)]
)
def test_a_pixel_shuffle(shuffle, between):
    model = Net(
        lambda b, x: b['c'](shuffle(b['b'](b['a'](x)).relu())),
        nn.Linear(4, 3),
        a=conv(3, 8),
        b=conv(8, 8),
        c=conv(between, 4),
    )
    found = analyze(model)
    assert set(found.units) == {'backbone.a_(0, 8)_8', 'backbone.c_(0, 4)_4'}
    why = 'a pixel shuffle makes pixels of its channels'
    assert found.rejected == {'backbone.b_(0, 8)_8': why}


def test_unreached_layers_are_told():
    model = residual()
    model.backbone['unused'] = conv(3, 4)
    found = analyze(model)
    assert found.unreached == ['backbone.unused']
    assert not any('unused' in name for name in found.units)


def test_a_layer_that_is_used_twice():
    model = Net(
        lambda b, x: b['c'](b['b'](b['b'](b['a'](x)).relu())),
        nn.Linear(4, 3),
        a=conv(3, 8),
        b=conv(8, 8),
        c=conv(8, 4),
    )
    found = analyze(model)
    for name, unit in found.units.items():
        thin = copy.deepcopy(model)
        narrow_units(thin, [(unit, 3)])
        assert thin(torch.randn(1, 3, 8, 8)).shape == (1, 3), name


def test_the_log_names_what_is_left_alone(capsys):
    model = Net(lambda b, x: b['b'](b['a'](x)), a=conv(3, 8), b=conv(8, 6))
    log_analysis(analyze(model))
    printed = ''.join(capsys.readouterr())
    assert 'left alone: backbone.b_(0, 6)_6' in printed or not printed


# Include and exclude


@pytest.mark.parametrize(
    ('kwargs', 'expected'),
    [
        (dict(include='backbone'), ['a', 'c']),
        (dict(include=['backbone.a', 'backbone.b']), ['a']),
        (dict(include='*.c'), ['c']),
        (dict(exclude='backbone.c'), ['a']),
        (dict(exclude=['*.b']), ['c']),
        (dict(include='backbone.[ab]', exclude=['backbone.c']), ['a']),
    ],
    ids=str,
)
def test_patterns_choose_producers(kwargs, expected):
    units = analyze(residual(), **kwargs).units
    assert sorted(unit.producers[0].name.split('.')[1] for unit in units.values()) == expected


def test_a_coupled_producer_that_is_excluded():
    found = analyze(residual(), exclude='backbone.b')
    assert 'backbone.b, which is not included' in found.rejected['backbone.a_(0, 8)_8']


@pytest.mark.parametrize('kwargs', [dict(include='bakbone'), dict(exclude=['backbone.a', 'x.*'])])
def test_a_pattern_that_matches_nothing(kwargs):
    with pytest.raises(CompressionError, match='matches no module of Net; it consists of backbone'):
        analyze(residual(), **kwargs)


def test_no_demo_batch_fits():
    with pytest.raises(CompressionError, match='give `input_shape` a size'):
        analyze(Net(lambda b, x: 1 / 0, a=conv(3, 4)))


def test_the_input_shape_can_be_given():
    seen = []

    def forward(b, x):
        seen.append(tuple(x.shape))
        return b['b'](b['a'](x))

    model = Net(forward, nn.Linear(4, 2), a=conv(5, 4), b=conv(4, 4))
    analyze(model, input_shape=[2, 5, 18, 22])
    assert set(seen) == {(2, 5, 18, 22)}


# The model is left as it is


def snapshot(model):
    return {
        name: (
            module.training,
            {
                key: (type(value).__name__, len(value) if hasattr(value, '__len__') else value)
                for key, value in vars(module).items()
                if not isinstance(value, torch.Tensor)
            },
            [p.requires_grad for p in module.parameters(recurse=False)],
        )
        for name, module in model.named_modules()
    }


@pytest.mark.parametrize('training', [True, False])
def test_the_model_and_the_random_state_are_untouched(training, rng_state):
    def forward(b, x):
        np.random.rand(3)
        random.random()
        torch.rand(3)
        return b['c'](nn.functional.dropout(b['n'](b['a'](x)), 0.5, b.training))

    model = Net(forward, nn.Linear(4, 2), a=conv(3, 8), n=nn.BatchNorm2d(8), c=conv(8, 4)).train(
        training
    )
    model.backbone['n'].eval()
    model.backbone['a'].requires_grad_(False)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    tensors = [id(p) for p in model.parameters()]
    flags, generators = snapshot(model), rng_state()

    assert len(analyze(model).units) == 2
    assert rng_state() == generators
    assert snapshot(model) == flags
    assert [id(p) for p in model.parameters()] == tensors
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    assert all(p.grad is None for p in model.parameters())


def test_two_analyses_agree():
    model = dense_block()
    first, second = analyze(model), analyze(model)
    assert {k: v.as_dict() for k, v in first.units.items()} == {
        k: v.as_dict() for k, v in second.units.items()
    }


def test_inside_no_grad_and_beside_a_failing_model(rng_state):
    with torch.no_grad():
        assert len(analyze(residual()).units) == 2
        assert not torch.is_grad_enabled()
    broken, generators = Net(lambda b, x: 1 / 0, a=conv(3, 4)), rng_state()
    with pytest.raises(CompressionError):
        analyze(broken)
    assert rng_state() == generators


# Unit configs


def test_unit_config_round_trip():
    for unit in analyze(dense_block()).units.values():
        again = UnitConfig.from_dict(json.loads(json.dumps(unit.as_dict())))
        assert again.as_dict() == unit.as_dict()
        assert set(again.channels) == set(unit.channels)
        assert (again.name, again.producers) == (unit.name, unit.producers)


def test_mmrazor_s_files_may_leave_out_ranges():
    config = dict(
        init_args=dict(num_channels=8),
        channels=dict(
            output_related=[dict(name='a', is_output_channel=True)],
            input_related=[dict(name='b', start=2, end=10, is_output_channel=False)],
        ),
    )
    unit = UnitConfig.from_dict(config)
    assert unit.name == 'a_(0, 8)_8'
    assert unit.channels[1] == ChannelRange('b', 2, 10, False)
    assert unit.divisor == 1


def test_keep_takes_evenly_of_each_group():
    unit = UnitConfig(12, 3, [])
    assert unit.keep(6).tolist() == [0, 1, 4, 5, 8, 9]
    assert UnitConfig(5, 1, []).keep(2).tolist() == [0, 1]


def test_narrow_layers_leaves_out_what_is_skipped():
    model = concatenation()
    units = analyze(model).units
    unit = units['backbone.a_(0, 6)_6']
    own = ChannelRange('backbone.a', 0, 6, True)
    narrow_layers(model, [(unit, torch.tensor([1, 4]))], skip=[own])
    assert model.backbone['a'].out_channels == 6
    assert model.backbone['n'].num_features == 6
    assert model.backbone['c'].in_channels == 6


def test_narrowing_to_a_width_that_groups_forbid():
    model = grouped()
    unit = analyze(model).units['backbone.a_(0, 12)_12']
    unit.divisor = 1
    with pytest.raises(NarrowError, match='groups do not divide'):
        narrow_units(model, [(unit, 4)])


# Models of the libraries


def test_resnet50(library_model):
    model = library_model('mmpretrain::resnet/resnet50_8xb32_in1k.py')
    model.train()
    found = analyze(model)
    assert model.training
    assert len(found.units) == 37
    assert not found.rejected
    assert not found.unreached
    expected = {'backbone.conv1_(0, 64)_64'}
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        width = 32 << stage
        expected.add(f'backbone.layer{stage}.0.conv3_(0, {width * 4})_{width * 4}')
        for block in range(blocks):
            for i in (1, 2):
                expected.add(f'backbone.layer{stage}.{block}.conv{i}_(0, {width})_{width}')
    assert set(found.units) == expected
    stream = found.units['backbone.layer4.0.conv3_(0, 2048)_2048']
    assert {c.name for c in stream.producers} >= {
        'backbone.layer4.0.conv3',
        'backbone.layer4.1.conv3',
        'backbone.layer4.2.conv3',
        'backbone.layer4.0.downsample.0',
    }
    assert ('head.fc', 0, 2048, 'in') in channels(stream)


def test_frozen_stages_and_norm_eval(library_model):
    model = library_model(
        'mmpretrain::resnet/resnet18_8xb32_in1k.py',
        backbone__frozen_stages=1,
        backbone__norm_eval=True,
    )
    model.train()
    flags = snapshot(model)
    found = analyze(model)
    assert len(found.units) == 1 + 8 + 3  # the stem shares its channels with the first stage
    assert not found.rejected
    assert snapshot(model) == flags
    assert not model.backbone.conv1.weight.requires_grad
    assert not model.backbone.layer2[0].bn1.training


def test_mobilenet_v2(library_model):
    model = library_model('mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py')
    found = analyze(model)
    assert len(found.units) == 25
    assert not found.rejected
    expansion = found.units['backbone.layer2.0.conv.0.conv_(0, 96)_96']
    names = {name for name, *_ in channels(expansion)}
    assert {'backbone.layer2.0.conv.1.conv', 'backbone.layer2.0.conv.2.conv'} <= names


def test_detector_with_a_neck(library_model):
    model = library_model(
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        backbone__depth=18,
        backbone__init_cfg=None,
        neck__in_channels=[64, 128, 256, 512],
    )
    found = analyze(model)
    assert not found.rejected
    assert all(name.startswith('backbone.') for name in found.units)
    last = found.units['backbone.layer4.0.conv2_(0, 512)_512']
    assert ('neck.lateral_convs.3.conv', 0, 512, 'in') in channels(last)
    assert not any(
        c.is_output and not c.name.startswith('backbone.')
        for unit in found.units.values()
        for c in unit.channels
    )


def test_segmenter_with_sync_bn_and_an_auxiliary_head(library_model):
    model = library_model('mmseg::fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py', pretrained=None)
    assert any(isinstance(m, nn.SyncBatchNorm) for m in model.modules())
    found = analyze(model)
    assert any(isinstance(m, nn.SyncBatchNorm) for m in model.modules())
    assert not found.rejected
    assert not found.unreached
    third = found.units['backbone.layer3.0.conv2_(0, 256)_256']
    assert ('auxiliary_head.convs.0.conv', 0, 256, 'in') in channels(third)
    fourth = found.units['backbone.layer4.0.conv2_(0, 512)_512']
    assert ('decode_head.convs.0.conv', 0, 512, 'in') in channels(fourth)
    assert ('decode_head.conv_cat.conv', 0, 512, 'in') in channels(fourth)


def test_pose_model(library_model):
    model = library_model(
        'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py',
        backbone__depth=18,
        backbone__init_cfg=None,
        head__in_channels=512,
    )
    found = analyze(model)
    assert not found.rejected
    last = found.units['backbone.layer4.0.conv2_(0, 512)_512']
    assert ('head.deconv_layers.0', 0, 512, 'in') in channels(last)


def test_group_norms_on_maps_of_one_pixel():
    """PyTorch refuses a single number in a group: the demo batch is to blame, not the unit."""
    tower = [
        part
        for _ in range(6)
        for part in (nn.Conv2d(32, 32, 3, padding=1), nn.GroupNorm(8, 32), nn.ReLU())
    ]
    model = nn.Sequential(nn.Conv2d(3, 32, 3, stride=64), *tower, nn.Conv2d(32, 4, 1))
    found = DependencyAnalyzer(include='*').analyze(model)
    assert {unit.producers[0].name for unit in found.units.values()} >= {'1', '4', '7', '10', '13'}


def test_an_image_behind_a_shuffle():
    """Torch-Pruning divides by zero; what it can't follow costs nobody else their units."""
    torchvision = pytest.importorskip('torchvision')
    model = torchvision.models.shufflenet_v2_x0_5(weights=None)
    found = DependencyAnalyzer(include=['stage2.0', 'stage2.1']).analyze(model)
    assert set(found.units) == {f'stage2.{block}.branch2.0_(0, 24)_24' for block in (0, 1)}
    assert set(found.rejected) == {
        'stage2.0.branch1.2_(0, 24)_24',
        'stage2.0.branch2.5_(0, 24)_24',
    }
    assert all('followed' in why or 'narrowing' in why for why in found.rejected.values())
