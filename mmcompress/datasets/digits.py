"""Where the embedded data come from: scikit-learn's handwritten digits.

1,797 glyphs of 8 x 8 pixels in 17 grey levels, from the test part of "Optical Recognition of
Handwritten Digits" (Alpaydin & Kaynak, UCI, 1998), shipped inside scikit-learn. What a task makes
of them (a class, boxes, masks, key points) is up to the data set of that task; this module loads,
splits and draws.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from ..core.errors import CompressionError

CLASSES = ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
SPLITS = ('train', 'test')
INK_MAX = 16
"""The darkest grey level of a glyph; 0 is paper."""

_TEST_PER_CLASS = 40
_SEED = 0


@lru_cache(maxsize=1)
def _load() -> tuple[np.ndarray, np.ndarray]:
    # Imported here, because scikit-learn takes a second to import and few runs need it.
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise CompressionError(
            'the embedded digits are those of scikit-learn, which is not installed; '
            "`pip install 'mmcompress[demo]'` brings it"
        ) from error

    bunch = load_digits()
    return bunch.images.astype(np.uint8), bunch.target.astype(np.int64)


@lru_cache(maxsize=1)
def _split_indices() -> dict[str, np.ndarray]:
    """Positions in scikit-learn's order: 400 to test on, 40 of each class, and 1,397 to train."""
    labels = _load()[1]
    # RandomState, because its stream is frozen; default_rng may change between numpy releases.
    rng = np.random.RandomState(_SEED)
    order = rng.permutation(len(labels))
    # Each glyph's rank among those of its class, in that order.
    one_hot = labels[order, None] == np.arange(len(CLASSES))
    rank = (np.cumsum(one_hot, axis=0) * one_hot).sum(axis=1)
    is_test = rank <= _TEST_PER_CLASS
    # Shuffled once more: the classes that fill their 40 first would otherwise open the train set.
    return {'train': rng.permutation(order[~is_test]), 'test': rng.permutation(order[is_test])}


def load_glyphs(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Load one part of the digits.

    The split is fixed: a seeded permutation, of which the first 40 glyphs of each class are the
    test set. Both parts are in random order, so that a prefix (``indices=100`` in a config) is a
    fair sample.

    Args:
        split: ``'train'`` (1,397 glyphs) or ``'test'`` (400).

    Returns:
        ``uint8[N, 8, 8]`` ink from 0 to :data:`INK_MAX`, and ``int64[N]`` labels from 0 to 9.

    Raises:
        ValueError: If ``split`` is neither.
    """
    if split not in SPLITS:
        raise ValueError(f'split={split!r} is not a split of the digits; valid: {SPLITS}.')
    glyphs, labels = _load()
    indices = _split_indices()[split]
    return glyphs[indices], labels[indices]


def draw(glyphs: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Enlarge glyphs smoothly (bicubic) to grey images.

    Args:
        glyphs: ``uint8[N, 8, 8]`` from :func:`load_glyphs`.
        size: Side of the images, or their ``(height, width)``.

    Returns:
        ``uint8[N, height, width]``: bright ink on black, 0 to 255.
    """
    ink = torch.from_numpy(glyphs.astype(np.float32)).unsqueeze(1) * (255 / INK_MAX)
    if isinstance(size, int):
        size = (size, size)
    ink = F.interpolate(ink, size=size, mode='bicubic', align_corners=False)
    # Bicubic overshoots at edges.
    return ink.squeeze(1).clamp(0, 255).round().byte().numpy()


def ink_mask(images: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Tell ink from paper.

    Args:
        images: ``uint8[..., height, width]`` from :func:`draw`.
        threshold: Brightness from which a pixel counts as ink, as a fraction of the maximum.

    Returns:
        ``bool[..., height, width]``.
    """
    return images >= threshold * 255
