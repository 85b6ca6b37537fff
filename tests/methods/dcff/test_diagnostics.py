"""methods/dcff/diagnostics.py: sharpness of proxies and importance of filters."""

import pytest
from mmengine.registry import MODELS
from torch import nn

from mmcompress.methods.dcff import FusedConv2d
from mmcompress.methods.dcff.diagnostics import figures, sharpness


def op(width=3, temp=2.0):
    made = FusedConv2d(nn.Conv2d(4, 6, 3))
    made.set_width(0, 6, width)
    made.fuse(temp)
    return made


def test_sharpness_is_the_mean_of_the_largest_shares():
    made = op(temp=0.5)
    expected = sum(max(row) for row in made.proxies.tolist()) / 3
    assert sharpness(made) == pytest.approx(expected)
    assert 1 / 6 < expected < 0.9


def test_a_high_temperature_is_sharp():
    assert sharpness(op(temp=1e6)) == 1


def test_only_what_is_mixed_counts():
    assert sharpness(op(width=6)) is None
    made = FusedConv2d(nn.Conv2d(4, 6, 3))
    made.set_width(0, 3, 2)  # filters 3 to 6 stay as they are
    made.fuse(0.5)
    assert sharpness(made) == pytest.approx(float(made.proxies[:2, :3].amax(1).mean()))


def test_figures_of_the_layers():
    made = op()
    sharp, important = figures(dict(a=made, b=op(width=6)))
    assert sharp.series[0].x == ['a']
    (curve,) = important.series
    ordered = sorted(made.importance.tolist(), reverse=True)
    assert curve.y == pytest.approx([score / ordered[0] for score in ordered])
    assert curve.x == pytest.approx([(i + 1) / 6 for i in range(6)])
    assert figures(dict(b=op(width=6))) == []


def test_progress_and_diagnostics_of_the_algorithm(tiny_cfg):
    algorithm = MODELS.build(
        dict(type='mmcompress.DCFF', architecture=tiny_cfg, target_pruning_ratio=0.5)
    )
    assert algorithm.progress() == {}
    # Nothing has been scored yet.
    assert [figure.name for figure in algorithm.diagnostics()] == ['sharpness']
    algorithm.fuse(2.0)
    progress = algorithm.progress()
    shares = [sharpness(m) for m in algorithm.modules() if isinstance(m, FusedConv2d)]
    shares = [share for share in shares if share is not None]
    assert progress == dict(temperature=2.0, sharpness=pytest.approx(sum(shares) / len(shares)))
    assert [figure.name for figure in algorithm.diagnostics()] == ['sharpness', 'importance']
