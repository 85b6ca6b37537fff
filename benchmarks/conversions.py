"""Convert one prepared export for one runtime, run it, and compare it with torch.

A program of its own, for another interpreter to run: runtimes want packages that the rest does
not. It needs NumPy and what the runtime needs, and prints one line of JSON last.

Example:
    python benchmarks/conversions.py ncnn work_dirs/runtimes/dcff_resnet20_digits
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

#: A batch of one image to all outputs.
Run = Callable[[np.ndarray], list[np.ndarray]]
#: Files of a prepared export, see ``prepared.py``.
IMAGES, EXPECTED, RAW = 'images.npy', 'expected.npz', 'raw.npy'
ONNX, TRACED, EXPORTED = 'compact.onnx', 'traced.pt', 'exported.pt2'
#: Packages that a runtime needs, as they are imported and as pip knows them.
PACKAGES: dict[str, dict[str, str]] = {
    'onnxruntime': dict(onnxruntime='onnxruntime'),
    'openvino': dict(openvino='openvino'),
    'ncnn': dict(pnnx='pnnx', ncnn='ncnn'),
    'litert': dict(litert_torch='litert-torch', ai_edge_litert='ai-edge-litert'),
    'mmdeploy': dict(mmdeploy='mmdeploy', onnxruntime='onnxruntime'),
}
#: What mmdeploy's deploy configs say for each of its code bases (its wheel holds none of them).
TASKS: dict[str, dict[str, Any]] = dict(
    mmpretrain=dict(task='Classification'),
    mmdet=dict(
        task='ObjectDetection',
        model_type='end2end',
        post_processing=dict(
            score_threshold=0.05,
            confidence_threshold=0.005,
            iou_threshold=0.5,
            max_output_boxes_per_class=200,
            pre_top_k=5000,
            keep_top_k=100,
            background_label_id=-1,
        ),
    ),
    mmseg=dict(task='Segmentation', with_argmax=True),
    mmpose=dict(task='PoseDetection'),
)


def main(runtime: str, folder: Path) -> dict[str, Any]:
    """What became of one conversion.

    Returns:
        ``missing``, packages that aren't there; or ``error``, a line; or ``difference``, the
        largest one to torch as a share of the largest output. With ``versions`` in any case.
    """
    packages = PACKAGES[runtime]
    missing = [pip for name, pip in packages.items() if importlib.util.find_spec(name) is None]
    if missing:
        return dict(missing=missing, versions={})
    found: dict[str, Any] = dict(versions={pip: version(pip) for pip in packages.values()})
    try:
        found.update(CONVERT[runtime](folder))
    except Exception as error:  # whatever a converter raises
        traceback.print_exc()
        while error.__cause__ is not None:
            error = error.__cause__  # type: ignore[assignment]
        found['error'] = ' '.join(f'{type(error).__name__}: {error}'.split())
    return found


def compared(folder: Path, run: Run) -> dict[str, Any]:
    """Run every image by itself, and compare each output with torch's."""
    expected = np.load(folder / EXPECTED)
    worst = 0.0
    for number, image in enumerate(np.load(folder / IMAGES)):
        outputs = run(image[None])
        wanted = [expected[key] for key in expected.files if key.startswith(f'{number}_')]
        worst = max(worst, difference(wanted, outputs))
    return dict(difference=worst)


def difference(wanted: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """The largest difference, as a share of the largest value of the same output.

    Raises:
        ValueError: If there are more outputs or fewer, or some of other sizes. A batch of one may
            be left out of the shape.
    """
    shapes = [[tuple(np.squeeze(one).shape) for one in group] for group in (wanted, found)]
    if shapes[0] != shapes[1]:
        raise ValueError(f'outputs have the shapes {shapes[1]}, in torch {shapes[0]}')
    worst = 0.0
    for one, other in zip(wanted, found, strict=True):
        if one.size:
            gap = np.abs(np.squeeze(one).astype(float) - np.squeeze(other).astype(float)).max()
            share = float(gap) / max(float(np.abs(one).max()), 1e-30)
            worst = max(worst, share if share == share else float('inf'))
    return worst


def by_onnxruntime(folder: Path) -> dict[str, Any]:
    """The ONNX file of the export."""
    return compared(folder, onnx_session(folder / ONNX))


def onnx_session(path: Path) -> Run:
    """An ONNX file with one input."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})


def by_openvino(folder: Path) -> dict[str, Any]:
    """OpenVINO's own format, made of the ONNX file; float32 on disk and in arithmetic."""
    import openvino

    core = openvino.Core()
    path = folder / 'openvino.xml'
    openvino.save_model(core.read_model(folder / ONNX), path, compress_to_fp16=False)
    compiled = core.compile_model(path, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    return compared(folder, lambda image: list(compiled(image).values()))


def by_ncnn(folder: Path) -> dict[str, Any]:
    """Of a TorchScript trace, by pnnx; float32 on disk and in arithmetic."""
    import subprocess

    import ncnn
    import pnnx

    shape = ','.join(map(str, (1, *np.load(folder / IMAGES).shape[1:])))
    done = subprocess.run(
        [pnnx.EXEC_PATH, str(folder / TRACED), f'inputshape=[{shape}]', 'fp16=0'],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    param, weights = (folder / TRACED.replace('.pt', f'.ncnn.{end}') for end in ('param', 'bin'))
    print(done.stdout, done.stderr, file=sys.stderr)
    if done.returncode or not param.is_file():
        raise RuntimeError(f'pnnx ended with status {done.returncode}: {_last_line(done.stderr)}')
    refused = [
        line.split(None, 1)[1]
        for line in (done.stdout + done.stderr).splitlines()
        if line.startswith('ignore ')
    ]
    # A layer that pnnx could not translate keeps its name in torch, and ncnn has none of it.
    unknown = sorted(
        {
            line.split()[0]
            for line in param.read_text().splitlines()[2:]
            if '.' in line.split()[0] or '::' in line.split()[0]
        }
    )
    if unknown:
        raise RuntimeError(f'ncnn has no layer {", ".join(unknown)}')
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    for name in ('use_fp16_packed', 'use_fp16_storage', 'use_fp16_arithmetic', 'use_bf16_storage'):
        setattr(net.opt, name, False)
    if net.load_param(str(param)) or net.load_model(str(weights)):
        raise RuntimeError(f'ncnn cannot load the file{" (" + refused[0] + ")" if refused else ""}')

    def run(image: np.ndarray) -> list[np.ndarray]:
        extractor = net.create_extractor()
        extractor.input(net.input_names()[0], ncnn.Mat(np.ascontiguousarray(image[0])).clone())
        outputs = []
        for name in net.output_names():
            status, output = extractor.extract(name)
            if status:
                raise RuntimeError(f'ncnn stops at {name!r} with status {status}')
            outputs.append(np.array(output))
        return outputs

    return compared(folder, run)


def by_litert(folder: Path) -> dict[str, Any]:
    """Of an exported program, by litert-torch; float32."""
    import litert_torch
    import torch
    from ai_edge_litert.interpreter import Interpreter

    image = torch.from_numpy(np.load(folder / IMAGES)[:1])
    module = torch.export.load(folder / EXPORTED).module()
    path = folder / 'litert.tflite'
    litert_torch.convert(module, (image,)).export(str(path))
    runner = Interpreter(str(path)).get_signature_runner()
    (name,) = runner.get_input_details()

    def run(image: np.ndarray) -> list[np.ndarray]:
        outputs = runner(**{name: image})
        return [outputs[key] for key in sorted(outputs, key=lambda key: int(key.split('_')[-1]))]

    return compared(folder, run)


def by_mmdeploy(folder: Path) -> dict[str, Any]:
    """The whole of ``predict``, by mmdeploy's ``torch2onnx`` with a config for onnxruntime."""
    import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

    # isort: split
    import torch
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    with contextlib.suppress(ImportError):
        # litert-torch brings a newer transformers than mmpretrain knows; it can do without any.
        importlib.import_module('mmpretrain.utils.dependency').WITH_MULTIMODAL = False

    config = folder / 'compact.py'
    model_cfg = Config.fromfile(config)
    codebase = model_cfg.get('default_scope')
    if codebase not in TASKS:
        raise ValueError(f'mmdeploy has no code base for {codebase or "this library"}')
    init_default_scope(codebase)
    raw = np.load(folder / RAW)
    _repair_exporter()
    from mmdeploy.apis import build_task_processor, torch2onnx

    deploy_cfg = deploy_config(codebase)
    torch2onnx(
        raw[0],
        str(folder),
        'mmdeploy.onnx',
        deploy_cfg,
        model_cfg,
        str(folder / 'compact.pth'),
        device='cpu',
    )
    run = onnx_session(folder / 'mmdeploy.onnx')
    processor = build_task_processor(model_cfg, deploy_config(codebase), 'cpu')
    model = processor.build_pytorch_model(str(folder / 'compact.pth')).eval()
    worst = 0.0
    for image in raw:
        data, inputs = processor.create_input(
            image, None, data_preprocessor=model.data_preprocessor
        )
        inputs = inputs[0] if isinstance(inputs, list) else inputs
        with torch.no_grad():
            wanted = predicted(codebase, model, inputs, data['data_samples'])
        worst = max(worst, difference(wanted, run(inputs.numpy())))
    return dict(difference=worst)


def _repair_exporter() -> None:
    """Let mmdeploy 1.3.1, of 2023, find in torch 2.13 what it was written for.

    It rewrites functions and symbols of the TorchScript exporter, which is no longer the default,
    and takes one private function from there that is gone.
    """
    import torch

    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    # `torch.onnx` has another module under this name than `import` finds.
    symbols: Any = importlib.import_module('torch.onnx.symbolic_opset9')
    int64 = torch.onnx.TensorProtoDataType.INT64
    symbols._cast_Long = lambda g, x, _: g.op('Cast', x, to_i=int64)


def deploy_config(codebase: str) -> Any:
    """A config like those of mmdeploy's repository, ``*_onnxruntime_dynamic.py``."""
    from mmengine.config import Config

    outputs = ['dets', 'labels'] if codebase == 'mmdet' else ['output']
    free = {0: 'batch', 2: 'height', 3: 'width'} if codebase in ('mmdet', 'mmseg') else {0: 'batch'}
    return Config(
        dict(
            onnx_config=dict(
                type='onnx',
                export_params=True,
                keep_initializers_as_inputs=False,
                opset_version=11,
                save_file='mmdeploy.onnx',
                input_names=['input'],
                output_names=outputs,
                input_shape=None,
                optimize=True,
                dynamic_axes={'input': free, **{name: {0: 'batch'} for name in outputs}},
            ),
            codebase_config=dict(type=codebase, **TASKS[codebase]),
            backend_config=dict(type='onnxruntime'),
        )
    )


def predicted(codebase: str, model: Any, inputs: Any, samples: Any) -> list[np.ndarray]:
    """What the library itself predicts, in the order and form of mmdeploy's outputs."""
    if codebase == 'mmpose':
        return [model(inputs, samples, mode='tensor').numpy()]
    found = model(inputs, samples, mode='predict')
    if codebase == 'mmpretrain':
        return [np.stack([sample.pred_score.numpy() for sample in found])]
    if codebase == 'mmseg':
        return [np.stack([sample.pred_sem_seg.data.numpy() for sample in found])]
    boxes = found[0].pred_instances
    dets = np.concatenate([boxes.bboxes.numpy(), boxes.scores.numpy()[:, None]], axis=1)
    return [dets[None], boxes.labels.numpy()[None]]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ['it says nothing'])[-1]


CONVERT: dict[str, Callable[[Path], dict[str, Any]]] = dict(
    onnxruntime=by_onnxruntime,
    openvino=by_openvino,
    ncnn=by_ncnn,
    litert=by_litert,
    mmdeploy=by_mmdeploy,
)


if __name__ == '__main__':
    # Converters print; the answer is the one line on standard output.
    with contextlib.redirect_stdout(sys.stderr):
        answer = main(sys.argv[1], Path(sys.argv[2]).resolve())
    print(json.dumps(answer))
