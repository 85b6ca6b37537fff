"""What pairs of images have in common: making the small one, and going on past bad images."""

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmcompress.core.errors import CompressionError
from mmcompress.datasets.sr.bicubic import imresize
from mmcompress.datasets.sr.images import BadImageError
from mmcompress.datasets.sr.pairs import ImagePairs, cut_to_multiple, shrink


class _Squares(ImagePairs):
    """Twelve images, each filled with its number; those in ``bad`` can't be loaded."""

    bad = ()

    def __init__(self, scale, **arguments):
        # Serializing collects garbage, which takes half a second in a long session of tests.
        super().__init__(scale, serialize_data=False, **arguments)

    def load_data_list(self):
        return [dict(img_path=f'{number}.png') for number in range(12)]

    def load_pair(self, item):
        number = int(item['img_path'].removesuffix('.png'))
        if number in self.bad:
            raise BadImageError(f"'{item['img_path']}' is damaged: torn")
        return np.full((4, 4, 3), number, np.uint8), np.full((2, 2, 3), number, np.uint8)


def _number(item):
    return int(item['gt'][0, 0, 0])


def _numbers(dataset):
    return [_number(dataset[index]) for index in range(len(dataset))]


def test_cut_to_multiple(picture):
    image = picture(height=23, width=33)
    assert np.array_equal(cut_to_multiple(image, 4), image[:20, :32])
    assert np.array_equal(cut_to_multiple(image, 1), image)


def test_shrink(picture):
    image = picture()
    small = shrink(image, 4)
    assert small.dtype == np.uint8
    for channel in range(3):
        expected = imresize(torch.from_numpy(image[..., channel]), 1 / 4)
        assert np.array_equal(small[..., channel], expected.numpy())
    # Floats keep their fractions, and stay in range where the kernel overshoots.
    step = np.zeros((8, 8, 3), np.float32)
    step[:, 4:] = 255
    small = shrink(step, 2)
    assert (small.min(), small.max()) == (0, 255)
    assert shrink(step[:, 1:7] / 3, 3).dtype == np.float32


def test_item():
    item = _Squares(2)[5]
    assert _number(item) == 5
    assert (item['scale'], item['img_path'], item['sample_idx']) == (2, '5.png', 5)
    assert 'number' not in item


def test_bad_image_stops_training_by_default():
    dataset = _Squares(2)
    dataset.bad = (5,)
    with pytest.raises(BadImageError, match=r"'5\.png' is damaged: torn"):
        _numbers(dataset)


def test_next_image_for_a_bad_one(warnings):
    dataset = _Squares(2, skip_bad=True)
    dataset.bad = (0, 5, 6, 11)
    expected = [1, 1, 2, 3, 4, 7, 7, 7, 8, 9, 10, 1]
    assert _numbers(dataset) == expected
    assert _numbers(dataset) == expected
    # Once each, by name.
    assert sorted(text.split("'")[1] for text in warnings) == ['0.png', '11.png', '5.png', '6.png']
    # The same from a data set that begins elsewhere, as that of a resumed training does, and no
    # random number is used up.
    again = _Squares(2, skip_bad=True)
    again.bad = dataset.bad
    before = random.getstate(), np.random.get_state()[1].tolist()
    assert [_number(again[index]) for index in (6, 11, 5)] == [7, 1, 7]
    assert before == (random.getstate(), np.random.get_state()[1].tolist())


def test_a_bad_image_uses_up_no_random_numbers():
    """Even where the pipeline finds it bad, after it has drawn some."""

    def draw(item):
        item['drawn'] = np.random.randint(1 << 30)
        if _number(item) == 5:
            raise BadImageError("'5.png' is damaged: torn")
        return item

    def drawn(dataset):
        np.random.seed(3)
        return [dataset[index]['drawn'] for index in (5, 5, 7)]

    dataset = _Squares(2, skip_bad=True, pipeline=[draw])
    # The second time, 5 is known to be bad, as to the process that was not interrupted.
    assert drawn(dataset) == drawn(dataset)
    assert dataset._bad[5]


def test_next_image_in_a_subset():
    dataset = _Squares(2, skip_bad=True)
    dataset.bad = (5,)
    _numbers(dataset)
    assert _numbers(dataset.get_subset([4, 5, 2])) == [4, 2, 2]
    assert _numbers(_Squares(2, skip_bad=True, indices=3)) == [0, 1, 2]


def test_iteration_ends():
    dataset = _Squares(2, skip_bad=True)
    dataset.bad = (11,)
    assert [_number(item) for item in dataset] == [*range(11), 0]
    assert _number(dataset[-2]) == 10


def test_nothing_left():
    dataset = _Squares(2, skip_bad=True)
    dataset.bad = range(12)
    with pytest.raises(CompressionError, match='_Squares: not one image can be used'):
        dataset[3]


def test_workers_share_what_is_bad(warnings):
    """A file that one worker, or an earlier epoch, has found bad is not opened again."""
    dataset = _Squares(2, skip_bad=True)
    dataset.bad = (3, 4)
    for _ in range(2):
        loader = DataLoader(dataset, 4, num_workers=1, collate_fn=lambda batch: batch)
        assert [_number(item) for batch in loader for item in batch][3:5] == [5, 5]
        # A worker that had to find out would raise an error of another kind now.
        dataset.load_pair = lambda item, load=dataset.load_pair: _only_good(item, load)
    assert dataset._bad.nonzero().flatten().tolist() == [3, 4]


def _only_good(item, load):
    assert item['img_path'] not in ('3.png', '4.png')
    return load(item)


def test_error_of_a_worker_is_one_sentence():
    dataset = _Squares(2)
    dataset.bad = (2,)
    message = ''
    try:
        list(DataLoader(dataset, 4, num_workers=1, collate_fn=pseudo_collate))
    except BadImageError as error:
        message = str(error)
        # Frames keep the loader, whose worker the garbage collector would wait for, for 5 s.
        error.__traceback__ = None
    assert message == "'2.png' is damaged: torn"


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(scale=0), 'scale is 0'),
        (dict(scale=1.5), 'scale is 1.5'),
        (dict(scale=2, skip_bad=True, test_mode=True), 'skip_bad is for training'),
        (
            dict(scale=3, pipeline=[dict(type='mmcompress.PairedRandomCrop', patch=4)]),
            'patch: 4 is not a multiple of the scale 3; 3 would be',
        ),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(CompressionError, match=message):
        _Squares(**arguments)


def test_lazy():
    """Nothing is read before it is asked for."""
    dataset = _Squares(2, lazy_init=True)
    assert not dataset.data_list
    dataset.full_init()
    assert len(dataset) == 12
