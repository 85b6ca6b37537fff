"""methods/magnitude/schedule.py: when channels go, and how many."""

import pytest
import torch

from mmcompress.methods.magnitude.schedule import due, kept_after, ranked_widths


def test_one_step_is_at_the_beginning():
    assert [due(share, 1, 0.25, 0.5) for share in (0, 0.2, 0.25, 0.9)] == [0, 0, 1, 1]


def test_several_steps_are_evenly_apart():
    times = [0.1, 0.2, 0.3, 0.4, 0.5]
    for i in range(1000):
        share = i / 1000
        assert due(share, 5, 0.1, 0.5) == sum(round(time, 3) <= share for time in times), share


@pytest.mark.parametrize('schedule', ['linear', 'cubic'])
def test_keep_ratios(schedule):
    given = [kept_after(step, 4, 0.3, schedule) for step in range(5)]
    power = 1 if schedule == 'linear' else 3
    # Zhu and Gupta, Eq. 1, with an initial sparsity of 0.
    sparsity = [0.7 + (0 - 0.7) * (1 - step / 4) ** power for step in range(5)]
    assert given == pytest.approx([1 - s for s in sparsity])
    assert given[0] == 1
    assert given[-1] == pytest.approx(0.3)


def test_one_ranking_of_all():
    scores = [torch.tensor([1.0, 9, 8, 7]), torch.tensor([6.0, 2, 3, 0, -1, -2])]
    assert ranked_widths(scores, 0.5, 0.1) == [3, 2]
    assert ranked_widths(scores, 0.3, 0.1) == [3, 1]
    assert ranked_widths(scores, 0.3, 0.5) == [3, 3]
    gone = [scores[0], scores[1].masked_fill(scores[1] < 1, -torch.inf)]
    assert ranked_widths(gone, 0.7, 0.1) == [4, 3]


def test_no_unit_gets_wider_where_rounding_has_left_fewer_than_may_stay():
    alive = torch.tensor([1.0, 1, 0, 0])
    scores = [torch.rand(4).masked_fill(alive == 0, -torch.inf) for _ in range(3)]
    assert ranked_widths(scores, 0.75, 0.1) == [2, 2, 2]
