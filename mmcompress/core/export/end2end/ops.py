"""Two operations that ONNX has and plain torch hasn't: box suppression and aligned crops.

Each is an operator of PyTorch with a result whose size is known beforehand, so that
``torch.export`` can reason about what follows, and its translation to ONNX. mmcv's operators do
the work in PyTorch; this module is imported only where mmdet, and so mmcv, is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import opset18
from torch import Tensor

# By its types, a constant may be of any kind, but most operators take only one: no type checker
# can accept a graph that is written with it.
op: Any = opset18

#: Marks a candidate that is none. Lower than any score, which is a probability.
NO_SCORE = -1.0
#: What scores have to exceed not to be such a mark.
LOWEST = -0.5


@torch.library.custom_op('mmcompress::keep_best', mutates_args=())
def keep_best(boxes: Tensor, scores: Tensor, iou_threshold: float, most: int) -> Tensor:
    """Indices of the boxes of each image that non-maximum suppression keeps, best first.

    Args:
        boxes: Tensor[N, A, 4] of left, top, right and bottom; boxes of different classes don't
            overlap.
        scores: Tensor[N, A]; :data:`NO_SCORE` for boxes that don't count.
        iou_threshold: Of two boxes that overlap more, only the better is kept.
        most: M, how many to keep.

    Returns:
        LongTensor[N, M], filled up with -1.
    """
    from mmcv.ops import nms

    found = boxes.new_full((len(boxes), most), -1, dtype=torch.long)
    for row, some, values in zip(found, boxes, scores, strict=True):
        there = (values > LOWEST).nonzero().squeeze(1)
        kept = nms(some[there], values[there], iou_threshold)[1][:most] if len(there) else there
        row[: len(kept)] = there[kept]
    return found


@keep_best.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, most: int) -> Tensor:
    return boxes.new_empty((boxes.shape[0], most), dtype=torch.long)


@torch.library.custom_op('mmcompress::crop_levels', mutates_args=())
def crop_levels(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    size: Sequence[int],
    scales: Sequence[float],
    sampling: int,
    aligned: bool,
) -> Tensor:
    """Crop each region out of the feature map of its level (RoIAlign, means of samples).

    Args:
        features: Tensor[N, C, H_l, W_l] of each level.
        rois: Tensor[R, 5]: the number of the image, left, top, right and bottom in its pixels.
        levels: LongTensor[R].
        size: Height and width of the crops.
        scales: Pixels of each level's map for one of the image.
        sampling: Samples for each side of a cell; 0 for as many as the region has pixels there.
        aligned: Whether pixels are centred, as in mmcv's ``aligned``.

    Returns:
        Tensor[R, C, height, width].
    """
    from mmcv.ops import roi_align

    crops = rois.new_zeros(len(rois), features[0].shape[1], *size)
    for level, (feature, scale) in enumerate(zip(features, scales, strict=True)):
        here = levels == level
        if here.any():
            crops[here] = roi_align(
                feature.contiguous(), rois[here], tuple(size), scale, sampling, 'avg', aligned
            )
    return crops


@crop_levels.register_fake
def _(features: Any, rois: Any, levels: Any, size: Any, scales: Any, *_: Any) -> Tensor:
    return rois.new_empty((rois.shape[0], features[0].shape[1], *size))


def _keep_best(boxes: Any, scores: Any, iou_threshold: float, most: int) -> Any:
    """``keep_best`` in ONNX: a list of what is kept of all images, sorted into one row each."""
    columns = op.Constant(value_ints=[1])
    none = op.Constant(value_floats=[NO_SCORE])
    number = op.Constant(value_ints=[most])
    kept = op.NonMaxSuppression(
        boxes,
        op.Unsqueeze(scores, columns),
        number,
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[LOWEST]),
    )
    # Rows of image, class and box.
    image = op.Gather(kept, op.Constant(value_int=0), axis=1)
    box = op.Gather(kept, op.Constant(value_int=2), axis=1)
    shape = op.Shape(scores)
    images = op.Gather(shape, op.Constant(value_int=0))
    length = op.Gather(shape, op.Constant(value_int=1))
    place = op.Add(op.Mul(image, length), box)
    values = op.Gather(op.Reshape(scores, op.Constant(value_ints=[-1])), place)
    own = op.Range(op.Constant(value_int=0), images, op.Constant(value_int=1))
    mine = op.Equal(op.Unsqueeze(own, columns), image)
    rows = op.Where(mine, values, none)
    # At least as many as are asked for.
    full = op.Concat(op.Unsqueeze(images, op.Constant(value_ints=[0])), number, axis=0)
    rows = op.Concat(rows, op.Expand(none, full), axis=1)
    best, at = op.TopK(rows, number)
    nothing = op.Constant(value_ints=[-1])
    box = op.Concat(box, op.Expand(nothing, number), axis=0)
    return op.Where(op.Greater(best, op.Constant(value_float=LOWEST)), op.Gather(box, at), nothing)


def _crop_levels(
    features: Sequence[Any],
    rois: Any,
    levels: Any,
    size: Sequence[int],
    scales: Sequence[float],
    sampling: int,
    aligned: bool,
) -> Any:
    """``crop_levels`` in ONNX: crops level by level, then back in the order of the regions."""
    height, width = size
    image = op.Cast(op.Gather(rois, op.Constant(value_int=0), axis=1), to=7)
    boxes = op.Gather(rois, op.Constant(value_ints=[1, 2, 3, 4]), axis=1)
    crops, places = [], []
    for level, (feature, scale) in enumerate(zip(features, scales, strict=True)):
        # [1, r] to [r]
        here = op.Squeeze(
            op.NonZero(op.Equal(levels, op.Constant(value_int=level))),
            op.Constant(value_ints=[0]),
        )
        crop = op.RoiAlign(
            feature,
            op.Gather(boxes, here),
            op.Gather(image, here),
            coordinate_transformation_mode='half_pixel' if aligned else 'output_half_pixel',
            output_height=height,
            output_width=width,
            sampling_ratio=sampling,
            spatial_scale=scale,
        )
        crops.append(crop)
        places.append(here)
    if len(crops) == 1:
        return crops[0]
    place = op.Concat(*places, axis=0)
    # The places are 0 to R - 1: where they stand when sorted says where each region's crop is.
    _, order = op.TopK(place, op.Shape(place), largest=0)
    return op.Gather(op.Concat(*crops, axis=0), order)


#: For ``torch.onnx.export``.
TRANSLATIONS: dict[Callable, Callable] = {
    torch.ops.mmcompress.keep_best.default: _keep_best,
    torch.ops.mmcompress.crop_levels.default: _crop_levels,
}
