"""The algorithm of LinearConv."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from mmcompress.core.base.algorithm import Clock
from mmcompress.core.base.figure import Figure
from mmcompress.core.checks import check_count, is_number, weight_of_loss
from mmcompress.core.errors import CompressionError
from mmcompress.core.filters.algorithm import FilterAlgorithm
from mmcompress.core.filters.unit import RANDOM
from mmcompress.registry import MODELS

from .diagnostics import figures
from .mutator import LinearConvMutator
from .op import LinearConv2d
from .regularizer import correlation as correlation_loss
from .regularizer import sparsity_loss
from .threshold import steps_needed

#: Settings of sparse combinations.
PUBLISHED = dict(l1=0.01, mask_interval=500, threshold_step=1e-5)


@MODELS.register_module()
class LinearConv(FilterAlgorithm):
    """LinearConv: a part of the filters, and linear combinations of them for the others.

    Args:
        architecture: The model to compress, or its config.
        mutator_cfg: A ``LinearConvMutator`` by default.
        correlation: Weight of the loss that keeps primary filters uncorrelated,
            ``loss_correlation``.
        l1: Weight of the L1 penalty on the combination matrix, ``loss_l1``. Only with
            ``variant='sparse'``; default 0.01.
        loss_interval: Both losses are computed on every n-th batch.
        mask_interval: Number of iterations between two updates of the masks. Only with
            ``variant='sparse'``; default 500.
        threshold_step: Largest change of the threshold at one update. Only with
            ``variant='sparse'``; default 1e-5.
        count_evaluation: Whether ``mask_interval`` counts forward passes, evaluation during
            training included, as in the authors' program. The first update is then in the forward
            pass of that number. Otherwise training iterations are counted, and the first update
            comes after that many of them. Only with ``variant='sparse'``. mmengine saves the
            checkpoint of an epoch before its evaluation, so a run that resumes there has not
            counted that evaluation. ``None`` is ``False``, and ``True`` with ``faithful=True``.
        **kwargs: Arguments of :class:`~mmcompress.core.filters.algorithm.FilterAlgorithm`. ``init``
            is ``'kaiming'``, ``'qr'`` or ``'svd'``.

    Raises:
        CompressionError: If a setting is wrong.

    Source: Kahatapitiya & Rodrigo, "Exploiting the Redundancy in Convolutional Filters for
    Parameter Reduction", arXiv:1907.11432, and their code for the intervals. Starting from a dense
    network (``init='qr'``) is an addition.
    """

    mutator_type = LinearConvMutator

    def __init__(
        self,
        architecture: BaseModel | dict,
        mutator_cfg: dict | None = None,
        *,
        correlation: float = 0.01,
        l1: float | None = None,
        loss_interval: int = 10,
        mask_interval: int | None = None,
        threshold_step: float | None = None,
        count_evaluation: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.correlation = weight_of_loss(correlation, 'correlation')
        self.loss_interval = check_count(loss_interval, 'loss_interval')
        given = dict(l1=l1, mask_interval=mask_interval, threshold_step=threshold_step)
        given = {key: value for key, value in given.items() if value is not None}
        if not isinstance(count_evaluation, (bool, type(None))):
            raise CompressionError(
                f'count_evaluation is {count_evaluation!r}; it has to be True or False'
            )
        settings = {**PUBLISHED, **given}
        if count_evaluation:
            given['count_evaluation'] = True
        self.l1 = weight_of_loss(settings['l1'], 'l1')
        self.mask_interval = check_count(settings['mask_interval'], 'mask_interval')
        step: Any = settings['threshold_step']
        if not is_number(step) or not step > 0:
            raise CompressionError(f'threshold_step is {step!r}; it has to be a number above 0')
        self.threshold_step = float(step)
        super().__init__(architecture, mutator_cfg, **kwargs)
        for key, value in ({} if self._sparse() else given).items():
            raise CompressionError(
                f"{key} is {value!r}, but no filter unit has variant 'sparse', which it is for; "
                'leave it out'
            )
        theirs = self.faithful and bool(self._sparse())
        self.count_evaluation = theirs if count_evaluation is None else count_evaluation
        # Of two values only: a compiled forward pass is made anew for each that it has seen.
        self._has_losses = True
        # A number on the host decides when to look; the buffer takes it into checkpoints.
        self._passes = 0
        if self.count_evaluation:
            self.register_buffer('passes', torch.tensor(0))
            self._register_load_state_dict_pre_hook(self._take_passes)

    def authors_mutator(self) -> dict[str, Any]:
        """Filters of all groups are combined, and all starts from their random numbers."""
        args: dict[str, Any] = dict(across_groups=True)
        if self.init == RANDOM:
            args['start'] = 'uniform'
        return dict(filter_unit_cfg=dict(default_args=args))

    def tick(self, clock: Clock) -> None:
        """Look at the masks from time to time."""
        if self._clock is None:
            self._check_reach(clock)
        super().tick(clock)
        self._has_losses = (clock.iteration + 1) % self.loss_interval == 0
        if self.count_evaluation:
            self._count_pass()
        elif clock.iteration and clock.iteration % self.mask_interval == 0:
            self._look()

    def val_step(self, data: Any) -> list:
        """One step of an evaluation; with ``count_evaluation`` it may begin with a look."""
        # Before training there is nothing to count.
        if self.count_evaluation and self._clock is not None:
            self._count_pass()
        return super().val_step(data)

    def own_losses(self) -> dict[str, Tensor]:
        """The base class's; from time to time ``loss_correlation`` and ``loss_l1``."""
        losses = super().own_losses()
        if not self._has_losses:
            return losses
        if self.correlation:
            primaries = [(op.primary, op.sets) for op in self._ops()]
            losses['loss_correlation'] = self.correlation * correlation_loss(primaries)
        sparse = self._sparse()
        if self.l1 and sparse:
            combinations = [op.combination for op in sparse]
            losses['loss_l1'] = self.l1 * sparsity_loss(combinations)
        return losses

    @torch.no_grad()
    def progress(self) -> dict[str, Any]:
        """Sparsity over all combinations, and the mean of the thresholds; of ``sparse``."""
        sparse = self._sparse()
        if not sparse:
            return {}
        masked = sum(int((~op.mask).sum()) for op in sparse)
        return dict(
            sparsity=masked / sum(op.mask.numel() for op in sparse),
            threshold=sum(float(op.threshold) for op in sparse) / len(sparse),
        )

    def diagnostics(self, dense: Mapping[str, Tensor] | None = None) -> list[Figure]:
        """Correlations of the primary filters, and how sparse their combinations are."""
        return [*super().diagnostics(dense), *figures(dict(self._layers()))]

    def _look(self) -> None:
        for op in self._sparse():
            op.update_mask(self.threshold_step)

    def _count_pass(self) -> None:
        """Count the forward pass that is about to be, and look at the masks if it is time."""
        self._passes += 1
        self.passes.fill_(self._passes)
        if self._passes % self.mask_interval == 0:
            self._look()

    def _take_passes(self, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
        if f'{prefix}passes' in state:
            self._passes = int(state[f'{prefix}passes'])

    def _check_reach(self, clock: Clock) -> None:
        """Warn of thresholds that stay too low; losses may still bring the weights down to them."""
        if self.count_evaluation:
            # Evaluations make more of them.
            left = clock.max_iterations - clock.iteration
            last = (self._passes + left) // self.mask_interval
            looks = last - self._passes // self.mask_interval
        else:
            last = (clock.max_iterations - 1) // self.mask_interval
            looks = last - clock.iteration // self.mask_interval
        for layer, op in self._layers():
            if not op.is_sparse:
                continue
            target: Any = op.settings.target_sparsity
            step = self.threshold_step
            needed = steps_needed(op.combination, op.threshold, target, step)
            if needed >= max(looks, 1):  # the last step is one that no mask sees
                # Steps get shorter where the target is near.
                enough = f'; {2 * needed * step / looks:.1g} would do' if looks else ''
                print_log(
                    f'threshold_step is {step:g} and mask_interval {self.mask_interval}, which '
                    f'makes {looks} steps in this run; for target_sparsity {target} {layer!r} '
                    f'needs {needed}{enough}, unless loss_l1 makes its combinations smaller',
                    logger='current',
                    level=logging.WARNING,
                )
                return

    def _layers(self) -> list[tuple[str, LinearConv2d]]:
        return [pair for unit in self.mutator.units.values() for pair in unit.ops.items()]

    def _sparse(self) -> list[LinearConv2d]:
        return [op for op in self._ops() if op.is_sparse]
