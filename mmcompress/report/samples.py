"""Predictions on images, drawn: classes, boxes, masks, key points and enlarged images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

#: Instances of less confidence are not drawn.
LEAST_SCORE = 0.3
#: Pictures are between so many pixels wide.
SMALLEST, LARGEST = 192, 480
#: Colours of classes, which differ in lightness too.
PALETTE = (
    *((230, 85, 13), (49, 130, 189), (160, 60, 160), (35, 139, 69)),
    *((240, 200, 60), (200, 30, 90), (20, 170, 170), (120, 80, 40)),
)


@dataclass
class Panel:
    """What one network, or the ground truth, says of one image.

    Attributes:
        name: Whose it is.
        text: What it says, in words.
        png: The picture.
    """

    name: str
    text: str
    png: bytes


def panel(
    name: str, image: Tensor, sample: Any, classes: Sequence[str] | None = None, truth: bool = False
) -> Panel | None:
    """Draw what a data sample says of an image.

    Args:
        name: Whose prediction it is.
        image: ``Tensor[3, H, W]`` in red, green and blue, of 0 to 255, as it goes into the model.
        sample: A data sample of an OpenMMLab library, or of our super-resolution.
        classes: Their names, if the data has some.
        truth: Whether to draw the ground truth in it instead of the prediction.

    Returns:
        None if the sample has nothing of the kind.
    """
    prefix = 'gt' if truth else 'pred'
    if sample.get(f'{prefix}_img') is not None:
        return _enlarged(name, sample, prefix)
    if sample.get(f'{prefix}_label') is not None:
        return _classified(name, image, sample, prefix, classes)
    if sample.get(f'{prefix}_sem_seg') is not None:
        return _segmented(name, image, sample, prefix, classes)
    instances = sample.get(f'{prefix}_instances')
    if instances is None:
        return None
    if 'keypoints' in instances:
        return _posed(name, image, sample, instances)
    if 'bboxes' in instances:
        return _detected(name, image, sample, instances, classes)
    return None


def in_rgb(image: Tensor, preprocessor: Any) -> Tensor:
    """An image as red, green and blue, if its preprocessor says how it comes.

    Args:
        image: ``Tensor[C, H, W]``.
        preprocessor: Of the model, which turns what readers of images give (blue first) into what
            the model was trained with.
    """
    if len(image) == 1:
        return image.expand(3, -1, -1)
    names = ('to_rgb', '_channel_conversion')
    blue_first = any(getattr(preprocessor, name, False) for name in names)
    mean = getattr(preprocessor, 'mean', None)
    if not blue_first and mean is not None and mean.numel() > 1:
        # Not turned, as in models of Caffe: in photos there is less blue than red.
        blue_first = bool(mean.flatten()[0] < mean.flatten()[-1])
    return image.flip(0) if blue_first else image[:3]


def _classified(name: str, image: Tensor, sample: Any, prefix: str, classes: Any) -> Panel:
    labels = [int(label) for label in sample.get(f'{prefix}_label').reshape(-1)]
    score = sample.get('pred_score') if prefix == 'pred' else None
    words = [
        _class(label, classes) + ('' if score is None else f' ({100 * float(score[label]):.0f} %)')
        for label in labels
    ]
    return Panel(name, ', '.join(words) or 'nothing', _png(_fitting(_pixels(image))[0]))


def _segmented(name: str, image: Tensor, sample: Any, prefix: str, classes: Any) -> Panel:
    labels = sample.get(f'{prefix}_sem_seg').data.squeeze().cpu().numpy()
    shown, _ = _fitting(_pixels(image).resize(labels.shape[::-1]))
    colors = np.zeros((*labels.shape, 3), np.uint8)
    there = np.unique(labels)
    known = [int(label) for label in there if classes is None or label < len(classes)]
    for label in known:
        colors[labels == label] = PALETTE[label % len(PALETTE)] if label else (0, 0, 0)
    mask = Image.fromarray(colors).resize(shown.size, Image.Resampling.NEAREST)
    shares = {label: float((labels == label).mean()) for label in known}
    most = sorted(shares, key=lambda label: -shares[label])[:3]
    text = ', '.join(f'{_class(label, classes)} {100 * shares[label]:.0f} %' for label in most)
    return Panel(name, text, _png(Image.blend(shown, mask, 0.55)))


def _detected(name: str, image: Tensor, sample: Any, instances: Any, classes: Any) -> Panel:
    original = sample.get('ori_shape', image.shape[-2:])[:2]
    height, width = sample.get('img_shape', image.shape[-2:])[:2]
    shown, factor = _fitting(_pixels(image[:, :height, :width]).resize(original[::-1]))
    boxes = getattr(instances.bboxes, 'tensor', instances.bboxes).cpu().reshape(-1, 4)
    labels = instances.labels.tolist() if 'labels' in instances else [0] * len(boxes)
    scores = instances.scores.tolist() if 'scores' in instances else [1.0] * len(boxes)
    kept = [i for i, score in enumerate(scores) if score >= LEAST_SCORE]
    if 'masks' in instances and kept:
        shown = _with_masks(shown, instances.masks, kept, labels)
    draw = ImageDraw.Draw(shown)
    for i in kept:
        color = PALETTE[labels[i] % len(PALETTE)]
        left, top, right, bottom = (boxes[i] * factor).tolist()
        draw.rectangle(sorted_box(left, top, right, bottom), outline=color, width=2)
        _tag(draw, left, top, _class(labels[i], classes), color)
    found = [_class(labels[i], classes) for i in kept]
    return Panel(name, f'{len(kept)} boxes: {", ".join(found)}' if kept else 'no box', _png(shown))


def _tag(
    draw: ImageDraw.ImageDraw, left: float, top: float, text: str, color: tuple[int, int, int]
) -> None:
    """A name on a ground of its colour, in the upper left corner of a box."""
    draw.rectangle(draw.textbbox((left + 2, top + 1), text), fill=color)
    light = sum(color) > 380
    draw.text((left + 2, top + 1), text, fill=(0, 0, 0) if light else (255, 255, 255))


def sorted_box(left: float, top: float, right: float, bottom: float) -> list[float]:
    """The corners of a box as Pillow wants them, whichever way round they were predicted."""
    return [min(left, right), min(top, bottom), max(left, right), max(top, bottom)]


def _with_masks(shown: Image.Image, masks: Any, kept: list[int], labels: list[int]) -> Image.Image:
    if hasattr(masks, 'to_tensor'):
        masks = masks.to_tensor(torch.bool, 'cpu')
    pixels = np.array(shown)
    for i in kept:
        mask = Image.fromarray(np.asarray(masks[i].cpu(), dtype=np.uint8) * 255).resize(shown.size)
        inside = np.array(mask) > 127
        color = np.array(PALETTE[labels[i] % len(PALETTE)])
        pixels[inside] = (0.5 * pixels[inside] + 0.5 * color).astype(np.uint8)
    return Image.fromarray(pixels)


def _posed(name: str, image: Tensor, sample: Any, instances: Any) -> Panel:
    shown, factor = _fitting(_pixels(image))
    points = np.asarray(_host(instances.keypoints), dtype=float).reshape(-1, 2)
    # Predictions are in the original image, of which the model has seen a part.
    if sample.get('input_center') is not None:
        centre, scale, size = (
            np.asarray(sample.get(f'input_{key}'), dtype=float).reshape(-1)[:2]
            for key in ('center', 'scale', 'size')
        )
        points = (points - centre) / scale * size + size / 2
    draw = ImageDraw.Draw(shown)
    radius = max(shown.width // 60, 3)
    for index, (x, y) in enumerate(points * factor):
        around = [x - radius, y - radius, x + radius, y + radius]
        color = PALETTE[index % len(PALETTE)]
        draw.ellipse(around, fill=color, outline=(255, 255, 255))
        draw.text((x + radius + 1, y - radius), str(index), fill=color)
    return Panel(name, f'{len(points)} points', _png(shown))


def _enlarged(name: str, sample: Any, prefix: str) -> Panel:
    """A square of the middle, in which pixels can be seen."""
    image, target = sample.get(f'{prefix}_img'), sample.get('gt_img')
    text = f'{image.shape[-1]} x {image.shape[-2]} pixels'
    if prefix == 'pred' and target is not None and target.shape == image.shape:
        error = float((image.clamp(0, 255) - target).square().mean())
        text = f'{10 * np.log10(255**2 / max(error, 1e-12)):.2f} dB'
    side = min(*image.shape[-2:], 96)
    top, left = ((length - side) // 2 for length in image.shape[-2:])
    crop = image[:, top : top + side, left : left + side]
    return Panel(name, text, _png(_fitting(_pixels(crop))[0]))


def _class(label: int, classes: Sequence[str] | None) -> str:
    return str(classes[label]) if classes is not None and label < len(classes) else f'class {label}'


def _host(values: Any) -> Any:
    return values.cpu().numpy() if isinstance(values, Tensor) else values


def _pixels(image: Tensor) -> Image.Image:
    array = image.detach().cpu().float().clamp(0, 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(array))


def _fitting(image: Image.Image) -> tuple[Image.Image, float]:
    """The picture in a size that can be looked at, and by what it was enlarged."""
    if image.width < SMALLEST:
        factor = float(-(-SMALLEST // image.width))
        kind = Image.Resampling.NEAREST
    else:
        factor = min(LARGEST / image.width, 1.0)
        kind = Image.Resampling.BILINEAR
    width, height = (max(round(side * factor), 1) for side in image.size)
    return image.resize((width, height), kind), factor


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, 'PNG', optimize=True)
    return buffer.getvalue()
