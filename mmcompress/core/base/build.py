"""Build models from configs, as mmengine's runner would."""

from __future__ import annotations

import copy
import re

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope, init_default_scope
from torch import nn

from mmcompress.core.errors import CompressionError, first_line, nearest
from mmcompress.registry import MODELS

from .demo import images_of
from .image_shape import size_of_images


def build_architecture(config: dict, data_preprocessor: dict | None = None) -> BaseModel:
    """Build the model to be compressed.

    Args:
        config: Its config, or ``dict(cfg_path='lib::config.py', pretrained=False)``.
        data_preprocessor: Taken over when the config has none of its own (mmengine's runner
            hands the one at the top of a config to the outermost model).

    Raises:
        CompressionError: If the config names no type.
    """
    # Some models write into their config while they are built.
    config = copy.deepcopy(dict(config))
    if 'cfg_path' in config and 'type' not in config:
        from mmengine.hub import get_model

        return get_model(**config)
    if 'type' not in config:
        raise CompressionError(
            f'model.architecture has no `type`, only {", ".join(config) or "nothing"}; it has '
            'to be the config of a model'
        )
    if data_preprocessor is not None and config.get('data_preprocessor') is None:
        config['data_preprocessor'] = data_preprocessor
    return MODELS.build(config)


def init_scope(cfg: Config) -> None:
    """Make the config's default scope the current one.

    Every library registers its scopes at import; a second config in one process needs a
    second instance.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    current = DefaultScope.get_current_instance()
    if current is None or current.scope_name != scope:
        init_default_scope(scope)


def build_model(cfg: Config) -> nn.Module:
    """Build the model of a config as mmengine's runner would.

    Raises:
        CompressionError: If the config is wrong.
    """
    # Some models write into their config while they are built.
    model_cfg = copy.deepcopy(dict(cfg.model))
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        with images_of(size_of_images(cfg)):
            return ROOT_MODELS.build(model_cfg)
    except CompressionError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        # mmengine passes the errors of nested builds on with the class's name in front; the
        # first line says what is wrong.
        cause = error.__cause__ or error.__context__
        if isinstance(cause, CompressionError):
            raise cause from None
        first = ' '.join(first_line(error).split())
        unknown = re.match(r"'?([\w.]+) is not in the", first)
        if unknown:
            name, ours = unknown[1], MODELS.module_dict
            raise CompressionError(
                f'model: there is no type {name!r}, neither in the default scope '
                f'{cfg.get("default_scope")!r} nor in mmcompress, where the nearest are '
                f'{nearest(name.removeprefix("mmcompress."), ours)}'
            ) from error
        argument = re.search(r"unexpected keyword argument '(\w+)'", first)
        if argument and argument[1] in model_cfg:
            others = [key for key in model_cfg if key not in (argument[1], 'type')]
            first += f'; the keys of model are {", ".join(others)}'
        raise CompressionError(f'model: {type(error).__name__}: {first}') from error
