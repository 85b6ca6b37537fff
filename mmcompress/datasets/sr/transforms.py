"""Steps of a pipeline for pairs of images; random numbers are those of NumPy's global generator."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.structures import BaseDataElement

from mmcompress.registry import TRANSFORMS

from .crops import check_multiple
from .images import BadImageError


@TRANSFORMS.register_module()
class PairedRandomCrop:
    """Cuts the same random square from both images.

    Args:
        patch: Its side in pixels of the true image, a multiple of the scale.

    Raises:
        CompressionError: If ``patch`` doesn't fit the scale.
        BadImageError: If an image is smaller.
    """

    def __init__(self, patch: int) -> None:
        self.patch = patch

    def __call__(self, results: dict) -> dict:
        """Cut ``gt`` and ``lq``."""
        scale = results['scale']
        check_multiple('patch', self.patch, scale)
        size = self.patch // scale
        height, width = results['lq'].shape[:2]
        if min(height, width) < size:
            raise BadImageError(
                f'{results["img_path"]!r} is {width * scale}x{height * scale}; it has to be '
                f'{self.patch}x{self.patch} or larger'
            )
        top = np.random.randint(height - size + 1)
        left = np.random.randint(width - size + 1)
        results['lq'] = results['lq'][top : top + size, left : left + size]
        top, left, size = top * scale, left * scale, self.patch
        results['gt'] = results['gt'][top : top + size, left : left + size]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(patch={self.patch})'


@TRANSFORMS.register_module()
class PairedFlipRotate:
    """Turns both images the same random way: one of the eight symmetries of a square.

    Args:
        flip: Whether to flip, left to right.
        rotate: Whether to rotate, by 0, 90, 180 or 270 degrees.
    """

    def __init__(self, flip: bool = True, rotate: bool = True) -> None:
        self.flip, self.rotate = flip, rotate

    def __call__(self, results: dict) -> dict:
        """Turn ``gt`` and ``lq``."""
        flip = self.flip and np.random.randint(2)
        quarters = self.rotate and np.random.randint(4)
        for key in ('gt', 'lq'):
            image = results[key][:, ::-1] if flip else results[key]
            results[key] = np.rot90(image, int(quarters))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(flip={self.flip}, rotate={self.rotate})'


@TRANSFORMS.register_module()
class PackSRInputs:
    """Makes tensors of both images, in the form that models and metrics take.

    ``inputs`` is the low-resolution image, ``float32[3, H, W]``, red, green, blue in 0..255;
    ``data_samples`` has the true one as ``gt_img``, ``float32[3, sH, sW]``, likewise, and the
    metainfo ``img_path``, ``scale`` and ``img_shape``, the ``(H, W)`` of ``inputs``.
    """

    def __call__(self, results: dict) -> dict:
        """Pack ``gt`` and ``lq``."""
        inputs = _tensor(results['lq'])
        metainfo = dict(
            img_path=results['img_path'],
            scale=results['scale'],
            img_shape=tuple(inputs.shape[-2:]),
        )
        sample = BaseDataElement(metainfo=metainfo, gt_img=_tensor(results['gt']))
        return dict(inputs=inputs, data_samples=sample)

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def _tensor(image: np.ndarray) -> torch.Tensor:
    """``[H, W, 3]`` to ``float32[3, H, W]``, in memory of its own."""
    return torch.tensor(np.ascontiguousarray(image.transpose(2, 0, 1)), dtype=torch.float32)
