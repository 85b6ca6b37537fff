"""methods/dcff/importance.py against the paper's formulas, written out in float64."""

import math
import subprocess
import sys

import pytest
import torch

from mmcompress.methods.dcff.importance import importance, log_proxies, proxies, temperature


def literal(weight, temp):
    """Proxies and importance with loops, as the paper writes them; 0 log 0 counts as 0."""
    rows = weight.double().flatten(1)
    n = len(rows)
    p = torch.zeros(n, n, dtype=torch.float64)
    for j in range(n):
        exponent = torch.tensor(
            [-math.sqrt(float(((rows[j] - rows[k]) ** 2).sum())) / (1 / temp) for k in range(n)],
            dtype=torch.float64,
        )
        p[j] = (exponent - exponent.max()).exp()
        p[j] /= p[j].sum()
    q = p.tolist()
    score = [
        sum(
            q[j][i] * (math.log(q[j][i]) - math.log(q[k][i] + 1e-7))
            for k in range(n)
            for i in range(n)
            if q[j][i] > 0
        )
        for j in range(n)
    ]
    return p, torch.tensor(score, dtype=torch.float64)


def filters(kind):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(12, 3, 3, 3, generator=generator, dtype=torch.float64)
    if kind == 'small':
        weight *= 1e-3
    elif kind == 'duplicates':
        weight[5] = weight[2]
        weight[9] = weight[2]
    elif kind == 'nearly equal':
        weight[5] = weight[2] + 1e-5 * torch.randn(3, 3, 3, generator=generator)
        weight[6] = weight[2] * (1 + 1e-9)
    elif kind == 'far from the origin':
        weight = 100 + 1e-3 * weight
    return weight


KINDS = ['random', 'small', 'duplicates', 'nearly equal', 'far from the origin']


@pytest.mark.parametrize('temp', [1.0, 10.0, 1e3, 1e4])
@pytest.mark.parametrize('kind', KINDS)
def test_closed_form_equals_the_literal_one(kind, temp):
    weight = filters(kind)
    expected_p, expected = literal(weight, temp)
    log_p = log_proxies(weight, temp)
    torch.testing.assert_close(log_p.exp(), expected_p, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(importance(log_p), expected, rtol=1e-5, atol=1e-9)


def test_all_filters_equal():
    log_p = log_proxies(torch.ones(6, 4), 1e4)
    torch.testing.assert_close(log_p.exp(), torch.full((6, 6), 1 / 6, dtype=torch.float64))
    assert importance(log_p).abs().max() < 1e-5


def test_rows_sum_to_one_and_scores_are_finite():
    weight = filters('random').float()
    for temp in (1.0, 1e2, 1e4, 1e8):
        chosen, score, *_ = proxies(weight, temp, 12)
        torch.testing.assert_close(chosen.sum(dim=1), torch.ones(12))
        assert score.isfinite().all()


# At higher temperatures the scores of filters this far apart are equal.
@pytest.mark.parametrize(('kind', 'temp'), [('random', 1.0), ('small', 1e2), ('small', 1e3)])
@pytest.mark.parametrize('keep', [1, 5, 11])
def test_the_most_important_rows_in_their_order(keep, kind, temp):
    weight = filters(kind)
    expected_p, expected = literal(weight, temp)
    assert expected.sort().values.diff().min() > 1e-6
    chosen, score, *_ = proxies(weight, temp, keep)
    assert chosen.shape == (keep, 12)
    best = sorted(sorted(range(12), key=lambda j: -float(expected[j]))[:keep])
    torch.testing.assert_close(chosen, expected_p[best], rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(score, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_results_have_the_type_of_the_weight(dtype):
    chosen, score, *_ = proxies(filters('random').to(dtype), 10.0, 4)
    assert chosen.dtype == score.dtype == dtype


def test_an_outlier_is_important():
    weight = torch.randn(10, 4) * 0.01
    weight[3] += 5
    score = proxies(weight, 1.0, 10).score
    assert score.argmax() == 3


def schedule(step, total):
    """``T(e)`` as in the paper, for totals whose exponential does not overflow."""
    start, end, kappa = 1.0, 1e4, 1.0
    a = 2 * (end - start) * (1 + math.exp(-kappa * total)) / (1 - math.exp(-kappa * total))
    return a / (1 + math.exp(-kappa * step)) + start - a / 2


@pytest.mark.parametrize('total', [1, 2, 10, 90, 300])
def test_temperature_is_the_paper_s(total):
    for step in range(total + 1):
        assert temperature(step, total) == pytest.approx(schedule(step, total), rel=1e-9)


@pytest.mark.parametrize('total', [0.01, 1, 7, 300, 1e4, 1e9])
def test_temperature_starts_at_1_and_ends_at_10000(total):
    assert temperature(0, total) == 1
    assert temperature(total, total) == pytest.approx(1e4, rel=1e-12)
    values = [temperature(total * i / 10, total) for i in range(11)]
    assert values == sorted(values)
    assert all(1 <= value <= 1e4 for value in values)


MEASURE = """
import resource, time, torch
from mmcompress.methods.dcff.importance import proxies
torch.set_num_threads(2)
weight = torch.randn(2048, 512, 1, 1)
proxies(weight[:64], 1.0, 8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for temp in (1.0, 1e4):
    chosen, score, *_ = proxies(weight, temp, 1843)
    assert chosen.shape == (1843, 2048) and score.isfinite().all() and chosen.isfinite().all()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_2048_filters_take_less_than_a_gigabyte():
    result = subprocess.run(
        [sys.executable, '-c', MEASURE], capture_output=True, text=True, timeout=100, check=False
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.split()[-1]) < 1024


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_filters_that_are_not_finite_leave_the_choice_as_it_is(value):
    weight = torch.randn(8, 3, 3, 3)
    weight[0] = value
    before = torch.zeros(8, dtype=torch.bool)
    before[[5, 6]] = True
    assert proxies(weight, 1.0, 2, before).chosen.tolist() == before.tolist()
