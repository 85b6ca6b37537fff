"""Images of 0 to 255 to the units of a network for super-resolution, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmcompress.core.checks import is_number
from mmcompress.core.errors import CompressionError
from mmcompress.registry import MODELS

#: Mean colour of DIV2K's training images, RGB, 0 to 255.
DIV2K_MEAN = (0.4488 * 255, 0.4371 * 255, 0.4040 * 255)


@MODELS.register_module()
class SRDataPreprocessor(BaseDataPreprocessor):
    """Stacks RGB images, moves them to the device, takes off a mean and divides.

    Args:
        mean: Mean colour, one number (0 to 255) for each channel; ``None`` for none.
        std: What is divided by: 1 keeps the units, 255 makes them those of ``[0, 1]``.
        non_blocking: See mmengine's ``BaseDataPreprocessor``.

    Raises:
        CompressionError: If a setting is wrong.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = DIV2K_MEAN,
        std: float = 1.0,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking)
        if not isinstance(std, (int, float)) or isinstance(std, bool) or not std > 0:
            raise CompressionError(
                f'data_preprocessor.std is {std!r}; it has to be a positive number, such as 255'
            )
        given = mean if isinstance(mean, Sequence) and not isinstance(mean, str) else []
        if mean is not None and (not given or not all(map(is_number, given))):
            raise CompressionError(
                f'data_preprocessor.mean is {mean!r}; it has to be one number for each channel, '
                'or None'
            )
        means = torch.tensor([0.0] if mean is None else list(mean), dtype=torch.float)
        # Settings, which a checkpoint need not repeat.
        self.register_buffer('mean', means.view(-1, 1, 1), persistent=False)
        self.std = float(std)

    def normalize(self, images: Tensor) -> Tensor:
        """``Tensor[..., C, H, W]`` of 0 to 255 in the units of the network."""
        return (images.float() - self.mean) / self.std

    def restore(self, images: Tensor) -> Tensor:
        """The way back: ``Tensor[..., C, H, W]`` in units of 0 to 255, which it may exceed."""
        return images * self.std + self.mean

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """A batch as a dataloader gives it, ready for the model.

        Args:
            data: ``inputs``, a list of ``Tensor[C, H, W]`` of 0 to 255 or all of them in one, and
                ``data_samples``, where there are any.
            training: As mmengine says it; both are treated alike.

        Returns:
            ``inputs``, ``Tensor[N, C, H, W]`` in the units of the network, and ``data_samples``
            on the device.

        Raises:
            CompressionError: If images differ in size, or have another number of channels than
                the mean.
        """
        data = self.cast_data(data)
        inputs, samples = data['inputs'], data.get('data_samples')
        if not isinstance(inputs, Tensor):
            inputs = stacked(inputs, samples, 'low-resolution image')
        if len(self.mean) not in (1, inputs.shape[1]):
            raise CompressionError(
                f'data_preprocessor.mean has {len(self.mean)} numbers, but images have '
                f'{inputs.shape[1]} channels'
            )
        return dict(inputs=self.normalize(inputs), data_samples=samples)


def stacked(images: Sequence[Tensor], samples: Sequence[Any] | None, what: str) -> Tensor:
    """Images of one size as one tensor.

    Args:
        images: ``Tensor[C, H, W]``.
        samples: Data samples with ``img_path`` in their meta information, for the error.
        what: What the images are.

    Raises:
        CompressionError: If the images differ in size.
    """
    for index, image in enumerate(images):
        if image.shape != images[0].shape:
            sizes = (tuple(images[0].shape), tuple(image.shape))
            paths = [
                str(getattr(samples[i], 'img_path', '')) if samples else '' for i in (0, index)
            ]
            first, other = (f'{p} {s}'.strip() for p, s in zip(paths, sizes, strict=True))
            raise CompressionError(
                f'{what}s of one batch differ in size: {first} and {other}; '
                'crop them to one size in training, and test with batch_size=1'
            )
    return torch.stack(list(images))
