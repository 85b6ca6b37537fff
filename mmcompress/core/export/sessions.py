"""Exported files as functions of a batch of images, run by onnxruntime or by OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from mmcompress.core.checks import check_installed

if TYPE_CHECKING:
    import openvino

#: What the images are called in every file.
INPUT = 'images'


class Session:
    """A file as a function of a batch of images.

    Args:
        run: From ``Tensor[N, C, H, W]`` to the outputs.
        names: What the outputs are called, in their order.

    Example:
        >>> double = Session(lambda images: [2 * images.numpy()], ['doubled'])
        >>> double.by_name(torch.ones(1))['doubled']
        array([2.], dtype=float32)
    """

    def __init__(self, run: Callable[[Tensor], Sequence[np.ndarray]], names: Sequence[str]) -> None:
        self._run = run
        self.names = tuple(names)

    def __call__(self, images: Tensor) -> list[np.ndarray]:
        """The outputs, in order."""
        return list(self._run(images))

    def by_name(self, images: Tensor) -> dict[str, np.ndarray]:
        """The outputs by their names."""
        return dict(zip(self.names, self(images), strict=True))


def session(path: str | Path, threads: int | None = None) -> Session:
    """An ONNX file as a function of a batch of images, run by onnxruntime on the CPU.

    Args:
        path: The file.
        threads: CPU threads; None leaves it to onnxruntime.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads or 0
    # Threads that spin between calls would slow down whatever else runs in this process.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    built = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    names = [output.name for output in built.get_outputs()]
    return Session(lambda images: built.run(None, {INPUT: images.numpy()}), names)


def openvino_session(path: str | Path, threads: int | None = None) -> Session:
    """An ONNX file, or OpenVINO's ``.xml``, as a function of a batch of images, on the CPU.

    Args:
        path: The file.
        threads: CPU threads; None leaves it to OpenVINO.

    Raises:
        CompressionError: If OpenVINO is not installed.
    """
    check_openvino()
    # By itself it calculates in 16 bits where a CPU can.
    config: dict[str, object] = dict(INFERENCE_PRECISION_HINT='f32')
    if threads:
        config['INFERENCE_NUM_THREADS'] = threads
    built = _core().compile_model(str(path), 'CPU', config)
    names = [output.get_any_name() for output in built.outputs]

    def run(images: Tensor) -> list[np.ndarray]:
        found = built({INPUT: images.numpy()})
        return [found[output] for output in built.outputs]

    return Session(run, names)


@cache
def _core() -> openvino.Core:
    """OpenVINO itself, once for the life of the process.

    Each one gives the thread a signal stack of its own, and gives the former one back at its end.
    Of two that end in the order in which they began, the second gives back the freed stack of the
    first. The next signal then ends the process, and the end of a child process is a signal.
    """
    import openvino

    return openvino.Core()


def write_openvino(onnx_file: str | Path, xml: str | Path) -> None:
    """Write an ONNX file as OpenVINO's ``.xml``, with the weights in a ``.bin`` beside it.

    Args:
        onnx_file: The file to read.
        xml: The file to write.

    Raises:
        CompressionError: If OpenVINO is not installed.
    """
    check_openvino()
    import openvino

    openvino.save_model(openvino.convert_model(str(onnx_file)), str(xml), compress_to_fp16=False)


def check_openvino() -> None:
    """See that OpenVINO is installed.

    Raises:
        CompressionError: If it isn't.
    """
    check_installed(['openvino'], 'openvino')
