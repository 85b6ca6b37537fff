"""Paired transforms: both images stay a pair, whatever is drawn."""

import random

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS

from mmcompress.core.errors import CompressionError
from mmcompress.datasets.sr.images import BadImageError

SCALE = 3


@pytest.fixture
def pair():
    """Each small pixel is repeated 3 x 3 times: a pair is a pair as long as that is so."""
    small = np.arange(7 * 9 * 3, dtype=np.uint8).reshape(7, 9, 3)
    large = small.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    return dict(gt=large, lq=small, scale=SCALE, img_path='a/b.png')


def _is_pair(results):
    repeated = results['lq'].repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    return np.array_equal(results['gt'], repeated)


def _build(name, **arguments):
    return TRANSFORMS.build(dict(type=f'mmcompress.{name}', **arguments))


def test_crop(pair):
    crop = _build('PairedRandomCrop', patch=12)
    corners = set()
    for _ in range(300):
        results = crop(dict(pair))
        assert results['gt'].shape == (12, 12, 3)
        assert results['lq'].shape == (4, 4, 3)
        assert _is_pair(results)
        corners.add(int(results['lq'][0, 0, 0]))
    # All 4 x 6 places, the first and the last included.
    assert corners == {int(pair['lq'][y, x, 0]) for y in range(4) for x in range(6)}


def test_crop_of_the_whole_image(pair):
    pair['lq'], pair['gt'] = pair['lq'][:, :7], pair['gt'][:, :21]
    assert np.array_equal(_build('PairedRandomCrop', patch=21)(dict(pair))['gt'], pair['gt'])


def test_crop_that_does_not_fit(pair):
    with pytest.raises(BadImageError, match=r"'a/b\.png' is 27x21; it has to be 24x24 or larger"):
        _build('PairedRandomCrop', patch=24)(pair)
    with pytest.raises(CompressionError, match='patch: 10 is not a multiple of the scale 3'):
        _build('PairedRandomCrop', patch=10)(pair)


@pytest.mark.parametrize(('flip', 'rotate', 'ways'), [(1, 1, 8), (1, 0, 2), (0, 1, 4), (0, 0, 1)])
def test_flip_and_rotate(pair, flip, rotate, ways):
    turn = _build('PairedFlipRotate', flip=bool(flip), rotate=bool(rotate))
    found = {}
    for _ in range(200):
        results = turn(dict(pair))
        assert _is_pair(results)
        key = results['lq'].shape, results['lq'].tobytes()
        found[key] = found.get(key, 0) + 1
    assert len(found) == ways
    # Each about as often.
    assert min(found.values()) > 200 / ways / 3


def test_numpys_seed_decides(pair):
    steps = [_build('PairedRandomCrop', patch=12), _build('PairedFlipRotate')]

    def draw(seed):
        np.random.seed(seed)
        random.random(), torch.rand(1)
        drawn = []
        for _ in range(5):
            results = dict(pair)
            for step in steps:
                results = step(results)
            drawn.append(results['gt'].tolist())
        return drawn

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_pack(pair):
    pair['gt'] = pair['gt'].astype(np.float32) + 0.25  # as 16-bit files give
    results = _build('PackSRInputs')(_build('PairedFlipRotate')(dict(pair)))
    inputs, sample = results['inputs'], results['data_samples']
    assert inputs.dtype == sample.gt_img.dtype == torch.float32
    assert inputs.is_contiguous()
    assert sample.gt_img.shape == (3, *(SCALE * side for side in inputs.shape[1:]))
    assert torch.equal(sample.gt_img[:, ::SCALE, ::SCALE], inputs + 0.25)
    assert sample.metainfo == dict(img_path='a/b.png', scale=3, img_shape=tuple(inputs.shape[1:]))
    assert set(results) == {'inputs', 'data_samples'}
