"""latency/filter_units.py: sizes and forms of bases within a time, with a clock that is made up."""

import pytest
import torch
from torch import nn

import mmcompress
from mmcompress.core import CompressionError
from mmcompress.core.export.static import to_static
from mmcompress.latency import time_layers
from mmcompress.latency.filter_units import walk
from mmcompress.latency.layers import fastest_forms
from mmcompress.latency.table import TimeTable

from .made_up import SHAPE, Chain, time_of, time_of_network

EXAMPLE = torch.zeros(1, *SHAPE)


def compressed(method, model=None, **budget):
    return mmcompress.compress(
        model or Chain(), method, EXAMPLE, init='kaiming',
        budget=dict(dict(runtime='torch', input_shape=SHAPE), **budget),
    )  # fmt: skip


def test_a_basis_keeps_to_a_budget_of_time(clock):
    algorithm = compressed('filter_basis', latency=0.75)
    found = algorithm.mutator.solution
    assert 0.7 <= found.measured <= 0.75
    assert set(found.forms.values()) == {'factored'}
    # What is exported takes the forms and sizes that were timed.
    static = to_static(algorithm)
    share = time_of_network(static) / time_of_network(Chain())
    assert share == pytest.approx(found.measured, 1e-9)
    assert sum(p.numel() for p in static.parameters()) == found.reached['params']


def test_what_was_found_is_built_again_without_a_clock(clock, monkeypatch):
    first = compressed('filter_basis', latency=0.75)
    monkeypatch.setattr(time_layers, 'time_point', lambda *_: pytest.fail('timed'))
    monkeypatch.setenv('MMCOMPRESS_CACHE', '/nonexistent')
    again = compressed('filter_basis', latency=0.75, found=first.mutator.found)
    assert again.mutator.choice_template == first.mutator.choice_template
    assert again.state_dict().keys() == first.state_dict().keys()
    forms = [a.mutator.static_forms(a.architecture) for a in (first, again)]
    assert forms[0] == forms[1] != {}


def test_what_no_form_makes_faster(clock):
    """Layers of LinearConv are exported as they were: time stays, and no budget of it is met."""
    with pytest.raises(
        CompressionError, match=r'asks for 0.8 .* that can be reached .* is 1\.0000'
    ):
        compressed('linear_conv', latency=0.8)


def test_units_with_a_size_of_their_own(clock):
    with pytest.raises(CompressionError, match=r"'.*' has a size, but budget is to find sizes"):
        mmcompress.compress(
            Chain(), 'filter_basis', EXAMPLE, init='kaiming', budget=dict(latency=0.8),
            mutator_cfg=dict(
                type='FilterBasisMutator',
                filter_unit_cfg=dict(units={'*': dict(init_args=dict(num_filters=8))}),
            ),
        )  # fmt: skip


def test_the_faster_form_is_exported(clock):
    """Large bases are slower than dense layers: these are merged; small ones stay factored."""
    seen = set()
    for ratio in (0.95, 0.3):
        algorithm = mmcompress.compress(
            Chain(), 'filter_basis', EXAMPLE, init='kaiming', target_pruning_ratio=ratio
        )
        forms = fastest_forms(algorithm, SHAPE, TimeTable('torch', 1))
        sizes = algorithm.mutator.shapes_seen(algorithm.architecture, (1, *SHAPE))
        for name, form in forms.items():
            op = algorithm.architecture.get_submodule(name)
            times = {
                one: sum(
                    time_of(layer, *pair)
                    for layer, pair, _ in walk(op.static_layers(one), sizes[name][0][0], False)
                )
                for one in op.forms
            }
            assert times[form] == min(times.values()), (ratio, name, times)
        seen |= set(forms.values())
    assert seen == {'merged', 'factored'}


def test_static_layers_are_walked_as_they_run():
    """Against the shapes that real layers see, parts side by side and a norm among them."""
    conv = dict(type='Conv2d', kernel_size=[3, 3], stride=[2, 2], padding=[1, 1], dilation=[1, 1])
    wide = dict(conv, in_channels=8, out_channels=12, groups=1)
    grouped = dict(conv, in_channels=8, out_channels=4, groups=4)
    last = dict(
        type='Conv2d', kernel_size=[1, 1], stride=[1, 1], padding=[0, 0], dilation=[1, 1],
        groups=1, in_channels=16, out_channels=6,
    )  # fmt: skip
    found = walk([dict(type='SideBySide', layers=[wide, grouped]), last], (2, 8, 9, 7), True)
    images = torch.zeros(2, 8, 9, 7)
    side = [
        nn.Conv2d(8, 12, 3, 2, 1), nn.Conv2d(8, 4, 3, 2, 1, groups=4)
    ]  # fmt: skip
    between = torch.cat([layer(images) for layer in side], 1)
    assert [pair for _, pair, _ in found] == [(8, 12), (8, 4), (16, 6)]
    assert [layer['groups'] for layer, _, _ in found] == [1, 4, 1]
    assert [layer['size'] for layer, _, _ in found] == [[9, 7], [9, 7], list(between.shape[2:])]
    assert [layer['norm'] for layer, _, _ in found] == [False, False, True]
    assert [positions for *_, positions in found] == [20, 20, 20]
    assert all(layer['batch'] == 2 for layer, _, _ in found)
