"""methods/fcf/widths.py: one threshold on the magnitude of all filters."""

import pytest
import torch

from mmcompress.core.errors import CompressionError
from mmcompress.methods.fcf.widths import magnitude_widths


def test_one_threshold_for_all_layers():
    scores = [torch.arange(1.0, 11), torch.arange(6.0, 16), torch.arange(0.5, 20.5)]
    widths = magnitude_widths(scores, 0.5)
    ranked = sorted(float(s) for layer in scores for s in layer)
    threshold = ranked[20]
    assert widths == [sum(float(s) >= threshold for s in layer) for layer in scores]
    assert sum(widths) == 20


def test_fractions_are_bounded():
    small, middle, large = 0.01 + torch.rand(64) / 100, 1 + torch.rand(20), 9 + torch.rand(35)
    # Half of 119 is 60: all of the large, all of the middle and a few of the small.
    assert magnitude_widths([small, middle, large], 0.5) == [6, 18, 31]
    assert magnitude_widths([small, middle, large], 0.5, low=0.25, high=1.0) == [16, 20, 35]
    assert magnitude_widths([small, middle, large], 1.0) == [57, 18, 31]


def test_at_least_one_filter():
    assert magnitude_widths([torch.ones(1), 2 * torch.ones(3)], 0.1) == [1, 2]
    assert magnitude_widths([torch.ones(5), 2 * torch.ones(50)], 0.2)[0] == 1


@pytest.mark.parametrize('keep_ratio', [0.1, 0.3, 0.335, 0.45, 0.59, 0.7, 0.9])
def test_the_fraction_kept_overall(keep_ratio):
    """Layers of one kind: no bound is met, and the total is right to one filter."""
    generator = torch.Generator().manual_seed(0)
    scores = [torch.rand(997, generator=generator) for _ in range(7)]
    widths = magnitude_widths(scores, keep_ratio, low=0.0, high=1.0)
    assert sum(widths) == round(keep_ratio * 7 * 997)


def test_bounds_are_truncated_as_fractions_of_ten():
    for n in range(2, 1000):
        weak, strong = magnitude_widths([torch.zeros(n), torch.ones(n)], 0.5)
        assert (weak, strong) == (max(n // 10, 1), n * 9 // 10)


@pytest.mark.parametrize('keep_ratio', [0, -0.5, 1.5, float('nan')])
def test_no_ratio(keep_ratio):
    with pytest.raises(CompressionError, match=r'keep ratio is .*above 0 and at most 1'):
        magnitude_widths([torch.rand(4)], keep_ratio)


def literal_fractions(scores, rate):
    """The authors' count: in ascending order, what is above the filter at ``int(n rate)``."""
    values = sorted(float(s) for layer in scores for s in layer)
    threshold = values[int(len(values) * rate)]
    widths = []
    for layer in scores:
        share = sum(float(s) > threshold for s in layer) / len(layer)
        widths.append(int(len(layer) * min(max(share, 0.1), 0.9)))
    return widths


@pytest.mark.parametrize('rate', [0.1, 0.25, 0.4, 0.5])
def test_the_exclusive_threshold_as_the_authors_count(rate):
    """Layers of ResNet-56: one of them keeps one filter less, unless a bound meets it."""
    generator = torch.Generator().manual_seed(0)
    sizes = [16] * 18 + [32] * 18 + [64] * 18
    scores = [(1 + i % 7 / 10) * torch.rand(n, generator=generator) for i, n in enumerate(sizes)]
    found = magnitude_widths(scores, 1 - rate, exclusive=True)
    assert found == literal_fractions(scores, rate)
    ours = magnitude_widths(scores, 1 - rate)
    off = [(one, other) for one, other in zip(ours, found, strict=True) if one != other]
    assert len(off) <= 1
    assert all(one == other + 1 for one, other in off)


def test_of_equal_filters_at_the_threshold_all_go_or_stay():
    scores = [torch.tensor([1.0, 2, 3, 3, 3, 3, 4, 5, 6, 7])]
    assert magnitude_widths(scores, 0.6, exclusive=True) == [4]
    assert magnitude_widths(scores, 0.6) == [8]
    assert magnitude_widths(scores, 1.0, exclusive=True) == [9]
