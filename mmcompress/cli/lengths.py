"""How long stages train: ``--epochs``, with schedules stretched to fit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config

from mmcompress.core.errors import CompressionError, nearest

#: Settings of schedules that are times.
TIMES = ('begin', 'end', 'milestones', 'T_max', 'total_steps', 'step_size')


def lengths_of(words: Sequence[str] | None, names: Sequence[str]) -> dict[str, int]:
    """``--epochs``: the length of each stage that it names.

    Args:
        words: Such as ``['factorize=6', 'finetune=12']``.
        names: Of the stages.

    Raises:
        CompressionError: If a word is none of these, or there are no stages.
    """
    found: dict[str, int] = {}
    for word in words or ():
        match = re.fullmatch(r'([^=]+)=([1-9]\d*)', word)
        if not names:
            raise CompressionError(
                f'--epochs is {word!r}, but the config has one training only; give '
                '--cfg-options train_cfg.max_epochs=N'
            )
        if not match:
            raise CompressionError(
                f'--epochs is {word!r}; it has to be STAGE=N, such as {names[0]}=12'
            )
        if match[1] not in names:
            raise CompressionError(
                f'--epochs: there is no stage {match[1]!r}; the stages are '
                f'{nearest(match[1], names, len(names))}'
            )
        found[match[1]] = int(match[2])
    return found


def stretch(cfg: Config, length: int) -> None:
    """Let a config train for so long, with its learning rate schedule in proportion.

    Args:
        cfg: Changed in place.
        length: Epochs; iterations, in a loop that counts these.
    """
    unit = 'epoch' if 'max_epochs' in cfg.train_cfg else 'iter'
    before = cfg.train_cfg[f'max_{unit}s']
    cfg.train_cfg[f'max_{unit}s'] = length
    if (cfg.train_cfg.get('val_interval') or 1) > length:
        cfg.train_cfg.val_interval = length
    given = cfg.get('param_scheduler') or []
    kept = []
    for schedule in given if isinstance(given, list) else [given]:
        # A warm-up in iterations of a training in epochs stays as it is.
        if schedule.get('by_epoch', True) == (unit == 'epoch'):
            for key in TIMES:
                if schedule.get(key) is not None:
                    least = 0 if key in ('begin', 'end') else 1
                    schedule[key] = _scaled(schedule[key], length / before, least)
            if 'end' in schedule and schedule.end <= schedule.get('begin', 0):
                continue  # too short to be there
        kept.append(schedule)
    cfg.param_scheduler = kept


def _scaled(time: Any, factor: float, least: int) -> Any:
    if isinstance(time, (list, tuple)):
        return [_scaled(one, factor, least) for one in time]
    return max(round(time * factor), least)
