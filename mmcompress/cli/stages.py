"""Configs of several trainings, each of which starts from the checkpoint of the one before."""

from __future__ import annotations

import copy
import difflib
import inspect
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from mmcompress.core.errors import CompressionError, nearest

from .launch import read_config

#: Keys that the top level of any config may have.
TOP = {*inspect.signature(Runner.__init__).parameters, 'custom_imports', 'recover'}
TOP -= {'self', 'cfg'}
#: Those that mmengine's runner reads from the config alone.
TOP |= {
    'activation_checkpointing',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
}
#: From which likeness on a new key is a misspelt one.
ALIKE = 0.7


@dataclass
class Stage:
    """One of the trainings.

    Attributes:
        name: Its folder in the work dir, and the prefix of options that are for it alone.
        config: Path of its config; ``None`` for the config that lists the stages.
        cfg_options: What it changes there, as a config changes its base.
        own: What has been read from the config that lists the stages, if that is its config.
    """

    name: str
    config: str | None = None
    cfg_options: dict[str, Any] = field(default_factory=dict)
    own: Config | None = field(default=None, init=False, repr=False, compare=False)

    @cached_property
    def content(self) -> Config:
        """The config, read when it is first asked for, without what the stage changes."""
        if self.own is None:
            return read_config(str(self.config))
        content = copy.deepcopy(self.own)
        content.pop('stages', None)
        return content

    @property
    def is_well_formed(self) -> bool:
        """Whether the name can be a folder and a prefix, and the rest is of the right type."""
        return (
            isinstance(self.name, str)
            and bool(re.fullmatch(r'[^/\\.\s]+', self.name))
            and isinstance(self.config, (str, type(None)))
            and isinstance(self.cfg_options, dict)
        )


def stages_of(path: str, cfg: Config | None = None) -> list[Stage]:
    """The stages of a config, none for an ordinary one.

    Args:
        path: A config with ``stages = [dict(name=..., config=..., cfg_options=...), ...]``. Paths
            are relative to its own folder. A stage without a path trains the model of this very
            config, which ``cfg_options`` change as a config changes its base.
        cfg: What has been read from there, if it has.

    Raises:
        CompressionError: If ``stages`` has another form, a file is missing, or a stage changes a
            key that nobody looks at.
    """
    cfg = read_config(path) if cfg is None else cfg
    stages = cfg.get('stages')
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
                'slash or dot) and, as it may be, config (a path) and cfg_options (a dict)'
            )
        if stage.name in [other.name for other in found]:
            raise CompressionError(f'stages[{index}].name: there are two called {stage.name!r}')
        _find_config(stage, index, path, cfg)
        found.append(stage)
    return found


def _find_config(stage: Stage, index: int, path: str, cfg: Config) -> None:
    """Find the config of a stage, and see that it has what the stage changes.

    Raises:
        CompressionError: If there is none, or it lacks a key.
    """
    if stage.config is None:
        if cfg.get('model') is None:
            raise CompressionError(
                f'stages[{index}] has no config, and {path!r} no model that could be trained'
            )
        stage.own = cfg
    else:
        file = Path(path).parent / stage.config
        if not file.is_file():
            beside = [other.name for other in file.parent.glob('*.py')]
            raise CompressionError(
                f'stages[{index}].config: there is no file {str(file)!r}; the nearest are '
                f'{nearest(file.name, beside)}'
            )
        stage.config = str(file)
    if stage.cfg_options:
        known = TOP | set(stage.content)
        for key in stage.cfg_options:
            first = key.split('.')[0]
            if first not in known:
                raise CompressionError(
                    f'stages[{index}].cfg_options: its config has no {key!r}; the nearest to '
                    f'{first!r} are {nearest(first, sorted(known))}'
                )


def options_of(stages: list[Stage], given: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The options of each stage by its name: its own, and on top of them the user's.

    Args:
        stages: All of them.
        given: ``--cfg-options``. ``name.key=value`` is for the stage of that name. ``key=value``
            is for all stages, but ``model.key=value``, where some of them compress (their
            ``model`` has an ``architecture``), for these alone: dense models have other keys.

    Raises:
        CompressionError: If a key is for no stage, and looks like a misspelt one.
    """
    configs = {stage.name: stage.content for stage in stages}
    known = TOP.union(*(cfg.keys() for cfg in configs.values()))
    compressed = [n for n, cfg in configs.items() if 'architecture' in (cfg.get('model') or {})]
    # Merging changes what is merged: `_delete_` is taken out of it.
    chosen = {stage.name: copy.deepcopy(dict(stage.cfg_options)) for stage in stages}
    for key, value in (given or {}).items():
        first, _, rest = key.partition('.')
        if first in chosen and rest:
            names, own = [first], rest
        elif first == 'model' and compressed:
            names, own = compressed, key
        else:
            names, own = list(chosen), key
        _check_key(key, own, list(chosen), known)
        for name in names:
            chosen[name][own] = value
    return chosen


def _check_key(key: str, own: str, names: list[str], known: set[str]) -> None:
    """Refuse a misspelt option, which nothing would read. New keys are taken, as elsewhere."""
    first, *rest = own.split('.')
    words = [*names, *sorted(known)]
    alike = difflib.get_close_matches(first, words, cutoff=ALIKE)
    # In front of a known key, a stage is meant.
    if first not in known and (alike or (rest and rest[0] in known)):
        raise CompressionError(
            f'--cfg-options: {key!r} has to be KEY or STAGE.KEY, with a stage of '
            f'{", ".join(names)} and a key that their configs have; the nearest to {first!r} are '
            f'{nearest(first, words)}'
        )
