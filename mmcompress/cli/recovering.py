"""From the checkpoint of a dense network to a compressed and repaired one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.budget import FOUND
from mmcompress.core.base.build import build_architecture
from mmcompress.core.checks import check_count
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.export.checkpoint import check_fits, load_checkpoint_file, write_whole
from mmcompress.core.export.export import dense_config
from mmcompress.core.recovery.recover import recover
from mmcompress.report.table import progress_bar

from .calibration import Calibration
from .launch import build_algorithm

#: What ``recover`` of a config may say, with its defaults.
SETTINGS = dict(images=400, batch=16, steps=100, seed=0)
#: The recovered network, in the work dir.
RECOVERED = 'recovered.pth'


def settings_of(cfg: Config) -> dict[str, int] | None:
    """``recover`` of a config, with its defaults; ``None`` where nothing is to be recovered.

    Raises:
        CompressionError: If it is wrong, or training can't begin with it.
    """
    given = cfg.get('recover')
    if given in (None, False):
        return None
    given = {} if given is True else given
    if not isinstance(given, dict):
        raise CompressionError(
            f'recover is {given!r}; it has to be a dict such as dict(images=400)'
        )
    for key, value in given.items():
        if key not in SETTINGS:
            raise CompressionError(
                f'recover has no setting {key!r}; the nearest are {nearest(str(key), SETTINGS)}'
            )
        if key in ('images', 'batch'):
            check_count(value, f'recover.{key}')
        elif isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise CompressionError(f'recover.{key} is {value!r}; it has to be 0 or more')
    if not cfg.get('load_from'):
        raise CompressionError(
            'recover needs the weights of the dense network; set load_from to its checkpoint'
        )
    if cfg.get('launcher', 'none') != 'none':
        raise CompressionError(
            'recover works in one process; run `mmcompress recover` before, and set load_from to '
            'what it writes'
        )
    return {**SETTINGS, **given}


def recover_first(cfg: Config) -> None:
    """Recover the network that a training starts from, if its config says so.

    Args:
        cfg: Its ``load_from`` is the recovered network then.

    Raises:
        CompressionError: See :func:`settings_of` and :func:`recover_checkpoint`.
    """
    settings = None if cfg.get('resume') else settings_of(cfg)
    if settings is None:
        return
    out = Path(cfg.work_dir, RECOVERED)
    before = out.with_name(f'{RECOVERED}.new')
    before.unlink(missing_ok=True)
    recover_checkpoint(copy.deepcopy(cfg), cfg.load_from, before, **settings)
    before.replace(out)
    cfg.load_from = str(out)


def recover_checkpoint(
    cfg: Config,
    checkpoint: str | Path,
    out: str | Path,
    *,
    images: int = 400,
    batch: int = 16,
    steps: int = 100,
    seed: int = 0,
) -> dict[str, Any]:
    """Compress a trained network and repair it, see :func:`~mmcompress.core.recovery.recover`.

    Args:
        cfg: The config that says how to compress it.
        checkpoint: Of the dense network.
        out: The checkpoint of the compressed model to write; it must not be there.
        images: How many training images to take.
        batch: Images of a batch.
        steps: Of training without labels.
        seed: Of all that is drawn.

    Returns:
        What :func:`~mmcompress.core.recovery.recover.recover` returns, ``images`` and ``out``.

    Raises:
        CompressionError: If something is wrong; nothing is written then.
    """
    check_count(batch, '--batch')
    if steps < 0:
        raise CompressionError(f'--steps is {steps}; give 0 or more')
    out = Path(out)
    if out.exists():
        raise CompressionError(f'--out: {str(out)!r} exists; name another file')
    content = load_checkpoint_file(checkpoint)
    state = {key.removeprefix('module.'): value for key, value in content['state_dict'].items()}
    calibration = Calibration(cfg, images, '--images')
    algorithm = build_algorithm(cfg)
    if type(algorithm).decide is CompressionAlgorithm.decide:
        algorithm.decide({})  # says why the method can't; it may not fit dense weights either
    dense = build_architecture(dense_config(cfg), cfg.get('data_preprocessor'))
    check_fits(dense, state, checkpoint)
    dense.load_state_dict(state)
    algorithm.load_state_dict(state, strict=False)
    batches = calibration.batches(dense.data_preprocessor, batch)
    with progress_bar() as bar:

        def progress(name: str, total: int) -> Callable[[], None]:
            task = bar.add_task(name, total=total)
            return lambda: bar.advance(task)

        result = recover(
            algorithm,
            dense,
            batches,
            images=len(calibration.indices),
            steps=steps,
            seed=seed,
            progress=progress,
        )
    meta = {k: v for k, v in content.get('meta', {}).items() if k == 'dataset_meta'}
    if algorithm.mutator.found:
        meta[FOUND] = algorithm.mutator.found
    write_whole(dict(meta=meta, state_dict=algorithm.state_dict()), out)
    return dict(result, images=len(calibration.indices), out=str(out))
