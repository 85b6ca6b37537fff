"""The page beside an ONNX file: what goes in, what comes out, and what is left to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from .sessions import INPUT

#: Transforms of test pipelines that don't change pixels.
SILENT = ('Load', 'Pack', 'GetBBox', 'Collect')
#: What mmengine and the libraries call the order of channels that a preprocessor makes.
TURNS = ('_channel_conversion', 'channel_conversion', 'to_rgb')
RAW = (
    'These are the outputs of the network itself: post-processing (probabilities, boxes and their '
    'suppression, key points) is left to do. `--onnx end2end` writes a graph that does it.'
)
FEATURES = (
    'These are the feature maps of the backbone and the neck; the heads need more than images, and '
    'are not in the graph. `--onnx end2end` writes a graph that has them.'
)
#: What is left to do, by the first of the outputs of an end-to-end graph.
AFTER = dict(
    boxes='Boxes count where the label is not -1. Divide them by the factor by which the '
    'photograph was resized.',
    scores='Nothing.',
    label_map='Cut off what was padded, and resize the map to the size of the photograph (nearest '
    'neighbour; the library resizes scores of classes, and gives smoother edges).',
    keypoints='Map the points from the crop back to the photograph, by the inverse of the '
    'transform that cut it out.',
    pred_images='Round to whole numbers.',
)


def readme(
    model: nn.Module, cfg: Any, found: dict[str, Any], shape: Sequence[int], name: str
) -> str:
    """The text of the page, in Markdown.

    Args:
        model: The model that was written; its ``data_preprocessor`` says what images become.
        cfg: The config, for its test pipeline.
        found: What :func:`~mmcompress.core.export.onnx.export_onnx` returned, with ``says`` of
            the outputs where it knows.
        shape: ``(channels, height, width)`` that the graph was traced with.
        name: The file.
    """
    steps = preparation(model, cfg, shape, found['free'])
    says = found.get('says') or [''] * len(found['names'])
    outputs = [
        f'- `{name}`: {text}' if text else f'- `{name}`'
        for name, text in zip(found['names'], says, strict=True)
    ]
    if found['outputs'] == 'end2end':
        after = [AFTER[found['names'][0]], *found.get('left', ())]
    else:
        after = [FEATURES if found['outputs'] == 'features' else RAW]
    return '\n'.join(
        [
            f'# {name}',
            '',
            f'Opset {found["opset"]}, weights as {found["stored"]}; written by `mmcompress`.',
            f'Operators: {", ".join(found["operators"])}.',
            '',
            '## Input',
            '',
            f'`{INPUT}`: float32 [N, {shape[0]}, H, W]. {free_text(found["free"], shape)}',
            'What the library does with a photograph:',
            '',
            *(f'{number}. {step}' for number, step in enumerate(steps, 1)),
            '',
            '## Outputs',
            '',
            *outputs,
            '',
            '## What is left to do',
            '',
            *(f'- {line}' for line in after),
            '',
            '## Example',
            '',
            '```python',
            *example(model, found, shape, name),
            '```',
            '',
        ]
    )


def free_text(free: Sequence[str], shape: Sequence[int]) -> str:
    """Which sizes the graph takes."""
    if 'height' in free:
        return 'Any number of images, of any size.'
    return f'Any number of images, of {shape[1]}x{shape[2]} (height x width) pixels.'


def preparation(model: nn.Module, cfg: Any, shape: Sequence[int], free: Sequence[str]) -> list[str]:
    """What becomes of a photograph before it goes into the graph, step by step."""
    steps = [
        f'`{text}`'
        for text in map(transform_text, test_pipeline(cfg) or ())
        if not text.startswith(SILENT)
    ]
    mean, std, rgb = normalisation(model)
    if rgb is not None:
        steps.append(f'Channels in the order {"RGB" if rgb else "BGR"}.')
    if mean is not None:
        steps.append(f'Minus the mean {mean}, divided by {std}, of values from 0 to 255.')
    preprocessor: Any = getattr(model, 'data_preprocessor', None)
    divisor = getattr(preprocessor, 'pad_size_divisor', None)
    divisor = getattr(preprocessor, 'size_divisor', divisor)
    if divisor and divisor > 1:
        steps.append(f'Padded at the right and at the bottom to a multiple of {divisor}.')
    if 'height' not in free:
        steps.append(f'Of {shape[1]}x{shape[2]} pixels, whatever else happens.')
    return steps or ['Nothing.']


def test_pipeline(cfg: Any) -> list[Any] | None:
    """The transforms of a config's test data, or of the first data set in their wrappers.

    Args:
        cfg: A config; where it has no data for a test, those for validation count.

    Returns:
        ``None`` where there are no data, or they have no pipeline.
    """
    loader = (cfg or {}).get('test_dataloader') or (cfg or {}).get('val_dataloader') or {}
    dataset = loader.get('dataset')
    while isinstance(dataset, dict):
        if dataset.get('pipeline') is not None:
            return list(dataset['pipeline'])
        dataset = dataset.get('dataset') or (dataset.get('datasets') or [None])[0]
    return None


def transform_text(transform: Any) -> str:
    """``Resize(scale=(96, 96), keep_ratio=True)``."""
    settings = ', '.join(f'{k}={v!r}' for k, v in transform.items() if k != 'type')
    return f'{str(transform.get("type")).split(".")[-1]}({settings})'


def normalisation(model: nn.Module) -> tuple[Any, Any, bool | None]:
    """Mean and standard deviation for each channel, and whether channels are turned to RGB.

    Returns:
        Two lists, or ``None`` twice; and ``None`` where the order stays as it was loaded.
    """
    preprocessor: Any = getattr(model, 'data_preprocessor', None)
    mean: Any = getattr(preprocessor, 'mean', None)
    std: Any = getattr(preprocessor, 'std', None)
    if mean is not None:
        mean = [round(float(value), 4) for value in mean.flatten()]
        if isinstance(std, (int, float)):
            std = [float(std)] * len(mean)
        else:
            std = [round(float(value), 4) for value in std.flatten()]
    turned = [getattr(preprocessor, key) for key in TURNS if hasattr(preprocessor, key)]
    # Photographs are loaded as BGR by the libraries; our images for super-resolution as RGB.
    return mean, std, any(turned) if turned else None


def example(model: nn.Module, found: dict[str, Any], shape: Sequence[int], name: str) -> list[str]:
    """Lines of Python that run the file on a photograph ``image.png``."""
    mean, std, rgb = normalisation(model)
    lines = [
        'import cv2',
        'import numpy as np',
        'import onnxruntime',
        '',
        f"session = onnxruntime.InferenceSession('{name}', providers=['CPUExecutionProvider'])",
        "image = cv2.imread('image.png')",
        f'image = cv2.resize(image, ({shape[2]}, {shape[1]}))',
    ]
    if rgb or (rgb is None and mean is not None):
        lines.append('image = image[..., ::-1]  # BGR to RGB')
    lines.append('image = image.astype(np.float32)')
    if mean is not None:
        lines.append(f'image = (image - np.float32({mean})) / np.float32({std})')
    names = found['names']
    lines.append('images = np.ascontiguousarray(image.transpose(2, 0, 1)[None])')
    if len(names) <= 3:
        lines.append(
            f'{", ".join(names)}{"," * (len(names) == 1)} = session.run(None, '
            f"{{'{INPUT}': images}})"
        )
        lines.append(f'print({", ".join(f"{name}.shape" for name in names)})')
    else:
        lines.append(f"outputs = session.run(None, {{'{INPUT}': images}})")
        lines.append('print([output.shape for output in outputs])')
    return lines
