"""Folders of images, as DIV2K and the benchmarks of super-resolution come."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmcompress.core.errors import nearest
from mmcompress.registry import DATASETS

from .images import BadImageError, image_files, image_size, read_image, unit_range
from .pairs import ImagePairs, cut_to_multiple, shrink


@DATASETS.register_module()
class SRFolders(ImagePairs):
    """Pairs of images from two folders, or from one, with low-resolution images made on the fly.

    ==========  ============================  ====================================================
    DIV2K       ``DIV2K_train_HR/0001.png``   ``DIV2K_train_LR_bicubic/X4/0001x4.png``
    sub-images  ``..._HR_sub/0001_s001.png``  ``..._LR_bicubic/X4_sub/0001_s001.png``
    benchmarks  ``Set5/HR/baby.png``          ``Set5/LR_bicubic/X4/babyx4.png``, or ``baby.png``
    your own    ``photos/any.jpg``            none
    ==========  ============================  ====================================================

    Where there is no folder of low-resolution images, the true images are cut to a multiple of the
    scale and shrunk as MATLAB does it, which is how the folders above were made. For training this
    takes time, and on large images more than the training: cut them to sub-images first
    (``tools/make_sub_images.py``).

    The headers of all files are read at the start, so that a missing partner or sizes that don't
    fit are found before training. What images may be is said in
    :mod:`mmcompress.datasets.sr.images`. True images of odd sizes lose rows below and columns on
    the right.

    Args:
        gt_folder: The true images; below ``data_root`` where that is given.
        lq_folder: The low-resolution images, likewise: of ``height // scale`` times
            ``width // scale`` pixels, called ``{name}x{scale}`` or ``{name}``, of any file type.
            None, or a folder that isn't there (the log says so): they are made on the fly.
        scale: Pixels of the true image for one of the low-resolution image, along each side.
        data_root: Where both folders are.
        **kwargs: Arguments of :class:`ImagePairs` and of :class:`mmengine.dataset.BaseDataset`.

    Raises:
        CompressionError: If ``gt_folder`` isn't there or has no image that can be used.
        BadImageError: If an image can't be used and ``skip_bad`` is False.

    Example:
        >>> set5 = dict(scale=4, data_root='data/Set5')
        >>> item = SRFolders('HR', 'LR_bicubic/X4', **set5)[0]  # doctest: +SKIP
        >>> item['gt'].shape, item['lq'].shape  # doctest: +SKIP
        ((512, 512, 3), (128, 128, 3))
    """

    def __init__(
        self,
        gt_folder: str,
        lq_folder: str | None = None,
        scale: int = 4,
        data_root: str = '',
        **kwargs: Any,
    ) -> None:
        self.gt_folder = Path(data_root, gt_folder)
        self.lq_folder = None if lq_folder is None else Path(data_root, lq_folder)
        # The two folders stand for the prefixes.
        kwargs.setdefault('data_prefix', {})
        super().__init__(scale, data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Pair the files, by names and headers.

        Returns:
            One dict for each pair: ``img_path``, of the true image, and ``lq_path`` or None.

        Raises:
            CompressionError: If there is nothing to pair.
            BadImageError: If a file can't be used and ``skip_bad`` is False.
        """
        partners: dict[str, list[Path]] | None = None
        if self.lq_folder and self.lq_folder.is_dir():
            partners = {}
            for path in image_files(self.lq_folder):
                partners.setdefault(path.stem, []).append(path)
        elif self.lq_folder:
            print_log(
                f'there is no folder {str(self.lq_folder)!r}; low-resolution images are made of '
                f'those in {str(self.gt_folder)!r}, by bicubic',
                'current',
                level=logging.WARNING,
            )
        items = []
        for path in image_files(self.gt_folder):
            try:
                items.append(self._pair(path, partners))
            except BadImageError as error:
                if not self.skip_bad:
                    raise
                self.warn_of(error)
        return items

    def _pair(self, path: Path, partners: dict[str, list[Path]] | None) -> dict:
        """An item of the list."""
        height, width = image_size(path)
        least = max(self.patch, self.scale)
        if min(height, width) < least:
            raise BadImageError(
                f'{str(path)!r} is {width}x{height}; it has to be {least}x{least} or larger'
            )
        if partners is None:
            return dict(img_path=str(path), lq_path=None)
        partner = self._partner(path, partners)
        small, expected = image_size(partner), (height // self.scale, width // self.scale)
        if small != expected:
            raise BadImageError(
                f'{str(partner)!r} is {small[1]}x{small[0]}; for scale {self.scale} and '
                f'{str(path)!r}, {width}x{height}, it has to be {expected[1]}x{expected[0]}'
            )
        return dict(img_path=str(path), lq_path=str(partner))

    def _partner(self, path: Path, partners: dict[str, list[Path]]) -> Path:
        """The file of the low-resolution image."""
        names = (f'{path.stem}x{self.scale}', path.stem)
        found = next((partners[name] for name in names if name in partners), [])
        if len(found) > 1:
            raise BadImageError(
                f'{str(path)!r} has several low-resolution images: '
                f'{", ".join(str(one) for one in found)}; leave one'
            )
        if not found:
            raise BadImageError(
                f'{str(path)!r} has no low-resolution image in {str(self.lq_folder)!r}: no '
                f'{names[0]!r} or {names[1]!r} there, the nearest are {nearest(names[0], partners)}'
            )
        return found[0]

    def load_pair(self, item: dict) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`ImagePairs`."""
        gt = cut_to_multiple(unit_range(read_image(item['img_path'])), self.scale)
        path = item.pop('lq_path')
        return gt, shrink(gt, self.scale) if path is None else unit_range(read_image(path))
