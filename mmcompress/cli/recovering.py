"""From the checkpoint of a dense network to a compressed and repaired one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import build_architecture
from mmcompress.core.checks import check_count
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.checkpoint import check_fits, load_checkpoint_file, write_whole
from mmcompress.core.export.export import dense_config
from mmcompress.core.recovery.recover import recover
from mmcompress.report.table import progress_bar

from .calibration import Calibration
from .launch import build_algorithm


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
    write_whole(dict(meta=meta, state_dict=algorithm.state_dict()), out)
    return dict(result, images=len(calibration.indices), out=str(out))
