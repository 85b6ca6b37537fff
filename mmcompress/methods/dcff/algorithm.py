"""The algorithm of DCFF."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from mmcompress.core.base.algorithm import Clock, CompressionAlgorithm
from mmcompress.core.base.figure import Figure
from mmcompress.core.checks import check_count, is_number
from mmcompress.core.errors import CompressionError
from mmcompress.registry import MODELS

from .diagnostics import figures, sharpness
from .from_scratch import start_from_scratch
from .importance import temperature
from .mutator import DCFFMutator
from .op import FusedConv2d


@MODELS.register_module()
class DCFF(CompressionAlgorithm):
    """Dynamic-coded filter fusion: train a compact network whose filters are mixtures.

    All widths are compact from the start. Every ``fuse_interval`` the filters of each
    convolution are scored and fused anew, at a temperature that rises from 1 to 10,000 over
    the course of training.

    **What the published schedule does.** Proxies are mixtures in the first interval only. At the
    second fuse step the temperature is 4622 already and every proxy one-hot: each layer goes on
    with the filters that it chose at the first, as they are, and trains them like any other
    (those not chosen get no gradient any more). Proxies that are one-hot give all filters the same
    importance, so the choice of the first fuse step stays. A smaller ``temperature_end`` or
    ``kappa`` keeps proxies soft for longer, and then the choice can change while training goes on.

    Args:
        architecture: The model to compress, or its config.
        mutator_cfg: Config of the mutator; a ``DCFFMutator`` by default.
        fuse_interval: Epochs or iterations between fuse steps.
        fuse_times: How often filters are fused in all, at equal intervals of whole iterations,
            instead of ``fuse_interval``.
        by_epoch: Whether ``fuse_interval`` counts epochs (passes over the data, whatever the
            training loop counts) or iterations. ``None``: what the training loop counts.
        temperature_start: ``T_s`` of Eq. 10, the temperature of the first fuse step.
        temperature_end: ``T_e``, which the temperature approaches.
        kappa: Steepness: after about ``4 / kappa`` fuse steps 96 % of the rise are done.
        **kwargs: Arguments of
            :class:`~mmcompress.core.base.algorithm.CompressionAlgorithm`, such as ``budget``.

    Source: Lin et al., arXiv:2107.06916.
    """

    mutator_type = DCFFMutator

    def __init__(
        self,
        architecture: BaseModel | dict,
        mutator_cfg: dict | None = None,
        *,
        fuse_interval: int = 1,
        fuse_times: int | None = None,
        by_epoch: bool | None = True,
        temperature_start: float = 1.0,
        temperature_end: float = 1e4,
        kappa: float = 1.0,
        **kwargs: Any,
    ) -> None:
        check_count(fuse_interval, 'fuse_interval')
        if fuse_times is not None:
            check_count(fuse_times, 'fuse_times')
            if fuse_interval != 1:
                raise CompressionError(
                    f'fuse_times is {fuse_times!r} and fuse_interval is {fuse_interval!r}; both '
                    'say when filters are fused, so remove one of the two'
                )
        if not isinstance(by_epoch, (bool, type(None))):
            raise CompressionError(f'by_epoch is {by_epoch!r}; it has to be True, False or None')
        given = dict(
            temperature_start=temperature_start, temperature_end=temperature_end, kappa=kappa
        )
        for key, value in given.items():
            if not is_number(value) or not 0 < value < math.inf:
                raise CompressionError(f'{key} is {value!r}; it has to be a positive number')
        if temperature_end < temperature_start:
            raise CompressionError(
                f'temperature_end is {temperature_end!r}; it has to be at least '
                f'temperature_start, {temperature_start!r}'
            )
        super().__init__(architecture, mutator_cfg, **kwargs)
        start_from_scratch(self.architecture)
        self.fuse_interval = fuse_interval
        self.fuse_times = fuse_times
        self.by_epoch = by_epoch
        self.schedule = (float(temperature_start), float(temperature_end), float(kappa))
        # Told by every checkpoint: how often, and at what temperature the filters were fused.
        self.register_buffer('fuse_steps', torch.zeros((), dtype=torch.long))
        self.register_buffer('fuse_temperature', torch.zeros(()))

    def authors_mutator(self) -> dict[str, Any]:
        """Layers of full width are fused too, downsampling convolutions of shortcuts are not."""
        args = dict(fuse_all=True, plain=['*.downsample.*', '*.shortcut.*'])
        return dict(channel_unit_cfg=dict(default_args=args))

    def tick(self, clock: Clock) -> None:
        """Fuse at the beginning of every interval.

        Raises:
            CompressionError: If the interval is in epochs and the training loop has none.
        """
        super().tick(clock)
        if self.fuse_times is not None:
            self._tick_times(clock, self.fuse_times)
            return
        by_epoch = clock.by_epoch if self.by_epoch is None else self.by_epoch
        if by_epoch:
            done, total, due = clock.epoch, clock.max_epochs, clock.starts_epoch
        else:
            done, total, due = clock.iteration, clock.max_iterations, True
        if not due or done % self.fuse_interval:
            return
        if self.fuse_interval >= total > 1:
            raise CompressionError(
                f'fuse_interval is {self.fuse_interval}, but training lasts {total:g} '
                f'{"epochs" if by_epoch else "iterations"}: the temperature would never rise'
            )
        # Time is measured in fuse intervals; the authors' interval is one epoch.
        self._fuse_at(done / self.fuse_interval, total / self.fuse_interval)

    def _tick_times(self, clock: Clock, times: int) -> None:
        """Fuse ``times`` times in all; what is left of the iterations comes behind the last."""
        if times > clock.max_iterations:
            raise CompressionError(
                f'fuse_times is {times}, but training lasts {clock.max_iterations:g} iterations'
            )
        step, rest = divmod(clock.iteration, int(clock.max_iterations // times))
        if not rest and step < times:
            self._fuse_at(step, times)

    def _fuse_at(self, step: float, steps: float) -> None:
        """Fuse at the temperature of a fuse step, counted from 0."""
        temp = temperature(step, steps, *self.schedule)
        self.fuse(temp)
        print_log(f'DCFF: filters fused at temperature {temp:.4g}', logger='current')

    def fuse(self, temp: float) -> None:
        """Recompute the proxies of every convolution at temperature ``temp``."""
        for module in self.architecture.modules():
            if isinstance(module, FusedConv2d):
                module.fuse(temp)
        self.fuse_steps += 1
        self.fuse_temperature.fill_(temp)

    def progress(self) -> dict[str, Any]:
        """``temperature`` of the last fuse step, and the mean ``sharpness`` of proxies."""
        sharp = [value for op in self._fused().values() if (value := sharpness(op)) is not None]
        if not sharp or not bool(self.fuse_steps):
            return {}
        return dict(temperature=float(self.fuse_temperature), sharpness=sum(sharp) / len(sharp))

    def diagnostics(self, dense: Mapping[str, Tensor] | None = None) -> list[Figure]:
        """Sharpness of the proxies of each layer, and importance of its filters."""
        return figures(self._fused())

    def _fused(self) -> dict[str, FusedConv2d]:
        modules = self.architecture.named_modules()
        return {name: op for name, op in modules if isinstance(op, FusedConv2d)}
