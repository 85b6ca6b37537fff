"""latency/search.py, channel_units.py, steps.py, layers.py: with a clock that is made up."""

import copy

import pytest
import torch
from torch import nn

from mmcompress.core import CompressionError, DependencyAnalyzer
from mmcompress.core.base.budget import Budget, step_of
from mmcompress.latency import solve as solving
from mmcompress.latency import time_layers
from mmcompress.latency.layers import layer_times, without_their_time
from mmcompress.latency.search import WITHIN, value_of
from mmcompress.latency.solve import solve_latency
from mmcompress.latency.steps import fast_multiple
from mmcompress.latency.table import TimeTable
from mmcompress.latency.works import works_of

from .made_up import SHAPE, Chain, time_of


class Blocks(nn.Module):
    """A stem and residual blocks."""

    def __init__(self, width=64, inner=64, blocks=3):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, inner, 3, padding=1), nn.ReLU(),
                nn.Conv2d(inner, width, 3, padding=1),
            )
            for _ in range(blocks)
        )  # fmt: skip
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, x):
        x = self.stem(x).relu()
        for block in self.blocks:
            x = (x + block(x)).relu()
        return self.head(x)


def units_of(model):
    return DependencyAnalyzer(input_shape=(1, *SHAPE)).analyze(model).units


def solved(model, **budget):
    budget = Budget.from_config(dict(dict(runtime='torch', input_shape=SHAPE), **budget))
    return solve_latency(model, units_of(model), budget)


@pytest.mark.parametrize('kind', [Blocks, Chain])
@pytest.mark.parametrize('share', [0.85, 0.6, 0.45])
def test_what_is_measured_is_within_the_budget(clock, kind, share):
    model = kind()
    before = copy.deepcopy(model.state_dict())
    found = solved(model, latency=share)
    assert (1 - WITHIN) * share <= found.measured <= share
    assert found.divisor == 16
    for name, unit in units_of(model).items():
        width = round(found.ratios[name] * unit.num_channels)
        assert width % step_of(unit.num_channels, 1, 16) == 0
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    own = {row['layer']: row for row in found.layers}
    assert sum(row['dense_ms'] for row in found.layers) == pytest.approx(
        sum(time_of(work.layer, work.ins, work.outs) * len(work.names)
            for work in works_of(model, units_of(model), SHAPE))
    )  # fmt: skip
    assert all(row['ms'] <= row['dense_ms'] for row in own.values())


def test_where_time_follows_macs_ratios_are_much_the_same(clock):
    found = solved(Blocks(128, 128), latency=0.5)
    assert max(found.ratios.values()) - min(found.ratios.values()) <= 0.125 + 1e-9
    assert value_of(1) == 0
    assert value_of(0.25) - value_of(0.125) > value_of(1) - value_of(0.5)


def test_it_is_asked_once(clock, monkeypatch):
    first = solved(Chain(), latency=0.6)
    many = len(clock)
    monkeypatch.setattr(time_layers, 'time_point', lambda *_: pytest.fail('timed a second time'))
    assert solved(Chain(), latency=0.6) == first
    assert len(clock) == many


def test_solving_draws_nothing_from_the_random_numbers_of_a_training(clock):
    model = Chain()
    torch.manual_seed(3)
    solved(model, latency=0.7)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(3), drawn)


@pytest.mark.parametrize('cost', ['macs', 'params'])
def test_a_second_limit(clock, cost):
    """The network keeps to both; alone, the time would allow for more."""
    alone = solved(Chain(), latency=0.7)
    share = alone.reached[cost] / alone.dense[cost]
    limit = round(0.75 * share, 3)
    both = solved(Chain(), latency=0.7, **{cost: limit})
    assert both.reached[cost] <= limit * both.dense[cost]
    assert both.measured <= 0.7
    # And uses up what it may of one of them.
    assert both.reached[cost] >= 0.8 * limit * both.dense[cost]


def test_milliseconds_are_a_budget_too(clock):
    model = Chain()
    share = solved(model, latency=0.6)
    found = solved(model, latency=f'{0.6 * share.dense_ms:.6f} ms')
    assert found.asked == pytest.approx(0.6, 1e-4)
    assert found.measured <= 0.6
    with pytest.raises(CompressionError, match=r'budget.latency is 9000 ms, more than the .* ms'):
        solved(model, latency='9 s')


def test_what_cannot_be_reached_names_the_nearest(clock):
    with pytest.raises(CompressionError, match=r'asks for 0.05 .* nearest .* is 0\.\d{4} \(') as e:
        solved(Chain(), latency=0.05)
    nearest = float(str(e.value).split(' is ')[-1].split()[0])
    least = solved(Chain(), latency=min(nearest * 1.06, 1.0))
    assert least.measured == pytest.approx(nearest, 0.06)
    with pytest.raises(CompressionError, match='within its other limits'):
        solved(Chain(), latency=0.6, macs=0.01)


@pytest.mark.parametrize(
    ('budget', 'message'),
    [
        (dict(latency=0.5, table='none.json'), "'none.json' is no table of times"),
        (dict(latency=0.5, min_ratio=0.8, max_ratio=0.76), 'has no width between min_ratio 0.8'),
        (dict(latency=0.5, max_ratio={'nothing*': 0.5}), r"max_ratio: 'nothing\*' matches no"),
        (dict(latency=0.5, macs=9e12), 'budget.macs is 9e.*, more than the dense|9000G, more'),
    ],
)
def test_mistakes(clock, budget, message):
    with pytest.raises(CompressionError, match=message):
        solved(Chain(), **budget)
    assert not clock


def test_several_machines_would_differ(clock, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '4')
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    with pytest.raises(CompressionError, match='several machines .* --choice -o ratios.json'):
        solved(Chain(), latency=0.5)


def test_a_table_of_another_machine(clock, tmp_path):
    """The same table predicts the same, and no network is timed here."""
    table = TimeTable('torch', 1, tmp_path / 'table.json')
    budget = Budget.from_config(dict(latency=1.0, runtime='torch', input_shape=SHAPE))
    with solving.only_shapes() as shapes:
        solve_latency(Chain(), units_of(Chain()), budget)
    table.measure(shapes)
    found = solved(Chain(), latency=0.6, table=str(tmp_path / 'table.json'))
    assert found.measured is None
    assert 0.55 < found.predicted <= 0.6
    assert not clock


@pytest.mark.parametrize('step', [1, 8, 16, 32])
def test_the_multiples_that_a_runtime_is_fast_at(monkeypatch, step):
    monkeypatch.setattr(
        time_layers, 'time_point', lambda layer, ins, outs, *_: time_of(layer, ins, outs, step)
    )
    model = Blocks(256, 256)
    table = TimeTable('torch', 1)
    assert fast_multiple(table, works_of(model, units_of(model), SHAPE)) == max(step, 4)


def test_units_that_one_layer_joins_by_the_dozen(clock):
    """A dense block: its units get one common ratio, and the budget holds."""

    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 64, 3, padding=1)
            self.layers = nn.ModuleList(
                nn.Conv2d(64 + 64 * index, 64, 3, padding=1) for index in range(7)
            )
            self.head = nn.Conv2d(64 * 8, 4, 1)

        def forward(self, x):
            x = self.stem(x).relu()
            for layer in self.layers:
                x = torch.cat([x, layer(x).relu()], 1)
            return self.head(x)

    found = solved(Dense(), latency=0.6)
    assert 0.57 <= found.measured <= 0.6


def test_layers_whose_macs_fell_without_their_time(clock):
    dense, narrow = Blocks(64, 64, 1), Blocks(64, 64, 1)
    narrow.blocks[0][0] = nn.Conv2d(64, 33, 3, padding=1)
    narrow.blocks[0][2] = nn.Conv2d(33, 64, 3, padding=1)
    rows = layer_times(dense, narrow, SHAPE, TimeTable('torch', 1))
    assert [row['layer'] for row in rows] == ['blocks.0.0', 'blocks.0.2']
    for row in rows:
        assert row['macs'] == pytest.approx(33 / 64)
        assert row['ms'] / row['dense_ms'] == pytest.approx(48 / 64)
    assert without_their_time(rows) == ['blocks.0.0', 'blocks.0.2']
    good = [dict(row, ms=row['dense_ms'] * 33 / 64) for row in rows]
    assert without_their_time(good) == []


def test_a_layer_in_two_parts_is_timed_as_both(clock):
    dense, factored = Blocks(64, 64, 1), Blocks(64, 64, 1)
    factored.blocks[0][0] = nn.Sequential(nn.Conv2d(64, 16, 3, padding=1), nn.Conv2d(16, 64, 1))
    (row,) = layer_times(dense, factored, SHAPE, TimeTable('torch', 1))
    assert (row['layer'], row['dense'], row['kept']) == ('blocks.0.0', [64, 64], [64, 64])
    assert row['macs'] == pytest.approx(16 / 64 + 16 / (64 * 9))
    assert row['ms'] / row['dense_ms'] == pytest.approx(row['macs'])
