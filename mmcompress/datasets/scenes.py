"""Scenes of one to five digits: what detection, segmentation and pose data sets are made of.

A scene is a function of its split and number alone. Nothing is written, and any scene can be
drawn without those before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .digits import SPLITS, draw, ink_mask, load_glyphs

CANVAS = 96
"""Side of the square images, in pixels."""
KEYPOINTS = ('top', 'bottom', 'left', 'right', 'center')

_MOST = 5
_SIDES = (24, 48)
_GAP = 2
_TRIES = 100


@dataclass(frozen=True)
class Digit:
    """One digit of a scene.

    Attributes:
        label: Class, 0 to 9.
        box: ``(x1, y1, x2, y2)``, the edges of the ink: ``x2 - x1`` is its width in pixels.
        keypoints: ``float64[5, 2]``, ``(x, y)`` of :data:`KEYPOINTS`, where integers are the
            centres of pixels.
    """

    label: int
    box: tuple[int, int, int, int]
    keypoints: np.ndarray


@dataclass(frozen=True)
class Scene:
    """Digits on a canvas.

    Attributes:
        image: ``uint8[CANVAS, CANVAS]``, bright ink on black.
        labels: ``uint8[CANVAS, CANVAS]``, 0 for background and 1 + class for ink.
        digits: From one to five, whose boxes don't touch.
    """

    image: np.ndarray
    labels: np.ndarray
    digits: tuple[Digit, ...]


@lru_cache(maxsize=1024)  # 20 MB
def make_scene(split: str, index: int) -> Scene:
    """Draw a scene.

    How many digits, which glyphs of the split, how large (a glyph's side is 24 to 47 pixels)
    and where is drawn from a generator seeded by split and index. A digit that finds no room
    beside the others is left out.

    Args:
        split: ``'train'`` or ``'test'``; their glyphs are different ones.
        index: Number of the scene, from 0.

    Returns:
        The scene; its arrays are shared and can't be written to.

    Raises:
        ValueError: If ``split`` is neither.
    """
    glyphs, classes = load_glyphs(split)
    # RandomState, because its stream is frozen; default_rng may change between numpy releases.
    rng = np.random.RandomState([SPLITS.index(split), index])
    image = np.zeros((CANVAS, CANVAS), np.uint8)
    labels = np.zeros((CANVAS, CANVAS), np.uint8)
    taken = np.zeros((CANVAS, CANVAS), bool)
    digits = []
    for _ in range(rng.randint(1, _MOST + 1)):
        glyph = rng.randint(len(glyphs))
        ink, mask = _crop(draw(glyphs[glyph : glyph + 1], int(rng.randint(*_SIDES)))[0])
        height, width = mask.shape
        for _ in range(_TRIES):
            y = rng.randint(CANVAS - height + 1)
            x = rng.randint(CANVAS - width + 1)
            rows = slice(max(y - _GAP, 0), y + height + _GAP)
            columns = slice(max(x - _GAP, 0), x + width + _GAP)
            if not taken[rows, columns].any():
                break
        else:
            continue
        label = int(classes[glyph])
        box = np.s_[y : y + height, x : x + width]
        image[box], labels[box], taken[box] = ink, mask * (label + 1), True
        keypoints = keypoints_of(mask) + np.array([x, y])
        keypoints.setflags(write=False)
        digits.append(Digit(label, (x, y, x + width, y + height), keypoints))
    for array in (image, labels):
        array.setflags(write=False)
    return Scene(image, labels, tuple(digits))


def keypoints_of(mask: np.ndarray) -> np.ndarray:
    """Extreme points and centroid of ink.

    Where several pixels are topmost (or bottommost and so on), their middle is.

    Args:
        mask: ``bool[height, width]`` with some ink.

    Returns:
        ``float64[5, 2]``, ``(x, y)`` in the order of :data:`KEYPOINTS`.
    """
    points = np.argwhere(mask)[:, ::-1].astype(float)
    x, y = points.T
    extremes = (y == y.min(), y == y.max(), x == x.min(), x == x.max())
    return np.stack([*(points[extreme].mean(axis=0) for extreme in extremes), points.mean(axis=0)])


def _crop(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut a drawn glyph to the box of its ink; returns it with its mask."""
    mask = ink_mask(image)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return image[box], mask[box]
