"""Train the stages of a config, resume them, and export the last."""

from __future__ import annotations

import copy
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
from .options import give_json
from .runner import BuiltModel, ToolRunner

#: Where the metrics of the exported network are in the end.
METRICS = 'test/metrics.json'


def train_stages(
    configs: dict[str, Config],
    built: dict[str, BuiltModel] | None = None,
    resume: bool = False,
) -> None:
    """Train all stages, each from the checkpoint of the one before, and export the last.

    Args:
        configs: Checked configs of the stages by name, each with a ``work_dir`` of its own in a
            common folder.
        built: Models that have been built already, by name of the stage.
        resume: Skip finished stages, and continue one that stopped.

    Raises:
        CompressionError: If a stage writes no checkpoint.
    """
    built = dict(built or {})
    done: Any = None
    dense: Any = None  # the last dense network
    for name, cfg in configs.items():
        model = built.pop(name, None)
        before, done = done, None
        if 'architecture' not in cfg.model:
            dense = cfg
        elif dense:
            _name_teacher(cfg, model, find_latest_checkpoint(dense.work_dir))
        if resume:
            done = last_checkpoint_of(cfg.work_dir, cfg.train_cfg, before.written if before else '')
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
            done = last_checkpoint_of(cfg.work_dir, cfg.train_cfg)
        if done is None:
            raise CompressionError(
                f'stage {name!r} left no checkpoint in {cfg.work_dir!r}; its '
                'default_hooks.checkpoint has to save the last one'
            )
    _infer(cfg, done.checkpoint, Path(cfg.work_dir).parent)


def _name_teacher(cfg: Config, built: BuiltModel | None, path: str | None) -> None:
    """Let the dense network of an earlier stage teach, if one has to and none is named."""
    settings = cfg.model.get('distill')
    if settings in (None, False) or (isinstance(settings, dict) and settings.get('teacher')):
        return
    cfg.model.distill = dict(settings, teacher=path)
    if built:
        built.model.distiller.teacher_path = path


@dataclass
class StageCheckpoint:
    """The last checkpoint of a stage.

    Attributes:
        checkpoint: Its path.
        finished: Whether the stage was finished.
        written: When it was written, as text that sorts by time.
    """

    checkpoint: str
    finished: bool
    written: str


def last_checkpoint_of(
    work_dir: str, train_cfg: dict[str, Any], since: str = ''
) -> StageCheckpoint | None:
    """Where a stage continues that was started before.

    Args:
        work_dir: The folder of the stage.
        train_cfg: ``train_cfg`` of the stage.
        since: ``written`` of the stage before. An older checkpoint was made from another
            checkpoint of that stage, and does not count.

    Returns:
        ``None`` if the stage has to start anew.
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
    return StageCheckpoint(path, total is not None and meta.get(unit, 0) >= total, written)


def _infer(cfg: Config, checkpoint: str, folder: Path) -> None:
    """Export the network, and evaluate what was exported; a dense one is evaluated as it is."""
    init_scope(cfg)
    out, metrics = folder / 'export', folder / METRICS
    exports = 'architecture' in cfg.model
    if is_main_process():
        metrics.unlink(missing_ok=True)
        if exports:
            export_checkpoint(cfg, checkpoint, out, overwrite=True)
    barrier()
    static = copy.deepcopy(cfg)
    if exports:
        static, checkpoint = read_config(str(out / 'compact.py')), str(out / 'compact.pth')
    static.work_dir, static.load_from, static.resume = str(metrics.parent), checkpoint, False
    if static.get('test_dataloader') is not None:
        found = ToolRunner.from_cfg(static).test()
        if is_main_process():
            give_json(found, str(metrics))
    if exports:
        print_log(f'exported to {out}', logger='current')
