"""The handwritten digits as a classification data set."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from mmengine.dataset import BaseDataset

from mmcompress.registry import DATASETS

from .digits import CLASSES, SPLITS, draw, load_glyphs


@DATASETS.register_module()
class DigitsClassification(BaseDataset):
    """Handwritten digits, ten classes, in memory: no file, no download.

    Items hold the image itself (``img``, as mmpretrain's CIFAR10 does), so a pipeline needs no
    loading step, and mmpretrain's transforms and its Accuracy metric work as they are.

    Args:
        split: ``'train'`` (1,397 images) or ``'test'`` (400, 40 of each class).
        img_size: Side of the square images.
        num_classes: 10, or a multiple of it: digits of one kind then take turns between so many
            labels, for a network that tells more classes apart.
        channels: Of the images, all equal.
        **kwargs: Arguments of :class:`mmengine.dataset.BaseDataset`: ``pipeline``, ``indices``,
            ``lazy_init`` and so on.

    Raises:
        ValueError: If ``split`` is unknown, or ``num_classes`` no multiple of 10.

    Example:
        >>> item = DigitsClassification('test')[0]
        >>> item['img'].shape, item['img'].dtype, item['gt_label'] in range(10)
        ((32, 32, 3), dtype('uint8'), True)
    """

    METAINFO: ClassVar[dict] = dict(
        dataset_type='digits', task_name='classification', classes=CLASSES
    )

    def __init__(
        self,
        split: str = 'train',
        img_size: int = 32,
        num_classes: int = 10,
        channels: int = 3,
        **kwargs: Any,
    ) -> None:
        # Here and not on loading, for with lazy_init loading comes much later.
        if split not in SPLITS:
            raise ValueError(f'split={split!r} is not a split of the digits; valid: {SPLITS}.')
        self.split = split
        if num_classes % len(CLASSES):
            raise ValueError(f'num_classes is {num_classes!r}; it has to be a multiple of 10')
        self.img_size = img_size
        self.num_classes = num_classes
        self.channels = channels
        # There are no files, hence no prefixes to join.
        kwargs.setdefault('data_prefix', {})
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Draw the glyphs.

        Returns:
            One dict for each image: ``img`` (``uint8[img_size, img_size, channels]``, all channels
            equal), ``img_shape``, ``ori_shape`` and ``gt_label``.
        """
        glyphs, labels = load_glyphs(self.split)
        images = np.repeat(draw(glyphs, self.img_size)[..., None], self.channels, axis=-1)
        shape = images.shape[1:3]
        labels = (labels + len(CLASSES) * np.arange(len(labels))) % self.num_classes
        return [
            dict(img=image, img_shape=shape, ori_shape=shape, gt_label=int(label))
            for image, label in zip(images, labels, strict=True)
        ]

    def get_cat_ids(self, idx: int) -> list[int]:
        """Classes in image ``idx``, which mmengine's ClassBalancedDataset asks for."""
        return [self.get_data_info(idx)['gt_label']]
