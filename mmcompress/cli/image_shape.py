"""The image shape that a config is made for."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config

from mmcompress.core.base.build import whole_architecture
from mmcompress.core.errors import CompressionError


def image_shape(cfg: Config, shape: Sequence[int] | None) -> tuple[int, int, int]:
    """The image shape: as given, else ``flops_shape`` of the config, else that of its pipelines.

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
    size = _size_in_config(cfg)
    if size is None:
        raise CompressionError('the config has no image size; give one with --shape')
    return (channels, *size)


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
    for part in (cfg, *models):
        mean = (part.get('data_preprocessor') or {}).get('mean')
        if isinstance(mean, (list, tuple)) and mean:
            return len(mean)
    return 3


def _size_in_config(cfg: Config) -> tuple[int, int] | None:
    """The size that images have when the model sees them, from the config's pipelines.

    The last transform that sets a size wins. Libraries write scales as (width, height), and
    mmseg writes crops as (height, width); other libraries' crops are square.
    """
    codec = cfg.get('codec')
    if isinstance(codec, dict) and codec.get('input_size'):
        width, height = codec['input_size']
        return height, width
    for loader in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
        dataset = (cfg.get(loader) or {}).get('dataset') or {}
        if str(dataset.get('type', '')).endswith('DigitsClassification'):
            return (dataset.get('img_size', 32),) * 2
        if str(dataset.get('type', '')).split('.')[-1] in ('CIFAR10', 'CIFAR100', 'SVHN'):
            return (32, 32)
        for step in reversed(dataset.get('pipeline') or []):
            size = step.get('crop_size') or step.get('scale')
            if isinstance(size, int):
                return size, size
            if size and all(isinstance(side, int) for side in size):
                return tuple(size) if step.get('crop_size') else (size[1], size[0])
    return None
