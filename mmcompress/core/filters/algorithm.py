"""Base of algorithms whose filters are combinations of basis filters."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from mmengine.dist import broadcast
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.base.figure import Figure
from mmcompress.core.base.mutator import Mutator
from mmcompress.core.base.pretrained import has_pretrained, train_all_stages
from mmcompress.core.checks import weight_of_loss
from mmcompress.core.errors import CompressionError
from mmcompress.core.layers.copying import copied

from .mutator import FilterMutator
from .op import FilterOp
from .spectra import spectra_figures
from .unit import RANDOM


class FilterAlgorithm(CompressionAlgorithm):
    """Trains a network whose convolutions share bases.

    Args:
        architecture: The model to compress, or its config.
        mutator_cfg: Config of a :class:`~mmcompress.core.filters.mutator.FilterMutator`.
        init: ``'kaiming'`` trains from scratch. ``'svd'``, or another value of ``inits`` of the
            unit, starts from the dense checkpoint that ``load_from`` or an ``init_cfg`` of type
            Pretrained names.
        reconstruction: Weight of the reconstruction loss ``sum ||W - W'||^2 / sum ||W||^2``
            between merged kernels W' and the weights W of the dense checkpoint.
        **kwargs: Arguments of :class:`~mmcompress.core.base.algorithm.CompressionAlgorithm`, for
            example ``target_pruning_ratio``. A ``budget`` is of parameters, or of latency.

    Raises:
        CompressionError: If a setting is wrong.
    """

    mutator_type: ClassVar[type[Mutator]] = FilterMutator
    mutator: FilterMutator

    def __init__(
        self,
        architecture: BaseModel | dict,
        mutator_cfg: dict | None = None,
        *,
        init: str = RANDOM,
        reconstruction: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self.reconstruction = weight_of_loss(reconstruction, 'reconstruction')
        for key in ('init', 'remember_dense'):
            if key in (mutator_cfg if isinstance(mutator_cfg, dict) else ()):
                raise CompressionError(
                    f'mutator_cfg has {key!r}; give `init` and `reconstruction` to the algorithm '
                    'instead'
                )
        self.init = init
        super().__init__(architecture, mutator_cfg, **kwargs)
        # Told by every checkpoint, so that a resumed run needs no dense network.
        self.register_buffer('dense_loaded', torch.tensor(False))
        # Fresh norms, and layers that do not do yet what they are to do, have to learn.
        norms = any(not op.is_linear for op in self._ops()) or init == RANDOM
        train_all_stages(self.architecture, type(self).__name__, norms)

    def _mutator_config(self, given: dict | None) -> dict:
        config = super()._mutator_config(given)
        return dict(config, init=self.init, remember_dense=self.reconstruction > 0)

    def start(self, optim_wrapper: OptimWrapper) -> None:
        """Say how well the ops fit the dense network.

        Raises:
            CompressionError: If they are to start from one, and none has been loaded.
        """
        super().start(optim_wrapper)
        units = self.mutator.units.values()
        dense = self.init != RANDOM and any(unit.error is not None for unit in units)
        for unit in units:
            lacking = unit.awaited or (unit.layers if dense and unit.error is None else [])
            if lacking:
                raise CompressionError(
                    f'init is {self.init!r}, but the loaded checkpoint has no dense weights of '
                    f'{lacking[0]!r} of filter unit {unit.name!r}'
                )
            if unit.error is not None:
                print_log(
                    f'{unit.name}: {unit.init_args} keeps {unit.choice:.1%} of the parameters, '
                    f'relative reconstruction error {unit.error:.4f}',
                    logger='current',
                )
                self.dense_loaded.fill_(True)
                # Every process has fitted the same weights; ties may have gone either way.
                for op in unit.ops.values():
                    for tensor in (*op.parameters(), *op.buffers()):
                        broadcast(tensor.detach())
        ignored = [unit.name for unit in self.mutator.units.values() if unit.ignored]
        if ignored:
            print_log(
                f'{len(ignored)} filter units, {ignored[0]} the first of them, start at random: '
                f'their dense weights are not used; init={self._fitted!r} starts from these',
                logger='current',
                level=logging.WARNING,
            )
        taught = all(bool(op.teacher.any()) for op in self._ops()) if self.reconstruction else True
        if not taught or (self.init != RANDOM and not bool(self.dense_loaded)):
            raise CompressionError(self._no_dense(reconstruction=not taught))

    def decide(self, scores: dict[str, Tensor]) -> None:
        """Nothing is to be chosen; see that the factors were fitted to a dense network.

        Raises:
            CompressionError: If they weren't.
        """
        units = self.mutator.units.values()
        lacking = [layer for unit in units for layer in unit.awaited]
        if self.init == RANDOM or lacking or all(unit.error is None for unit in units):
            where = f' of {lacking[0]!r}' if lacking else ''
            raise CompressionError(
                f'init is {self.init!r}, and no factors were fitted to dense weights{where}; set '
                f'init={self._fitted!r}, and give the checkpoint of the dense network'
            )
        self.dense_loaded.fill_(True)

    def check_start(self, loads: bool) -> None:
        """See that there is a dense network to start from, if one is asked for."""
        if loads or not (self.init != RANDOM or self.reconstruction):
            return
        if not has_pretrained(self.architecture):
            raise CompressionError(self._no_dense(reconstruction=self.init == RANDOM))

    @property
    def _fitted(self) -> str:
        """The first way to start from a dense checkpoint."""
        unit = next(iter(self.mutator.units.values()))
        return next(init for init in unit.inits if init != RANDOM)

    def _no_dense(self, reconstruction: bool) -> str:
        key = 'reconstruction is set' if reconstruction else f'init is {self.init!r}'
        otherwise = 'reconstruction=0' if reconstruction else "init='kaiming' to train from scratch"
        return (
            f'{key}, but no dense weights have been loaded; name the checkpoint of the dense '
            f'network in load_from, or set {otherwise}'
        )

    def own_losses(self) -> dict[str, Tensor]:
        """The reconstruction loss; methods with more extend it."""
        if not self.reconstruction:
            return {}
        pairs = [(op.filters(), op.teacher) for op in self._ops()]
        gap = sum((own - dense).square().sum() for own, dense in pairs)
        return dict(
            loss_reconstruction=self.reconstruction * gap / sum(w.square().sum() for _, w in pairs)
        )

    @torch.no_grad()
    def diagnostics(self, dense: Mapping[str, Tensor] | None = None) -> list[Figure]:
        """Distances from the dense filters; of layers with a basis also singular values."""
        ops = {name: op for unit in self.mutator.units.values() for name, op in unit.ops.items()}
        return spectra_figures(ops, dense or {})

    def counted(self) -> nn.Module:
        """The compact model with its ops, factored: what is shared is a parameter once."""
        model = copied(self.architecture).eval()
        for module in model.modules():
            if isinstance(module, FilterOp):
                module.count_stored()
        return model

    def _ops(self) -> list[Any]:
        return [op for unit in self.mutator.units.values() for op in unit.ops.values()]
