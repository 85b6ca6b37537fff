"""Run a model's real forward pass on a demo batch, on a copy that may be taken apart.

The analyzer asks a :class:`Probe` two things: the outputs with their autograd graph (to find
which channels belong together) and the shapes of the outputs (to see that narrowing broke
nothing). Everything happens on a private copy of the model: weights, buffers,
``requires_grad``, training mode and the random state of the caller stay as they are.
"""

from __future__ import annotations

import contextlib
import copy
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from mmcompress.core.errors import CompressionError
from mmcompress.core.layers.copying import copied
from mmcompress.core.layers.narrow import is_convolution, is_narrowable

from .demo_inputs import demo_batch, fixed_size, forward_modes
from .example import Demo, Example, LikelyShape
from .trace import Recorder

#: Sides, or heights and widths, tried in turn until the model's forward pass accepts one. Small
#: first: the graph of channels does not depend on the size, the time does.
SIDES = (64, 128, 224, 256, (256, 128), 512, 32)
#: Pixels of images whose own size is tried in front of these; that of larger ones comes last.
SMALL = 128 * 128


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """Seed Python, NumPy and PyTorch (CPU), at the beginning of training; put back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    hub = MessageHub.get_current_instance()
    runtime, resumed = hub.runtime_info.copy(), hub._resumed_keys.copy()
    try:
        # Heads with a warm-up and averages of momentum encoders ask how far training is.
        hub.update_info_dict(dict(epoch=0, max_iters=1))
        # The default generator alone: forking CUDA's would start a context for nothing.
        with torch.random.fork_rng(devices=[]):
            random.seed(0)
            np.random.seed(0)
            torch.default_generator.manual_seed(0)
            yield
    finally:
        for kept, before in ((hub.runtime_info, runtime), (hub._resumed_keys, resumed)):
            kept.clear()
            kept.update(before)
        random.setstate(python)
        np.random.set_state(numpy)


def working_copy(model: nn.Module, same_layers: bool = False) -> nn.Module:
    """A copy of ``model`` in eval mode, every parameter in the autograd graph.

    ``frozen_stages`` re-freezes whenever a backbone changes its mode, gradient checkpointing
    hides what it wraps from autograd, synchronised batch norm may ask for a process group, and
    Torch-Pruning takes the single slope of a PReLU for a single channel; none of the four plays
    a part in the coupling of channels.

    Args:
        model: Left as it is.
        same_layers: Leave PReLUs what they are: for who does not ask Torch-Pruning.
    """
    model = revert_sync_batchnorm(copied(model).cpu())
    model.eval()
    for module in model.modules():
        if getattr(module, 'with_cp', False):
            module.with_cp = False  # type: ignore[assignment]
        for name, child in () if same_layers else module.named_children():
            if isinstance(child, nn.PReLU) and child.num_parameters == 1:
                setattr(module, name, nn.LeakyReLU(child.weight.item()).eval())
    for parameter in model.parameters():
        # Some are allocated when a model is built and filled when it is initialised.
        if parameter.numel() and not bool(parameter.detach().abs().max() < 1e6):
            nn.init.normal_(parameter, std=0.01)
    model.requires_grad_(True)
    # Torch-Pruning switches to eval once more, which would freeze the stages again.
    model.eval = lambda: model  # type: ignore[method-assign]
    return model


#: Settings of detectors that say how many boxes go on to the next stage.
PROPOSAL_COUNTS = ('nms_pre', 'max_per_img', 'max_num', 'nms_post')
FEW = 16


def few_proposals(model: nn.Module) -> nn.Module:
    """Let few boxes through, in place: a thousand cost seconds and couple nothing new."""

    def limit(settings: Any) -> None:
        if isinstance(settings, dict):
            for key, value in settings.items():
                if key in PROPOSAL_COUNTS and isinstance(value, int):
                    settings[key] = min(value, FEW)
                limit(value)
        elif isinstance(settings, (list, tuple)):
            for item in settings:
                limit(item)

    learned: list[Any] = [m for m in model.modules() if hasattr(m, 'init_proposal_bboxes')]
    for module in learned:
        # Until their initialisation, learned boxes are as likely inside out as not.
        nn.init.constant_(module.init_proposal_bboxes.weight, 0.5)
    for module in [] if learned else model.modules():  # the number of learned ones is fixed
        for name in ('train_cfg', 'test_cfg'):
            limit(getattr(module, name, None))
    return model


@contextlib.contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Put every layer back afterwards: parameters, buffers and attributes that were replaced.

    Much cheaper than a copy; tensors changed in place stay changed.
    """
    parts = ('_parameters', '_buffers', '_modules')
    saved = [
        (module, dict(vars(module)), [dict(getattr(module, part)) for part in parts])
        for module in model.modules()
    ]
    try:
        yield
    finally:
        for module, attributes, tables in saved:
            vars(module).clear()
            vars(module).update(attributes)
            for part, table in zip(parts, tables, strict=True):
                getattr(module, part).clear()
                getattr(module, part).update(table)


class Probe:
    """A demo batch and the forward modes that together reach the layers of a model.

    ``reference`` holds the shapes of what the whole model returns in these modes, as
    :meth:`signature` gives them.

    Args:
        model: A working copy (see :func:`working_copy`).
        input_shape: ``(N, C, H, W)`` of the demo batch, or inputs that a user gives; ``None`` finds
            a shape that works.

    Raises:
        CompressionError: If the forward pass accepts none of the shapes tried.
    """

    def __init__(self, model: nn.Module, input_shape: Demo = None) -> None:
        self.example = input_shape if isinstance(input_shape, Example) else None
        if isinstance(input_shape, Example):
            input_shape = input_shape.images.shape
        self.failures: list[str] = []
        self.reference: list[tuple[int, ...]] = []
        for shape in _worth_trying(model, input_shape):
            self.shape = tuple(shape)
            self._batches: dict[str, tuple[Any, Any]] = {}
            self.modes, self.unreached = self._find_modes(model)
            if self.modes:
                return
        if self.example is not None:
            raise CompressionError(
                f'{self.example.key}: the forward pass of {type(model).__name__} does not accept '
                f'them ({self.failures[0]}); give inputs that the model works on'
            )
        why = f'the forward pass of {type(model).__name__} accepts no demo batch '
        if input_shape and not isinstance(input_shape, LikelyShape):
            key = getattr(input_shape, 'key', 'input_shape')
            size = 'x'.join(map(str, input_shape))
            raise CompressionError(
                f'{key}: {why}of {size} ({self.failures[0]}); give a size that the model works on'
            )
        raise CompressionError(
            f'{why}({self.failures[0]}); give `input_shape` a size that the model works on, or '
            '`demo_inputs` what it takes'
        )

    def run(self, model: nn.Module) -> list[Any]:
        """Outputs of ``model``, one entry for each mode, with their autograd graph."""
        return [self.forward(model, mode) for mode in self.modes]

    def signature(self, model: nn.Module) -> list[tuple[int, ...]]:
        """Shapes of all output tensors without their first dimension.

        The first dimension is the batch, or a number of proposals that depends on values.
        """
        with torch.no_grad():
            return [_shape(tensor) for tensor in tensors_in(self.run(model))]

    def forward(self, model: nn.Module, mode: str) -> Any:
        """Run ``model`` on the demo batch as mmengine's loops would in this mode."""
        if self.example is not None:
            if not isinstance(model, BaseModel):
                return self.example.run(model)
            with _training(model, mode == 'loss'):
                return self.example.run(model, mode=mode)
        if mode not in self._batches:
            self._batches[mode] = demo_batch(model, self.shape, mode)
        inputs, samples = self._batches[mode]
        if not isinstance(model, BaseModel):
            return model(inputs)
        with _training(model, mode == 'loss'):
            # Some heads write into the samples they are given.
            return model(inputs, copy.deepcopy(samples), mode=mode)

    def _find_modes(self, model: nn.Module) -> tuple[list[str], list[str]]:
        """The fewest modes that reach every layer, and the layers that none of them runs.

        A layer is reached where it runs with a gradient: one that runs without, say to propose
        boxes, shows in another mode what it couples.
        """
        layers = {m: name for name, m in model.named_modules() if _is_layer(m)}
        run: set[nn.Module] = set()
        reached: set[nn.Module] = set()
        modes: list[str] = []
        self.reference = []
        for mode in forward_modes(model) if isinstance(model, BaseModel) else ('tensor',):
            recorder = Recorder(_is_layer)
            try:
                with torch.enable_grad(), recorder.recording(model):
                    output = self.forward(model, mode)
            except Exception as error:  # whatever a user's model raises on a demo batch
                self.failures.append(f'{mode}: {type(error).__name__}: {error}')
                continue
            results = list(tensors_in(output))
            found = recorder.differentiable()
            if not found <= reached or not run.issuperset(recorder.outputs):
                modes.append(mode)
                self.reference.extend(map(_shape, results))
            run.update(recorder.outputs)
            reached |= found
            if len(reached) == len(layers) or (mode == 'loss' and len(run) == len(layers)):
                break
        if not run:
            self.failures.append('it runs none of its layers')
        # A pass that reaches hardly anything was stopped by the size of the demo batch.
        return (modes if run else []), sorted(layers[m] for m in layers.keys() - run)


@contextlib.contextmanager
def _training(model: nn.Module, flag: bool) -> Iterator[None]:
    """Training mode for heads that compute other things then; norms stay in eval mode.

    The statistics of a batch of one are none, and modes set by ``train()`` freeze stages.
    """
    modules = [m for m in model.modules() if not isinstance(m, (_NormBase, _DropoutNd))]
    for module in modules:
        module.training = flag
    try:
        yield
    finally:
        for module in modules:
            module.training = False


def tensors_in(output: Any) -> Iterator[Tensor]:
    """Every tensor inside nested lists, dicts and data elements, in a fixed order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, BaseDataElement):
        yield from tensors_in([value for _, value in output.items()])
    elif isinstance(output, dict):
        yield from tensors_in(list(output.values()))
    elif isinstance(output, (list, tuple)):
        for item in output:
            yield from tensors_in(item)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape[1:])


def _is_layer(module: nn.Module) -> bool:
    """Whether a forward pass that runs ``module`` runs something: a layer, or an op of ours."""
    return is_narrowable(module) or hasattr(module, 'to_static')


def image_channels(model: nn.Module) -> list[int]:
    """Numbers of channels that the images of a model may have, likeliest first.

    Those of the mean that its data preprocessor takes off, then those of the first convolution,
    then three. Some models rearrange pixels into channels before the first convolution (YOLOX).
    """
    mean = getattr(getattr(model, 'data_preprocessor', None), 'mean', None)
    channels = [mean.numel()] if isinstance(mean, Tensor) and mean.numel() else []
    first: Any = next(filter(_convolves, model.modules()), None)
    if first is not None:
        channels.append(first.in_channels)
    return list(dict.fromkeys([*channels, 3]))


def _convolves(module: nn.Module) -> bool:
    """Whether a module is a convolution, or an op in the place of one.

    Blocks may have attributes ``in_channels`` and ``kernel_size`` too.
    """
    return is_convolution(module) or (
        hasattr(module, 'to_static') and hasattr(module, 'in_channels')
    )


def _worth_trying(model: nn.Module, given: Sequence[int] | None) -> list[tuple[int, ...]]:
    """The shape that is given, or several in the order in which they are tried."""
    if not given:
        return _shapes(model)
    likely = tuple(given)
    if not isinstance(given, LikelyShape):
        return [likely]
    # The graph of channels does not depend on the size, the time does.
    small = math.prod(likely[2:]) <= SMALL
    guesses = _shapes(model)
    return list(dict.fromkeys([likely, *guesses] if small else [*guesses, likely]))


def _shapes(model: nn.Module) -> list[tuple[int, ...]]:
    """Demo shapes worth trying."""
    first: Any = next(filter(_convolves, model.modules()), None)
    if first is None:
        raise CompressionError(f'{type(model).__name__} has no convolution to compress')
    kernel = first.kernel_size
    spatial = len(kernel) if isinstance(kernel, (tuple, list)) else 2
    sides = [side if isinstance(side, tuple) else (side,) * spatial for side in SIDES]
    size = fixed_size(model)
    if size is not None:
        sides.insert(0, size)
    return [
        (1, channels, *side)
        for channels in image_channels(model)
        for side in sides
        if len(side) == spatial
    ]
