"""Parameters and multiply-accumulates of a model, as mmengine counts them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmcompress.core.probe.counter import PREFIX, count
from mmcompress.core.probe.example import Example, Images

from .modes import evaluating

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.PReLU, nn.LeakyReLU)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
"""Layers whose work some papers count by the elements that they read; norms too."""

OTHER = '(other)'
"""Row of what belongs to no stage: operations in the model's own forward, bare parameters."""

PRODUCTS = ('conv', 'linear', 'addmm', 'matmul', 'mm', 'bmm', 'einsum')
"""Operators whose multiplications are by weights, by the names of mmengine."""


def complexity(
    model: nn.Module,
    input_shape: Images,
    data_samples: list | None = None,
    mode: str = 'tensor',
) -> dict[str, Any]:
    """Count parameters and MACs of one forward pass with a batch of one.

    These are the figures of :func:`mmengine.analysis.get_model_complexity_info`, whose rules hold
    here too: one multiply-add counts as one, biases as nothing, a batch norm in eval mode as two
    for each element, an adaptive average pool as one for each input element.

    The model is left as it was: the device, every module's mode, its statistics, and the random
    state of the run.

    Args:
        model: A model of any OpenMMLab library, or any module that takes one image tensor.
        input_shape: ``(channels, height, width)``, or inputs that a user gives.
        data_samples: For a BaseModel, what its forward needs beside the image. Default: one sample
            with the image's shape in its meta information.
        mode: For a BaseModel, the mode of its forward. ``'tensor'`` is backbone, neck and heads
            without post-processing; models that cannot run in it (mmseg's PointRend) take
            ``'predict'``.

    Returns:
        ``params`` (int), ``macs`` (int), and ``uncounted``: operators, by name with the number
        of calls, that mmengine has no rule for. Element-wise ones are harmless there; a
        ``prim::PythonOp`` (an operator of mmcv) means that its share is missing in ``macs``.

    Raises:
        ValueError: If ``input_shape`` is not an image's, or the model returns no tensor.
    """
    flops, params = _analyze(model, input_shape, data_samples, mode)
    return dict(
        params=sum(params.values()),
        macs=int(flops.total()),
        uncounted=dict(flops.unsupported_ops()),
    )


def complexity_by_stage(
    model: nn.Module,
    input_shape: Images,
    data_samples: list | None = None,
    mode: str = 'tensor',
) -> list[dict[str, Any]]:
    """Break :func:`complexity` down: the backbone by its children, everything else as one.

    Args:
        model: As for :func:`complexity`.
        input_shape: As for :func:`complexity`.
        data_samples: As for :func:`complexity`.
        mode: As for :func:`complexity`.

    Returns:
        Rows ``{name, params, macs}`` in the model's order, e.g. ``backbone.layer1``, ``neck``,
        ``head``, without those that have neither. Their sums are the figures of the whole: what
        is shared counts where it comes first, what belongs nowhere is in a row ``(other)``.
    """
    flops, params = _analyze(model, input_shape, data_samples, mode)
    macs = flops.by_module()
    rows: list[dict[str, Any]] = []
    for name in _stage_names(model):
        inside = [key for key in params if key == name or key.startswith(f'{name}.')]
        row = dict(
            name=name,
            params=sum(params.pop(key) for key in inside),
            macs=int(macs[PREFIX + name]),
        )
        rows.append(row)
    rest = dict(
        name=OTHER,
        params=sum(params.values()),
        macs=int(flops.total()) - sum(row['macs'] for row in rows),
    )
    return [row for row in [*rows, rest] if row['params'] or row['macs']]


def complexity_of_modules(
    model: nn.Module,
    names: Sequence[str],
    input_shape: Images,
    data_samples: list | None = None,
    mode: str = 'tensor',
) -> list[dict[str, Any]]:
    """What some modules have and do in the forward pass of :func:`complexity`.

    Args:
        model: As for :func:`complexity`.
        names: Of modules of it.
        input_shape: As for :func:`complexity`.
        data_samples: As for :func:`complexity`.
        mode: As for :func:`complexity`.

    Returns:
        Rows ``{name, params, macs}``. Parameters that are shared with other modules count in each.

    Raises:
        AttributeError: If the model has no such module.
    """
    modules = {name: model.get_submodule(name) for name in names}
    macs = _analyze(model, input_shape, data_samples, mode)[0].by_module()
    return [
        dict(
            name=name,
            params=sum(p.numel() for p in module.parameters()),
            macs=int(macs[PREFIX + name]),
        )
        for name, module in modules.items()
    ]


def macs_of_layers(model: nn.Module, input_shape: Images, mode: str = 'tensor') -> dict[str, Any]:
    """``total``, the MACs of :func:`complexity`, and ``layers``, those of each module by name."""
    flops, _ = _analyze(model, input_shape, None, mode)
    macs = flops.by_module()
    layers = {name: int(macs[PREFIX + name]) for name, _ in model.named_modules() if name}
    return dict(total=int(flops.total()), layers=layers)


def parameters(model: nn.Module) -> dict[str, int]:
    """``params``, the numbers that a model learns, and ``norm_params``, those of batch norms."""
    norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    return dict(
        params=sum(p.numel() for p in model.parameters()),
        norm_params=sum(p.numel() for norm in norms for p in norm.parameters()),
    )


def operations(
    model: nn.Module,
    input_shape: Images,
    data_samples: list | None = None,
    mode: str = 'tensor',
) -> dict[str, int]:
    """The operations of a forward pass by the rules that papers count them with.

    Args:
        model: As for :func:`complexity`.
        input_shape: As for :func:`complexity`.
        data_samples: As for :func:`complexity`.
        mode: As for :func:`complexity`.

    Returns:
        ``params``; ``norm_params``, those of norms; and operations by the rules of counters:

        - ``mmengine``, as :func:`complexity`;
        - ``products``, multiply-accumulates of convolutions and linear layers alone;
        - ``biases``, as ``mmengine`` and one more for each addition of a bias;
        - ``mmcv``, as ``biases`` and one more for each element that activations and max pools read;
        - ``elements``, as ``products`` and one more for each element that norms, activations and
          pools read, as often as they read it.
    """
    read: Counter[str] = Counter()

    def count_read(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        elements = math.prod(int(n) for n in inputs[0].shape)
        if isinstance(layer, (*ACTIVATIONS, nn.MaxPool2d)):
            read['mmcv'] += elements
        if isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d)):
            side = layer.kernel_size
            taken = side * side if isinstance(side, int) else math.prod(side)
            elements = taken * math.prod(int(n) for n in output.shape)
        read['elements'] += elements

    hooks = [
        layer.register_forward_hook(count_read)
        for layer in model.modules()
        if isinstance(layer, (*ACTIVATIONS, *POOLS, _BatchNorm))
    ]
    try:
        flops, _ = _analyze(model, input_shape, data_samples, mode)
    finally:
        for hook in hooks:
            hook.remove()
    products = sum(n for name, n in flops.by_operator().items() if name in PRODUCTS)
    by_module = flops.by_module()
    # A layer multiplies each of its outputs by as many numbers as one of its filters has.
    added = sum(
        by_module[PREFIX + name] / layer.weight[0].numel()
        for name, layer in model.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None
    )
    total = int(flops.total())
    return dict(
        **parameters(model),
        mmengine=total,
        products=int(products),
        biases=total + int(added),
        mmcv=total + int(added) + read['mmcv'],
        elements=int(products) + read['elements'],
    )


def _analyze(
    model: nn.Module, input_shape: Images, data_samples: list | None, mode: str
) -> tuple[FlopAnalyzer, dict[str, int]]:
    """Trace the model once.

    Returns:
        The analysis, and the size of each parameter by name.
    """
    params = {name: param.numel() for name, param in model.named_parameters()}
    if isinstance(input_shape, Example):
        given: dict[str, Any] = dict(mode=mode) if isinstance(model, BaseModel) else {}
        with evaluating(model):
            forward = partial(input_shape.run, model, **given)
            return count(model, input_shape.images, forward), params
    if len(input_shape) != 3:
        raise ValueError(f'input_shape={tuple(input_shape)} is not (channels, height, width).')
    kwargs = {}
    if isinstance(model, BaseModel):
        if data_samples is None:
            data_samples = [_sample(input_shape)]
        kwargs = dict(data_samples=data_samples, mode=mode)
    with evaluating(model):
        flops = count(model, _image(model, input_shape), partial(model, **kwargs))
    return flops, params


def _image(model: nn.Module, input_shape: Sequence[int]) -> Tensor:
    """A random image, where the model is and in its precision, from a generator of its own."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, *input_shape, generator=generator)
    like = next(model.parameters(), None)
    return image if like is None else image.to(device=like.device, dtype=like.dtype)


def _sample(input_shape: Sequence[int]) -> BaseDataElement:
    """The meta information that heads ask for, e.g. a two-stage detector's RPN."""
    shape = tuple(input_shape[1:])
    return BaseDataElement(
        metainfo=dict(
            img_shape=shape,
            ori_shape=shape,
            pad_shape=shape,
            batch_input_shape=shape,
            scale_factor=(1.0, 1.0),
        )
    )


def _stage_names(model: nn.Module, prefix: str = '') -> Iterator[str]:
    """Names of the modules that get a row of their own."""
    for name, child in model.named_children():
        name = prefix + name
        stages = [stage for stage, _ in child.named_children()]
        if name == 'architecture':
            # Of an algorithm of ours, the stages are those of what it compresses.
            yield from _stage_names(child, f'{name}.')
        elif name.endswith('backbone') and stages:
            yield from (f'{name}.{stage}' for stage in stages)
        else:
            yield name
