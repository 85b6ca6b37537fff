"""From the arguments of ``train`` to a config, or several, that is checked before it is run."""

from __future__ import annotations

import argparse
import contextlib
import copy
import logging
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_rank
from mmengine.logging import print_log
from mmengine.runner import find_latest_checkpoint
from torch import nn

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.build import init_scope
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.checkpoint import (
    check_belongs,
    check_fits,
    load_checkpoint_file,
    load_teacher,
)
from mmcompress.core.export.static import is_sub_model
from mmcompress.core.filters.algorithm import FilterAlgorithm

from .found_widths import keep_found, use_found
from .launch import apply_launch, load_config, method_file, read_config
from .lengths import lengths_of, stretch
from .planning import export_of, tell_plan
from .recovering import recover_first, settings_of
from .runner import PHASES, BuiltModel
from .staged_training import train_stages
from .stages import Stage, options_of, stages_of


def train(args: argparse.Namespace) -> None:
    """Train what the arguments say, see :mod:`mmcompress.cli.train`.

    Raises:
        CompressionError: If a config or an argument is wrong; nothing is written then.
    """
    cfg = read_config(args.config)
    stages = stages_of(args.config, cfg) or stages_of_method(cfg, args)
    lengths = lengths_of(args.epochs, [stage.name for stage in stages])
    if args.stage and args.stage not in [stage.name for stage in stages]:
        raise CompressionError(
            f'--stage is {args.stage!r}; the stages of the config are '
            f'{", ".join(repr(stage.name) for stage in stages) or "none"}'
        )
    if stages:
        configs = stage_configs(args, stages)
        for name, length in lengths.items():
            stretch(configs[name], length)
        if args.stage:
            check(one_stage(configs, args.stage, resume=bool(args.resume))).runner().train()
            return
        built = {name: check(own, not i) for i, (name, own) in enumerate(configs.items())}
        compressing = [one for one in built.values() if 'architecture' in one.cfg.model]
        for one in compressing[:1]:
            tell(one)
        train_stages(configs, built, resume=bool(args.resume))
        return
    load_config(cfg, args.compress, args.cfg_options)
    apply_distill(cfg, args.distill)
    apply_arguments(cfg, args)
    model = check(cfg)
    tell(model, export_of(cfg, args))
    recover_first(cfg)
    model.runner().train()


def stages_of_method(cfg: Config, args: argparse.Namespace) -> list[Stage]:
    """The stages that a method file lists (``compression_stages``), each of this config.

    There are none where ``--cfg-options`` choose a stage themselves.

    Raises:
        CompressionError: If the method file can't be read.
    """
    if not args.compress or 'model.stage' in (args.cfg_options or {}):
        return []
    listed = read_config(method_file(args.compress)).get('compression_stages')
    if listed is None:
        return []
    whole = copy.deepcopy(cfg)
    whole.stages = listed
    return stages_of(args.config, whole)


def apply_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Put the arguments where mmengine's runner looks for them."""
    apply_launch(cfg, args.launcher, args.local_rank, args.work_dir)
    apply_options(cfg, args.amp, args.auto_scale_lr)
    if args.resume == 'auto':
        cfg.resume = find_latest_checkpoint(cfg.work_dir) is not None
        if cfg.resume:
            cfg.load_from = None
        else:
            print_log(
                f'nothing to resume in {cfg.work_dir}: training starts anew', logger='current'
            )
    elif args.resume:
        cfg.resume, cfg.load_from = True, args.resume


def apply_options(cfg: Config, amp: bool = False, auto_scale_lr: bool = False) -> None:
    """Switch on mixed precision, or learning rates that grow with the batch.

    Raises:
        CompressionError: If the config or the machine doesn't allow for it.
    """
    if amp:
        if get_device() == 'cpu':
            raise CompressionError('--amp needs an accelerator, and this machine has none')
        wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
        if wrapper not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise CompressionError(f'--amp works with OptimWrapper, not with {wrapper!r}')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise CompressionError('--auto-scale-lr needs auto_scale_lr.base_batch_size')
        cfg.auto_scale_lr.enable = True


def apply_distill(cfg: Config, teacher: str | bool | None) -> None:
    """Name the teacher, where there is one and the config doesn't name it.

    Without a name it is the checkpoint that training starts from.

    Args:
        cfg: Changed in place.
        teacher: ``--distill``: a checkpoint, or whether there is a teacher.

    Raises:
        CompressionError: If the model is not compressed.
    """
    if teacher and 'architecture' not in cfg.model:
        raise CompressionError(
            f'--distill: the model of the config is a {cfg.model.get("type")!r}, which no method '
            'compresses; add --compress METHOD, or give the config of a compressed training'
        )
    settings = cfg.model.get('distill') if 'architecture' in cfg.model else None
    if not (teacher or settings):
        return
    named = dict(teacher=settings) if isinstance(settings, str) else settings
    settings = dict(named) if isinstance(named, dict) else {}
    if isinstance(teacher, str):
        settings['teacher'] = teacher
    if settings.get('teacher') is None and cfg.get('load_from'):
        settings['teacher'] = cfg.load_from
    if isinstance(named, (dict, bool, type(None))):
        cfg.model.distill = settings


def check(cfg: Config, first: bool = True) -> BuiltModel:
    """Build the model and check what it will load, before anything is written.

    Args:
        cfg: What is to be trained.
        first: Whether this is the only or the first stage. Later stages get the weights of the
            stage before.

    Returns:
        The model, as the run would build it.
    """
    init_scope(cfg)
    path = cfg.get('load_from')
    if cfg.get('resume') and not path:
        path = find_latest_checkpoint(cfg.work_dir)
    use_found(cfg, path)
    built = BuiltModel(cfg)
    model = built.model
    keep_found(cfg, model)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise CompressionError(
            'the model has no parameters to train; `mmcompress test` evaluates it'
        )
    for key in PHASES['train']:
        if cfg.get(key) is None:
            raise CompressionError(f'the config has no {key}, so there is nothing to train by')
    own = cfg.model.get('init_cfg') if is_sub_model(cfg.model) else None
    own = own.get('checkpoint') if isinstance(own, dict) else None
    if own:
        _check_weights_of(model, own)
    if path and cfg.get('resume'):
        check_fits(model, load_checkpoint_file(path)['state_dict'], path)
    elif path and settings_of(cfg) is None:
        _check_start_of(model, path)
    if isinstance(model, CompressionAlgorithm):
        if first or (model.distiller and model.distiller.teacher_path):
            load_teacher(model)
        model.check_start(loads=bool(path) or not first)
    return built


def tell(built: BuiltModel, following: str = '') -> None:
    """Say in the log what a compression is going to give; once, where a training begins.

    Args:
        built: The model of the training.
        following: The command that comes next; stages are exported in the end.
    """
    if not built.cfg.get('resume') and not get_rank():
        tell_plan(built.cfg, built.model, following)


def _check_weights_of(model: nn.Module, path: str) -> None:
    """Check the weights that an exported network begins with; parts of it may be others now."""
    state = load_checkpoint_file(path)['state_dict']
    try:
        check_fits(model, state, path)
    except CompressionError:
        check_belongs(model, state, path)
        own = model.state_dict()
        anew = [key for key in own if key not in state or state[key].shape != own[key].shape]
        print_log(
            f'{path}: weights of other shapes are left out, and these begin anew: '
            f'{", ".join(anew)}',
            'current',
            logging.WARNING,
        )


def _check_start_of(model: nn.Module, path: str) -> None:
    """Check that training can start from a checkpoint; the model does not change."""
    state = load_checkpoint_file(path)['state_dict']
    model = copy.deepcopy(model)
    fits: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if isinstance(model, FilterAlgorithm):
        fits = model.mutator.without_fitting()  # fitting takes time, and the run repeats it
    with fits:
        check_belongs(model, state, path)
    if isinstance(model, CompressionAlgorithm):
        model.settle()


def stage_configs(args: argparse.Namespace, stages: list[Stage]) -> dict[str, Config]:
    """The configs of all stages by name, each in a folder of its own.

    Raises:
        CompressionError: If any of them is wrong.
    """
    if args.resume not in (None, 'auto'):
        raise CompressionError(
            f'--resume is {args.resume!r}; the config has several stages, and --resume without a '
            'checkpoint continues them where they stopped'
        )
    folder = Path(args.work_dir or Path('work_dirs', Path(args.config).stem))
    options = options_of(stages, args.cfg_options)
    keys = [key for own in options.values() for key in own]
    if any(key.split('.')[0] == 'recover' for key in keys):
        raise CompressionError(
            'recover is for a config with one training; run `mmcompress recover`, and start the '
            'stage that goes on from there with --stage and its load_from'
        )
    configs: dict[str, Any] = {}
    compresses = any('architecture' in stage.content.model for stage in stages)
    for stage in stages:
        cfg = load_config(stage.content, args.compress, options[stage.name])
        if 'architecture' in cfg.model or not compresses:
            apply_distill(cfg, args.distill)
        apply_launch(cfg, args.launcher, args.local_rank, str(folder / stage.name))
        apply_options(cfg, args.amp, args.auto_scale_lr)
        if configs and not (stage.name == args.stage and 'load_from' in options[stage.name]):
            cfg.load_from = None  # the stage before will give it
        configs[stage.name] = cfg
    return configs


def one_stage(configs: dict[str, Config], name: str, resume: bool = False) -> Config:
    """The config of one stage, to be trained without the others.

    Args:
        configs: Those of all stages by name, see :func:`stage_configs`.
        name: Of the stage.
        resume: Continue the training of this stage that is in its work dir, if there is one.

    Raises:
        CompressionError: If the stage has nothing to start from.
    """
    cfg, names = configs[name], list(configs)
    cfg.resume = resume and find_latest_checkpoint(cfg.work_dir) is not None
    if cfg.resume:
        cfg.load_from = None
    elif not cfg.load_from and name != names[0]:
        before = configs[names[names.index(name) - 1]].work_dir
        cfg.load_from = find_latest_checkpoint(before)
        if cfg.load_from is None:
            raise CompressionError(
                f'--stage {name} starts from the stage before it, and {before!r} has no '
                f'checkpoint; train that stage, or give {name}.load_from'
            )
    return cfg
