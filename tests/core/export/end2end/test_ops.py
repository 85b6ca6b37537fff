"""Suppression and crops: in PyTorch, in onnxruntime and by the book."""

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip('mmcv.ops')

import onnxruntime

from mmcompress.core.export.end2end.ops import (
    NO_SCORE,
    TRANSLATIONS,
    crop_levels,
    keep_best,
)


def written(module, inputs, dims, path):
    """A module as onnxruntime runs it."""
    torch.onnx.export(
        module.eval(),
        inputs,
        path,
        dynamic_shapes=dims,
        custom_translation_table=TRANSLATIONS,
        opset_version=18,
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    built = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    names = [given.name for given in built.get_inputs()]
    return lambda *inputs: torch.from_numpy(
        built.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})[0]
    )


class Suppression(nn.Module):
    def forward(self, boxes, scores):
        return keep_best(boxes, scores, 0.4, 6)


def overlap(one, other):
    """Intersection over union, in float64."""
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    inside = max(right - left, 0) * max(bottom - top, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return inside / (sum(areas) - inside)


def by_the_book(boxes, scores):
    rows = []
    for some, values in zip(boxes.double().numpy(), scores.double().numpy(), strict=True):
        kept = []
        for index in np.argsort(-values):
            free = all(overlap(some[index], some[k]) <= 0.4 for k in kept)
            if values[index] >= 0 and free and len(kept) < 6:
                kept.append(int(index))
        rows.append(kept + [-1] * (6 - len(kept)))
    return torch.tensor(rows)


def some_boxes(images, count):
    corners = 60 * torch.rand(images, count, 2)
    boxes = torch.cat([corners, corners + 10 + 20 * torch.rand(images, count, 2)], dim=2)
    scores = torch.rand(images, count)
    return boxes, torch.where(scores < 0.2, NO_SCORE, scores)


def test_what_is_kept(tmp_path):
    torch.manual_seed(0)
    free = {0: torch.export.Dim('n'), 1: torch.export.Dim('a')}
    dims = dict(boxes=free, scores=free)
    run = written(Suppression(), some_boxes(2, 20), dims, tmp_path / 'a.onnx')
    for images, count in ((2, 20), (3, 40), (1, 4)):
        boxes, scores = some_boxes(images, count)
        scores[-1] = scores[-1].where(torch.arange(count) < 3, NO_SCORE)  # less than there is room
        expected = by_the_book(boxes, scores)
        assert expected[-1, -1] == -1
        assert torch.equal(keep_best(boxes, scores, 0.4, 6), expected)
        assert torch.equal(run(boxes, scores), expected)
    boxes, scores = some_boxes(2, 20)
    scores.fill_(NO_SCORE)
    assert (run(boxes, scores) == -1).all()
    assert (keep_best(boxes, scores, 0.4, 6) == -1).all()


class Crop(nn.Module):
    def __init__(self, aligned, sampling):
        super().__init__()
        self.rest = ([3, 2], [0.5, 0.25], sampling, aligned)

    def forward(self, fine, coarse, rois, levels):
        return crop_levels([fine, coarse], rois, levels, *self.rest)


@pytest.mark.parametrize(('aligned', 'sampling'), [(True, 0), (False, 2)])
def test_crops_of_levels(tmp_path, aligned, sampling):
    torch.manual_seed(1)

    def inputs(n, levels):
        corners = 20 * torch.rand(len(levels), 2)
        boxes = torch.cat([corners, corners + 1 + 12 * torch.rand(len(levels), 2)], dim=1)
        image = torch.randint(n, (len(levels), 1)).float()
        fine, coarse = torch.randn(n, 3, 16, 16), torch.randn(n, 3, 8, 8)
        return fine, coarse, torch.cat([image, boxes], dim=1), torch.tensor(levels)

    n, r = torch.export.Dim('n'), torch.export.Dim('r')
    dims = dict(fine={0: n}, coarse={0: n}, rois={0: r}, levels={0: r})
    module = Crop(aligned, sampling)
    run = written(module, inputs(2, [0, 1, 1, 0, 1]), dims, tmp_path / 'a.onnx')
    # In any order, and with none at all on a level.
    for levels in ([1, 0, 0, 1, 1, 0, 1], [1, 1, 1], [0]):
        given = inputs(3, levels)
        torch.testing.assert_close(run(*given), module(*given), rtol=1e-4, atol=1e-5)
    # A region of 2 x 2 pixels on a map that rises by 1 for each: means of bilinear values.
    rise = torch.arange(16.0).expand(1, 3, 16, 16)
    given = (rise, rise[..., :8, :8], torch.tensor([[0, 8.0, 8.0, 12.0, 12.0]]), torch.tensor([0]))
    middle = 4 + torch.tensor([0.5, 1.5]) - (0.5 if aligned else 0.0)
    for crops in (module(*given), run(*given)):
        torch.testing.assert_close(crops[0, 0], middle.expand(3, 2), rtol=1e-4, atol=1e-5)
