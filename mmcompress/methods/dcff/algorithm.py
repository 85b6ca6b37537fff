"""The algorithm of DCFF."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel

from mmcompress.core.algorithm import CompressionAlgorithm
from mmcompress.core.clock import Clock
from mmcompress.core.errors import CompressionError
from mmcompress.registry import MODELS

from .importance import temperature
from .op import FusedConv2d

#: How OpenMMLab initialises a backbone without pretrained weights.
FROM_SCRATCH = [
    dict(type='Kaiming', layer='Conv2d'),
    dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
]


@MODELS.register_module()
class DCFF(CompressionAlgorithm):
    """Dynamic-coded filter fusion: train a compact network whose filters are mixtures.

    All widths are compact from the start. Every ``fuse_interval`` the filters of each
    convolution are scored and fused anew, at a temperature that rises from 1 to 10,000 over
    the course of training.

    Args:
        architecture: See the base class.
        mutator_cfg: See the base class; a ``DCFFMutator`` by default.
        target_pruning_ratio: See the base class.
        fuse_interval: Epochs (in an epoch-based loop) or iterations between fuse steps.
        by_epoch: Unit of ``fuse_interval``; by default that of the training loop.
        data_preprocessor: See the base class.
        init_cfg: As for every mmengine module.

    Source: Lin et al., arXiv:2107.06916.
    """

    def __init__(
        self,
        architecture: BaseModel | dict,
        mutator_cfg: dict | None = None,
        target_pruning_ratio: Any = None,
        fuse_interval: int = 1,
        by_epoch: bool | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if (
            isinstance(fuse_interval, bool)
            or not isinstance(fuse_interval, int)
            or (fuse_interval < 1)
        ):
            raise CompressionError(
                f'fuse_interval is {fuse_interval!r}; it has to be a positive integer'
            )
        super().__init__(
            architecture,
            mutator_cfg or dict(type='DCFFMutator'),
            target_pruning_ratio,
            data_preprocessor,
            init_cfg,
        )
        self._start_from_scratch()
        self.fuse_interval = fuse_interval
        self.by_epoch = by_epoch
        # Told by every checkpoint: how often, and at what temperature the filters were fused.
        self.register_buffer('fuse_steps', torch.zeros((), dtype=torch.long))
        self.register_buffer('fuse_temperature', torch.zeros(()))

    def _start_from_scratch(self) -> None:
        """Replace pretrained weights, whose layers are dense, by an ordinary initialisation."""
        for name, module in self.architecture.named_modules():
            parts = getattr(module, 'init_cfg', None) or []
            for part in [parts] if isinstance(parts, dict) else parts:
                if part.get('type') == 'Pretrained':
                    module.init_cfg = FROM_SCRATCH
                    print_log(
                        f'DCFF trains from scratch: {part["checkpoint"]} is not loaded into '
                        f'{name or "the architecture"}',
                        logger='current',
                    )

    def tick(self, clock: Clock) -> None:
        """Fuse at the beginning of every interval.

        Raises:
            CompressionError: If the interval is in epochs and the training loop has none.
        """
        super().tick(clock)
        by_epoch = clock.by_epoch if self.by_epoch is None else self.by_epoch
        if by_epoch and not clock.by_epoch:
            raise CompressionError(
                'by_epoch is True, but the training loop counts iterations: the filters would '
                'be fused once only; leave by_epoch out and give fuse_interval in iterations'
            )
        if by_epoch:
            done, total, due = clock.epoch, clock.max_epochs, clock.starts_epoch
        else:
            done, total, due = clock.iteration, clock.max_iterations, True
        if not due or done % self.fuse_interval:
            return
        # Time is measured in fuse intervals; the authors' interval is one epoch.
        temp = temperature(done / self.fuse_interval, total / self.fuse_interval)
        self.fuse(temp)
        print_log(f'DCFF: filters fused at temperature {temp:.4g}', logger='current')

    def fuse(self, temp: float) -> None:
        """Recompute the proxies of every convolution at temperature ``temp``."""
        for module in self.architecture.modules():
            if isinstance(module, FusedConv2d):
                module.fuse(temp)
        self.fuse_steps += 1
        self.fuse_temperature.fill_(temp)
