"""ONNX: a model as one file for any runtime that reads the format, raw or end to end."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import itertools
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmcompress.core.checks import check_installed, one_of
from mmcompress.core.errors import CompressionError, first_line
from mmcompress.core.probe.probe import seeded, tensors_in

from .end2end import EndToEnd, end_to_end
from .sessions import INPUT, openvino_session, session, write_openvino

#: Largest difference between torch and onnxruntime, as a share of the largest output, by what the
#: weights are stored in.
TOLERANCES = dict(float32=1e-4, float16=1e-2)
#: What a graph can give: what the network returns, or what the library predicts.
OUTPUTS = ('raw', 'end2end')
#: What the weights can be stored in.
DTYPES = tuple(TOLERANCES)
#: Axes of the images that a graph may leave open, by name.
FREE_AXES = dict(batch=0, height=2, width=3)
FREE = tuple(FREE_AXES)
#: Versions of ONNX's operators that can be written; the first is the default.
OPSETS = (18, 19, 20, 21, 22, 23)
#: What PyTorch's exporter, onnxruntime and the test of a file need.
PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
#: A file of protobuf is not larger; from a little less, weights are in a file of their own.
LARGEST_FILE = 2**31 - 2**27
#: Outputs of models and heads, by the names of their classes.
NAMES = dict(
    ImageClassifier=('logits',),
    EncoderDecoder=('logits',),
    SuperResolver=('pred_images',),
    HeatmapHead=('heatmaps',),
    SimCCHead=('simcc_x', 'simcc_y'),
    RTMCCHead=('simcc_x', 'simcc_y'),
)


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
        return tuple(tensors_in(self.output(images)))

    def output(self, images: Tensor) -> Any:
        """What the model returns, as it is."""
        if not isinstance(self.model, BaseModel):
            return self.model(images)
        if self.mode == 'features':
            return self.model.extract_feat(images)
        return self.model(images, self.samples, mode=self.mode)


def export_onnx(
    model: nn.Module,
    path: str | Path,
    input_shape: Sequence[int],
    *,
    outputs: str = 'raw',
    opset: int | None = None,
    dtype: str = 'float32',
    images: Iterable[Tensor] = (),
    openvino: bool = False,
) -> dict[str, Any]:
    """Write a model as one ONNX file, compared with torch by onnxruntime first.

    Batch size, height and width of the images are free where the model takes images of another
    size, and gives the same for them; otherwise the batch size is, and the log says why.

    Raw, the graph is mode ``'tensor'`` (backbone, neck and heads without post-processing). Where
    that needs more than images, as the second stage of a detector does, it is what the backbone
    and the neck return, which is the part that compression changes. End to end, it is what the
    library predicts, in pixels of the input; see :mod:`mmcompress.core.export.end2end`.

    Args:
        model: A model of plain layers; left as it is.
        path: The file; replaced if it is there.
        input_shape: ``(channels, height, width)`` of the images; of one size, where it is free.
        outputs: One of :data:`OUTPUTS`.
        opset: One of :data:`OPSETS`.
        dtype: What matrices of weights are stored in, one of :data:`DTYPES`. Images, outputs and
            everything that is calculated are float32 all the same.
        images: Real images, ``Tensor[N, C, H, W]`` as they go into the model, to compare on too.
        openvino: Write it for OpenVINO as well, as ``.xml`` and ``.bin``, compared likewise.

    Returns:
        ``onnx``, the path; ``outputs``, ``'tensor'``, ``'features'`` or ``'end2end'``; ``names``
        of the outputs; ``free``, what of the images is; ``opset``; ``stored``, the type of the
        weights; ``onnx_bytes``, the size of the file, without external data;
        ``onnx_difference``, the largest difference as a share of the largest output; and end to
        end, in its place, ``onnx_differences`` to the library's prediction by output, see
        :meth:`~mmcompress.core.export.end2end.EndToEnd.differences`, with what outputs hold,
        ``says``, and what is ``left`` to do. ``operators`` are those that the graph is made of.
        For OpenVINO ``openvino_difference`` or ``openvino_differences``.

    Raises:
        CompressionError: If a package is missing, the model can't be written, or onnxruntime's
            outputs are others than torch's; nothing is written then.
    """
    check_packages()
    one_of(outputs, OUTPUTS, 'outputs')
    check_file_options(opset, dtype)
    path = Path(path)
    model = copy.deepcopy(model).cpu().eval()
    images = list(images)
    with torch.no_grad(), tempfile.TemporaryDirectory(dir=_folder(path)) as scratch:
        graphs: list[Graph]
        if outputs == 'end2end':
            graphs = [Graph(end_to_end(model))]
        else:
            modes = ('tensor', 'features') if hasattr(model, 'extract_feat') else ('tensor',)
            graphs = [Graph(OnImages(model, mode).eval()) for mode in modes]
        file = Path(scratch) / path.name
        graph, free, found, batches = _first(graphs, file, input_shape, opset, dtype, images)
        if openvino:
            found |= _as_openvino(graph, file, batches, TOLERANCES[dtype])
        for part in Path(scratch).iterdir():
            os.replace(part, path.parent / part.name)
    return dict(
        onnx=str(path),
        outputs=graph.kind,
        names=graph.names,
        free=list(free),
        opset=opset or OPSETS[0],
        stored=dtype,
        operators=operators(path),
        onnx_bytes=path.stat().st_size,
        **found,
    )


def check_file_options(opset: int | None, dtype: str) -> None:
    """See that a file can be written as asked for.

    Raises:
        CompressionError: If it can't.
    """
    one_of(dtype, DTYPES, 'onnx-dtype')
    if opset is not None and opset not in OPSETS:
        raise CompressionError(f'opset is {opset!r}; it has to be {OPSETS[0]} to {OPSETS[-1]}')


def check_packages() -> None:
    """See that everything is installed.

    Raises:
        CompressionError: If a package is missing.
    """
    check_installed(PACKAGES, 'onnx')


class Graph:
    """What is to be written: a module on images, and what its outputs are called.

    Args:
        module: Maps images to a tuple of tensors.
    """

    def __init__(self, module: OnImages | EndToEnd) -> None:
        self.module = module
        self.kind = module.mode if isinstance(module, OnImages) else 'end2end'
        self.names: list[str] = []

    def run(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the module once, and find the names."""
        if isinstance(self.module, EndToEnd):
            self.names = list(self.module.names)
            return self.module.expected(images)
        output = self.module.output(images)
        self.names = output_names(self.module.model, self.kind, output)
        return tuple(tensors_in(output))

    def compare(
        self, run: Callable[[Tensor], list[np.ndarray]], images: Sequence[Tensor], tolerance: float
    ) -> dict[str, Any]:
        """Differences between a runtime and torch, as ``export_onnx`` returns them."""
        if isinstance(self.module, OnImages):
            worst = 0.0
            for batch in images:
                outputs = [torch.from_numpy(array) for array in run(batch)]
                worst = max(worst, _difference(self.module(batch), outputs))
            return dict(onnx_difference=worst)
        gaps: dict[str, Any] = dict.fromkeys(self.names, 0)
        for batch in images:
            outputs = [torch.from_numpy(array) for array in run(batch)]
            found = self.module.differences(batch, outputs, tolerance)
            gaps = {name: max(gap, found[name]) for name, gap in gaps.items()}
        return dict(onnx_differences=gaps)

    def about(self) -> dict[str, Any]:
        """What a page about the file says besides."""
        if isinstance(self.module, OnImages):
            return {}
        return dict(says=list(self.module.says), left=list(self.module.left))

    def refusal(
        self,
        found: dict[str, Any],
        images: Sequence[Tensor],
        tolerance: float,
        runtime: str = 'onnxruntime',
    ) -> str:
        """What is wrong with the differences; empty where nothing is."""
        if isinstance(self.module, OnImages):
            worst = found['onnx_difference']
            if worst < tolerance:
                return ''
            return (
                f'the outputs of {runtime} differ from those of torch by {worst:.3g} '
                f'of the largest (at most {tolerance:g} is allowed)'
            )
        limits = self.module.limits(images[0], tolerance)
        for name, gap in found['onnx_differences'].items():
            if not gap <= limits[name]:
                return (
                    f'{name} of {runtime} differ from what the library predicts by {gap:.3g} '
                    f'(at most {limits[name]:g} is allowed)'
                )
        return ''


def output_names(model: nn.Module, kind: str, output: Any) -> list[str]:
    """Names for everything that a model returns, for what it is.

    Args:
        model: The model.
        kind: ``'tensor'`` or ``'features'``.
        output: What it returned: tensors in lists and dicts.

    Returns:
        One name for each tensor, in the order of :func:`~mmcompress.core.probe.probe.tensors_in`.
    """
    if kind == 'features':
        return _numbered('features', output)
    part: Any
    for part in (model, getattr(model, 'head', None), getattr(model, 'bbox_head', None)):
        names: tuple[str, ...] = ()
        for base in type(part).__mro__:
            names = names or NAMES.get(base.__name__, ())
        if not names and part is not model and hasattr(part, 'loss_by_feat'):
            # The loss takes what the forward pass returns.
            names = tuple(inspect.signature(part.loss_by_feat).parameters)
        parts = list(output) if isinstance(output, (list, tuple)) else [output]
        if len(names) == 1:
            return _numbered(names[0], output)
        if len(parts) <= len(names):
            named = [_listed(name, item) for name, item in zip(names, parts, strict=False)]
            return list(itertools.chain(*named))
    return _numbered('outputs', output)


def _numbered(name: str, output: Any) -> list[str]:
    """``name`` for one tensor, ``name_0`` and so on for several; keys of dicts as they are."""
    if isinstance(output, (dict, BaseDataElement)):
        items = [_listed(str(key), value) for key, value in output.items()]
        return list(itertools.chain(*items))
    if isinstance(output, (list, tuple)) and len(output) == 1:
        return _numbered(name, output[0])
    return _listed(name, output)


def _listed(name: str, output: Any) -> list[str]:
    count = len(list(tensors_in(output)))
    if isinstance(output, Tensor):
        return [name]
    return [f'{name}_{number}' for number in range(count)]


def _first(
    graphs: Sequence[Graph],
    file: Path,
    shape: Sequence[int],
    opset: int | None,
    dtype: str,
    images: Sequence[Tensor],
) -> tuple[Graph, tuple[str, ...], dict[str, Any], list[Tensor]]:
    """Write the first graph that can be, with as many free axes as can be.

    Returns:
        The graph, the free axes, what was found when it was compared, and on which images.

    Raises:
        CompressionError: If none can be written, or what is written is wrong.
    """
    reasons = []
    for graph in graphs:
        model = graph.module.model
        try:
            with seeded():
                graph.run(_images(2, shape))
        except CompressionError:
            raise
        except Exception as error:  # whatever a user's model raises
            reasons.append(f'{graph.kind}: {_told(error)}')
            continue
        axes: list[tuple[str, ...]] = [FREE, FREE[:1]]
        if not getattr(model, 'free_size', True):
            axes = axes[1:]
        for free in axes:
            why = wrong = ''
            try:
                shapes = [tuple(shape)]
                if len(free) > 1:
                    shapes.append(_other_size(model, shape))
                    with seeded():
                        graph.run(_images(2, shapes[1]))
                batches = [_images(n, one) for n, one in itertools.product((1, 3), shapes)]
                batches += [batch for batch in images if _fits(batch, shape, free)]
                traced = _traced_size(shape) if len(free) > 1 else shape
                _write(graph, _images(2, traced), file, free, opset)
                found = graph.compare(session(file), batches, TOLERANCES['float32'])
                wrong = graph.refusal(found, batches, TOLERANCES['float32'])
                if not wrong and dtype != 'float32':
                    # The graph was right to the bound of float32; now for the rounded weights.
                    _store_halves(file)
                    found = graph.compare(session(file), batches, TOLERANCES[dtype])
                    wrong = graph.refusal(found, batches, TOLERANCES[dtype])
            except CompressionError:
                raise
            except Exception as error:  # the model's, the exporter's or onnxruntime's
                why = _told(error)
            if not why and not wrong:
                return graph, free, found | graph.about(), batches
            if free is not axes[-1]:
                print_log(
                    f'onnx: the size of the images is fixed to {shape[1]}x{shape[2]}, only the '
                    f'batch size is free: {why or wrong}',
                    'current',
                )
            elif wrong:
                raise CompressionError(f'onnx: {wrong}; nothing was written')
            else:
                reasons.append(f'{graph.kind}: {why}')
    raise CompressionError(
        f'onnx: {type(graphs[0].module.model).__name__} cannot be written as ONNX '
        f'({"; ".join(reasons)})'
    )


def _as_openvino(
    graph: Graph, file: Path, images: Sequence[Tensor], tolerance: float
) -> dict[str, Any]:
    """Write a file for OpenVINO, and compare.

    Raises:
        CompressionError: If the outputs are others than torch's.
    """
    xml = file.with_suffix('.xml')
    write_openvino(file, xml)
    found = graph.compare(openvino_session(xml), images, tolerance)
    wrong = graph.refusal(found, images, tolerance, 'OpenVINO')
    if wrong:
        raise CompressionError(f'openvino: {wrong}; nothing was written')
    return {key.replace('onnx', 'openvino'): value for key, value in found.items()}


def _folder(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent


def _images(batch: int, shape: Sequence[int]) -> Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))


def _traced_size(shape: Sequence[int]) -> tuple[int, int, int]:
    """A size that free axes are traced with.

    ``torch.export`` takes a side of 1 for a constant, and the smallest maps of a detector have
    such sides where images are small. Tracing calculates nothing, so that large images cost
    nothing.
    """
    channels, height, width = shape
    return channels, max(height, 320), max(width, 384)


def _other_size(model: nn.Module, shape: Sequence[int]) -> tuple[int, int, int]:
    """Another size that a model should take; most halve it up to five or six times."""
    channels, height, width = shape
    if getattr(model, 'free_size', False):  # it says that any will do
        return channels, height + 3, max(width // 2, 1)
    return channels, height + 64, width + 32


def _fits(images: Tensor, shape: Sequence[int], free: Sequence[str]) -> bool:
    """Whether a graph takes images, of which only the batch size may be free."""
    return len(free) > 1 or tuple(images.shape[1:]) == tuple(shape)


def _write(
    graph: Graph, images: Tensor, file: Path, free: Sequence[str], opset: int | None
) -> None:
    """Write a graph as it is."""
    translations: dict[Callable, Callable] | None = None
    if graph.kind == 'end2end':
        from .end2end.ops import TRANSLATIONS

        translations = TRANSLATIONS
    size = sum(value.nbytes for value in graph.module.state_dict().values())
    with _quiet(), seeded():
        torch.onnx.export(
            graph.module,
            (images,),
            file,
            input_names=[INPUT],
            output_names=graph.names,
            opset_version=opset or OPSETS[0],
            dynamic_shapes={INPUT: {FREE_AXES[name]: torch.export.Dim(name) for name in free}},
            custom_translation_table=translations,
            external_data=size > LARGEST_FILE,
            dynamo=True,
            verbose=False,
        )


def operators(path: Path) -> list[str]:
    """The operators of a file, with their domain where that isn't ONNX's own."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return sorted({f'{node.domain}.{node.op_type}'.lstrip('.') for node in graph.node})


def _store_halves(file: Path) -> None:
    """Store the matrices of a file in 16 bits, and let the graph make float32 of them."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(file)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        name, stored = tensor.name, f'{tensor.name}_float16'
        values = numpy_helper.to_array(tensor)
        most = np.finfo(np.float16).max
        halves = values.clip(-most, most).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(halves, stored))
        casts.append(helper.make_node('Cast', [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, file)


def _told(error: BaseException) -> str:
    """One line about an exporter's error: what it began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f'{type(error).__name__}: {first_line(error)[:200]}'


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


def _difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The largest difference, as a share of the largest number of its output."""
    if [t.shape for t in expected] != [t.shape for t in found]:
        return float('inf')
    worst = 0.0
    for one, other in zip(expected, found, strict=True):
        scale = max(float(one.abs().max()), 1e-6)
        gap = float((one - other).abs().max())
        worst = max(worst, gap / scale if gap == gap else float('inf'))
    return worst
