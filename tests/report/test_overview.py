"""report/overview.py: intervals, Pareto fronts and the figures over all runs."""

import math
import random

import pytest

from mmcompress.report.overview import (
    curves,
    interval,
    loss_parts,
    pareto_front,
    trade_offs,
    wilson,
)


def beaten(point, others, less):
    """Literally: another one is no worse in both, and better in one."""
    return any(
        o[0] <= point[0]
        and (o[1] <= point[1] if less else o[1] >= point[1])
        and o != point
        for o in others
    )  # fmt: skip


@pytest.mark.parametrize('less', [False, True])
def test_the_front(less):
    draw = random.Random(0)
    for _ in range(50):
        points = [(draw.randint(0, 9), draw.randint(0, 9)) for _ in range(12)]
        points = list(dict.fromkeys(points))
        front = {points[i] for i in pareto_front(points, less)}
        assert front == {p for p in points if not beaten(p, points, less)}


def test_equal_points_are_on_the_front_once():
    assert pareto_front([(1, 5), (1, 5), (0, 1)]) == [2, 0]


@pytest.mark.parametrize('percent', [0, 10, 50, 99, 100])
def test_an_interval_holds_what_could_have_been_drawn(percent):
    """Its ends are the shares from which this one is 1.96 standard deviations away."""
    low, high = wilson(percent, 400)
    assert 0 <= low <= percent <= high <= 100
    for end in (low, high):
        if end not in (percent, 0, 100):
            share = end / 100
            spread = math.sqrt(share * (1 - share) / 400)
            assert abs(share - percent / 100) / spread == pytest.approx(1.96, rel=1e-6)


def test_only_shares_of_images_have_an_interval():
    assert interval('accuracy/top1', 50.0, 100) == wilson(50.0, 100)
    for metric, images in (('accuracy/top1', None), ('coco/bbox_mAP', 100), ('mIoU', 100)):
        assert interval(metric, 50.0, images) is None


def run(name, value, macs, ends=None, trained=True):
    history = dict(
        by_epoch=True,
        losses=dict(loss=dict(x=[1, 2], y=[1.0, 0.5])),
        metrics=dict(top1=dict(x=[1], y=[value])),
    )
    return dict(
        name=name,
        history=history if trained else None,
        macs=macs,
        metric=dict(name='top1', value=value, interval=ends) if trained else None,
    )


def test_figures_over_all_runs():
    runs = [
        run('dense', None, 9_000_000, trained=False),
        run('a', 90.0, 4_000_000, (88.0, 92.0)),
        run('b', 80.0, 8_000_000),
    ]
    loss, metric = curves(runs, 'top1')
    assert [(s.name, s.style) for s in loss.series] == [('a', 1), ('b', 2)]
    assert metric.x == 'epoch'
    (macs,) = trade_offs(runs, 'top1')
    assert (macs.front.x, macs.front.y) == ([4.0], [90.0])
    first = macs.series[0].__dict__
    assert first == dict(name='a', x=[4.0], y=[90.0], low=[88.0], high=[92.0], style=1)
    assert 'series' in macs.as_dict()
    assert 'low' not in macs.as_dict()['series'][1]


def test_a_training_that_diverged_is_not_compared():
    runs = [run('a', 90.0, 4), run('b', math.nan, 1), run('c', 80.0, 3)]
    (macs,) = trade_offs(runs, 'top1')
    assert [series.name for series in macs.series] == ['a', 'c']


def test_parts_of_a_loss():
    plain = run('a', 90.0, 4)
    assert loss_parts(plain) == []
    plain['history']['losses']['loss_extra'] = dict(x=[1, 2], y=[0.3, 0.2])
    (figure,) = loss_parts(plain)
    assert [series.name for series in figure.series] == ['loss_extra']
    assert loss_parts(run('a', 90.0, 4, trained=False)) == []


def test_one_run_has_nothing_to_trade_off():
    assert trade_offs([run('a', 90.0, 4)], 'top1') == []
    nothing = [run('a', 90.0, 4, trained=False)] * 2
    assert curves(nothing, None) == trade_offs(nothing, None) == []
