"""Crops cover their image, each pixel of it."""

import numpy as np
import pytest

from mmcompress.core.errors import CompressionError
from mmcompress.datasets.sr.crops import check_multiple, corners, crop_name


def test_div2k():
    """1356 x 2040 pixels: eight rows of sub-images would be too many, five and eight are right."""
    places = corners(1356, 2040, 480, 240)
    assert [top for top, left in places if not left] == [0, 240, 480, 720, 876]
    assert [left for top, left in places if not top] == [0, 240, 480, 720, 960, 1200, 1440, 1560]
    assert len(places) == 40


@pytest.mark.parametrize(('height', 'width'), [(10, 10), (11, 25), (20, 17)])
def test_everything_is_covered(height, width):
    seen = np.zeros((height, width), int)
    for top, left in corners(height, width, 10, 4):
        crop = seen[top : top + 10, left : left + 10]
        assert crop.shape == (10, 10)
        crop += 1
    assert seen.min() >= 1
    assert len(set(corners(height, width, 10, 4))) == len(corners(height, width, 10, 4))


def test_names():
    assert crop_name('0001', 1) == '0001_s001.png'
    assert crop_name('a', 1234) == 'a_s1234.png'


def test_multiples():
    check_multiple('patch', 96, 4)
    for wrong, near in ((95, 96), (0, 4), (-8, 4), (96.0, 192)):
        with pytest.raises(CompressionError, match=f'patch: {wrong} is not .* 4; {near} would be'):
            check_multiple('patch', wrong, 4)
