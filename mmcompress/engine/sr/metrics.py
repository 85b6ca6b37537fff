"""How near an enlarged image comes to the true one, as papers on super-resolution report it."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from mmcompress.core.errors import CompressionError
from mmcompress.registry import METRICS

#: Luma of ITU-R BT.601 of red, green and blue in 0..255, and of black: MATLAB's rgb2ycbcr.
LUMA = np.array([65.481, 128.553, 24.966]) / 255
BLACK = 16.0
#: The largest value of an image.
WHITE = 255.0
#: Side of SSIM's Gaussian window: sigma 1.5, cut off at 3.5 sigma.
WINDOW = 11
CHANNELS = ('y', 'rgb')


def comparable(
    image: Tensor, border: int = 0, channel: str = 'y', rounded: bool = True
) -> np.ndarray:
    """What of an image is compared.

    Args:
        image: ``Tensor[3, H, W]``, red, green and blue in 0..255; ``Tensor[1, H, W]`` is luma.
        border: How many pixels of each side are left out.
        channel: ``'y'`` for luma alone, ``'rgb'`` for all three.
        rounded: Round the image to whole numbers first, as if it had been saved. Luma itself isn't
            rounded.

    Returns:
        ``float64[C, H - 2 border, W - 2 border]`` with one channel or three.
    """
    height, width = image.shape[-2:]
    image = image[:, border : height - border, border : width - border]
    array = image.detach().cpu().numpy().astype(np.float64)
    if rounded:
        array = np.rint(array.clip(0, WHITE))
    if channel == 'y' and len(array) == 3:
        array = BLACK + np.tensordot(LUMA, array, axes=1)[None]
    return array


def psnr(output: np.ndarray, target: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, ``10 log10(255^2 / MSE)``.

    Args:
        output: ``float64[C, H, W]``.
        target: Of the same shape.

    Returns:
        ``inf`` for equal images.
    """
    error = float(np.mean((output - target) ** 2))
    return 10 * math.log10(WHITE**2 / error) if error else math.inf


def ssim(output: np.ndarray, target: np.ndarray) -> float:
    """Structural similarity (Wang et al., IEEE TIP 2004), the mean of all channels and windows.

    Windows are 11 x 11 Gaussians of sigma 1.5 that lie inside the image, variances are those of
    the population: scikit-image's with these settings, which are the authors'.

    Args:
        output: ``float64[C, H, W]``, ``H`` and ``W`` at least 11.
        target: Of the same shape.
    """
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            output,
            target,
            channel_axis=0,
            data_range=WHITE,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


class ImageMetric(BaseMetric):
    """A number for each image, and its mean over the data set.

    Data samples have ``pred_img`` and ``gt_img``, ``Tensor[3, H, W]`` in 0..255, and ``img_path``.

    Args:
        border: How many pixels of each side are left out; by default as many as the ``scale`` that
            the data sample names.
        channel: ``'y'``, the luma of BT.601 (MATLAB's rgb2ycbcr), or ``'rgb'``.
        rounded: Round images to whole numbers first, as the field does.
        per_image: Also report ``{name}_images``, the value of each image by its file name.
        collect_device: Device on which results of several processes are gathered.
        prefix: Prefix of the metric's name in the log.
        collect_dir: Folder for gathering results on ``'cpu'``.

    Raises:
        CompressionError: If an argument is none of these; on the way if an output and its target
            differ in size, or are too small to be compared.
    """

    name: ClassVar[str]
    #: The smallest side that can be compared.
    smallest: ClassVar[int] = 1

    def __init__(
        self,
        border: int | None = None,
        channel: str = 'y',
        rounded: bool = True,
        per_image: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        kind = type(self).__name__
        if channel not in CHANNELS:
            raise CompressionError(f'{kind}: channel is {channel!r}; it has to be of {CHANNELS}')
        if border is not None and (not isinstance(border, int) or border < 0):
            raise CompressionError(
                f'{kind}: border is {border!r}; it has to be a number of pixels, or None for the '
                "image's scale"
            )
        self.border, self.channel = border, channel
        self.rounded, self.per_image = rounded, per_image

    @abstractmethod
    def compare(self, output: np.ndarray, target: np.ndarray) -> float:
        """The number for one image.

        Args:
            output: ``float64[C, H, W]``.
            target: Of the same shape.
        """

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Compare the images of a batch."""
        for sample in data_samples:
            path = str(sample.get('img_path', len(self.results)))
            self.results.append((Path(path).name, self.compare(*self._pair(sample, path))))

    def _pair(self, sample: dict, path: str) -> list[np.ndarray]:
        """Output and target of a data sample, ready to be compared."""
        if 'gt_img' not in sample:
            raise CompressionError(
                f'{self.name}: {path!r} has no target image (gt_img) to be compared with; give '
                'the data set the true images, or the config no evaluator'
            )
        images = [sample['pred_img'], sample['gt_img']]
        sizes = ['x'.join(map(str, image.shape)) for image in images]
        if sizes[0] != sizes[1]:
            raise CompressionError(
                f'{self.name}: {path!r} became {sizes[0]}, its target is {sizes[1]}; they have '
                'to be of one size'
            )
        border = sample.get('scale') if self.border is None else self.border
        if border is None:
            raise CompressionError(
                f'{self.name}: border is None, but {path!r} does not say its scale; give a number'
            )
        if min(images[0].shape[-2:]) < 2 * border + self.smallest:
            raise CompressionError(
                f'{self.name}: {path!r} is {sizes[0]}; without a border of {border} there has to '
                f'be at least {self.smallest}x{self.smallest} left'
            )
        return [comparable(image, border, self.channel, self.rounded) for image in images]

    def compute_metrics(self, results: list[tuple[str, float]]) -> dict[str, Any]:
        """The mean over all images.

        Images that equal their target have an infinite PSNR, with which no mean would say anything
        about the others; they are left out, and a warning says so. Where all are equal, the mean
        is infinite.

        Args:
            results: Name and value of each image.

        Returns:
            ``{name: mean}``, with ``per_image`` also ``{name}_images``, a dict of values.
        """
        values = [value for _, value in results]
        finite = [value for value in values if not math.isinf(value)]
        if finite and len(finite) < len(values):
            print_log(
                f'{self.name}: {len(values) - len(finite)} of {len(values)} images equal their '
                'targets, and are left out of the mean',
                'current',
                level=logging.WARNING,
            )
        metrics: dict[str, Any] = {self.name: float(np.mean(finite or values))}
        if self.per_image:
            metrics[f'{self.name}_images'] = _by_name(results)
        return metrics


def _by_name(results: list[tuple[str, float]]) -> dict[str, float]:
    """A dict of results; of several with one name, all but the first are numbered."""
    found: dict[str, float] = {}
    for name, value in results:
        number, key = 1, name
        while key in found:
            number += 1
            key = f'{name} ({number})'
        found[key] = value
    return found


@METRICS.register_module()
class PSNR(ImageMetric):
    """Peak signal-to-noise ratio in dB, by default of luma without a border of ``scale`` pixels.

    Args:
        **kwargs: See :class:`ImageMetric`.

    Example:
        >>> black = np.zeros((8, 8, 3), np.uint8)
        >>> round(PSNR(border=2, prefix='digits').compare(black, black + 10), 2)
        28.13
    """

    name = 'PSNR'

    def compare(self, output: np.ndarray, target: np.ndarray) -> float:
        """See :func:`psnr`."""
        return psnr(output, target)


@METRICS.register_module()
class SSIM(ImageMetric):
    """Structural similarity, by default of luma without a border of ``scale`` pixels.

    Args:
        **kwargs: See :class:`ImageMetric`.

    Raises:
        CompressionError: If scikit-image, which computes it, isn't installed.
    """

    name = 'SSIM'
    smallest = WINDOW

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            import skimage.metrics  # noqa: F401
        except ImportError:
            raise CompressionError(
                'SSIM is computed by scikit-image, which is not installed; '
                '`pip install scikit-image` brings it'
            ) from None

    def compare(self, output: np.ndarray, target: np.ndarray) -> float:
        """See :func:`ssim`."""
        return ssim(output, target)
