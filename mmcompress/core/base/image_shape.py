"""The image shape that a config is made for: one answer for all tools."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import Config

from mmcompress.core.errors import CompressionError
from mmcompress.core.probe.demo_inputs import SIZES

from .parts import whole_architecture

#: Data sets of images of one size, which no transform says.
SIDES = dict(DigitsClassification=32, CIFAR10=32, CIFAR100=32, SVHN=32)


def image_shape(cfg: Config, shape: Sequence[int] | None = None) -> tuple[int, int, int]:
    """The image shape: as given, else that of the config's pipelines, else its library's.

    A size is given, in this order, by ``shape``, and in the config by ``flops_shape``, the
    ``input_shape`` of a budget, the ``demo_inputs`` of an algorithm and the ``input_shape`` of a
    ``parse_cfg``.

    Args:
        cfg: A config.
        shape: ``(C, H, W)``. Short forms: ``(H, W)``, or ``(side,)`` of a square. ``flops_shape``
            has the same forms. In the short forms C is ``in_channels`` of the backbone, else the
            number of means of the data preprocessor, wherever that stands, else 3.

    Returns:
        ``(C, H, W)``.

    Raises:
        CompressionError: If the shape is not that of an image.
    """
    channels = _channels_in_config(cfg)
    key, given = ('--shape', shape) if shape else ('flops_shape', cfg.get('flops_shape'))
    if given is not None:
        sides = [given] if isinstance(given, int) else given
        listed = isinstance(sides, (list, tuple))
        if (
            not listed
            or len(sides) not in (1, 2, 3)
            or not all(isinstance(side, int) and side > 0 for side in sides)
        ):
            found = ' '.join(map(str, sides)) if listed else repr(given)
            raise CompressionError(f'{key} is {found}; give (C, H, W), (H, W) or a side')
        if len(sides) == 3:
            return tuple(sides)
        return (channels, sides[0], sides[-1])
    for found_shape in _shapes_of_model(cfg):
        if len(found_shape) == 3 and all(isinstance(n, int) and n > 0 for n in found_shape):
            return (found_shape[0], found_shape[1], found_shape[2])
    size = _size_in_config(cfg) or SIZES.get(str(cfg.get('default_scope')))
    if size is None:
        raise CompressionError('the config has no image size; give one with --shape')
    return (channels, *size)


def size_of_images(cfg: Config) -> tuple[int, int, int] | None:
    """``(C, H, W)`` of the images in the config's own pipelines, if they say."""
    size = _size_in_config(cfg)
    return None if size is None else (_channels_in_config(cfg), *size)


def count_budget_at_own_size(cfg: Config) -> None:
    """Write down in a config with a budget at which image size MACs are counted.

    The algorithm itself sees no pipeline. What the config of a run says, every tool and every
    runner reads.

    Args:
        cfg: Changed in place, if it has a budget of no given size.
    """
    model = cfg.get('model') or {}
    budget = model.get('budget') or model.get('target')
    if 'architecture' not in model or not isinstance(budget, dict):
        return
    demo = model.get('demo_inputs') or next(_shapes_of_model(cfg), None)
    if budget.get('input_shape') is not None or (demo is not None and 'flops_shape' not in cfg):
        return
    with contextlib.suppress(CompressionError):  # the solver finds a size that the model takes
        budget['input_shape'] = image_shape(cfg)


def _shapes_of_model(cfg: Config) -> Iterator[Sequence[int]]:
    """Image shapes that the config of an algorithm gives."""
    model = cfg.get('model') or {}
    for key in ('budget', 'target'):
        budget = model.get(key)
        if isinstance(budget, dict) and isinstance(budget.get('input_shape'), (list, tuple)):
            yield budget['input_shape']
    parsing = (model.get('mutator_cfg') or {}).get('parse_cfg') or {}
    for batch in (model.get('demo_inputs'), parsing.get('input_shape')):
        if isinstance(batch, (list, tuple)) and len(batch) == 4:
            yield batch[1:]


def _channels_in_config(cfg: Config) -> int:
    """Channels of the images that a model takes."""
    model = cfg.get('model') or {}
    inner = model.get('cfg') if 'fix_subnet' in model else None
    if isinstance(model.get('architecture'), dict):
        inner = whole_architecture(model)
    models = [part for part in (inner, model) if isinstance(part, dict)]
    for part in models:
        given = (part.get('backbone') or {}).get('in_channels')
        if isinstance(given, int):
            return given
    for preprocessor in _preprocessors(cfg):
        mean = preprocessor.get('mean')
        if isinstance(mean, (list, tuple)) and mean:
            return len(mean)
    return 3


def _preprocessors(cfg: Config) -> Iterator[dict[str, Any]]:
    """Configs of data preprocessors, wherever they stand."""
    model = cfg.get('model') or {}
    for part in (cfg, model.get('architecture'), model.get('cfg'), model):
        found = part.get('data_preprocessor') if isinstance(part, (dict, Config)) else None
        if isinstance(found, dict):
            yield found


def _size_in_config(cfg: Config) -> tuple[int, int] | None:
    """The size that images have when the model sees them: ``(height, width)``.

    The last transform that sets a size wins, and the data preprocessor pads what it leaves.
    """
    codec = cfg.get('codec')
    if isinstance(codec, dict) and codec.get('input_size'):
        width, height = codec['input_size']
        return height, width
    for loader in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
        for dataset in _datasets((cfg.get(loader) or {}).get('dataset')):
            size = _size_in_dataset(dataset)
            if size is not None:
                height, width = size
                return _padded(cfg, height), _padded(cfg, width)
    return None


def _datasets(dataset: Any) -> Iterator[dict[str, Any]]:
    """A data set's config, and those of the data sets inside of it."""
    if isinstance(dataset, dict):
        yield dataset
        for inner in (dataset.get('dataset'), *(dataset.get('datasets') or ())):
            yield from _datasets(inner)


def _size_in_dataset(dataset: dict[str, Any]) -> tuple[int, int] | None:
    """Libraries write scales as (width, height).

    mmseg writes crops as (height, width); other libraries' crops are square.
    """
    kind = dataset.get('type', '')
    side = SIDES.get(getattr(kind, '__name__', str(kind)).split('.')[-1])
    if side is not None:
        return (dataset.get('img_size', side),) * 2
    for step in reversed(dataset.get('pipeline') or []):
        size = step.get('crop_size') or step.get('scale')
        if isinstance(size, int):
            return size, size
        if size and len(size) == 2 and all(isinstance(side, int) for side in size):
            return tuple(size) if step.get('crop_size') else (size[1], size[0])
    return None


def _padded(cfg: Config, side: int) -> int:
    """A side after the data preprocessor, which pads it to a multiple."""
    for preprocessor in _preprocessors(cfg):
        divisor = preprocessor.get('pad_size_divisor')
        if isinstance(divisor, int) and divisor > 1:
            return math.ceil(side / divisor) * divisor
    return side
