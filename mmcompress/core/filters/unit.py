"""Base of filter units: convolutions whose filters share a basis."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.checks import check_ratio, is_number
from mmcompress.core.errors import CompressionError
from mmcompress.core.layers.replace import replace_everywhere

from .low_rank import relative_error
from .op import FilterOp

#: The way to start that needs no dense checkpoint.
RANDOM = 'kaiming'
#: Digits of a keep ratio in files.
DIGITS = 6


class FilterUnit(ABC):
    """Convolutions whose filters are made of one basis.

    Not a module: the tensors are those of the ops, the shared ones of the first op. Subclasses
    hold the settings of the basis; either these say its size, or ``choice`` does.

    Args:
        name: Name in configs, such as ``backbone.layer1``.
        layers: Names of the convolutions, in the order of the architecture's modules.
        choice: Keep ratio: the share of the parameters of these convolutions that may be left;
            afterwards the one that is.
        init: One of :attr:`inits`.
        remember_dense: Whether ops keep the dense weights beside their own.

    Attributes:
        ops: Op by name of the layer, once :meth:`prepare` has run.
        error: Relative reconstruction error of the fit to a dense checkpoint, if there was one.
        ignored: Whether a dense checkpoint had weights for which ``init`` has no use.
        awaited: Layers whose dense weights a checkpoint lacks, while it has those of others.
        places: All names of each layer: a model may have one module in several places.
        fitting: Whether dense weights that are loaded start a fit; see
            :meth:`~mmcompress.core.filters.mutator.FilterMutator.without_fitting`.
    """

    #: How ops can start: from random numbers, or fitted to the weights of a dense checkpoint.
    inits: tuple[str, ...] = (RANDOM, 'svd')

    def __init__(
        self,
        name: str,
        layers: list[str],
        choice: float | None = None,
        init: str = RANDOM,
        remember_dense: bool = False,
    ) -> None:
        self.name, self.layers = name, list(layers)
        # What is kept may be more than the dense network has; what is to be kept may not.
        if choice is not None and (not is_number(choice) or choice <= 0):
            check_ratio(choice, f'choice of filter unit {name!r}')
        self.choice = choice
        if init not in self.inits:
            raise CompressionError(f'init is {init!r}; it has to be one of {", ".join(self.inits)}')
        self.init, self.remember_dense = init, remember_dense
        self.ops: dict[str, FilterOp] = {}
        self.error: float | None = None
        self.ignored = False
        self.awaited: list[str] = []
        self.places: dict[str, list[str]] = {}
        self.fitting = True

    # What subclasses say

    @abstractmethod
    def settle(self, convs: list[nn.Conv2d]) -> None:
        """Turn ``choice`` into the size of the basis, and check the settings.

        Raises:
            CompressionError: If they don't fit the convolutions, or there is no size.
        """

    @abstractmethod
    def make_ops(self, convs: list[nn.Conv2d]) -> Sequence[FilterOp]:
        """An op for each convolution; the first is the owner."""

    @abstractmethod
    def fit(self, weights: list[Tensor]) -> list[dict[str, Tensor]]:
        """Parameters of each op, by name, that come closest to dense weights."""

    @property
    @abstractmethod
    def has_size(self) -> bool:
        """Whether the settings say how large the basis is, so that ``choice`` has no say."""

    @property
    @abstractmethod
    def init_args(self) -> dict[str, Any]:
        """The settings that differ from unit to unit, as the constructor takes them."""

    def check_size(self, key: str, value: Any, least: int = 1) -> None:
        """See that ``value`` is a whole number.

        Raises:
            CompressionError: If it isn't, or is below ``least``.
        """
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise CompressionError(
                f'{key} of filter unit {self.name!r} is {value!r}; it has to be an integer of at '
                f'least {least}'
            )

    def check_flag(self, key: str, value: Any) -> None:
        """See that ``value`` is True or False.

        Raises:
            CompressionError: If it isn't.
        """
        if not isinstance(value, bool):
            raise CompressionError(
                f'{key} of filter unit {self.name!r} is {value!r}; it has to be True or False'
            )

    # What the mutator asks for

    def measure(self, architecture: nn.Module) -> None:
        """Settle on the size of the basis, see :meth:`settle`."""
        self._sized = self.has_size
        if not self._sized:
            check_ratio(self.choice, f'choice of filter unit {self.name!r}')
        convs: list[Any] = [architecture.get_submodule(layer) for layer in self.layers]
        self.settle(convs)

    def prepare(self, architecture: nn.Module) -> None:
        """Swap the convolutions for ops, in place."""
        convs: list[Any] = [architecture.get_submodule(layer) for layer in self.layers]
        try:
            ops = self.make_ops(convs)
        except CompressionError as error:
            raise CompressionError(f'filter unit {self.name!r}: {error}') from None
        for layer, op in zip(self.layers, ops, strict=True):
            if self.fits or self.remember_dense:
                self.check_fits(op)
            if self.remember_dense:
                op.remember_dense()
            self.places[layer] = replace_everywhere(architecture, layer, op)
            self.ops[layer] = op
        self._set_choice(self.num_parameters / sum(conv.weight.numel() for conv in convs))

    def affordable(self, dense: int, fixed: float, each: float) -> int:
        """How many filters of a basis ``choice`` leaves parameters for.

        Args:
            dense: Parameters of the dense layers.
            fixed: Parameters that are there in any case.
            each: Parameters that a filter of the basis takes, coefficients included.
        """
        # What a file has rounded gives the same number again.
        kept = (self.choice + 0.51 * 10**-DIGITS) * dense
        return int((kept - fixed) / each)

    def _set_choice(self, actual: float) -> None:
        actual = round(actual, DIGITS)  # as files show it
        if self._sized and self.choice is not None and abs(self.choice - actual) > 10**-DIGITS:
            raise CompressionError(
                f'filter unit {self.name!r} keeps {self.choice!r} by `choice`, but {actual!r} by '
                f'{self.init_args}; remove one of the two'
            )
        self.choice = actual

    def check_fits(self, op: FilterOp) -> None:
        """See that an op can be compared with dense weights.

        Raises:
            CompressionError: If it can't.
        """
        if not op.is_linear:
            raise CompressionError(
                f'filter unit {self.name!r}: {self.why}, which is about merged kernels, but '
                'norm_cfg or act_cfg stand between basis and coefficients; set them to None'
            )

    @property
    def fits(self) -> bool:
        """Whether the ops are to start from the weights of a dense checkpoint."""
        return self.init != RANDOM

    @property
    def why(self) -> str:
        """Which setting asks for a comparison with dense weights, for errors."""
        return f'init is {self.init!r}' if self.fits else 'reconstruction is set'

    @property
    def num_parameters(self) -> int:
        """Weights of all ops together, norms and biases aside."""
        shared = {id(p): p for op in self.ops.values() for p in op.weights()}
        return sum(p.numel() for p in shared.values())

    def as_dict(self, with_init_args: bool = True, with_layers: bool = True) -> dict:
        """The unit as JSON."""
        chosen: dict[str, Any] = {}
        if with_init_args:
            chosen['init_args'] = dict(self.init_args)
        if with_layers:
            chosen['layers'] = list(self.layers)
        chosen['choice'] = self.choice
        return chosen

    # Dense weights

    @torch.no_grad()
    def load_dense(self, state: dict[str, Tensor]) -> None:
        """Turn the weights of dense layers into those of the ops, in place.

        Args:
            state: Tensors by their names in the architecture. What the ops have themselves stays.

        Raises:
            CompressionError: If a layer has another shape, or layers differ in what they share.
        """
        dense: dict[str, Tensor] = {}
        for layer, op in self.ops.items():
            for place in self.places[layer]:
                weight = op.take_dense(state, f'{place}.')
                if weight is not None:
                    dense.setdefault(layer, weight)
        self._drop_copies(state)
        if not dense:
            if self._has_own(state):
                # In place of what a fit to other weights has made, which says nothing any more.
                self.error, self.ignored, self.awaited = None, False, []
            return
        if not self.fits:
            self.ignored = not self.remember_dense
            return
        self.awaited = [layer for layer in self.layers if layer not in dense]
        if self.awaited or not self.fitting:
            return
        like = next(next(iter(self.ops.values())).owner.parameters())
        weights = [dense[layer].to(like) for layer in self.layers]
        # Copies, so that nothing in the model changes before it is loaded.
        ops = copy.deepcopy(self.ops)
        for (layer, op), tensors in zip(ops.items(), self.fit(weights), strict=True):
            for name, tensor in tensors.items():
                fitted = getattr(op, name).detach()
                fitted.copy_(tensor.view_as(fitted))
                state.update((f'{place}.{name}', fitted) for place in self.places[layer])
        self.error = float(relative_error(weights, [op.filters() for op in ops.values()]))

    def _has_own(self, state: dict[str, Tensor]) -> bool:
        """Whether parameters of the ops are loaded."""
        names = [f'{layer}.{name}' for layer, op in self.ops.items() for name in op.factors]
        return any(name in state for name in names)

    def _drop_copies(self, state: dict[str, Tensor]) -> None:
        """Leave what layers share to the first of them; some files have it for each layer."""
        first, *others = self.layers
        for layer in others:
            for name in self.ops[layer].shared:
                copied = state.pop(f'{layer}.{name}', None)
                if copied is None:
                    continue
                kept = state.setdefault(f'{first}.{name}', copied)
                if not torch.equal(copied, kept):
                    raise CompressionError(
                        f'{layer}.{name} in the checkpoint differs from that of {first!r}, the '
                        f'first layer of filter unit {self.name!r}, which is to share it'
                    )
