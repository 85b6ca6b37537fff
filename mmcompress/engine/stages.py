"""Configs of several trainings, each of which starts from the checkpoint of the one before."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.runner import find_latest_checkpoint

from mmcompress.core.checkpoint import load_checkpoint_file
from mmcompress.core.errors import CompressionError, nearest

from .launch import read_config


@dataclass
class Stage:
    """One of the trainings.

    Attributes:
        name: Its folder in the work dir, and the prefix of options that are for it alone.
        config: Path of its config.
        cfg_options: What it changes there.
    """

    name: str
    config: str
    cfg_options: dict[str, Any] = field(default_factory=dict)

    @property
    def is_well_formed(self) -> bool:
        """Whether the name can be a folder and a prefix, and the rest is of the right type."""
        return (
            isinstance(self.name, str)
            and bool(re.fullmatch(r'[^/\\.\s]+', self.name))
            and isinstance(self.config, str)
            and isinstance(self.cfg_options, dict)
        )

    def options(self, given: dict[str, Any] | None, names: list[str]) -> dict[str, Any]:
        """The user's options for this stage, on top of its own.

        Args:
            given: ``--cfg-options``; ``name.key=value`` is for one stage, ``key=value`` for all.
            names: Of all stages.
        """
        chosen = dict(self.cfg_options)
        for key, value in (given or {}).items():
            name, _, rest = key.partition('.')
            if name == self.name and rest:
                chosen[rest] = value
            elif name not in names:
                chosen[key] = value
        return chosen


def stages_of(path: str) -> list[Stage]:
    """The stages of a config, none for an ordinary one.

    Args:
        path: A config with ``stages = [dict(name=..., config=...), ...]``, whose paths are
            relative to its own folder; ``cfg_options`` may be given as well.

    Raises:
        CompressionError: If ``stages`` has another form, or a file is missing.
    """
    stages = read_config(path).get('stages')
    if stages is None:
        return []
    if not isinstance(stages, (list, tuple)) or not stages:
        raise CompressionError(f'stages is {stages!r}; it has to be a list of dicts')
    found: list[Stage] = []
    for index, stage in enumerate(stages):
        given = stage
        try:
            stage = Stage(**given)
        except TypeError:
            stage = None
        if not stage or not stage.is_well_formed:
            raise CompressionError(
                f'stages[{index}] is {given!r}; it has to be a dict of name (a word without a '
                'slash or dot), config (a path) and, as it may be, cfg_options (a dict)'
            )
        file = Path(path).parent / stage.config
        if not file.is_file():
            beside = [other.name for other in file.parent.glob('*.py')]
            raise CompressionError(
                f'stages[{index}].config: there is no file {str(file)!r}; the nearest are '
                f'{nearest(file.name, beside)}'
            )
        if stage.name in [other.name for other in found]:
            raise CompressionError(f'stages[{index}].name: there are two called {stage.name!r}')
        stage.config = str(file)
        found.append(stage)
    return found


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
