"""What all verbs share: they read configs, and report errors in one sentence."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch.distributed
from mmengine.config import Config, ConfigDict
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.dist import get_world_size
from mmengine.logging import MMLogger
from mmengine.utils import get_installed_path, import_modules_from_strings

from mmcompress.compat.missing_libraries import require
from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import build_model, init_scope
from mmcompress.core.base.demo import name_dataloader
from mmcompress.core.base.image_shape import count_budget_at_own_size
from mmcompress.core.errors import CompressionError, nearest

from . import program

#: Hooks that a compressed training needs, whoever wrote the config.
HOOKS = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)


def run(main: Callable[[], Any]) -> None:
    """Run a tool: bad input becomes one sentence on standard error and exit status 2."""
    status = 0
    try:
        main()
    except (CompressionError, OSError) as error:
        # Files: a missing data set, a place that can't be written to.
        sys.stdout.flush()
        print(f'error: {error}', file=sys.stderr)
        status = 2
    if get_world_size() > 1:
        _leave_group(status)
    sys.exit(status)


def _leave_group(status: int) -> None:
    """End one of several processes.

    Now and then (one run in 40 of two processes, torch 2.13 with gloo) the end of the interpreter
    aborts a process that has done all its work, and the launcher then reports a failure. So the
    interpreter's end is left out, once what was registered for it has run.
    """
    torch.distributed.destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


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


def apply_launch(
    cfg: Config, launcher: str = 'none', local_rank: int = 0, work_dir: str | None = None
) -> None:
    """Put launcher and work dir where mmengine's runner looks for them.

    Args:
        cfg: Changed in place.
        launcher: What has started the processes.
        local_rank: Of this process on its machine.
        work_dir: By default the config's own, or else a folder of its name in ``work_dirs``.
    """
    os.environ.setdefault('LOCAL_RANK', str(local_rank))
    cfg.launcher = launcher
    if work_dir:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename).stem)


def load_config(
    config: str | Path | Config,
    compress: str | None = None,
    cfg_options: dict[str, Any] | None = None,
) -> Config:
    """A config with method, overrides and hooks put in.

    Args:
        config: Where it is, see :func:`read_config`; or what that has read, changed in place.
        compress: A method file to compress its model by, see :func:`method_file`.
        cfg_options: Settings by key, such as ``{'train_cfg.max_epochs': 3}``.

    Raises:
        CompressionError: If there's no such config, or it can't be read.
    """
    cfg = config if isinstance(config, Config) else read_config(str(config))
    if not isinstance(cfg.get('model'), dict):
        raise CompressionError(
            f'{config if isinstance(config, str) else cfg.filename} has no `model`'
        )
    if compress:
        path = method_file(compress)
        apply_method(cfg, read_config(path), path)
    if cfg_options:
        try:
            cfg.merge_from_dict(cfg_options)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise CompressionError(f'--cfg-options: {error}') from None
    for key in ('default_hooks', 'custom_imports', 'randomness'):
        if not isinstance(cfg.get(key), (dict, type(None))):
            raise CompressionError(f'{key} is {cfg.get(key)!r}; it has to be a dict')
    cfg.default_hooks = cfg.get('default_hooks') or ConfigDict()
    for name, hook in HOOKS.items():
        cfg.default_hooks.setdefault(name, ConfigDict(hook))
    if cfg.get('custom_imports'):
        try:
            import_modules_from_strings(**cfg.custom_imports)
        except ImportError as error:
            raise CompressionError(f'custom_imports: {error}') from None
    init_scope(cfg)
    name_dataloader(cfg)
    count_budget_at_own_size(cfg)
    return cfg


def shipped_configs() -> Path:
    """The folder of our own configs: that of the checkout, or of the wheel."""
    checkout, wheel = program.PACKAGE.parent / 'configs', program.PACKAGE / '.mim' / 'configs'
    return checkout if (checkout / '_base_' / 'methods').is_dir() else wheel


def method_file(name: str) -> str:
    """The path of a method file, which may be given by its name alone.

    Args:
        name: A path, ``lib::path``, or the name of one of the files in our
            ``configs/_base_/methods``, such as ``dcff_r50``.

    Raises:
        CompressionError: If there is none of this name; with the nearest.
    """
    if '::' in name or Path(name).suffix == '.py' or len(Path(name).parts) != 1:
        return name
    files = {path.stem: str(path) for path in (shipped_configs() / '_base_/methods').glob('*.py')}
    if name not in files:
        raise CompressionError(
            f'--compress: there is no method file {name!r}; the nearest are '
            f'{nearest(name, sorted(files))}'
        )
    return files[name]


def read_config(path: str) -> Config:
    """Read a config file, or the one that ``lib::config`` names.

    Raises:
        CompressionError: If there's no such config, or it can't be read.
    """
    try:
        if '::' in path:
            _check_library_path(path)
            from mmengine.hub import get_config

            return _without_own_scope(get_config(path))
        if not Path(path).is_file():
            raise CompressionError(f'config: there is no file {path!r}')
        return _without_own_scope(Config.fromfile(path))
    except CompressionError:
        raise
    # Configs are programs: whatever is wrong in one, the user should read which, and where.
    except Exception as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise CompressionError(f'config: {path!r} cannot be read: {reason}') from None


def _check_library_path(path: str) -> None:
    """See that ``lib::config`` names one of the configs of a library that is installed.

    Raises:
        CompressionError: If it doesn't; with the nearest names.
        ModuleNotFoundError: If the library isn't installed.
    """
    library, _, name = path.partition('::')
    if library not in MODULE2PACKAGE or not name:
        raise CompressionError(
            f'config is {path!r}; it has to be the path of a file, or lib::path/of/config.py with '
            f'a library such as {nearest(library, MODULE2PACKAGE)}'
        )
    package = MODULE2PACKAGE[library]
    require(package)
    folder = Path(get_installed_path(package), '.mim', 'configs')
    if folder.is_dir() and not (folder / name).is_file():
        names = [file.relative_to(folder).as_posix() for file in folder.rglob('*.py')]
        raise CompressionError(
            f'config: {library} has no {name!r}; the nearest are {nearest(name, names)}'
        )


def _without_own_scope(cfg: Config) -> Config:
    """Take back the scope that mmengine gives to what comes from ``mmcompress::``.

    Our types carry their scope in their names. Those of the libraries beside them don't, and
    would be looked up in ours.
    """

    def clean(value: Any) -> None:
        if isinstance(value, dict):
            if value.get('_scope_') == 'mmcompress':
                del value['_scope_']
            for item in value.values():
                clean(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                clean(item)

    clean(cfg._cfg_dict)
    return cfg


def apply_method(cfg: Config, method: Config, path: str) -> None:
    """Wrap the model of ``cfg`` in the algorithm of a method file, in place.

    Raises:
        CompressionError: If the file names no method, or the model is compressed already.
    """
    if not isinstance(method.get('compression'), dict):
        raise CompressionError(
            f'--compress: {path!r} has no `compression`; method files are in configs/_base_/methods'
        )
    if 'architecture' in method.compression:
        raise CompressionError(
            f'--compress: {path!r} has an `architecture`, so it is a whole config and not a method '
            'file; train it by itself'
        )
    if 'architecture' in cfg.model:
        raise CompressionError(
            f'--compress: the model of the config is already a {cfg.model.get("type")!r}; give '
            'the config of a dense model'
        )
    cfg.model = ConfigDict(architecture=cfg.model, **method.compression)


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
