"""Street View House Numbers, which mmpretrain has no data set for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.dataset import BaseDataset

from mmcompress.registry import DATASETS

from ..core.errors import CompressionError

SPLITS = ('train', 'test', 'extra')
URL = 'http://ufldl.stanford.edu/housenumbers/'


@DATASETS.register_module()
class SVHN(BaseDataset):
    """SVHN (Netzer et al., NIPS workshop 2011) in format 2: a digit in 32 x 32 pixels, ten classes.

    Reads ``{split}_32x32.mat`` in ``data_root``; nothing is downloaded. The three files are at
    http://ufldl.stanford.edu/housenumbers/.

    Items hold the image itself (``img``), as mmpretrain's CIFAR10 does, so a pipeline needs no
    loading step. Images are RGB, so the data preprocessor has to have ``to_rgb=False``.

    Args:
        data_root: The folder of the files.
        split: ``'train'`` (73,257 images), ``'test'`` (26,032) or ``'extra'`` (531,131).
        **kwargs: Arguments of :class:`mmengine.dataset.BaseDataset`: ``pipeline``, ``indices``,
            ``lazy_init`` and so on.

    Raises:
        ValueError: If ``split`` is unknown.
        CompressionError: If the file isn't there, or isn't what it should be.
    """

    METAINFO: ClassVar[dict] = dict(
        dataset_type='svhn', task_name='classification', classes=tuple('0123456789')
    )

    def __init__(self, data_root: str = 'data/svhn', split: str = 'train', **kwargs: Any) -> None:
        if split not in SPLITS:
            raise ValueError(f'split={split!r} is not a split of SVHN; valid: {SPLITS}.')
        self.split = split
        # The one file is named by the split, so there are no prefixes to join.
        kwargs.setdefault('data_prefix', {})
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the file of the split.

        Returns:
            One dict for each image: ``img`` (``uint8[32, 32, 3]``, RGB), ``img_shape``,
            ``ori_shape`` and ``gt_label``.

        Raises:
            CompressionError: If the file isn't there, or isn't what it should be.
        """
        images, labels = _read(Path(self.data_root, f'{self.split}_32x32.mat'))
        shape = images.shape[1:3]
        return [
            dict(img=image, img_shape=shape, ori_shape=shape, gt_label=int(label))
            for image, label in zip(images, labels, strict=True)
        ]

    def get_cat_ids(self, idx: int) -> list[int]:
        """Classes in image ``idx``, which mmengine's ClassBalancedDataset asks for."""
        return [self.get_data_info(idx)['gt_label']]


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """``uint8[N, 32, 32, 3]`` images and ``int64[N]`` labels from 0 to 9 of a file."""
    # Imported here, because few runs need it.
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise CompressionError(
            'files of SVHN are read by scipy, which is not installed; '
            "`pip install 'mmcompress[fit]'` brings it"
        ) from error

    source = f'{path.name} of {URL}'
    if not path.is_file():
        raise CompressionError(
            f'data_root: SVHN has no file {str(path)!r}; download {source} into this folder'
        )
    try:
        content = loadmat(path, variable_names=('X', 'y'))
        if not {'X', 'y'} <= set(content):
            raise ValueError('X or y is missing')
        images, labels = content['X'], content['y'].ravel().astype(np.int64)
        # All of what a list of items needs, and what another kind of .mat file hasn't.
        if images.shape != (32, 32, 3, len(labels)) or images.dtype != np.uint8:
            raise ValueError(f'X is {images.dtype} {images.shape} with {len(labels)} labels')
        if len(labels) and not 1 <= labels.min() <= labels.max() <= 10:
            raise ValueError(f'labels are from {labels.min()} to {labels.max()}')
    except Exception as error:  # whatever a damaged file makes scipy raise
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise CompressionError(
            f'data_root: {str(path)!r} is not a file of SVHN or is damaged ({reason}); download '
            f'{source} again'
        ) from None
    # Images come first, each of them contiguous; the label 10 stands for the digit 0.
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels % 10
