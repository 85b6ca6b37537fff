"""What the scripts in ``tools/`` have in common: configs in, one-sentence errors out."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope, init_default_scope
from mmengine.utils import import_modules_from_strings
from torch import nn

from mmcompress.core.algorithm import CompressionAlgorithm
from mmcompress.core.errors import CompressionError

#: Hooks that a compressed training needs, whoever wrote the config.
HOOKS = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)


def run(main: Callable[[], Any]) -> None:
    """Run a tool: bad input becomes one sentence on standard error and exit status 2."""
    try:
        main()
    except (CompressionError, FileNotFoundError) as error:
        # A file not found is, after all that is checked before, one of the data set's.
        sys.stdout.flush()
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)


@contextlib.contextmanager
def results_on_stdout() -> Iterator[None]:
    """Send everything printed or logged inside to standard error.

    A tool's standard output is then for its result alone and can be piped.
    """
    for instance in MMLogger._instance_dict.values():
        for handler in instance.handlers:
            if getattr(handler, 'stream', None) is sys.stdout:
                handler.setStream(sys.stderr)
    with contextlib.redirect_stdout(sys.stderr):
        yield


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that every tool with a config shares."""
    parser.add_argument('config', help='a config file, or lib::config of an installed library')
    parser.add_argument(
        '--compress',
        metavar='METHOD_CONFIG',
        help='compress the model of the config as this method file says',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs',
    )


def load_config(args: argparse.Namespace) -> Config:
    """The config of a tool's arguments, with method, overrides and hooks put in.

    Raises:
        CompressionError: If there's no such config, or it can't be read.
    """
    cfg = read_config(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    if not isinstance(cfg.get('model'), dict):
        raise CompressionError(f'{args.config} has no `model`')
    if args.compress:
        apply_method(cfg, read_config(args.compress), args.compress)
    cfg.setdefault('default_hooks', ConfigDict())
    for name, hook in HOOKS.items():
        cfg.default_hooks.setdefault(name, ConfigDict(hook))
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
    init_scope(cfg)
    return cfg


def read_config(path: str) -> Config:
    """Read a config file, or the one that ``lib::config`` names.

    Raises:
        CompressionError: If there's no such config, or it can't be read.
    """
    try:
        if '::' in path:
            from mmengine.hub import get_config

            return get_config(path)
        if not Path(path).is_file():
            raise CompressionError(f'config: there is no file {path!r}')
        return Config.fromfile(path)
    except CompressionError:
        raise
    # Configs are programs: whatever is wrong in one, the user should read which, and where.
    except Exception as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise CompressionError(f'config: {path!r} cannot be read: {reason}') from None


def apply_method(cfg: Config, method: Config, path: str) -> None:
    """Wrap the model of ``cfg`` in the algorithm of a method file, in place.

    Raises:
        CompressionError: If the file names no method, or the model is compressed already.
    """
    if not isinstance(method.get('compression'), dict):
        raise CompressionError(
            f'--compress: {path!r} has no `compression`; method files are in configs/_base_/methods'
        )
    if 'architecture' in cfg.model:
        raise CompressionError(
            f'--compress: the model of the config is a {cfg.model.get("type")!r} already; give '
            'the config of a dense model'
        )
    cfg.model = ConfigDict(architecture=cfg.model, **method.compression)


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
    model_cfg = dict(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        return MODELS.build(model_cfg)
    except CompressionError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        # mmengine passes the errors of nested builds on with the class's name in front; the
        # first line says what is wrong.
        cause = error.__cause__ or error.__context__
        if isinstance(cause, CompressionError):
            raise cause from None
        first = ' '.join((str(error).splitlines() or [''])[0].split())
        raise CompressionError(f'model: {type(error).__name__}: {first}') from error


def build_algorithm(cfg: Config) -> CompressionAlgorithm:
    """Build the model of a config that has to be a compression algorithm.

    Raises:
        CompressionError: If it is another kind of model.
    """
    model = build_model(cfg)
    if not isinstance(model, CompressionAlgorithm):
        raise CompressionError(
            f'the model of the config is a {type(model).__name__}, not a compression algorithm; '
            'give a compression config, or a method file with --compress'
        )
    return model
