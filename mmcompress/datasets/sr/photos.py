"""Photographs that scikit-image ships in its wheel: nothing to download."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mmcompress.core.errors import CompressionError
from mmcompress.registry import DATASETS

from .crops import check_multiple, corners, crop_name
from .images import image_size, read_image
from .pairs import ImagePairs, cut_to_multiple, shrink

#: What there is of natural photographs, and the two halves of a stereo pair on one side. The test
#: set has two in colour (the cat Chelsea, a cup of coffee) and a grey one (the cameraman).
PHOTOS = dict(
    train=(
        'astronaut.png',
        'brick.png',
        'coins.png',
        'grass.png',
        'gravel.png',
        'motorcycle_left.png',
        'motorcycle_right.png',
        'rocket.jpg',
    ),
    test=('camera.png', 'chelsea.png', 'coffee.png'),
)


@DATASETS.register_module()
class Photos(ImagePairs):
    """Eleven photographs of 300 to 741 pixels a side, whole or cut into crops.

    ``train`` is the astronaut, bricks, coins, grass, gravel, the motorcycle (two views) and the
    rocket; ``test`` the cameraman, the cat and the coffee. The split is fixed. Low-resolution
    images are made of whole photographs, by MATLAB's bicubic, and then cut with the true ones.

    Args:
        split: ``'train'`` or ``'test'``.
        scale: Pixels of the true image for one of the low-resolution image, along each side.
        crop: Side of the square crops, in pixels of the true image; None for whole photographs.
        step: From one crop to the next; by default ``crop``. The last in a row or column ends with
            the photograph.
        **kwargs: Arguments of :class:`ImagePairs` and of :class:`mmengine.dataset.BaseDataset`.

    Raises:
        CompressionError: If scikit-image isn't installed or lacks a file, or a setting makes no
            sense.

    Example:
        >>> item = Photos('test', scale=2)[1]
        >>> item['gt'].shape, item['lq'].shape
        ((300, 450, 3), (150, 225, 3))
    """

    def __init__(
        self,
        split: str = 'train',
        scale: int = 2,
        crop: int | None = None,
        step: int | None = None,
        **kwargs: Any,
    ) -> None:
        if split not in PHOTOS:
            raise CompressionError(
                f'Photos: split is {split!r}; it has to be one of {list(PHOTOS)}'
            )
        if crop is None and step is not None:
            raise CompressionError(
                f'Photos: step is {step!r}, but there is no crop; name one or leave step out'
            )
        self.split, self.crop = split, crop
        self.step: Any = crop if step is None else step
        # There is no folder of the user's.
        kwargs.setdefault('data_prefix', {})
        super().__init__(scale, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Place the crops.

        Returns:
            One dict for each: ``img_path`` (of a crop, what ``tools/make_sub_images.py`` would call
            it), ``photo``, the file it is from, and ``corner``, its top and left in the true image.

        Raises:
            CompressionError: If a file is missing, or smaller than a crop.
        """
        if self.crop is not None:
            check_multiple('crop', self.crop, self.scale)
            check_multiple('step', self.step, self.scale)
        folder = photo_folder()
        return [item for name in PHOTOS[self.split] for item in self._items(str(folder / name))]

    def _items(self, photo: str) -> list[dict]:
        """The items of one photograph."""
        height, width = (side // self.scale * self.scale for side in image_size(photo))
        least = max(self.patch, self.crop or 0)
        if least > min(height, width):
            name = 'crop' if least == self.crop else 'patch'
            raise CompressionError(
                f'{name}: {least} is more than the {width}x{height} pixels of {Path(photo).name}'
            )
        if self.crop is None:
            return [dict(img_path=photo, photo=photo, corner=(0, 0))]
        if self.patch > self.crop:
            raise CompressionError(
                f'crop: {self.crop} is too small for patches of {self.patch}; make it '
                f'{self.patch} or more'
            )
        places = corners(height, width, self.crop, self.step)
        stem = Path(photo).stem
        return [
            dict(img_path=crop_name(stem, number), photo=photo, corner=corner)
            for number, corner in enumerate(places, 1)
        ]

    def load_pair(self, item: dict) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`ImagePairs`."""
        top, left = item.pop('corner')
        gt, lq = _pair(item.pop('photo'), self.scale)
        if self.crop is None:
            return gt, lq
        return _cut(gt, top, left, self.crop), _cut(
            lq, *(n // self.scale for n in (top, left, self.crop))
        )


def photo_folder() -> Path:
    """Where scikit-image keeps its images; it isn't imported, which would take a second.

    Raises:
        CompressionError: If it isn't installed, or lacks a photograph.
    """
    found = find_spec('skimage')
    if found is None or not found.origin:
        raise CompressionError(
            'Photos: the photographs come with scikit-image, which is not installed; '
            '`pip install scikit-image` brings it'
        )
    folder = Path(found.origin).parent / 'data'
    for name in (name for names in PHOTOS.values() for name in names):
        if not (folder / name).is_file():
            raise CompressionError(
                f'Photos: this scikit-image has no {str(folder / name)!r}; '
                '`pip install scikit-image==0.26.0` brings one that has'
            )
    return folder


@lru_cache(maxsize=2 * sum(map(len, PHOTOS.values())))
def _pair(photo: str, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """True and low-resolution image of a whole photograph; crops are views of them."""
    gt = cut_to_multiple(read_image(photo), scale)
    lq = shrink(gt, scale)
    # A pipeline that changed its input in place would change it for all that come after.
    gt.flags.writeable = lq.flags.writeable = False
    return gt, lq


def _cut(image: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    return image[top : top + size, left : left + size]
