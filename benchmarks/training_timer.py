"""A step of training and a forward pass, of a dense network and of an algorithm that trains it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, build_optim_wrapper

from mmcompress.core.base.algorithm import Clock, CompressionAlgorithm
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.onnx import OnImages
from mmcompress.core.probe.demo_inputs import demo_batch, forward_modes
from mmcompress.core.probe.probe import seeded
from mmcompress.report.latency import compare_latency

#: The training that an algorithm is told to be in: long enough for any schedule.
EPOCHS, BATCHES = 100, 1000
#: What is taken from an optimizer wrapper's config; the rest is about other devices.
WRAPPER_KEYS = ('optimizer', 'paramwise_cfg', 'clip_grad', 'constructor')
#: For a config without an optimizer.
SGD = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))


def compare_training(
    dense: BaseModel,
    algorithm: CompressionAlgorithm,
    shape: tuple[int, ...],
    optim_wrapper: Mapping[str, Any] | None = None,
    repeats: int = 30,
    warmup: int = 5,
    threads: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Time training and evaluation of a dense network against an algorithm's, in turn.

    A step of training is the method's schedule, the losses, backward, and the optimizer's step,
    at a learning rate of 0: the work is the same, and the weights stay what they are whatever the
    labels. What a method does every tenth batch is in the mean, and hardly in the median.

    Args:
        dense: The architecture of the algorithm, dense.
        algorithm: With what it starts from loaded; both models on the CPU. Statistics of batch
            norms change, and so does what the method does while it trains.
        shape: ``(N, C, H, W)`` of a batch of random images; labels are the models' demo data.
        optim_wrapper: As in a config; :data:`SGD` by default.
        repeats: Timed rounds, of training and of evaluation.
        warmup: Rounds before those.
        threads: CPU threads; None leaves them alone.
        clock: See :func:`~mmcompress.report.compare_latency`.

    Returns:
        ``dense_train_ms``, ``train_ms``, medians; ``train_ratio`` and ``train_iqr``, the median
        and the interquartile range of the ratio of the times in a round; ``train_mean_ratio``, the
        ratio of the times of all rounds; and the same of evaluation, ``dense_eval_ms`` ...

    Raises:
        CompressionError: If the optimizer's config is wrong, or the algorithm lacks what it
            starts from.
    """
    config = optim_wrapper or SGD
    with seeded():
        images, samples = demo_batch(dense, shape, 'loss')
        steps = {
            'dense': training_step(dense, _wrapper(dense, config)),
            'compact': training_step(algorithm, _wrapper(algorithm, config)),
        }
        batch = (images, samples)
        trained = compare_latency(steps, batch, repeats, warmup, threads, clock)
        mode = forward_modes(dense)[0]
        images, samples = demo_batch(dense, shape, mode)
        calls = {
            'dense': OnImages(dense, mode, samples),
            'compact': OnImages(algorithm, mode, samples),
        }
        evaluated = compare_latency(calls, (images,), repeats, warmup, threads, clock)
    row = {}
    for name, (reference, own) in dict(train=trained, eval=evaluated).items():
        row[f'dense_{name}_ms'] = reference['median_ms']
        row[f'{name}_ms'] = own['median_ms']
        row[f'{name}_ratio'] = own['ratio']
        row[f'{name}_iqr'] = own['ratio_iqr']
        row[f'{name}_mean_ratio'] = own['mean_ratio']
    return row


def training_step(model: BaseModel, wrapper: OptimWrapper) -> Callable[[Any, Any], None]:
    """A function of images and data samples that trains a model on them, in training mode.

    Args:
        model: A model, or an algorithm, which is told the time before every step.
        wrapper: Of its optimizer, whose learning rates are set to 0.
    """
    ticks = iter(())
    if isinstance(model, CompressionAlgorithm):
        model.start(wrapper)
        ticks = _ticks()
    for group in wrapper.optimizer.param_groups:
        group['lr'] = 0.0
    model.train()

    @torch.enable_grad()
    def step(images: Any, samples: Any) -> None:
        clock = next(ticks, None)
        if clock is not None:
            model.tick(clock)
        loss, _ = model.parse_losses(model(images, samples, mode='loss'))
        wrapper.update_params(loss)

    return step


def _ticks() -> Iterator[Clock]:
    length = EPOCHS * BATCHES
    for i in count():
        yield Clock(i // BATCHES, i, EPOCHS, length, starts_epoch=i % BATCHES == 0)


def _wrapper(model: BaseModel, config: Mapping[str, Any]) -> OptimWrapper:
    kept = {key: config[key] for key in WRAPPER_KEYS if key in config}
    try:
        return build_optim_wrapper(model, dict(kept, type='OptimWrapper'))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f'{type(error).__name__}: {" ".join(str(error).split())}'
        raise CompressionError(f'optim_wrapper: {kept} cannot be built ({reason})') from error
