"""What data sets of pairs have in common: a true image and a small one that is made of it."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmcompress.core.errors import CompressionError

from .bicubic import imresize
from .crops import check_multiple
from .images import BadImageError


def cut_to_multiple(image: np.ndarray, scale: int) -> np.ndarray:
    """Drop rows below and columns on the right, so that height and width are multiples of scale."""
    height, width = (side // scale * scale for side in image.shape[:2])
    return image[:height, :width]


def shrink(image: np.ndarray, scale: int) -> np.ndarray:
    """The low-resolution image of a true one, by MATLAB's bicubic.

    Args:
        image: ``[sH, sW, 3]`` in 0..255, ``uint8`` or of floats.
        scale: An image is made ``1 / scale`` times as large.

    Returns:
        ``[H, W, 3]`` of the same type, in 0..255.
    """
    small = imresize(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), 1 / scale)
    return np.ascontiguousarray(small.clamp(0, 255).numpy().transpose(1, 2, 0))


class ImagePairs(BaseDataset):
    """True images and their low-resolution versions.

    What goes into the pipeline is a dict with ``gt`` (``[sH, sW, 3]``, red, green, blue in 0..255;
    ``uint8``, or ``float32`` of 16-bit files), ``lq`` (``[H, W, 3]``, likewise), ``img_path`` and
    ``scale``. A pipeline needs no loading step.

    Args:
        scale: Pixels of the true image for one of the low-resolution image, along each side.
        skip_bad: In training, take the next image for one that can't be used (damaged, of a
            kind that is refused, too small, without a partner) instead of stopping. The log names
            each such file, once.
        **kwargs: Arguments of :class:`mmengine.dataset.BaseDataset`: ``pipeline``, ``indices``,
            ``lazy_init`` and so on.

    Raises:
        CompressionError: If a setting makes no sense, or no image can be used.
        BadImageError: If an image can't be used and ``skip_bad`` is False.
    """

    METAINFO: ClassVar[dict] = dict(dataset_type='image_pairs', task_name='super_resolution')

    def __init__(self, scale: int, skip_bad: bool = False, **kwargs: Any) -> None:
        kind = type(self).__name__
        if not isinstance(scale, int) or scale < 1:
            raise CompressionError(
                f'{kind}: scale is {scale!r}; it has to be a whole number, e.g. 4'
            )
        if skip_bad and kwargs.get('test_mode'):
            raise CompressionError(
                f'{kind}: skip_bad is for training; a test without some of its images would be '
                'another test, so leave it out where test_mode is True'
            )
        self.scale = scale
        self.skip_bad = skip_bad
        super().__init__(**kwargs)

    @property
    def patch(self) -> int:
        """Side of the patches that the pipeline cuts from true images; 0 where it cuts none."""
        return max((getattr(step, 'patch', 0) for step in self.pipeline.transforms), default=0)

    def full_init(self) -> None:
        """Load the list of images, once it is clear that patches fit the scale."""
        if self.patch:
            check_multiple('patch', self.patch, self.scale)
        super().full_init()

    def filter_data(self) -> list[dict]:
        """Number the images, which keep their numbers in a subset of the data set."""
        if not self.data_list:
            raise CompressionError(f'{type(self).__name__}: not one image can be used')
        # In memory that worker processes share, so that not each of them warns of each file.
        self._bad = torch.zeros(len(self.data_list), dtype=torch.bool).share_memory_()
        return [dict(item, number=number) for number, item in enumerate(self.data_list)]

    @abstractmethod
    def load_pair(self, item: dict) -> tuple[np.ndarray, np.ndarray]:
        """Load the images of an item of the list.

        Args:
            item: What ``load_data_list`` made.

        Returns:
            ``gt`` and ``lq``, as the class describes them.

        Raises:
            BadImageError: If one of them can't be used.
        """

    def prepare_data(self, idx: int) -> Any:
        """Load an image and run the pipeline; with ``skip_bad``, of the next one that is good.

        The next one, and not any: a resumed training, which has yet to find out which images are
        bad, then gets the same ones as an uninterrupted one. For the same reason a bad image uses
        up no random number, even if the pipeline is what finds it bad.
        """
        for step in range(len(self)):
            # The first as it is, so that a position behind the last is an IndexError.
            item = self.get_data_info((idx + step) % len(self) if step else idx)
            number = item.pop('number')
            if self._bad[number]:
                continue
            state: Any = np.random.get_state() if self.skip_bad else None
            try:
                item['gt'], item['lq'] = self.load_pair(item)
                return self.pipeline(dict(item, scale=self.scale))
            except BadImageError as error:
                if not self.skip_bad:
                    raise
                np.random.set_state(state)
                self._bad[number] = True
                self.warn_of(error)
        raise CompressionError(f'{type(self).__name__}: not one image can be used')

    def warn_of(self, error: BadImageError) -> None:
        """Log that an image is left out."""
        print_log(f'skip_bad: {error}; left out', 'current', level=logging.WARNING)
