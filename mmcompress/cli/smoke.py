"""A recipe's first steps, on embedded data of the real size, and what all steps would take."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmcompress.core.base.parts import whole_architecture
from mmcompress.core.errors import CompressionError
from mmcompress.datasets import lookalikes

from .public_data import kind_of, training_images

#: Images in a batch of a smoke, and the most steps of a stage, by the folder of the data set: what
#: a CPU does in some seconds. A step on a large image takes ten.
SIZES = {
    'cifar10': (16, 4),
    'cifar100': (16, 4),
    'svhn': (16, 4),
    'mnist': (16, 4),
    'fashion_mnist': (16, 4),
    'imagenet': (2, 2),
    'coco topdown': (2, 2),
    'coco': (1, 1),
    'cityscapes': (1, 1),
    'DIV2K': (1, 2),
}

#: How the digits take the place of data sets of small images.
SMALL: dict[str, dict[str, int]] = {
    'CIFAR10': {},
    'CIFAR100': dict(num_classes=100),
    'SVHN': {},
    'MNIST': dict(img_size=28, channels=1),
    'FashionMNIST': dict(img_size=28, channels=1),
}

#: The part of the steps of a stage that a smoke does, if these aren't more than the above.
SHARE = 0.01

#: The stage that stands for published weights.
DENSE = 'published'


def steps_of(cfg: Config) -> int:
    """How many steps a stage of a recipe trains for, with the batch that is published."""
    if 'max_epochs' not in cfg.train_cfg:
        return cfg.train_cfg.max_iters
    return cfg.train_cfg.max_epochs * math.ceil(training_images(cfg) / total_batch(cfg))


def total_batch(cfg: Config) -> int:
    """Images in a step, of all processes together."""
    scale = cfg.get('auto_scale_lr') or {}
    return scale.get('base_batch_size') or cfg.train_dataloader.batch_size


def smoke_steps(cfg: Config) -> int:
    """How many of the steps of a stage a smoke does."""
    _, most = _size(cfg)
    return max(1, min(most, int(SHARE * steps_of(cfg))))


def _size(cfg: Config) -> tuple[int, int]:
    name = kind_of(cfg.train_dataloader.dataset)[1]
    if name not in SIZES:
        raise CompressionError(
            f'--smoke: there are no embedded data in place of {name!r}, only of '
            f'{", ".join(sorted({key.split()[0] for key in SIZES}))}'
        )
    return SIZES[name]


def write_data(configs: list[Config], folder: Path) -> None:
    """Write look-alikes of the data that some recipes read, where they aren't there yet."""
    for cfg in configs:
        dataset = cfg.train_dataloader.dataset
        name = kind_of(dataset)[1]
        if name == 'imagenet' and not (folder / 'imagenet').is_dir():
            lookalikes.imagenet(folder)
        elif name == 'coco topdown':
            lookalikes.coco_pose(folder)
        elif name == 'coco':
            from mmdet.datasets import CocoDataset

            lookalikes.coco(folder, CocoDataset.METAINFO['classes'])
        elif name == 'cityscapes' and not (folder / 'cityscapes').is_dir():
            lookalikes.cityscapes(folder)
        elif name == 'DIV2K':
            lookalikes.div2k(folder, dataset.scale)


def make_smoke(configs: dict[str, Config]) -> dict[str, Config]:
    """The stages of a recipe, shortened, in place; their data have been moved to look-alikes.

    Schedules stay: these are the first steps of each training. Nothing is downloaded: where a
    recipe starts from published weights, a step of dense training comes first.
    """
    first = next(iter(configs.values()))
    dense = copy.deepcopy(first)
    for cfg in configs.values():
        _make_small(cfg)
    if 'architecture' not in first.model or not _loads(dense):
        return configs
    dense.model = whole_architecture(dense.model)
    _make_small(dense, steps=1)
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        dense[key] = None
    dense.default_hooks.checkpoint.pop('save_best', None)
    return {DENSE: dense, **configs}


def _loads(cfg: Config) -> bool:
    """Whether a stage begins with weights from elsewhere."""
    return bool(cfg.get('load_from')) or _forget_weights(cfg.model)


def _make_small(cfg: Config, steps: int | None = None) -> None:
    """Shorten a stage, in place."""
    (batch, most), steps = _size(cfg), steps or smoke_steps(cfg)
    epochs = 2 if 'max_epochs' in cfg.train_cfg and steps > 1 else 1
    for phase in ('train', 'val', 'test'):
        key = f'{phase}_dataloader'
        if not cfg.get(key):
            continue
        loader = copy.deepcopy(cfg[key])  # validation and test may share parts
        loader.update(num_workers=0, persistent_workers=False)
        if phase == 'train':
            loader.batch_size = batch
        images = batch * steps // epochs if phase == 'train' else min(batch, 2)
        _shorten(loader.dataset, images)
        if phase != 'train' and most == 1:
            _halve(loader.dataset.pipeline)
        cfg[key] = loader
    length, end = ('max_epochs', epochs) if 'max_epochs' in cfg.train_cfg else ('max_iters', steps)
    # Large images are evaluated once, after the export.
    begin = 1 if most > 1 else end + 1
    cfg.train_cfg.update({length: end, 'val_interval': end, 'val_begin': begin})
    hooks = cfg.default_hooks
    # Its other settings (the best checkpoint) are the recipe's.
    hooks.checkpoint = dict(hooks.get('checkpoint') or dict(type='CheckpointHook'))
    hooks.checkpoint.update(interval=end)
    hooks.logger = dict(hooks.get('logger') or dict(type='LoggerHook'), interval=1)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='mmcompress.CostHook')]
    cfg.load_from = None
    _forget_weights(cfg.model)


def _shorten(dataset: ConfigDict, images: int) -> None:
    """Take the first images only; digits in place of small ones."""
    kind, _ = kind_of(dataset)
    dataset.indices = images
    if kind in SMALL:
        for key in [key for key in dataset if key not in ('pipeline', 'split', 'indices')]:
            del dataset[key]
        dataset.update(type='mmcompress.DigitsClassification', **SMALL[kind])


def _halve(pipeline: list[dict[str, Any]]) -> None:
    """Evaluate large images at half their size: an evaluation takes as long as a training step."""
    for step in pipeline:
        if step.get('scale'):
            step['scale'] = tuple(side // 2 for side in step['scale'])


def _forget_weights(model: Any) -> bool:
    """Let no part of a model start from a file; returns whether one did."""
    if isinstance(model, (list, tuple)):
        # A list, since any() looks no further than the first.
        return any(list(map(_forget_weights, model)))
    if not isinstance(model, dict):
        return False
    found = False
    for key, value in model.items():
        starts = isinstance(value, dict) and value.get('checkpoint') and key == 'init_cfg'
        if starts or (key == 'pretrained' and value):
            model[key], found = None, True
        else:
            found |= _forget_weights(value)
    return found


def estimate(configs: dict[str, Config], work_dir: Path) -> dict[str, Any]:
    """What all steps of a recipe would take, from those that a smoke has measured.

    A step's time and the memory that is kept for its backward pass grow with the number of images
    in it. Weights, gradients and the states of the optimizer don't.

    Args:
        configs: Of the stages by name, as the recipe has them.
        work_dir: Of the smoke.

    Returns:
        ``hours``; in bytes ``memory``, of one process with the whole batch, and ``peak``, the most
        that the smoke's own process had (None where that isn't known); and ``stages``, the same for
        each of these with the figures behind it.
    """
    stages = list(_estimates(configs, work_dir))
    peaks = [stage['peak'] for stage in stages if stage['peak'] is not None]
    return dict(
        hours=sum(stage['hours'] for stage in stages),
        memory=max(stage['memory'] for stage in stages),
        peak=max(peaks, default=None),
        stages=stages,
    )


def _estimates(configs: dict[str, Config], work_dir: Path) -> Iterator[dict[str, Any]]:
    for name, cfg in configs.items():
        cost = json.loads((work_dir / name / 'cost.json').read_text(encoding='utf-8'))
        measured, _ = _size(cfg)
        steps, batch = steps_of(cfg), total_batch(cfg)
        # The fastest step: others wait for memory, or for other programs.
        seconds = min(cost['seconds']) / measured
        optimizer = cfg.optim_wrapper.optimizer
        states = 2 if 'Adam' in optimizer.type else int(bool(optimizer.get('momentum')))
        memory = (2 + states) * cost['weights'] + batch * cost['saved'] // measured
        yield dict(
            stage=name,
            steps=steps,
            batch=batch,
            measured_steps=len(cost['seconds']),
            measured_batch=measured,
            seconds_per_image=seconds,
            hours=steps * batch * seconds / 3600,
            memory=memory,
            peak=cost['peak'],
        )
