"""Whole networks timed against the dense one, in the runtime of a budget."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.checks import check_installed
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.onnx import PACKAGES, export_onnx
from mmcompress.core.export.sessions import openvino_session, session
from mmcompress.core.probe.demo_inputs import demo_batch
from mmcompress.core.probe.example import Example
from mmcompress.core.probe.probe import seeded
from mmcompress.report.latency import compare_latency
from mmcompress.report.models import in_a_mode
from mmcompress.report.runtimes import Runtime, laid_out, prepare

#: How torch runs a model, by the name of the runtime; others read a file.
IN_TORCH = {
    'torch': Runtime(),
    'torch-channels-last': Runtime(channels_last=True),
    'compile': Runtime(compiled=True),
}
SESSIONS: dict[str, Callable[..., Any]] = dict(onnxruntime=session, openvino=openvino_session)
#: Interleaved rounds: of each network on the way, and of the one that is chosen.
ROUNDS, LAST_ROUNDS = 12, 20


def check_runtime(runtime: str, key: str) -> None:
    """See that this machine has what a runtime needs.

    Raises:
        CompressionError: If it lacks a package, or PyTorch a kernel.
    """
    if runtime == 'compile' and not hasattr(torch.ops.mkldnn, '_convolution_pointwise'):
        raise CompressionError(
            f'{key}: this PyTorch, {torch.__version__}, has no convolutions of oneDNN for '
            "torch.compile; choose 'torch'"
        )
    if runtime in SESSIONS:
        check_installed([*PACKAGES, *(['openvino'] if runtime == 'openvino' else [])], key)


class Whole:
    """The dense network, and others against it.

    Args:
        dense: The dense network; left as it is.
        runtime: One of :data:`~mmcompress.latency.time_layers.RUNTIMES`.
        threads: CPU threads.
        batch: Images in a batch.
        shape: ``(channels, height, width)`` of an image, or inputs that a user gives.

    Attributes:
        part: What a runtime that reads files can run of the network: ``'tensor'``, all of it, or
            ``'features'``, backbone and neck.
    """

    def __init__(
        self,
        dense: nn.Module,
        runtime: str,
        threads: int,
        batch: int,
        shape: tuple[int, ...] | Example,
    ) -> None:
        self.runtime, self.threads, self.batch = runtime, threads, batch
        self.example = shape if isinstance(shape, Example) else None
        self.shape = tuple(shape.images.shape[1:]) if isinstance(shape, Example) else shape
        self.part = 'tensor'
        self._mode = 'tensor'
        if runtime in IN_TORCH and self.example is None:
            self._mode = in_a_mode(dense, self.shape, lambda mode: self._runs(dense, mode))['mode']
        self._folder = tempfile.TemporaryDirectory()
        self._files = 0
        self._dense = self.call(dense)

    def __enter__(self) -> Whole:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def dense_ms(self) -> float:
        """Milliseconds of the dense network."""
        dense = dict(dense=self._dense)
        (row,) = compare_latency(dense, self._images(), ROUNDS, 3, self.threads)
        return float(row['median_ms'])

    def compare(self, model: nn.Module, rounds: int = ROUNDS) -> dict[str, float]:
        """Time a network against the dense one, in turn.

        Returns:
            ``ratio`` of the times and its interquartile range ``ratio_iqr``, ``ms`` and
            ``dense_ms``: medians.
        """
        return self.compare_all(dict(model=self.call(model)), rounds)['model']

    def compare_all(
        self, calls: dict[str, Callable[[Tensor], Any]], rounds: int
    ) -> dict[str, dict[str, float]]:
        """The same of several at once, that :meth:`call` has made."""
        rows = compare_latency(
            dict(dense=self._dense, **calls), self._images(), rounds, 3, self.threads
        )
        return {
            row['name']: dict(
                ratio=row['ratio'],
                ratio_iqr=row['ratio_iqr'],
                ms=row['median_ms'],
                dense_ms=rows[0]['median_ms'],
            )
            for row in rows[1:]
        }

    def _images(self) -> Tensor:
        if self.example is not None:
            images = self.example.images
        else:
            images = torch.randn(
                self.batch, *self.shape, generator=torch.Generator().manual_seed(0)
            )
        runtime = IN_TORCH.get(self.runtime)
        return images if runtime is None else laid_out(images, runtime)

    def call(self, model: nn.Module) -> Callable[[Tensor], Any]:
        """A network as a function of the images."""
        if self.runtime in SESSIONS:
            self._files += 1
            path = Path(self._folder.name) / f'{self._files}.onnx'
            self.part = export_onnx(model, path, self.shape)['outputs']
            run: Callable[[Tensor], Any] = SESSIONS[self.runtime](path, self.threads)
            return run
        samples = None
        if self.example is None:
            with seeded():
                samples = demo_batch(model, (self.batch, *self.shape), self._mode)[1]
        return prepare(model, IN_TORCH[self.runtime], self._mode, samples)

    def _runs(self, model: nn.Module, mode: str) -> dict[str, Any]:
        with seeded(), torch.no_grad():
            images, samples = demo_batch(model, (self.batch, *self.shape), mode)
            prepare(model, Runtime(), mode, samples)(images)
        return dict(mode=mode)
