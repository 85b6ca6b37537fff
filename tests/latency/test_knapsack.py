"""latency/knapsack.py: against trying all choices."""

import itertools

import numpy as np
import pytest

from mmcompress.latency.knapsack import STEPS, Cost, choose, elimination_order


def spent(costs, choice):
    """What a choice costs."""
    return sum(float(c.values[tuple(choice[name] for name in c.scope)]) for c in costs)


@pytest.mark.parametrize('seed', range(40))
def test_as_good_as_the_best_of_all_choices(seed):
    draw = np.random.default_rng(seed)
    names = [f'u{index}' for index in range(draw.integers(1, 6))]
    sizes = {name: int(draw.integers(1, 5)) for name in names}
    values = {name: draw.normal(size=size).tolist() for name, size in sizes.items()}
    costs = []
    for _ in range(draw.integers(1, 7)):
        scope = tuple(draw.permutation(names)[: draw.integers(1, min(3, len(names)) + 1)])
        costs.append(Cost(scope, draw.integers(0, 200, [sizes[n] for n in scope]).astype(float)))
    limit = float(draw.integers(50, 1500))
    # Half a step for each cost is what rounding may make of it, once either way.
    safe = limit * (1 - len(costs) / STEPS[0])
    best = {limit: None, safe: None}
    for indices in itertools.product(*map(range, sizes.values())):
        choice = dict(zip(names, indices, strict=True))
        worth = sum(values[name][index] for name, index in choice.items())
        for allowed, worthiest in best.items():
            if spent(costs, choice) <= allowed and (worthiest is None or worth > worthiest):
                best[allowed] = worth
    found = choose(values, costs, limit)
    if found is None:
        assert best[safe] is None
        return
    assert set(found) == set(names)
    assert spent(costs, found) <= limit
    worth = sum(values[name][index] for name, index in found.items())
    assert (best[safe] or worth) - 1e-5 <= worth <= best[limit] + 1e-5


def test_a_chain_of_many_units_keeps_its_tables_small():
    names = [f'u{index}' for index in range(60)]
    values = {name: list(range(12)) for name in names}
    widths = np.arange(1.0, 13)
    costs = [Cost(pair, np.outer(widths, widths)) for pair in itertools.pairwise(names)]
    order, largest = elimination_order(values, costs)
    assert sorted(order) == sorted(names)
    assert largest == 12 * 12
    found = choose(values, costs, 0.5 * 59 * 144)
    used = sum(widths[found[a]] * widths[found[b]] for a, b in itertools.pairwise(names))
    assert 0.97 < used / (0.5 * 59 * 144) <= 1


def test_nothing_fits():
    assert choose(dict(u=[1.0, 2.0]), [Cost(('u',), np.array([3.0, 4.0]))], 2.0) is None


def test_tables_that_are_too_large():
    names = [f'u{index}' for index in range(6)]
    cost = Cost(tuple(names), np.zeros([20] * 6, np.int8))
    with pytest.raises(ValueError, match='too large'):
        choose({name: [0.0] * 20 for name in names}, [cost], 1.0)
