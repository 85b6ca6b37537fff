"""The photographs that scikit-image ships."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.registry import DATASETS
from skimage import data

from mmcompress.core.errors import CompressionError
from mmcompress.datasets import Photos
from mmcompress.datasets.sr import photos
from mmcompress.datasets.sr.pairs import cut_to_multiple, shrink


def test_whole_photographs():
    dataset = DATASETS.build(dict(type='mmcompress.Photos', split='test', scale=2))
    camera, cat, coffee = dataset
    assert np.array_equal(cat['gt'], data.chelsea()[:, :450])
    assert np.array_equal(coffee['gt'], data.coffee())
    assert np.array_equal(camera['gt'], np.repeat(data.camera()[..., None], 3, axis=-1))
    assert np.array_equal(cat['lq'], shrink(cat['gt'], 2))
    assert cat['img_path'].endswith('chelsea.png')


def test_splits_share_nothing():
    assert len(Photos('train')) == 8
    assert not set(photos.PHOTOS['train']) & set(photos.PHOTOS['test'])


def test_crops():
    dataset = Photos('test', scale=3, crop=96, step=48)
    names = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    # 510 x 510, 300 x 450 and 399 x 600 pixels.
    assert len(set(names)) == len(names) == 10 * 10 + 6 * 9 + 8 * 12
    item = dataset[names.index('chelsea_s054.png')]
    cat = cut_to_multiple(data.chelsea(), 3)
    assert np.array_equal(item['gt'], cat[-96:, -96:])
    # Cut from the small photograph: there is no edge here.
    assert np.array_equal(item['lq'], shrink(cat, 3)[-32:, -32:])
    inner = dataset[names.index('chelsea_s011.png')]
    assert np.array_equal(inner['lq'], shrink(cat, 3)[16:48, 16:48])


def test_pipelines_get_copies():
    pipeline = [dict(type='mmcompress.PackSRInputs')]
    dataset = Photos('test', crop=60, pipeline=pipeline)
    dataset[0]['inputs'].zero_()
    assert dataset[0]['inputs'].any()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(split='val'), r"split is 'val'; .*'train', 'test'"),
        (dict(scale=4, crop=50), 'crop: 50 is not a multiple of the scale 4; 48 would be'),
        (dict(scale=2, crop=50, step=9), 'step: 9 is not a multiple'),
        (dict(scale=2, crop=50, step=0), 'step: 0 is not a multiple of the scale 2; 2 would be'),
        (dict(step=7), 'Photos: step is 7, but there is no crop; name one or leave step out'),
        (dict(step=0), 'Photos: step is 0, but there is no crop'),
        (dict(scale=2, crop=400), 'crop: 400 is more than the 384x302 pixels of coins.png'),
        (
            dict(crop=50, pipeline=[dict(type='mmcompress.PairedRandomCrop', patch=60)]),
            'crop: 50 is too small for patches of 60',
        ),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(CompressionError, match=message):
        Photos(**arguments)


def test_without_scikit_image(monkeypatch, tmp_path):
    monkeypatch.setattr(photos, 'find_spec', lambda name: None)
    with pytest.raises(CompressionError, match='scikit-image, which is not installed; `pip inst'):
        Photos()
    # An installation that has lost its images.
    spec = SimpleNamespace(origin=str(tmp_path / 'skimage/__init__.py'))
    monkeypatch.setattr(photos, 'find_spec', lambda name: spec)
    with pytest.raises(CompressionError, match=r"has no '.*skimage/data/astronaut\.png'"):
        Photos()
    assert importlib.util.find_spec('skimage')
