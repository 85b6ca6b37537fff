"""The summary figure: something is drawn, in the right proportions, and nothing global changes."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread

from mmcompress.core.errors import CompressionError
from mmcompress.report import summary_plot
from mmcompress.report.plot import THEMES

ROWS = [
    dict(method='dense', top1=98.2, params=800, macs=1000, latency_ms=10.0, latency_iqr_ms=1.0),
    dict(method='dcff', top1=97.4, params=400, macs=500, latency_ms=6.0, latency_iqr_ms=0.4),
    dict(method='basis', top1=98.0, params=200, macs=1500),
]


#: What the light theme draws in.
LIGHT = THEMES['light']


def _count(path, color: str) -> int:
    """Pixels of one colour."""
    image = (imread(path)[..., :3] * 255).round().astype(int)
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(image - rgb).max(axis=-1) <= 2).sum())


def test_draws_bars_in_proportion(tmp_path):
    path = tmp_path / 'new' / 'plot.png'
    summary_plot(ROWS, path, title='Digits')
    image = imread(path)
    assert image.shape[1] > 1000
    # The bars' areas, plus one square each in the legend: 3.0 and 1.75 bars of 100 %.
    macs, params = _count(path, LIGHT.macs), _count(path, LIGHT.params)
    assert macs / params == pytest.approx(3.0 / 1.75, rel=0.05)
    # Twice 100 % and 60 % would be 1.6 bars; and there are dots.
    assert _count(path, LIGHT.latency) > 5000
    assert _count(path, LIGHT.metric) > 500


def test_files_have_bars_of_their_own(tmp_path):
    path = tmp_path / 'plot.png'
    rows = [dict(row, file_bytes=n) for row, n in zip(ROWS, (4000, 1000, 2000), strict=True)]
    summary_plot(rows, path)
    # 1.75 bars of 100 % for the parameters too, and a square each in the legend.
    assert _count(path, LIGHT.file_bytes) == pytest.approx(_count(path, LIGHT.params), rel=0.02)


def test_dark(tmp_path):
    path = tmp_path / 'plot.png'
    summary_plot(ROWS, path, theme='dark')
    dark = THEMES['dark']
    assert _count(path, '#ffffff') == _count(path, LIGHT.latency) == 0
    assert min(_count(path, color) for color in (dark.ground, dark.latency, dark.macs)) > 5000
    with pytest.raises(CompressionError, match="theme is 'blue'.*light, dark"):
        summary_plot(ROWS, tmp_path / 'other.png', theme='blue')


@pytest.mark.parametrize(
    ('missing', 'color'),
    [
        ('top1', LIGHT.metric),
        ('params', LIGHT.params),
        ('macs', LIGHT.macs),
        ('latency_ms', LIGHT.latency),
    ],
)
def test_leaves_out_what_is_missing(tmp_path, missing, color):
    path = tmp_path / 'plot.png'
    summary_plot([{k: v for k, v in row.items() if k != missing} for row in ROWS], path)
    assert _count(path, color) == 0
    assert _count(path, LIGHT.ink) > 100


def test_other_metrics(tmp_path):
    path = tmp_path / 'plot.png'
    summary_plot([dict(method='dense', psnr=32.1), dict(method='basis', psnr=31.9)], path, 'psnr')
    assert _count(path, LIGHT.metric) > 100


def test_same_rows_same_picture_and_no_global_state(tmp_path):
    import sys

    before = dict(mpl.rcParams)
    pyplot = 'matplotlib.pyplot' in sys.modules
    summary_plot(ROWS, tmp_path / 'a.png')
    summary_plot(ROWS, tmp_path / 'b.png')
    assert np.array_equal(imread(tmp_path / 'a.png'), imread(tmp_path / 'b.png'))
    assert dict(mpl.rcParams) == before
    assert ('matplotlib.pyplot' in sys.modules) == pyplot


@pytest.mark.parametrize(
    ('rows', 'message'),
    [([], 'rows is empty'), ([dict(method='dense', psnr=3)], "'top1'.*'method', 'psnr'")],
)
def test_nothing_to_draw(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        summary_plot(rows, tmp_path / 'plot.png')
