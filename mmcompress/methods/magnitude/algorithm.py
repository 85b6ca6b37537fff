"""The algorithm of magnitude pruning."""

from __future__ import annotations

import logging
from typing import Any

import torch
from mmengine.dist import broadcast
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.optim import Optimizer

from mmcompress.core.base.algorithm import Clock, CompressionAlgorithm
from mmcompress.core.base.pretrained import has_pretrained, train_all_stages
from mmcompress.core.checks import check_count, is_number
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.registry import MODELS

from .criteria import CRITERIA
from .mutator import MagnitudeMutator
from .schedule import SCHEDULES, due, kept_after, ranked_widths

RANKINGS = ('local', 'global')
#: What one ranking of all channels leaves of every unit, at least.
LEAST = 0.1


@MODELS.register_module()
class Magnitude(CompressionAlgorithm):
    """Removes the channels that a criterion finds the least of, and trains the others on.

    Starts from a trained network. All channels that are to go do so in one step, or in several over
    the course of training, between which the others make up for the loss. Removed channels are
    silent from then on, and never come back. Exporting leaves them out: the result is a plain
    narrower network.

    Args:
        architecture: The model to compress, or its config.
        mutator_cfg: Config of the mutator; a ``MagnitudeMutator`` by default.
        target_pruning_ratio: Keep ratios; one number with ``ranking='global'``.
        criterion: What a channel is worth, one of
            :data:`~mmcompress.methods.magnitude.criteria.CRITERIA`.
        steps: In how many steps channels go.
        begin: When the first step is, as a share of training.
        end: When the last one is, where there are several.
        schedule: How many channels go in each of several steps: ``'cubic'``, most in the first
            ones, or ``'linear'``.
        ranking: ``'local'``: every unit keeps its own share. ``'global'``: one ranking of all
            channels says how many each unit keeps, at least a tenth.
        seed: Of ``criterion='random'``.
        **kwargs: Arguments of
            :class:`~mmcompress.core.base.algorithm.CompressionAlgorithm`, such as ``budget``.

    Raises:
        CompressionError: If an argument is wrong.
    """

    mutator_type = MagnitudeMutator
    mutator: MagnitudeMutator

    def __init__(
        self,
        architecture: BaseModel | dict,
        mutator_cfg: dict | None = None,
        *,
        target_pruning_ratio: Any = None,
        criterion: str = 'l1',
        steps: int = 1,
        begin: float = 0.0,
        end: float = 0.5,
        schedule: str = 'cubic',
        ranking: str = 'local',
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        for key, value, names in (
            ('criterion', criterion, CRITERIA),
            ('schedule', schedule, SCHEDULES),
            ('ranking', ranking, RANKINGS),
        ):
            if not isinstance(value, str) or value not in names:
                raise CompressionError(
                    f'{key} is {value!r}; it has to be one of {", ".join(names)}; the nearest is '
                    f'{nearest(str(value), names)}'
                )
        check_count(steps, 'steps')
        for key, share in (('begin', begin), ('end', end)):
            if not is_number(share) or not 0 <= share < 1:
                raise CompressionError(
                    f'{key} is {share!r}; it has to be a share of training, from 0 to below 1'
                )
        if steps > 1 and end < begin:
            raise CompressionError(f'end is {end!r}; it has to be at least begin, {begin!r}')
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise CompressionError(f'seed is {seed!r}; it has to be an integer')
        self.criterion = CRITERIA[criterion](seed)
        if self.criterion.watches and not begin:
            raise CompressionError(
                f'begin is {begin!r}, but criterion={criterion!r} judges by the steps of training '
                'before; set begin above 0, such as 0.1'
            )
        self.ranking = ranking
        super().__init__(
            architecture, mutator_cfg, target_pruning_ratio=target_pruning_ratio, **kwargs
        )
        self.steps, self.begin, self.end, self.schedule = steps, begin, end, schedule
        self.keep_ratio = target_pruning_ratio
        train_all_stages(self.architecture, type(self).__name__)
        for unit in self.mutator.units.values():
            self.criterion.check(unit)
        # Told by every checkpoint: how many steps are over. A copy of it is asked every iteration.
        self.register_buffer('steps_done', torch.zeros((), dtype=torch.long))
        self._done = 0

    def _mutator_config(self, given: dict | None) -> dict:
        config = super()._mutator_config(given)
        if 'by_rank' in config:
            raise CompressionError(
                "mutator_cfg has 'by_rank', which the algorithm says: by `ranking`"
            )
        return dict(config, by_rank=self.ranking == 'global')

    def settle(self) -> None:
        """Read from the checkpoint how many pruning steps are done."""
        super().settle()
        self._done = int(self.steps_done)
        if self._done > self.steps:
            raise CompressionError(
                f'steps is {self.steps}, but {self._done} are over in the loaded checkpoint'
            )

    def start(self, optim_wrapper: OptimWrapper) -> None:
        """Settle; call a criterion that watches before every optimizer step.

        Gradients then are accumulated, reduced across ranks, unscaled and clipped; a step that AMP
        skips is none.

        Raises:
            CompressionError: If the optimizer wrapper has not one optimizer, but has to.
        """
        super().start(optim_wrapper)
        if not self.loaded and not has_pretrained(self):
            print_log(
                'Magnitude starts from random weights, of which it can tell nothing; set load_from '
                'to the checkpoint of a trained network',
                logger='current',
                level=logging.WARNING,
            )
        if self.criterion.watches:
            optimizer = getattr(optim_wrapper, 'optimizer', None)
            if not isinstance(optimizer, Optimizer):
                raise CompressionError(
                    f'optim_wrapper is a {type(optim_wrapper).__name__}; this criterion needs one '
                    'with one optimizer, such as OptimWrapper or AmpOptimWrapper'
                )
            optimizer.register_step_pre_hook(lambda *_: self._watch())

    def tick(self, clock: Clock) -> None:
        """Prune when a step is due."""
        super().tick(clock)
        share = clock.iteration / clock.max_iterations
        while self._done < due(share, self.steps, self.begin, self.end):
            self.prune()

    def decide(self, scores: dict[str, Tensor]) -> None:
        """All pruning steps at once, by the scores; the criterion says what they leave open."""
        self._done = self.steps - 1
        self.prune(scores)

    @torch.no_grad()
    def prune(self, given: dict[str, Tensor] | None = None) -> None:
        """Take the next pruning step. All ranks take the choice of the first.

        Args:
            given: Scores by name of the unit, in place of the criterion's.
        """
        self._done += 1
        self.steps_done.fill_(self._done)
        units = list(self.mutator.units.values())
        given = given or {}
        scores = [
            given[unit.name].to(unit.op.mask) if unit.name in given else self.criterion.score(unit)
            for unit in units
        ]
        widths = [unit.width_at(self._share_left(unit.choice)) for unit in units]
        if self.ranking == 'global':
            pairs = zip(units, scores, strict=True)
            left = [score.masked_fill(unit.op.mask == 0, -torch.inf) for unit, score in pairs]
            ranked = ranked_widths(left, self._share_left(self.keep_ratio), LEAST)
            widths = [
                unit.width_at(width / unit.num_channels)
                for unit, width in zip(units, ranked, strict=True)
            ]
        for unit, score, width in zip(units, scores, widths, strict=True):
            if not bool(score.isfinite().all()):
                raise CompressionError(f'the weights of {unit.name!r} are not finite any more')
            unit.prune(score, width)
            broadcast(unit.op.mask)
        print_log(
            f'Magnitude: step {self._done} of {self.steps}, {sum(widths)} of '
            f'{sum(unit.num_channels for unit in units)} channels are left',
            logger='current',
        )

    def progress(self) -> dict[str, Any]:
        """``left``, how many of ``channels`` there are still, and ``steps_done``."""
        masks = [unit.op.mask for unit in self.mutator.units.values()]
        left = int(sum(mask.sum() for mask in masks))
        return dict(left=left, channels=sum(map(len, masks)), steps_done=self._done)

    def unfinished(self) -> str:
        """All steps have to be over."""
        done = int(self.steps_done)
        if done == self.steps:
            return ''
        return f'{done} of {self.steps} pruning steps are over; train it further'

    def _share_left(self, keep_ratio: float) -> float:
        return kept_after(self._done, self.steps, keep_ratio, self.schedule)

    def _watch(self) -> None:
        if self._done < self.steps:
            for unit in self.mutator.units.values():
                self.criterion.watch(unit)
