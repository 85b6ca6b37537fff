"""Train the stages of a config, go on where they stopped, and export the last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.runner import find_latest_checkpoint

from mmcompress.core.base.build import init_scope
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.checkpoint import load_checkpoint_file

from .exporting import export_checkpoint
from .launch import read_config
from .runner import BuiltModel, ToolRunner


def train_stages(
    configs: dict[str, Config],
    built: dict[str, BuiltModel] | None = None,
    resume: bool = False,
) -> None:
    """Train all stages, each from the checkpoint of the one before, and export the last.

    Args:
        configs: Of the stages by name, checked, each with a ``work_dir`` of its own in a common
            folder.
        built: Their models by name, those that have been built.
        resume: Whether stages that are over are left out, and one that stopped goes on.

    Raises:
        CompressionError: If a stage leaves no checkpoint.
    """
    built = dict(built or {})
    done: Any = None
    for name, cfg in configs.items():
        model = built.pop(name, None)
        before, done = done, None
        if resume:
            done = progress_of(cfg.work_dir, cfg.train_cfg, before.written if before else '')
        if done is None or not done.finished:
            cfg.resume = done is not None
            if cfg.resume:
                cfg.load_from = None
            else:
                if before:
                    cfg.load_from = before.checkpoint
                if is_main_process():
                    # Where it leaves none, that of an earlier training is not to be taken for it.
                    Path(cfg.work_dir, 'last_checkpoint').unlink(missing_ok=True)
            print_log(f'stage {name}: {cfg.work_dir}', logger='current')
            init_scope(cfg)
            (model.runner() if model else ToolRunner.from_cfg(cfg)).train()
            barrier()  # the last checkpoint is there for all ranks
            done = progress_of(cfg.work_dir, cfg.train_cfg)
        if done is None:
            raise CompressionError(
                f'stage {name!r} left no checkpoint in {cfg.work_dir!r} to go on from; its '
                'default_hooks.checkpoint has to save the last one'
            )
    if 'architecture' in cfg.model:
        _infer(cfg, done.checkpoint, Path(cfg.work_dir).parent)


@dataclass
class Progress:
    """How far the training of a stage has come.

    Attributes:
        checkpoint: Its last one.
        finished: Whether it is that of the end.
        written: When, as text that sorts by time.
    """

    checkpoint: str
    finished: bool
    written: str


def progress_of(work_dir: str, train_cfg: dict[str, Any], since: str = '') -> Progress | None:
    """Where a stage that was started before goes on.

    Args:
        work_dir: The folder of the stage.
        train_cfg: Of its config.
        since: ``written`` of the stage before. What is older was made from another checkpoint
            than that one, and doesn't count.

    Returns:
        ``None`` if the stage has to begin anew.
    """
    path = find_latest_checkpoint(work_dir)
    if path is None or not Path(path).is_file():
        return None
    meta = load_checkpoint_file(path).get('meta', {})
    written = meta.get('time', '')
    if written < since:
        return None
    unit = 'epoch' if 'max_epochs' in train_cfg else 'iter'
    total = train_cfg.get(f'max_{unit}s')
    return Progress(path, total is not None and meta.get(unit, 0) >= total, written)


def _infer(cfg: Config, checkpoint: str, folder: Path) -> None:
    """Export the network, and evaluate what was exported."""
    init_scope(cfg)
    out = folder / 'export'
    if is_main_process():
        export_checkpoint(cfg, checkpoint, out, overwrite=True)
    barrier()
    static = read_config(str(out / 'compact.py'))
    static.work_dir, static.load_from = str(folder / 'test'), str(out / 'compact.pth')
    if static.get('test_dataloader') is not None:
        ToolRunner.from_cfg(static).test()
    print_log(f'exported to {out}', logger='current')
