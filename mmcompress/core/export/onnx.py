"""ONNX: the forward pass of a model on images alone, for any runtime that reads the format."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import itertools
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmcompress.core.errors import CompressionError, first_line
from mmcompress.core.probe.probe import seeded, tensors_in

#: Largest difference between torch and onnxruntime, as a share of the largest output.
TOLERANCE = 1e-4
INPUT = 'images'
#: Axes of the images that a graph may leave open, by name.
FREE_AXES = dict(batch=0, height=2, width=3)
FREE = tuple(FREE_AXES)
#: What PyTorch's exporter, onnxruntime and the test of a file need.
PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')


class OnImages(nn.Module):
    """The forward pass of a model as a function of the images alone.

    Args:
        model: An OpenMMLab model, or any that takes one tensor.
        mode: ``'tensor'``, ``'predict'``, or ``'features'``: what an OpenMMLab model returns
            from ``extract_feat``.
        samples: Data samples to go with the images, for heads that ask for their sizes.

    Example:
        >>> OnImages(nn.Conv2d(3, 8, 1))(torch.rand(1, 3, 4, 4))[0].shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(
        self, model: nn.Module, mode: str = 'tensor', samples: list[BaseDataElement] | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.mode = mode
        self.samples = samples

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map ``Tensor[N, 3, H, W]`` to every tensor that the model returns, in order."""
        if not isinstance(self.model, BaseModel):
            output = self.model(images)
        elif self.mode == 'features':
            output = self.model.extract_feat(images)
        else:
            output = self.model(images, self.samples, mode=self.mode)
        return tuple(tensors_in(output))


def export_onnx(model: nn.Module, path: str | Path, input_shape: Sequence[int]) -> dict[str, Any]:
    """Write a model as one ONNX file with a free batch size, compared with onnxruntime first.

    Height and width of the images are free as well where the model says ``free_size``: that its
    output follows their size, as in super-resolution.

    The graph is mode ``'tensor'`` (backbone, neck and heads without post-processing). Where that
    needs more than images, as the second stage of a detector does, it is what the backbone and
    the neck return, which is the part that compression changes.

    Args:
        model: A model of plain layers; left as it is.
        path: The file; replaced if it is there.
        input_shape: ``(channels, height, width)`` of the images; of one size, where it is free.

    Returns:
        ``onnx``, the path; ``outputs``, ``'tensor'`` or ``'features'``; ``free``, what of the
        images is; and ``onnx_difference``, the largest difference as a share of the largest
        output.

    Raises:
        CompressionError: If a package is missing, the model can't be written, or onnxruntime's
            outputs are others than torch's; nothing is written then.
    """
    check_packages()
    path = Path(path)
    model = copy.deepcopy(model).cpu().eval()
    images = _images(2, input_shape)
    free = FREE if getattr(model, 'free_size', False) else FREE[:1]
    with torch.no_grad(), tempfile.TemporaryDirectory(dir=_folder(path)) as scratch:
        file = Path(scratch) / path.name
        outputs = _write(model, images, file, free)
        shapes = [tuple(input_shape)]
        if len(free) > 1:
            channels, height, width = input_shape
            shapes.append((channels, height + 3, max(width // 2, 1)))
        difference = _difference(OnImages(model, outputs).eval(), file, shapes)
        if not difference < TOLERANCE:
            raise CompressionError(
                f'onnx: the outputs of onnxruntime differ from those of torch by {difference:.3g} '
                f'of the largest (at most {TOLERANCE:g} is allowed); nothing was written'
            )
        os.replace(file, path)
    return dict(onnx=str(path), outputs=outputs, free=list(free), onnx_difference=difference)


def check_packages() -> None:
    """See that everything is installed.

    Raises:
        CompressionError: If a package is missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise CompressionError(
            f'onnx: {", ".join(missing)} cannot be imported; `pip install {" ".join(missing)}`'
        )


def session(path: str | Path, threads: int | None = None) -> Callable[[Tensor], list[np.ndarray]]:
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
    return lambda images: built.run(None, {INPUT: images.numpy()})


def _folder(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent


def _images(batch: int, shape: Sequence[int]) -> Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))


def _write(model: nn.Module, images: Tensor, file: Path, free: Sequence[str]) -> str:
    """Write the most of a model that can be; returns which outputs that are."""
    dims = {FREE_AXES[name]: torch.export.Dim(name) for name in free}
    reasons = []
    for mode in ('tensor', 'features') if hasattr(model, 'extract_feat') else ('tensor',):
        wrapped = OnImages(model, mode).eval()
        try:
            with _quiet(), seeded():
                torch.onnx.export(
                    wrapped,
                    (images,),
                    file,
                    input_names=[INPUT],
                    dynamic_shapes={'images': dims},
                    external_data=False,
                    dynamo=True,
                    verbose=False,
                )
            session(file)
        except Exception as error:  # whatever a user's model raises, the exporter or onnxruntime
            cause = _root(error)
            reasons.append(f'{mode}: {type(cause).__name__}: {first_line(cause)[:200]}')
            continue
        return mode
    raise CompressionError(
        f'onnx: {type(model).__name__} cannot be written as ONNX ({"; ".join(reasons)})'
    )


def _root(error: BaseException) -> BaseException:
    """What an exporter's error began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch's exporter tells its steps on standard output and in its log."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(disabled)


def _difference(model: nn.Module, file: Path, shapes: Sequence[Sequence[int]]) -> float:
    """Largest difference to torch on batches of one and three, as a share of the largest output."""
    run = session(file)
    worst = 0.0
    for batch, shape in itertools.product((1, 3), shapes):
        images = _images(batch, shape)
        expected, found = model(images), run(images)
        if [tuple(t.shape) for t in expected] != [t.shape for t in found]:
            return float('inf')
        for one, other in zip(expected, found, strict=True):
            scale = max(float(one.abs().max()), 1e-6)
            gap = float((one - torch.from_numpy(other)).abs().max())
            worst = max(worst, gap / scale if gap == gap else float('inf'))
    return worst
