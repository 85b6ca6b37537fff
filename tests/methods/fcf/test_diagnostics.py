"""methods/fcf/diagnostics.py: the histogram of scalars."""

import numpy as np
import torch
from mmengine.registry import MODELS

from mmcompress.methods.fcf.diagnostics import histogram_figure


def test_the_histogram():
    v = torch.tensor([-5.0, 0.0, 0.02, 0.4, 0.99, 1.0, 7.0])
    figure = histogram_figure([v[:3], v[3:].clone().requires_grad_()], 20, (-0.25, 1.25))
    (series,) = figure.series
    counts, edges = np.histogram(v.clamp(-0.25, 1.25).numpy(), 20, (-0.25, 1.25))
    assert series.y == counts.tolist()
    assert np.allclose(series.x, edges)
    assert sum(series.y) == 7


def test_diagnostics_of_the_algorithm(tiny_cfg):
    algorithm = MODELS.build(
        dict(type='mmcompress.FCF', architecture=tiny_cfg, target_pruning_ratio=0.5)
    )
    (figure,) = algorithm.diagnostics()
    progress = algorithm.progress()
    assert figure.series[0].y == progress['histogram']
    assert (figure.series[0].x[0], figure.series[0].x[-1]) == progress['edges']
