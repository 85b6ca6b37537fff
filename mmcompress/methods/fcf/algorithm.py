"""The algorithm of FCF."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.figure import Figure
from mmcompress.core.base.pretrained import has_pretrained, train_all_stages
from mmcompress.core.base.steps import Clock
from mmcompress.core.channels.choose import keep_largest
from mmcompress.core.checks import is_number, one_of
from mmcompress.core.errors import CompressionError
from mmcompress.registry import MODELS

from .around_step import around_step
from .decisions import MARGIN, choose, undecided
from .diagnostics import histogram_figure
from .loading import check_scalars
from .mutator import FCFMutator
from .state import ADMMState
from .widths import magnitude_widths

STAGES = ('factorize', 'finetune')
ROUNDINGS = ('exact', 'threshold')
#: Scalars below go with ``rounding='threshold'``.
THRESHOLD = 0.1
#: ``mu`` of the authors' program for CIFAR.
PUBLISHED_MU = 1.01
#: Layers are undecided while less than this part of the way to a decision is behind them.
DECIDED = 0.5
#: Below this share of their way in a step, scalars hardly move.
LEAST_REACH = 0.05
#: Of the histogram of scalars.
BINS, EDGES = 20, (-0.25, 1.25)


@MODELS.register_module()
class FCF(CompressionAlgorithm):
    """Factorized convolutional filters: learn which filters a trained network can do without.

    Stage ``'factorize'`` starts from a trained network. Each filter has a scalar, and ADMM
    around each step of the optimizer drives these to zero or one, with exactly k ones in each
    layer. Stage ``'finetune'`` starts from its checkpoint: scalars are rounded, the filters of
    zeros stay zero, the others are trained on. Exporting then removes the former.

    Args:
        architecture: The model to compress, or its config.
        mutator_cfg: Config of the mutator; an ``FCFMutator`` by default.
        target_pruning_ratio: Keep ratios; 0.75 is the paper's sparse rate of 0.25.
        stage: ``'factorize'`` or ``'finetune'``.
        rho: Penalty at first.
        rho_max: Where it stops growing.
        mu: Its factor at each step. ``'auto'``: such that it is at ``rho_max`` after a part of
            training, ``rho_max_at``. ``None`` is ``'auto'``, and with ``faithful=True`` it is 1.01.
        rho_max_at: That part, above 0 and at most 1. The learning rate has to be high then.
        alpha: Share of ADMM's gradient in that of the scalars.
        rounding: Which filters stay. ``'exact'``: of each layer the k of the largest scalars, as
            many as the keep ratio asks for. ``'threshold'``: all whose scalar is above 0.1 (the
            authors), at least one of each layer; where filters of groups have to stay equally
            many, as many in each as in the group with the most. ``None`` is ``'exact'``, and with
            ``faithful=True`` it is ``'threshold'``. Where the scalars of a layer are too close to
            decide, those filters stay without which the loss of the training images would change
            most, see :func:`~mmcompress.methods.fcf.decisions.choose`.
        **kwargs: Arguments of
            :class:`~mmcompress.core.base.algorithm.CompressionAlgorithm`, such as ``budget``.

    Raises:
        CompressionError: If an argument is wrong.

    Source: Li et al., CVPR 2019. The published values for CIFAR are
    ``rho=0.01, mu=1.01, alpha=0.99``, for ImageNet ``rho=0.001, mu=1.005, alpha=0.65``.
    """

    mutator_type = FCFMutator
    mutator: FCFMutator

    def __init__(
        self,
        architecture: BaseModel | dict,
        mutator_cfg: dict | None = None,
        *,
        target_pruning_ratio: Any = None,
        stage: str = 'factorize',
        rho: float = 0.01,
        rho_max: float = 6.0,
        mu: float | str | None = None,
        rho_max_at: float = 0.2,
        alpha: float = 0.99,
        rounding: str | None = None,
        **kwargs: Any,
    ) -> None:
        if mu is None:
            mu = PUBLISHED_MU if kwargs.get('faithful') is True else 'auto'
        _check(stage, rho, rho_max, mu, alpha)
        _check_share(rho_max_at)
        if rounding is not None:
            one_of(rounding, ROUNDINGS, 'rounding')
        super().__init__(
            architecture, mutator_cfg, target_pruning_ratio=target_pruning_ratio, **kwargs
        )
        self.rounding = rounding or ROUNDINGS[self.faithful]
        self.keep_ratio = target_pruning_ratio
        self.stage = stage
        # Scalars of frozen stages would learn nothing, and all filters there look alike.
        train_all_stages(self.architecture, 'FCF')
        lengths = [len(row) for unit in self.mutator.mutable_units for row in unit.rows]
        self.rho_max_at = rho_max_at
        self._grows_in_time = isinstance(mu, str)
        self._accumulation = 1
        self.admm = ADMMState(lengths, rho, rho_max, 1 if isinstance(mu, str) else mu, alpha)
        # Told by every checkpoint: whether widths are set, and scalars rounded.
        self.register_buffer('started', torch.tensor(False))
        self.register_buffer('binary', torch.tensor(False))
        # What else both stages have to agree on.
        self.register_buffer('cut_inputs', torch.tensor(self.mutator.cut_inputs is not False))
        self.register_buffer('scales_weight', torch.tensor(self.mutator.scale == 'weight'))
        for parameter in self.scalars:
            parameter.requires_grad_(stage == 'factorize')

    def authors_mutator(self) -> dict[str, Any]:
        """Scalars in front of norms, inputs that are cut, and a threshold that is exclusive."""
        return dict(scale='weight', cut_inputs=True, threshold='exclusive')

    def accept(self, state: dict[str, Tensor]) -> None:
        """Accept a checkpoint; refuse scalars of another scope, or of other layers."""
        check_scalars(self, state)
        super().accept(state)

    @property
    def scalars(self) -> list[torch.nn.Parameter]:
        """``v`` of every unit."""
        return [unit.op.v for unit in self.mutator.mutable_units]

    def settle(self) -> None:
        """Set the widths by the weights, if these say them; round the scalars to finetune.

        Raises:
            CompressionError: If stage ``'finetune'`` has loaded no scalars, or other widths than
                the config asks for.
        """
        super().settle()
        self.mutator.cut(self.architecture, bool(self.binary))
        untrained = not self.started
        if untrained:
            self.set_widths()
            self.started.fill_(True)
        else:
            self._check_widths()
        if self.stage == 'finetune' and not self.binary:
            if untrained:
                raise CompressionError(
                    'stage is "finetune", but no checkpoint of stage="factorize" was loaded, all '
                    'scalars are alike; set load_from to one'
                )
            self.binarize()

    @torch.no_grad()
    def decide(self, scores: dict[str, Tensor]) -> None:
        """Keep the filters of the largest scores; stage ``'finetune'`` goes on from here."""
        self.set_widths()
        for name, unit in self.mutator.units.items():
            v = unit.op.v
            score = scores.get(name, unit.magnitudes()).to(v)
            kept = keep_largest(score.view(unit.groups, -1), unit.width // unit.groups)
            v.copy_(kept.flatten())
            v.requires_grad_(False)
        self.started.fill_(True)
        self.binary.fill_(True)
        self.mutator.cut(self.architecture, True)

    def start(self, optim_wrapper: OptimWrapper) -> None:
        """Settle, and in stage ``'factorize'`` hook into the optimizer."""
        super().start(optim_wrapper)
        if self.stage == 'finetune':
            return
        if self.binary:
            raise CompressionError(
                'stage is "factorize", but the scalars of the loaded checkpoint are binary '
                'already; set stage="finetune"'
            )
        self._widths = torch.tensor(
            [
                unit.width // unit.groups
                for unit in self.mutator.mutable_units
                for _ in range(unit.groups)
            ],
            device=self.admm.mask.device,
        )
        self._accumulation = getattr(optim_wrapper, '_accumulative_counts', 1)
        self._check_reach(optim_wrapper)
        self._check_loaded()
        around_step(optim_wrapper, self.scalars, self._before_step, self._after_step)

    def tick(self, clock: Clock) -> None:
        """With ``mu='auto'``, find what the penalty grows by."""
        super().tick(clock)
        if self._grows_in_time and self.stage == 'factorize':
            steps = clock.max_iterations // self._accumulation
            self.admm.reach_maximum_after(math.ceil(self.rho_max_at * steps))

    def advance(self) -> None:
        """Round the scalars, and finetune from here.

        Raises:
            CompressionError: If this is stage ``'finetune'``.
        """
        if self.stage == 'finetune':
            super().advance()
        self.stage = 'finetune'
        for parameter in self.scalars:
            parameter.requires_grad_(False)
            parameter.grad = None
        self.settle()

    @torch.no_grad()
    def binarize(self) -> None:
        """Set the largest scalars of each row to one and the others to zero: k, by default.

        Where they are too close to decide, what training has shown does.
        """
        differing, open_rows, by_hint = 0, 0, 0
        if not all(p.isfinite().all() for p in self.scalars):
            raise CompressionError(
                'the scalars of the loaded checkpoint are not finite: stage="factorize" diverged; '
                'train it again with a smaller learning rate or rho_max'
            )
        lengths = [len(p) for p in self.scalars]
        evidence = self.admm.unpad(self.admm.evidence, lengths)
        for unit, shown in zip(self.mutator.mutable_units, evidence, strict=True):
            v, rows = unit.op.v, unit.rows
            if self.rounding == 'threshold':
                above = int((rows > THRESHOLD).sum(1).max())
                unit.width = max(above, 1) * unit.groups
                rounded = keep_largest(rows, unit.width // unit.groups)
            else:
                hints = shown.view_as(rows), rows, unit.magnitudes().view_as(rows)
                rounded, chosen = choose(rows, unit.width // unit.groups, *hints)
                open_rows += int(chosen.any(1).sum())
                by_hint += int(chosen.sum())
            rounded = rounded.flatten()
            differing += int(((v > THRESHOLD) != rounded.bool()).sum())
            v.copy_(rounded)
        self.binary.fill_(True)
        self.mutator.cut(self.architecture, True)
        print_log(
            f'FCF: rounded; {differing} filters would have been decided otherwise by the threshold '
            f'{THRESHOLD}',
            logger='current',
        )
        if open_rows:
            print_log(
                f'FCF: {open_rows} layers have not decided which filters stay. Of {by_hint} '
                f'filters whose scalars are within {MARGIN} of each other, those stay without '
                'which the loss of the training images would change most',
                logger='current',
                level=logging.WARNING,
            )

    @torch.no_grad()
    def progress(self) -> dict[str, Any]:
        """How far the choice of filters is.

        Warns at the end of training if layers are undecided.

        Returns:
            ``undecided``, 1 before training and 0 once the k filters of each layer are decided, see
            :func:`~mmcompress.methods.fcf.decisions.undecided`, the mean over layers;
            ``undecided_max``, the largest; ``residual_1`` and
            ``residual_2``, the largest ``|v - z1|`` and ``|v - z2|``; ``rho``; ``removed``, how
            many filters would go by the threshold 0.1, of how many ``filters``;
            ``histogram``, the numbers of scalars in 20 equal bins from ``edges[0]`` to
            ``edges[1]``. Nothing once they are binary.
        """
        if self.binary:
            return {}
        v = torch.cat([p.detach() for p in self.scalars])
        units = self.mutator.mutable_units
        left = [undecided(unit.rows, unit.width // unit.groups) for unit in units]
        open_ = torch.cat(left)
        self._warn_undecided(open_)
        first, second = self.admm.residuals(self.admm.pad([v]))
        # Scalars further out belong to the outermost bins.
        histogram = v.clamp(*EDGES).float().cpu().histc(BINS, *EDGES)
        return dict(
            undecided=float(open_.mean()),
            undecided_max=float(open_.max()),
            residual_1=float(first),
            residual_2=float(second),
            rho=float(self.admm.rho),
            removed=int((v <= THRESHOLD).sum()),
            filters=v.numel(),
            histogram=histogram.int().tolist(),
            edges=EDGES,
        )

    def diagnostics(self, dense: Mapping[str, Tensor] | None = None) -> list[Figure]:
        """The histogram of all scalars."""
        return [histogram_figure(self.scalars, BINS, EDGES)]

    def unfinished(self) -> str:
        """Scalars have to be binary before filters can be removed."""
        if self.binary:
            return ''
        return (
            'its scalars are not binary yet; train it with stage="finetune" from here (in Python: '
            'next_stage(), and another training)'
        )

    def set_widths(self) -> None:
        """By magnitude, widths depend on the weights that training starts from."""
        if self.mutator.widths != 'magnitude':
            return
        units = self.mutator.mutable_units
        scores = [unit.magnitudes() for unit in units]
        exclusive = self.mutator.threshold == 'exclusive'
        widths = magnitude_widths(scores, self.keep_ratio, exclusive=exclusive)
        for unit, width in zip(units, widths, strict=True):
            divisor = unit.config.divisor
            unit.width = max(width // divisor, 1) * divisor

    # Private

    def _warn_undecided(self, open_: Tensor) -> None:
        """Say at the end of training that layers are undecided."""
        clock = self._clock
        many = int((open_ > DECIDED).sum())
        if not many or clock is None or clock.iteration + 1 < clock.max_iterations:
            return
        print_log(
            f'FCF: {many} of {len(open_)} layers have not decided which filters stay. Train '
            'longer, or with a larger learning rate, or let the penalty grow earlier (a smaller '
            'rho_max_at, or a larger mu)',
            logger='current',
            level=logging.WARNING,
        )

    def _check_reach(self, optim_wrapper: OptimWrapper) -> None:
        """How far a step of gradient descent moves the scalars towards where ADMM wants them.

        At the largest penalty the Hessian of its terms is ``2 alpha rho``.
        """
        optimizer = getattr(optim_wrapper, 'optimizer', None)
        if not isinstance(optimizer, torch.optim.SGD):
            return
        # Schedules start from here; a warm-up may begin lower.
        rate = max(group.get('initial_lr', group['lr']) for group in optimizer.param_groups)
        reach = 2 * rate * self.admm.alpha * self.admm.rho_max * self.admm.mu
        if reach >= 2:
            raise CompressionError(
                f'the scalars would diverge: 2 * lr * alpha * rho_max is {reach:.3g} and has to be '
                f'below 2; lower lr ({rate:g}) or rho_max ({self.admm.rho_max:g})'
            )
        if reach < LEAST_REACH:
            print_log(
                f'FCF: a step moves the scalars by at most {reach:.2g} of their way (2 * lr * '
                'alpha * rho_max); with so little they may not become binary. The published lr is '
                '0.1',
                logger='current',
                level=logging.WARNING,
            )

    def _check_loaded(self) -> None:
        """FCF chooses among the filters of a trained network."""
        if not self.loaded and not has_pretrained(self):
            print_log(
                'FCF starts from random weights; set load_from to the checkpoint of a trained '
                'network',
                logger='current',
                level=logging.WARNING,
            )

    def _check_widths(self) -> None:
        """A checkpoint brings its widths; those of the config have to be the same."""
        by_threshold = self.rounding == 'threshold' and bool(self.binary)
        if self.mutator.widths == 'magnitude' or by_threshold:
            return
        for name, unit in self.mutator.units.items():
            if unit.width != unit.asked:
                raise CompressionError(
                    f'target_pruning_ratio: {name!r} is to keep {unit.asked} of '
                    f'{unit.num_channels} filters, but {unit.width} in the loaded checkpoint; '
                    'both stages need the same keep ratios'
                )

    def _before_step(self) -> None:
        if self.stage == 'finetune':
            return  # The optimizer of the stage before has been kept.
        rows = self.admm.pad([p.detach() for p in self.scalars])
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.scalars]
        blended = self.admm.blend(rows, self.admm.pad(gradients), self._widths)
        lengths = [len(p) for p in self.scalars]
        for parameter, gradient in zip(
            self.scalars, self.admm.unpad(blended, lengths), strict=True
        ):
            if parameter.grad is None:
                parameter.grad = gradient.clone()
            else:
                parameter.grad.copy_(gradient)

    def _after_step(self) -> None:
        if self.stage == 'finetune':
            return
        self.admm.ascend(self.admm.pad([p.detach() for p in self.scalars]))


def _check(stage: str, rho: float, rho_max: float, mu: Any, alpha: float) -> None:
    if mu == 'auto':
        mu = 1
    elif isinstance(mu, str):
        raise CompressionError(f"mu is {mu!r}; it has to be a number, or 'auto'")
    if stage not in STAGES:
        raise CompressionError(f'stage is {stage!r}; it has to be one of {", ".join(STAGES)}')
    numbers = dict(rho=rho, rho_max=rho_max, mu=mu, alpha=alpha)
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise CompressionError(f'{key} is {value!r}; it has to be a number')
    if not 0 < rho <= rho_max:
        raise CompressionError(f'rho is {rho}; it has to be above 0 and at most rho_max={rho_max}')
    if not 1 <= mu < float('inf'):
        raise CompressionError(f'mu is {mu}; it has to be at least 1, and finite')
    if not 0 <= alpha <= 1:
        raise CompressionError(f'alpha is {alpha}; it has to be from 0 to 1')


def _check_share(rho_max_at: Any) -> None:
    if not is_number(rho_max_at) or not 0 < rho_max_at <= 1:
        raise CompressionError(
            f'rho_max_at is {rho_max_at!r}; it has to be a part of training, above 0 and at most 1'
        )
