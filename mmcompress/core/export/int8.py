"""8 bits: an ONNX file whose layers with weights run in integers, but for those that suffer.

The file is made by onnxruntime's static quantization, in its QDQ format: pairs of QuantizeLinear
and DequantizeLinear around nodes, which a runtime replaces by integer kernels, and which any
runtime can run as they are. Weights are symmetric, one scale for each output channel; activations
are unsigned and asymmetric, one scale for each tensor.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmcompress.core.checks import check_installed
from mmcompress.core.errors import CompressionError, nearest

from .onnx_layers import Layer, Network
from .sessions import INPUT

#: Signal to noise, in decibels, that the outputs of a network keep at least: an error of 10 %.
MIN_SQNR = 20.0
#: How many of the images errors are measured on.
ERROR_IMAGES = 16
#: What onnxruntime's quantization needs beside onnxruntime.
PACKAGES = ('onnx', 'onnxruntime')
INT8, FLOAT = 'int8', 'fp32'
Arrays = dict[str, np.ndarray]


class Quantizer:
    """A calibrated network: makes files of it in which any of its layers are in 8 bits.

    Args:
        path: An ONNX file in float32 with one input, ``images``.
        images: Preprocessed images for calibration, each ``float32[1, C, H, W]``; sizes may
            differ where the file leaves them free.
        full_range: Use all 8 bits of weights. Sums of two products of unsigned and signed 8 bits
            overflow 16 bits on x86 without VNNI; weights of 7 bits, the default, don't.
        error_images: How many images to measure errors on, spread over all.

    Attributes:
        layers: Of the network, in the order of the graph.

    Raises:
        CompressionError: If the file has no layer that can be quantized, there is no image, or
            the images don't fit.
    """

    def __init__(
        self,
        path: str | Path,
        images: Iterable[np.ndarray],
        full_range: bool = False,
        error_images: int = ERROR_IMAGES,
    ) -> None:
        check_installed(PACKAGES, '--int8')
        self.full_range = full_range
        self._model = _preprocessed(path)
        self.network = Network(self._model)
        self.layers = self.network.layers
        if not self.layers:
            raise CompressionError(f'--int8: {path} has no layer that could be quantized')
        self._part = self.network.extracted()
        #: Of the images, those that errors are measured on.
        self._inputs: list[Arrays] = []
        self.images, self._most = 0, error_images
        inputs = self._entering(images)
        first = next(inputs, None)
        if first is None:
            raise CompressionError(
                '--int8: there is no image to calibrate with, or the model finds no box on any'
            )
        self._ranges = _ranges(self._part, self.network.types, itertools.chain([first], inputs))
        chosen = np.linspace(0, len(self._inputs) - 1, min(error_images, len(self._inputs)))
        self._inputs = [self._inputs[i] for i in chosen.round().astype(int)]
        run = _runner(self._part)
        self._expected = [run(arrays) for arrays in self._inputs]

    def _entering(self, images: Iterable[np.ndarray]) -> Iterator[Arrays]:
        """What enters the network's layers: images, and features that were cut out around boxes.

        Large images would fill the memory: some are kept, spread evenly over all.
        """
        entries = [name for name in self.network.entries if name != INPUT]
        run = _runner(_with_outputs(self._model, entries)) if entries else None
        stride = 1
        for image in images:
            arrays = {INPUT: image}
            if run is not None:
                arrays.update(zip(entries, run(arrays), strict=True))
            # An image without any box has no features around boxes.
            if not all(value.size for value in arrays.values()):
                continue
            if self.images % stride == 0:
                self._inputs.append(arrays)
            if len(self._inputs) == 2 * self._most:
                self._inputs, stride = self._inputs[::2], 2 * stride
            self.images += 1
            yield arrays

    def errors(self, advance: Callable[[], None] = lambda: None) -> dict[str, float]:
        """The error of each layer: of the network with this layer alone in 8 bits.

        Args:
            advance: Called after each layer.

        Returns:
            By layer, the signal to quantization noise at the network's outputs, in decibels, see
            :func:`sqnr`.
        """
        found = {}
        for layer in self.layers:
            found[layer.name] = self._sqnr(layer.nodes)
            advance()
        return found

    def sqnr(self, kept: Iterable[str] = ()) -> float:
        """Signal to noise of the network in 8 bits, in decibels.

        Args:
            kept: Names of layers that stay in float32.
        """
        return self._sqnr(self.network.quantized_nodes(kept))

    def _sqnr(self, nodes: Iterable[str]) -> float:
        run = _runner(self._quantized(self._part, nodes))
        return sqnr(self._expected, [run(arrays) for arrays in self._inputs])

    def write(self, path: str | Path, kept: Iterable[str] = ()) -> None:
        """Write the file.

        Args:
            path: Replaced if it is there.
            kept: Names of layers that stay in float32.
        """
        import onnx

        model = self._quantized(self._model, self.network.quantized_nodes(kept))
        _tidy(model)
        onnx.checker.check_model(model)
        onnx.save(model, str(path))

    def _quantized(self, model: Any, nodes: Iterable[str]) -> Any:
        from onnxruntime.quantization import QDQQuantizer, QuantType

        nodes = list(nodes)
        model = copy.deepcopy(model)
        if not nodes:  # an empty list means all of them
            return model
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=not self.full_range,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=nodes,
            nodes_to_exclude=[],
            op_types_to_quantize=self.network.types,
            extra_options=dict(WeightSymmetric=True, ActivationSymmetric=False),
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        return quantizer.model.model


def quantize_onnx(
    source: str | Path,
    target: str | Path,
    images: Iterable[np.ndarray],
    *,
    keep: Sequence[str] = (),
    min_sqnr: float = MIN_SQNR,
    full_range: bool = False,
    good: Callable[[Path], bool] | None = None,
    progress: Callable[[int], Callable[[], None]] = lambda count: lambda: None,
) -> dict[str, Any]:
    """Write an ONNX file in 8 bits; layers that hurt most stay in float32.

    The layers are sorted by the error that each makes alone. The fewest of the worst stay in
    float32 with which the outputs of the network have a signal to noise of ``min_sqnr``, and the
    file is ``good``.

    Args:
        source: An ONNX file in float32.
        target: The file to write; replaced if it is there.
        images: See :class:`Quantizer`.
        keep: Names of layers that stay in float32 whatever their error; a name means all layers
            below it as well, as ``backbone.layer1`` does.
        min_sqnr: Decibels; 20 is an error of 10 %, 40 of 1 %.
        full_range: See :class:`Quantizer`.
        good: Whether a file is good enough, by a measure of the caller's.
        progress: Called with the number of layers; returns what is called after each.

    Returns:
        ``int8``, the path; ``int8_bytes`` and ``float_bytes``; ``images``; ``sqnr_db`` of the
        outputs; ``min_sqnr_db``; ``full_range``; ``kept``, names of layers in float32; and
        ``layers``, a row each: ``layer``, ``op``, ``weights``, ``alone_db``, ``precision``.

    Raises:
        CompressionError: If a name to keep is no layer's, see also :class:`Quantizer`; nothing is
            written then.
    """
    target = Path(target)
    quantizer = Quantizer(source, images, full_range)
    forced = named(keep, [layer.name for layer in quantizer.layers])
    errors = quantizer.errors(progress(len(quantizer.layers)))
    worst = [name for name in sorted(errors, key=errors.__getitem__) if name not in forced]

    def kept(count: int) -> list[str]:
        return [*forced, *worst[:count]]

    @functools.cache
    def noise(count: int) -> float:
        return quantizer.sqnr(kept(count))

    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        file = Path(scratch) / target.name

        def acceptable(count: int) -> bool:
            if noise(count) < min_sqnr:
                return False
            if good is None:
                return True
            quantizer.write(file, kept(count))
            return good(file)

        count = fewest(len(worst), acceptable)
        chosen = kept(count)
        quantizer.write(file, chosen)
        file.replace(target)
    return dict(
        int8=str(target),
        int8_bytes=target.stat().st_size,
        float_bytes=Path(source).stat().st_size,
        images=quantizer.images,
        sqnr_db=noise(count),
        min_sqnr_db=min_sqnr,
        full_range=full_range,
        kept=chosen,
        layers=[_row(layer, errors, chosen) for layer in quantizer.layers],
    )


def _row(layer: Layer, errors: dict[str, float], kept: Sequence[str]) -> dict[str, Any]:
    precision = FLOAT if layer.name in kept else INT8
    return dict(
        layer=layer.name,
        op=layer.op,
        weights=layer.weights,
        alone_db=errors[layer.name],
        precision=precision,
    )


def fewest(count: int, good: Callable[[int], bool]) -> int:
    """The smallest number that is good enough, by bisection; what is good stays good with more.

    Args:
        count: The largest number, which is taken as good without a trial.
        good: Whether a number is good enough.

    Example:
        >>> fewest(10, lambda number: number >= 3)
        3
    """
    if count == 0 or good(0):
        return 0
    low, high = 0, count  # low is not good, high is
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high


def named(names: Sequence[str], layers: Sequence[str]) -> list[str]:
    """The layers that names mean: their own, or those below them.

    Raises:
        CompressionError: If a name means none.
    """
    found = []
    for name in names:
        meant = [layer for layer in layers if layer == name or layer.startswith(f'{name}.')]
        if not meant:
            raise CompressionError(
                f'--int8-keep: there is no layer {name!r}; the nearest are {nearest(name, layers)}'
            )
        found += [layer for layer in meant if layer not in found]
    return found


def sqnr(expected: Sequence[Sequence[np.ndarray]], found: Sequence[Sequence[np.ndarray]]) -> float:
    """Signal to quantization noise of the outputs of a network, in decibels.

    ``10 log10(sum(x²) / sum((x - y)²))`` over all images, of the output that has the least.

    Args:
        expected: For each image the outputs in float32.
        found: Likewise in 8 bits.

    Example:
        >>> one = np.ones(4)
        >>> round(sqnr([[one]], [[0.9 * one]]))
        20
    """
    ratios = []
    for ones, others in zip(zip(*expected, strict=True), zip(*found, strict=True), strict=True):
        pairs = [(x.astype(np.float64), y) for x, y in zip(ones, others, strict=True)]
        signal = sum(float((x**2).sum()) for x, _ in pairs)
        noise = sum(float(((x - y) ** 2).sum()) for x, y in pairs)
        if noise == 0:
            ratios.append(math.inf)
        else:
            ratios.append(10 * math.log10(signal / noise) if signal else -math.inf)
    return min(ratios)


def _preprocessed(path: str | Path) -> Any:
    """A file with constants folded, batch norms in their convolutions, and the types of tensors."""
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'preprocessed.onnx'
        quant_pre_process(str(path), str(file), skip_symbolic_shape=True)
        return load_model_with_shape_infer(file)


def _tidy(model: Any) -> None:
    """Drop what a runtime has no use for: where nodes come from, domains without a node."""
    used = {node.domain for node in model.graph.node}
    opsets = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:], model.metadata_props[:]
    model.opset_import.extend(opsets)
    for node in model.graph.node:
        del node.metadata_props[:]


def _ranges(model: Any, types: Sequence[str], inputs: Iterable[Arrays]) -> Any:
    """The smallest and the largest value of each tensor over all images."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'network.onnx'
        onnx.save(model, str(file))
        calibrator = create_calibrator(
            file,
            types,
            augmented_model_path=str(Path(folder) / 'augmented.onnx'),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Reader(inputs))
        return calibrator.compute_data()


class _Reader:
    """Inputs, as a calibrator asks for them."""

    def __init__(self, inputs: Iterable[Arrays]) -> None:
        self._inputs = iter(inputs)

    def get_next(self) -> Arrays | None:
        return next(self._inputs, None)


def _with_outputs(model: Any, names: Sequence[str]) -> Any:
    """A model whose outputs are the tensors of these names."""
    import onnx

    model = copy.deepcopy(model)
    del model.graph.output[:]
    for name in names:
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    return model


def _runner(model: Any) -> Callable[[Arrays], list[np.ndarray]]:
    """A model as a function of its inputs by name; of others it takes no notice."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=['CPUExecutionProvider']
    )
    known = {value.name for value in session.get_inputs()}

    def run(arrays: Arrays) -> list[np.ndarray]:
        try:
            return session.run(None, {k: value for k, value in arrays.items() if k in known})
        except Exception as error:  # onnxruntime has a type of its own for each cause
            raise CompressionError(
                f'--int8: onnxruntime does not run on an image of '
                f'{"x".join(map(str, arrays[INPUT].shape))} ({" ".join(str(error).split())[:200]})'
            ) from None

    return run
