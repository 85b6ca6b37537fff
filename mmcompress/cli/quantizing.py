"""From an exported ONNX file to one in 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from mmcompress.core.checks import check_installed
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.int8 import MIN_SQNR, PACKAGES, quantize_onnx
from mmcompress.core.export.onnx_predictor import OnnxPredictor
from mmcompress.core.export.sessions import session
from mmcompress.report.table import progress_bar

from .calibration import Calibration
from .options import give_json
from .testing import metrics_of

#: Which of several metrics a drop is of: the first of these that is there, or else the first.
MAIN_METRICS = ('top1', 'bbox_mAP', 'mIoU', 'AP', 'PSNR')


@dataclass(frozen=True)
class Int8Options:
    """How to quantize, see :func:`~mmcompress.core.export.int8.quantize_onnx`.

    Attributes:
        calib: How many training images to calibrate with.
        keep: Layers that stay in float32.
        min_sqnr: Least signal to noise of the outputs, in decibels.
        max_drop: By how many points the metric may drop on the config's test data; None doesn't
            measure it.
        full_range: Weights of 8 bits instead of 7.
    """

    calib: int = 200
    keep: Sequence[str] = ()
    min_sqnr: float = MIN_SQNR
    max_drop: float | None = None
    full_range: bool = False


class Quantization:
    """Quantizes the export of a config. What is wrong in the config shows before the export.

    Args:
        cfg: The config.
        options: How.

    Raises:
        CompressionError: If a package or data are missing.
    """

    def __init__(self, cfg: Config, options: Int8Options) -> None:
        check_installed(PACKAGES, '--int8')
        if options.max_drop is not None and options.max_drop < 0:
            raise CompressionError(f'--max-drop is {options.max_drop}; give 0 or more points')
        if options.max_drop is not None and not cfg.get('test_dataloader'):
            raise CompressionError('--max-drop: the config has no test_dataloader to measure on')
        self.cfg = cfg
        self.options = options
        self.calibration = Calibration(cfg, options.calib)

    def run(
        self, source: str | Path, target: str | Path, data_preprocessor: nn.Module
    ) -> dict[str, Any]:
        """Write the file in 8 bits, and the errors of its layers as JSON beside it.

        Args:
            source: The file in float32.
            target: The file to write.
            data_preprocessor: That of the model.

        Returns:
            What :func:`~mmcompress.core.export.int8.quantize_onnx` returns; with ``max_drop`` also
            ``metric``, its name, ``metric_fp32``, ``metric_int8`` and ``drop``, in points.

        Raises:
            CompressionError: If the file can't be quantized; nothing is written then.
        """
        good = measured = None
        most = self.options.max_drop
        if most is not None:
            before = self._metrics(source, data_preprocessor)
            name = main_metric(before)

            def good(path: Path) -> bool:
                nonlocal measured
                after = self._metrics(path, data_preprocessor)[name]
                if drop_in_points(before[name], after) > most:
                    return False
                measured = after  # the last file that is good is the one that is written
                return True

        with progress_bar() as bar:

            def progress(count: int) -> Callable[[], None]:
                task = bar.add_task('errors of layers', total=count)
                return lambda: bar.advance(task)

            result = quantize_onnx(
                source,
                target,
                self.calibration.images(data_preprocessor),
                keep=self.options.keep,
                min_sqnr=self.options.min_sqnr,
                full_range=self.options.full_range,
                good=good,
                progress=progress,
            )
        if good is not None:
            if measured is None:  # none is good, and the one with the fewest layers is written
                measured = self._metrics(target, data_preprocessor)[name]
            result |= dict(
                metric=name,
                metric_fp32=before[name],
                metric_int8=measured,
                drop=drop_in_points(before[name], measured),
            )
        give_json(result, str(Path(target).with_suffix('.json')))
        return result

    def _metrics(self, path: str | Path, data_preprocessor: nn.Module) -> dict[str, float]:
        return metrics_of(self.cfg, OnnxPredictor(session(path), data_preprocessor))


def main_metric(metrics: dict[str, float]) -> str:
    """The name of the one that a drop is of, see :data:`MAIN_METRICS`.

    Example:
        >>> main_metric({'aAcc': 96.1, 'mIoU': 62.0})
        'mIoU'
    """
    for wanted in MAIN_METRICS:
        for name in metrics:
            if name.rpartition('/')[2] == wanted:
                return name
    return next(iter(metrics))


def drop_in_points(before: float, after: float) -> float:
    """By how many points a metric has dropped; of one between 0 and 1 a point is 0.01.

    Example:
        >>> round(drop_in_points(0.793, 0.788), 3)
        0.5
    """
    return (before - after) * (100 if abs(before) <= 1 else 1)
