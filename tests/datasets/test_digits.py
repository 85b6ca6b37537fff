"""The glyph source: a pinned split, drawing, ink."""

import hashlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mmcompress.datasets.digits import INK_MAX, draw, ink_mask, load_glyphs


def test_split_is_pinned():
    train, test = load_glyphs('train'), load_glyphs('test')
    assert train[0].shape == (1397, 8, 8)
    assert test[0].shape == (400, 8, 8)
    train_counts = [138, 142, 137, 143, 141, 142, 141, 139, 134, 140]
    assert np.bincount(train[1]).tolist() == train_counts
    assert np.bincount(test[1]).tolist() == [40] * 10
    # Which glyphs, and in which order: results are comparable only as long as this holds.
    digests = [hashlib.sha256(glyphs.tobytes()).hexdigest()[:16] for glyphs, _ in (train, test)]
    assert digests == ['1e7bff2fd3bac7a0', 'fd793152630cbfd4']


def test_parts_are_a_partition_with_the_right_labels():
    bunch = load_digits()
    expected = sorted(
        (glyph.astype(np.uint8).tobytes(), int(label))
        for glyph, label in zip(bunch.images, bunch.target, strict=True)
    )
    found = [
        (glyph.tobytes(), int(label))
        for split in ('train', 'test')
        for glyph, label in zip(*load_glyphs(split), strict=True)
    ]
    assert sorted(found) == expected


@pytest.mark.parametrize('split', ['train', 'test'])
def test_a_prefix_holds_all_classes(split):
    counts = np.bincount(load_glyphs(split)[1][:100], minlength=10)
    assert counts.min() >= 4


def test_a_caller_cannot_spoil_the_cache():
    glyphs, labels = load_glyphs('test')
    glyphs[:], labels[:] = 0, 0
    assert load_glyphs('test')[0].max() == INK_MAX
    assert load_glyphs('test')[1].max() == 9


@pytest.mark.parametrize('size', [32, (20, 48)])
def test_drawing_keeps_range_and_mean_brightness(size):
    glyphs = load_glyphs('test')[0]
    images = draw(glyphs, size)
    assert images.dtype == np.uint8
    assert images.shape == (400, *((size, size) if isinstance(size, int) else size))
    assert images.min() == 0
    assert images.max() == 255
    assert images.mean() == pytest.approx(glyphs.mean() * 255 / INK_MAX, rel=0.05)


def test_drawing_at_the_same_size_only_scales():
    glyphs = load_glyphs('test')[0]
    # Halves (of odd greys, 255 / 16 = 15.9375) round either way.
    assert np.abs(draw(glyphs, 8) - glyphs * (255 / INK_MAX)).max() <= 0.5


def test_drawing_is_smooth_and_not_mirrored():
    ramp = np.tile(np.arange(0, 16, 2, dtype=np.uint8), (1, 8, 1))
    image = draw(ramp, 32)[0].astype(int)
    assert (np.diff(image, axis=1) >= 0).all()
    assert np.diff(image, axis=1).max() <= 12  # nearest would jump by 32
    assert not np.diff(image, axis=0).any()


def test_ink_mask():
    images = np.array([[[0, 127, 128, 255]]], dtype=np.uint8)
    assert ink_mask(images).tolist() == [[[False, False, True, True]]]
    assert ink_mask(images, threshold=0.9).tolist() == [[[False, False, False, True]]]
    share = ink_mask(draw(load_glyphs('test')[0], 32)).mean(axis=(1, 2))
    assert (share > 0.1).all()
    assert (share < 0.6).all()


def test_unknown_split():
    with pytest.raises(ValueError, match=r"split='val' is not.*'train', 'test'"):
        load_glyphs('val')
