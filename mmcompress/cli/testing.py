"""From the arguments of ``test`` to a checkpoint that fits, and its metrics."""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from torch import nn

from mmcompress.core.base.build import build_model
from mmcompress.core.base.parts import whole_architecture
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.checkpoint import check_fits, load_checkpoint_file
from mmcompress.core.export.onnx_predictor import OnnxPredictor
from mmcompress.core.export.static import is_sub_model
from mmcompress.core.filters.algorithm import FilterAlgorithm
from mmcompress.core.filters.unit import RANDOM
from mmcompress.report.onnx_files import RUNTIMES

from .found_widths import use_found
from .launch import apply_launch, load_config
from .runner import BuiltModel, ToolRunner
from .sr_inference import apply_inference_arguments, refuse_inference_arguments

ONNX = '.onnx'


def evaluate(args: argparse.Namespace) -> dict[str, float]:
    """Evaluate the checkpoint that the arguments of ``test`` name; returns its metrics.

    Raises:
        CompressionError: If there is nothing to evaluate, or nothing to evaluate on.
    """
    cfg = load_config(args.config, args.compress, args.cfg_options)
    apply_launch(cfg, args.launcher, args.local_rank, args.work_dir)
    apply_inference_arguments(cfg, args)
    if cfg.get('test_dataloader') is None:
        raise CompressionError(f'{args.config} has no test_dataloader to evaluate on')
    use_found(cfg, args.checkpoint or cfg.get('load_from'))
    built = BuiltModel(cfg)
    if Path(args.checkpoint or '').suffix == ONNX:
        refuse_inference_arguments(args)
        return evaluate_file(built, args.checkpoint, args.runtime)
    if args.runtime is not None:
        raise CompressionError(
            f'--runtime: it runs ONNX files, and {args.checkpoint!r} is none; leave it out'
        )
    cfg.load_from = checkpoint_of(cfg, args.checkpoint, built.model)
    if cfg.load_from:
        check(cfg, built.model)
    return built.runner().test()


def evaluate_file(
    built: BuiltModel, path: str | Path, runtime: str | None = None
) -> dict[str, float]:
    """The metrics of an end-to-end ONNX file, on the data and by the evaluator of a config.

    Args:
        built: Of the config; its own model is not run.
        path: The file.
        runtime: By default the first of :data:`~mmcompress.report.onnx_files.RUNTIMES`.

    Raises:
        CompressionError: If the file or the runtime is missing, or its outputs are raw.
    """
    if not Path(path).is_file():
        raise CompressionError(f'checkpoint: there is no file {str(path)!r}')
    name = runtime or next(iter(RUNTIMES))
    try:
        file = RUNTIMES[name](path)
    except CompressionError:
        raise
    except Exception as error:  # of a runtime: it has types of its own for each cause
        raise CompressionError(
            f'checkpoint: {name} cannot read {str(path)!r} ({" ".join(str(error).split())[:200]})'
        ) from None
    built.model = OnnxPredictor(file, built.model.data_preprocessor)
    built.cfg.load_from = None
    return built.runner().test()


@torch.no_grad()
def metrics_of(cfg: Config, model: BaseModel) -> dict[str, float]:
    """The metrics of a model on the test data of a config, without a run of mmengine's.

    Raises:
        CompressionError: If the data can't be loaded.
    """
    loader_cfg = dict(cfg.test_dataloader, num_workers=0, persistent_workers=False)
    loader = ToolRunner.build_dataloader(loader_cfg)
    evaluator = Evaluator(cfg.test_evaluator)
    dataset: Any = loader.dataset
    evaluator.dataset_meta = getattr(dataset, 'metainfo', None)
    model.eval()
    for batch in loader:
        evaluator.process(data_samples=model.test_step(batch), data_batch=batch)
    return evaluator.evaluate(len(dataset))


def checkpoint_of(cfg: Config, given: str | None, model: nn.Module) -> str | None:
    """The checkpoint given, else the one that the config names, else the work dir's export.

    Args:
        cfg: The config.
        given: By the user, if any.
        model: That of the config.

    Returns:
        ``None`` if none of these is there, and the model has nothing to load.

    Raises:
        CompressionError: If there's none.
    """
    path = given or cfg.get('load_from')
    if path:
        return path
    if not is_sub_model(cfg.model):
        if not model.state_dict():
            return None
        raise CompressionError('no checkpoint was given, and the config names none')
    own = (cfg.model.get('init_cfg') or {}).get('checkpoint')
    places = [Path(cfg.work_dir, *folder, 'compact.pth') for folder in ((), ('export',))]
    path = own or next((str(place) for place in places if place.is_file()), None)
    if path is None:
        raise CompressionError(
            f'no checkpoint was given, and there is no {places[1]} (`mmcompress export` writes it)'
        )
    return path


def check(cfg: Config, model: nn.Module) -> None:
    """Check that the checkpoint fits the model, or the dense network that it starts from.

    Raises:
        CompressionError: If it is another's.
    """
    state = load_checkpoint_file(cfg.load_from)['state_dict']
    own = any(key.removeprefix('module.').startswith('architecture.') for key in state)
    if isinstance(model, FilterAlgorithm) and model.init != RANDOM and not own:
        dense = copy.deepcopy(cfg)
        dense.model = whole_architecture(dense.model)
        model = build_model(dense)
    check_fits(model, state, cfg.load_from)
