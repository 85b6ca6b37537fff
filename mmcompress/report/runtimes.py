"""Ways to run a model on the CPU."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.errors import CompressionError, first_line
from mmcompress.core.export.folding import fold_norms
from mmcompress.core.export.onnx import OnImages, check_packages, export_onnx
from mmcompress.core.export.sessions import session


@dataclass(frozen=True)
class Runtime:
    """One way to run any model.

    Attributes:
        folded: Batch norms are folded into the convolutions.
        channels_last: Weights and images are laid out with their channels last.
        compiled: By ``torch.compile``, weights frozen.
        onnx: By onnxruntime, which folds batch norms and chooses the layout by itself.
    """

    folded: bool = False
    channels_last: bool = False
    compiled: bool = False
    onnx: bool = False

    @property
    def name(self) -> str:
        """For tables, such as ``folded channels_last``."""
        if self.onnx:
            return 'onnxruntime'
        names = [name for name in ('folded', 'channels_last', 'compiled') if getattr(self, name)]
        return ' '.join(names) or 'eager'

    @property
    def is_module(self) -> bool:
        """Whether a model remains one of modules that hooks can watch."""
        return not (self.compiled or self.onnx)


def runtimes(
    fold_bn: bool = False, channels_last: bool = False, compiled: bool = False, onnx: bool = False
) -> list[Runtime]:
    """Plain eager mode, every combination of what is asked for, and onnxruntime.

    Raises:
        CompressionError: If this machine lacks what one of them needs.
    """
    if compiled:
        _check_compiler()
    if onnx:
        check_packages()
    # Compiling is outermost, so that the eager ones come first.
    switches = [
        (False, True) if wanted else (False,) for wanted in (compiled, fold_bn, channels_last)
    ]
    found = [
        Runtime(folded=folded, channels_last=last, compiled=compile_it)
        for compile_it, folded, last in itertools.product(*switches)
    ]
    return [*found, Runtime(onnx=True)] if onnx else found


def prepare(model: nn.Module, runtime: Runtime, mode: str, samples: list[Any] | None) -> OnImages:
    """A copy of a model for a runtime, as a function of the images.

    Args:
        model: A model of plain layers; left as it is.
        runtime: Not onnxruntime.
        mode: See :class:`~mmcompress.core.export.onnx.OnImages`.
        samples: Likewise.
    """
    model = copy.deepcopy(model)
    if runtime.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = OnImages(model, mode, samples).eval()
    if runtime.compiled:
        # A compiled module is one for a batch size and a number of threads.
        torch._dynamo.reset()
        compiled: Any = torch.compile(model, dynamic=False, options={'freezing': True})
        return compiled
    return model


def laid_out(images: Tensor, runtime: Runtime) -> Tensor:
    """Images as the runtime takes them."""
    if runtime.channels_last:
        return images.contiguous(memory_format=torch.channels_last)
    return images


class OnnxFiles:
    """ONNX files of some models, each written once."""

    def __init__(self, folder: str | Path, input_shape: tuple[int, int, int]) -> None:
        self.folder = Path(folder)
        self.input_shape = input_shape

    def session(self, name: str, model: nn.Module, threads: int) -> Callable[[Tensor], Any]:
        """The model as a function of the images, run by onnxruntime.

        Raises:
            CompressionError: If it can't be written, or only a part of it.
        """
        path = self.folder / f'{name}.onnx'
        if not path.is_file():
            found = export_onnx(model, path, self.input_shape)
            if found['outputs'] != 'tensor':
                raise CompressionError(
                    f'--onnx: of {type(model).__name__} only backbone and neck can be written as '
                    'ONNX, whose time is not that of the whole model; leave --onnx out'
                )
        return session(path, threads)


def fold_all(dense: nn.Module, compact: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Copies of both with their batch norms folded."""
    dense, compact = copy.deepcopy(dense), copy.deepcopy(compact)
    fold_norms(dense)
    fold_norms(compact)
    return dense, compact


def _check_compiler() -> None:
    """See that torch.compile works here.

    Raises:
        CompressionError: If it doesn't, usually for want of a C++ compiler.
    """
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8))
    except Exception as error:  # of any of the parts of torch.compile
        raise CompressionError(
            f'--compile: torch.compile does not work here ({type(error).__name__}: '
            f'{first_line(error)[:200]}); install a C++ compiler, or leave --compile out'
        ) from None
