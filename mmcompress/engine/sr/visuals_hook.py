"""Pictures of what super-resolution does: input, output and target side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mmcompress.core.errors import CompressionError
from mmcompress.datasets.sr.bicubic import imresize
from mmcompress.registry import HOOKS

from .metrics import comparable, psnr

#: Pixels between panels, height of the line of text above them, and the colours of both.
GAP, LINE = 6, 20
PAPER, INK = (255, 255, 255), (34, 40, 49)
#: A part of an image: all of it, a square in the middle by its side, or top, left, height, width.
Crop = int | Sequence[int] | None


@HOOKS.register_module()
class VisualsHook(Hook):
    """Writes a picture of each of the first images of a validation or test.

    ``{work_dir}/{time}/visuals/epoch_3/coffee.png`` (``iter_500``, where training counts
    iterations; ``test`` in a test) shows the input, enlarged by bicubic interpolation, the output
    and the target, each with its PSNR of luma without a border of ``scale`` pixels. The folder of
    the time when the run began is mmengine's, so no run writes over the pictures of another.

    Args:
        count: How many images; 0 writes none.
        crop: The part of the target to which the picture is limited, in pixels: the side of a
            square in the middle, or ``(top, left, height, width)``; by default the whole image is
            shown. The PSNR is that of the whole image.
        enlarge: How often each pixel is repeated in the picture, in both directions.

    Raises:
        CompressionError: If an argument isn't such a number.
    """

    priority = 'NORMAL'

    def __init__(self, count: int = 4, crop: Crop = None, enlarge: int = 1) -> None:
        for key, value, least in (('count', count, 0), ('enlarge', enlarge, 1)):
            if not _is_whole(value, least):
                raise CompressionError(
                    f'VisualsHook: {key} is {value!r}; it has to be a whole number of at least '
                    f'{least}'
                )
        if not _is_crop(crop):
            raise CompressionError(
                f'VisualsHook: crop is {crop!r}; it has to be the side of a square, or '
                '(top, left, height, width), in pixels'
            )
        self.count, self.crop, self.enlarge = count, crop, enlarge
        self._written: set[str] = set()

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin anew."""
        self._written.clear()

    def before_test_epoch(self, runner: Runner) -> None:
        """Begin anew."""
        self._written.clear()

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: Sequence[Any] | None = None,
    ) -> None:
        """Write pictures of a batch."""
        self._write(runner, _moment(runner), data_batch, outputs)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: Sequence[Any] | None = None,
    ) -> None:
        """Write pictures of a batch."""
        self._write(runner, 'test', data_batch, outputs)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Tell where the pictures are."""
        self._tell(runner, _moment(runner))

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Tell where the pictures are."""
        self._tell(runner, 'test')

    def _write(self, runner: Runner, moment: str, data_batch: Any, outputs: Any) -> None:
        if not is_main_process():
            return
        folder = _folder(runner, moment)
        for image, sample in zip(data_batch['inputs'], outputs, strict=True):
            if len(self._written) == self.count:
                return
            folder.mkdir(parents=True, exist_ok=True)
            picture(image, sample, self.crop, self.enlarge).save(folder / self._name(sample))

    def _tell(self, runner: Runner, moment: str) -> None:
        if self._written:
            runner.logger.info(f'visuals: {len(self._written)} in {_folder(runner, moment)}')

    def _name(self, sample: Any) -> str:
        """A file name that no other picture of this pass has."""
        stem = Path(str(sample.get('img_path', 'image'))).stem
        number, name = 1, f'{stem}.png'
        while name in self._written:
            number += 1
            name = f'{stem}_{number}.png'
        self._written.add(name)
        return name


def _folder(runner: Runner, moment: str) -> Path:
    return Path(runner.log_dir, 'visuals', moment)


def _moment(runner: Runner) -> str:
    """How far training is, as the name of a folder."""
    if not runner.iter:
        return 'val'
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return f'epoch_{runner.epoch}'
    return f'iter_{runner.iter}'


def picture(image: Tensor, sample: Any, crop: Crop = None, enlarge: int = 1) -> Image.Image:
    """Input, output and target side by side.

    Args:
        image: The input, ``Tensor[3, h, w]`` in 0..255.
        sample: The output of the model: ``pred_img`` and optionally ``gt_img``, both
            ``Tensor[3, H, W]`` in 0..255; ``scale``.
        crop: Side of a square in the middle, or ``(top, left, height, width)``, of the output.
        enlarge: Factor by which the pictures are enlarged.

    Raises:
        CompressionError: If the crop is beside the image.
    """
    output, target = sample.pred_img, sample.get('gt_img')
    if isinstance(crop, (list, tuple)) and not all(map(int.__lt__, crop[:2], output.shape[-2:])):
        raise CompressionError(
            f'VisualsHook: crop is {tuple(crop)!r}, which leaves nothing of '
            f'{str(sample.get("img_path"))!r}, {output.shape[-2]} pixels high and '
            f'{output.shape[-1]} wide'
        )
    bicubic = imresize(image, output.shape[-1] / image.shape[-1])
    images = dict(bicubic=bicubic, output=output)
    if target is not None:
        border = int(sample.get('scale', 0))
        best = comparable(target, border)
        labels = [
            f'{name}  {psnr(comparable(shown, border), best):.2f} dB'
            for name, shown in images.items()
        ]
        images['target'] = target
        labels.append('target')
    else:
        labels = list(images)
    panels = [_pixels(shown, crop, enlarge) for shown in images.values()]
    return side_by_side(panels, labels)


def side_by_side(panels: Sequence[np.ndarray], labels: Sequence[str]) -> Image.Image:
    """Panels in a row, each with a line of text above it.

    Args:
        panels: ``uint8[H, W, 3]``.
        labels: One for each.
    """
    font = ImageFont.load_default()
    widths = [
        max(panel.shape[1], int(font.getlength(label)) + 1)
        for panel, label in zip(panels, labels, strict=True)
    ]
    height = max(panel.shape[0] for panel in panels)
    sheet = Image.new('RGB', (sum(widths) + GAP * (len(widths) - 1), LINE + height), PAPER)
    draw = ImageDraw.Draw(sheet)
    left = 0
    for panel, label, width in zip(panels, labels, widths, strict=True):
        draw.text((left, LINE // 2), label, INK, font, anchor='lm')
        sheet.paste(Image.fromarray(panel), (left, LINE))
        left += width + GAP
    return sheet


def _pixels(image: Tensor, crop: Crop, enlarge: int) -> np.ndarray:
    """A part of an image, ``uint8[H, W, 3]``, every pixel repeated."""
    array = image.detach().cpu().clamp(0, 255).round().byte().permute(1, 2, 0).numpy()
    if isinstance(crop, int):
        crop = (*(max(0, (side - crop) // 2) for side in array.shape[:2]), crop, crop)
    if crop is not None:
        top, left, height, width = crop
        array = array[top : top + height, left : left + width]
    return np.ascontiguousarray(array.repeat(enlarge, 0).repeat(enlarge, 1))


def _is_crop(crop: Any) -> bool:
    if isinstance(crop, (list, tuple)):
        return len(crop) == 4 and all(map(_is_whole, crop, (0, 0, 1, 1)))
    return crop is None or _is_whole(crop, 1)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
