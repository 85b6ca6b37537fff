r"""Time layers of a network by themselves, at several widths, in one runtime.

This file needs NumPy and the runtime, and nothing else of mmcompress: copy it to the machine whose
time counts, with the shapes that `mmcompress bench CONFIG --shapes shapes.json` writes, and give
the table that it makes to `--table`, or to `budget=dict(latency=..., table='phone.json')`.

    python time_layers.py shapes.json -o table.json --runtime onnxruntime --threads 4

What is timed is a layer with its batch norm (folded, where the runtime folds) and a ReLU, on one
batch of random numbers, without what changes the layout of its input and output: in a network
these stay between layers. In onnxruntime and OpenVINO the runtime's own clock of operations says
so. `compile` times the kernel that torch.compile calls on CPUs.

The schema is `mmcompress-time-table/1`. A file of shapes has `layers`; each has what is fixed
(`kind`, `kernel`, `stride`, `padding`, `dilation`, `groups`, `depthwise`, `size`, `batch`, `norm`)
and `points`, the pairs of input and output channels to time. In a table each point is a triple
with the milliseconds, and the file says `runtime`, `version`, `threads`, `machine` and `reference`,
the milliseconds of one layer by which the machine's speed is watched.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

SCHEMA = 'mmcompress-time-table/1'
#: What a layer is, besides its widths.
FIXED = (
    'kind',
    'kernel',
    'stride',
    'padding',
    'dilation',
    'groups',
    'depthwise',
    'size',
    'batch',
    'norm',
)
#: A point is timed this often, or as often as fits into the time (seconds), but this at least.
REPEATS, SECONDS, LEAST = 15, 0.04, 3
#: Runs before those.
WARMUP = 2
#: A layer that is timed again and again: machines change their speed, and a table takes minutes.
REFERENCE = dict(
    kind='conv',
    kernel=[3, 3],
    stride=[1, 1],
    padding=[1, 1],
    dilation=[1, 1],
    groups=1,
    depthwise=False,
    size=[28, 28],
    batch=1,
    norm=True,
)
REFERENCE_WIDTHS = (128, 128)
Run = Callable[[int], list[float]]


def time_point(layer: dict[str, Any], ins: int, outs: int, runtime: str, threads: int) -> float:
    """Milliseconds of one layer: the lower quartile of some runs, which other programs spare.

    Args:
        layer: What is fixed, see the file.
        ins: Input channels.
        outs: Output channels; of a depthwise layer the same.
        runtime: One of :data:`RUNTIMES`.
        threads: CPU threads.
    """
    run = RUNTIMES[runtime](layer, ins, outs, threads)
    first = run(WARMUP)
    each = max(statistics.median(first) / 1e3, 1e-6)
    times = run(max(LEAST, min(REPEATS, int(SECONDS / each))))
    return sorted(times)[len(times) // 4]


def version(runtime: str) -> str:
    """The version of what runs."""
    if runtime == 'onnxruntime':
        import onnxruntime

        return str(onnxruntime.__version__)
    if runtime == 'openvino':
        import openvino

        return str(openvino.__version__)
    import torch

    return str(torch.__version__)


def machine() -> str:
    """What tells a machine from others: its processor and their number."""
    name = platform.processor() or platform.machine()
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            lines = [line for line in file if line.startswith(('model name', 'flags'))]
        name = lines[0].split(':', 1)[1].strip() if lines else name
        # Some clouds give all of their processors one name.
        vectors = [flag for flag in ('amx_tile', 'avx512f', 'avx2') if flag in ''.join(lines)]
        name += f' {vectors[0]}' if vectors else ''
    except (OSError, IndexError):
        pass
    return f'{name}, {os.cpu_count()} cores'


# Layers in each runtime


def _graph(layer: dict[str, Any], ins: int, outs: int) -> bytes:
    """An ONNX file of a convolution, or a matrix product, and a ReLU."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(0)
    nodes, shape, weight = [], _input(layer, ins), _weight(layer, ins, outs)
    tensors = dict(w=draw.normal(0, 0.05, weight), b=np.zeros(outs))
    if layer['kind'] == 'linear':
        nodes.append(helper.make_node('Gemm', ['images', 'w', 'b'], ['y'], transB=1))
    else:
        nodes.append(
            helper.make_node(
                'Conv',
                ['images', 'w', 'b'],
                ['y'],
                kernel_shape=layer['kernel'],
                strides=layer['stride'],
                pads=[*layer['padding']] * 2,
                dilations=layer['dilation'],
                group=_groups(layer, ins),
            )
        )
    if layer['norm']:
        nodes.append(helper.make_node('Relu', ['y'], ['out']))
    else:
        nodes[-1].output[0] = 'out'
    graph = helper.make_graph(
        nodes,
        'layer',
        [helper.make_tensor_value_info('images', TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info('out', TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in tensors.items()],
    )
    opset = [helper.make_opsetid('', 18)]
    content: bytes = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    assert onnx
    return content


def _groups(layer: dict[str, Any], ins: int) -> int:
    return ins if layer['depthwise'] else int(layer['groups'])


def _weight(layer: dict[str, Any], ins: int, outs: int) -> list[int]:
    if layer['kind'] == 'linear':
        return [outs, ins]
    return [outs, ins // _groups(layer, ins), *layer['kernel']]


def _input(layer: dict[str, Any], ins: int) -> list[int]:
    if layer['kind'] == 'linear':
        return [layer['batch'], ins]
    return [layer['batch'], ins, *layer['size']]


def _images(layer: dict[str, Any], ins: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=_input(layer, ins)).astype(np.float32)


def _onnxruntime(layer: dict[str, Any], ins: int, outs: int, threads: int) -> Run:
    import onnxruntime

    graph, images = _graph(layer, ins, outs), _images(layer, ins)
    folder = tempfile.TemporaryDirectory()

    def run(repeats: int) -> list[float]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.inter_op_num_threads, options.intra_op_num_threads = 1, threads
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(folder.name, 'run')
        session = onnxruntime.InferenceSession(graph, options, ['CPUExecutionProvider'])
        for _ in range(repeats + 1):
            session.run(None, {'images': images})
        file = session.end_profiling()
        with open(file, encoding='utf-8') as opened:
            events = json.load(opened)
        os.remove(file)
        spent: dict[str, list[float]] = {}
        for event in events:
            if event.get('cat') != 'Node' or not event['name'].endswith('_kernel_time'):
                continue
            if not event['args'].get('op_name', '').startswith('Reorder'):
                spent.setdefault(event['name'], []).append(event['dur'] / 1e3)
        return [sum(one) for one in zip(*spent.values(), strict=True)][1:]

    return run


_openvino_core: Any = None


def _openvino(layer: dict[str, Any], ins: int, outs: int, threads: int) -> Run:
    global _openvino_core
    import openvino

    # One for the life of a process: a second one would break the first one's signals.
    _openvino_core = _openvino_core or openvino.Core()
    config = {
        'INFERENCE_PRECISION_HINT': 'f32',
        'INFERENCE_NUM_THREADS': threads,
        'PERF_COUNT': True,
    }
    model = _openvino_core.read_model(_graph(layer, ins, outs), b'')
    request = _openvino_core.compile_model(model, 'CPU', config).create_infer_request()
    images = _images(layer, ins)

    def run(repeats: int) -> list[float]:
        times = []
        for _ in range(repeats):
            request.infer({0: images})
            times.append(
                sum(
                    node.real_time.total_seconds() * 1e3
                    for node in request.profiling_info
                    if node.node_type != 'Reorder'
                )
            )
        return times

    return run


def _torch(layer: dict[str, Any], ins: int, outs: int, threads: int, last: bool = False) -> Run:
    import torch
    from torch import nn

    if layer['kind'] == 'linear':
        parts: list[Any] = [nn.Linear(ins, outs)]
    else:
        conv = nn.Conv2d(
            ins,
            outs,
            layer['kernel'],
            layer['stride'],
            tuple(layer['padding']),
            layer['dilation'],
            _groups(layer, ins),
            bias=not layer['norm'],
        )
        parts = [conv, nn.BatchNorm2d(outs), nn.ReLU(inplace=True)]
        parts = parts if layer['norm'] else parts[:1]
    model, images = nn.Sequential(*parts).eval(), torch.from_numpy(_images(layer, ins))
    if last and images.dim() == 4:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = images.contiguous(memory_format=torch.channels_last)
    return _clocked(lambda: model(images), threads)


def _torch_channels_last(layer: dict[str, Any], ins: int, outs: int, threads: int) -> Run:
    return _torch(layer, ins, outs, threads, last=True)


def _compiled(layer: dict[str, Any], ins: int, outs: int, threads: int) -> Run:
    import torch

    if layer['kind'] == 'linear':
        return _torch(layer, ins, outs, threads)
    images = torch.from_numpy(_images(layer, ins)).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(_weight(layer, ins, outs)) * 0.05
    how = (layer['padding'], layer['stride'], layer['dilation'], _groups(layer, ins))
    calls: Any = torch.ops.mkldnn
    packed = calls._reorder_convolution_weight(
        weight.contiguous(memory_format=torch.channels_last), *how, list(images.shape)
    )
    behind, bias = ('relu' if layer['norm'] else 'none'), torch.zeros(outs)
    return _clocked(
        lambda: calls._convolution_pointwise(images, packed, bias, *how, behind, [], ''), threads
    )


def _clocked(call: Callable[[], Any], threads: int) -> Run:
    import torch

    def run(repeats: int) -> list[float]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        times = []
        try:
            with torch.inference_mode():
                for _ in range(repeats):
                    start = time.perf_counter()
                    call()
                    times.append((time.perf_counter() - start) * 1e3)
        finally:
            torch.set_num_threads(before)
        return times

    return run


#: How a layer is run, by the name of the runtime.
RUNTIMES: dict[str, Callable[[dict[str, Any], int, int, int], Run]] = {
    'torch': _torch,
    'torch-channels-last': _torch_channels_last,
    'compile': _compiled,
    'onnxruntime': _onnxruntime,
    'openvino': _openvino,
}


# As a program


class Clock:
    """Times layers as if the machine always had the speed that it had at the start.

    Args:
        runtime: One of :data:`RUNTIMES`.
        threads: CPU threads.
        reference: Milliseconds of :data:`REFERENCE` at the start; ``None`` times it.
    """

    def __init__(self, runtime: str, threads: int, reference: float | None = None) -> None:
        self.runtime, self.threads = runtime, threads
        self.reference = reference or self._now()

    def _now(self) -> float:
        return time_point(REFERENCE, *REFERENCE_WIDTHS, self.runtime, self.threads)

    def times(
        self, layer: dict[str, Any], points: Iterable[tuple[int, int]]
    ) -> Iterator[tuple[int, int, float]]:
        """Input and output channels and milliseconds of each point."""
        points = list(points)
        factor = self.reference / self._now() if points else 1.0
        for ins, outs in points:
            yield ins, outs, factor * time_point(layer, ins, outs, self.runtime, self.threads)


def head(runtime: str, threads: int) -> dict[str, Any]:
    """What a table says besides its layers."""
    return dict(
        schema=SCHEMA,
        runtime=runtime,
        version=version(runtime),
        threads=threads,
        machine=machine(),
    )


def main() -> int:
    """Read shapes, time them, write a table."""
    parser = argparse.ArgumentParser(description='Time layers at several widths.')
    parser.add_argument('shapes', help='what `mmcompress bench CONFIG --shapes FILE` has written')
    parser.add_argument('-o', '--out', required=True, help='the table to write')
    parser.add_argument('--runtime', choices=list(RUNTIMES), default='onnxruntime')
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args()
    if os.path.exists(args.out):
        print(f'error: -o: {args.out!r} exists; give another name', file=sys.stderr)
        return 2
    try:
        with open(args.shapes, encoding='utf-8') as file:
            shapes = json.load(file)
        layers = shapes['layers']
        if shapes['schema'] != SCHEMA:
            raise ValueError(f'its schema is {shapes["schema"]!r}, not {SCHEMA!r}')
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f'error: {args.shapes!r} is no file of shapes ({error})', file=sys.stderr)
        return 2
    done: list[dict[str, Any]] = []
    clock = Clock(args.runtime, args.threads)
    for layer in layers:
        pairs = [(point[0], point[1]) for point in layer['points']]
        done.append(dict(layer, points=[list(found) for found in clock.times(layer, pairs)]))
        print(f'\r{len(done)} of {len(layers)} layers', end='', file=sys.stderr, flush=True)
    print(file=sys.stderr)
    aside = f'{args.out}.part'
    with open(aside, 'w', encoding='utf-8') as file:
        table = dict(head(args.runtime, args.threads), reference=clock.reference, layers=done)
        json.dump(table, file, indent=1)
    os.replace(aside, args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
