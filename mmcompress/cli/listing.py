"""The units of a model, as ``units`` writes them."""

from __future__ import annotations

import argparse
import ast
import dataclasses
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from torch import nn

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.budget import Budget
from mmcompress.core.base.build import build_model
from mmcompress.core.base.image_shape import (
    count_budget_at_own_size,
    image_shape,
    size_of_images,
)
from mmcompress.core.channels.analyzer import DependencyAnalyzer, log_analysis
from mmcompress.core.channels.config import UnitConfig
from mmcompress.core.channels.solver import Solution, solve
from mmcompress.core.errors import CompressionError
from mmcompress.core.probe.example import LikelyShape
from mmcompress.latency.solve import solve_latency

from .launch import load_config
from .planning import tell_plan, training_by_budget


def _dict_or_value(key: str, value: object) -> object:
    """Limits by unit name come as ``"{'backbone.layer4.*': 0.9}"``."""
    if not (isinstance(value, str) and value.startswith('{')):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        raise CompressionError(
            f'--budget: {key} is {value}; it has to be a number or a dict'
        ) from None


def build(args: argparse.Namespace) -> tuple[nn.Module, Budget | None, LikelyShape | None]:
    """Build the model of the arguments.

    Returns:
        The model, the budget that is left to solve, and a batch of the config's images.

    Raises:
        CompressionError: If config or budget are wrong.
    """
    if args.budget is not None:
        args.budget = {key: _dict_or_value(key, value) for key, value in args.budget.items()}
    budget = None if args.budget is None else Budget.from_config(args.budget)
    cfg = load_config(args.config, args.compress, args.cfg_options)
    if args.budget is not None and 'architecture' in cfg.model:
        give_budget(cfg, args.budget)
        count_budget_at_own_size(cfg)
        budget = None
    elif budget is not None and budget.input_shape is None:
        budget = dataclasses.replace(budget, input_shape=_own_size(cfg))
    model = build_model(cfg)
    tell_plan(cfg, model, training_by_budget(args))
    size = size_of_images(cfg)
    return model, budget, None if size is None else LikelyShape((1, *size))


def give_budget(cfg: Config, budget: dict[str, Any]) -> None:
    """Let the algorithm of a config find its widths for a budget, in place."""
    cfg.model.target_pruning_ratio = None
    cfg.model.budget = budget
    cfg.model.pop('target', None)


def units_of(model: nn.Module, images: LikelyShape | None = None) -> dict[str, UnitConfig]:
    """The channel units of a dense model.

    Raises:
        CompressionError: If it has none.
    """
    analysis = DependencyAnalyzer(input_shape=images).analyze(model)
    log_analysis(analysis)
    if not analysis.units:
        raise CompressionError(f'no channel unit of {type(model).__name__} can be narrowed')
    return analysis.units


def _own_size(cfg: Config) -> tuple[int, int, int] | None:
    """The image size of a config, if it can be told from it."""
    try:
        return image_shape(cfg)
    except CompressionError:
        return None


def template(
    model: nn.Module, budget: Budget | None, images: LikelyShape | None, args: argparse.Namespace
) -> tuple[dict, Solution | None]:
    """The units, as a mutator's config or as keep ratios; and what a budget came to."""
    if isinstance(model, CompressionAlgorithm):
        mutator: Any = model.mutator
        if args.choice:
            return mutator.choice_template, mutator.solution
        content = mutator.config_template(args.with_init_args, args.with_channel)
        return content, mutator.solution
    units = units_of(model, images)
    ratios = dict.fromkeys(units, 1.0)
    solution = None
    if budget is not None:
        search = solve if budget.latency is None else solve_latency
        solution = search(model, units, budget)
        print_log(f'budget: {solution}', logger='current')
        ratios = solution.ratios
    if args.choice:
        return ratios, solution
    wanted = {'init_args': args.with_init_args, 'channels': args.with_channel}
    content = dict(
        channel_unit_cfg=dict(
            units={
                name: {
                    **{key: part for key, part in unit.as_dict().items() if wanted[key]},
                    'choice': ratios[name],
                }
                for name, unit in units.items()
            }
        ),
        parse_cfg=dict(type='DependencyAnalyzer'),
    )
    return content, solution
