"""The export, rehearsed before training: what could not be exported stays dense.

A copy of the model is prepared as for training, every parameter and buffer gets some other value,
and so do the choices that training would make. Then the copy is made static, in memory, in every
form that an export may choose, and its outputs are compared. A unit that breaks equality is found
by leaving out halves of the units.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mmcompress.core.errors import CompressionError, first_line
from mmcompress.core.layers.copying import copied
from mmcompress.core.layers.replace import replace_everywhere
from mmcompress.core.layers.stand_ins import update_widths
from mmcompress.core.probe.example import Demo
from mmcompress.core.probe.probe import Probe, few_proposals, seeded, tensors_in, working_copy
from mmcompress.core.probe.uses import used_elsewhere

from .op import Op

if TYPE_CHECKING:
    from .mutator import Mutator

#: From which difference on, as a share of a tensor's largest number, a second look is due: with
#: numbers of 64 bits, which tell rounding from a mistake.
SUSPICIOUS = 2e-5
#: What is a mistake in 64 bits, and what is one in 32 bits, where a model does not run in 64.
WRONG, WRONG_32 = 1e-7, 1e-3
#: How often a model is prepared anew in search of units to blame.
TRIALS = 32


def make_static(model: nn.Module, mutator: Mutator, forms: Mapping[str, str]) -> None:
    """Put plain torch layers in the place of all ops, in place.

    Args:
        model: An architecture that the mutator has prepared, or a copy of it.
        mutator: Of the architecture.
        forms: By layer, the form of ops that have several.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, Op):
            form = [forms[name]] if name in forms else []
            replace_everywhere(model, name, module.to_static(*form))
    mutator.finish_static(model)
    update_widths(model)


class Rehearsal:
    """Prepares, changes, exports and compares copies of an architecture.

    Args:
        mutator: Its units are chosen, and not prepared yet.
        architecture: Dense; left as it is.
        input_shape: As for :class:`~mmcompress.core.probe.probe.Probe`.

    Attributes:
        impossible: Why nothing can be said about this model; ``''`` if something can.
    """

    def __init__(self, mutator: Mutator, architecture: nn.Module, input_shape: Demo = None) -> None:
        self.mutator, self.impossible = mutator, ''
        with seeded(), torch.no_grad():
            self.dense = few_proposals(working_copy(architecture, same_layers=True))
            try:
                self.probe = Probe(self.dense, input_shape)
            except CompressionError as error:
                self._give_up(str(error))
        self._trials = 0

    def fault(self, units: Mapping[str, Any]) -> str:
        """What is wrong with an export of these units, or ``''``.

        Args:
            units: By name; left as they are.
        """
        self._trials += 1
        with seeded(), torch.no_grad():
            why, gap = self._fault(units, torch.float32)
            if not why and gap < SUSPICIOUS:
                return ''
        if not why:
            with seeded(), torch.no_grad():
                unable, exact = self._fault(units, torch.float64)
            gap = exact if not unable else gap
            if gap < (WRONG_32 if unable else WRONG):
                return ''
        if why:
            return f'the export would fail: {why}'
        return f'the exported model would be another: outputs differ by {gap:.2g} of the largest'

    def _give_up(self, why: str) -> None:
        self.impossible = why
        print_log(f'the export cannot be rehearsed before training: {why}', logger='current')

    def used_elsewhere(self) -> set[str]:
        """Convolutions whose weight is used outside of their own forward pass."""
        with seeded():
            return used_elsewhere(copied(self.dense), self.probe)

    def search(self, units: Mapping[str, Any], fault: str) -> dict[str, str]:
        """Which units an export would refuse, with the reasons.

        Args:
            units: By name, in the order of the model's layers.
            fault: Of all of them together.
        """
        if self.fault({}):
            # Something else is wrong with the changed model.
            self._give_up('the outputs of the changed dense model cannot be compared either')
            return {}
        good: list[str] = []
        blamed: dict[str, str] = {}

        def look(names: list[str], known: str = '') -> None:
            if self._trials > TRIALS:
                blamed.update(dict.fromkeys(names, 'there are too many units with a fault'))
                return
            why = known or self.fault({name: units[name] for name in (*good, *names)})
            if not why:
                good.extend(names)
            elif len(names) == 1:
                blamed[names[0]] = why
            else:
                half = len(names) // 2
                look(names[:half])
                look(names[half:])

        look(list(units), fault)
        return blamed

    def outputs(self, model: nn.Module) -> list[Tensor]:
        """What a model returns, the same random numbers in every call."""
        with seeded():
            return list(tensors_in(self.probe.run(model)))

    def trial(self, units: Mapping[str, Any]) -> tuple[Any, Any]:
        """A copy of the mutator, and one of the model, with these units, as if trained."""
        mutator = copy.copy(self.mutator)
        mutator.units = {name: copy.deepcopy(unit) for name, unit in units.items()}
        model = copied(self.dense)
        mutator.prepare_units(model)
        perturb(model)
        mutator.pretend_trained(model)
        return mutator, model

    def _fault(self, units: Mapping[str, Any], dtype: torch.dtype) -> tuple[str, float]:
        """An error, or the largest difference of outputs."""
        try:
            try:
                mutator, model = self.trial(units)
            except CompressionError as error:
                raise _WrongConfigError(str(error)) from error
            model = model.to(dtype)
            if dtype != torch.float32:
                model.register_forward_pre_hook(_cast(dtype), prepend=True, with_kwargs=True)
            trained = self.outputs(model)
            worst = 0.0
            *others, last = _all_forms(mutator, model)
            for forms in (*others, last):
                static = model if forms is last else copied(model)
                make_static(static, mutator, forms)
                worst = max(worst, _gap(trained, self.outputs(static)))
        except _WrongConfigError as error:
            raise CompressionError(str(error)) from error.__cause__
        except Exception as error:  # whatever a user's forward raises
            return first_line(error, type(error).__name__), math.inf
        return '', worst


class _WrongConfigError(Exception):
    """Units cannot be prepared, whatever the model does."""


def _all_forms(mutator: Mutator, model: nn.Module) -> Iterator[dict[str, str]]:
    """Forms by layer, so that every form of every op comes up."""
    ops = {name: module for name, module in model.named_modules() if isinstance(module, Op)}
    count = max((len(op.forms) for op in ops.values()), default=1)
    for index in range(count):
        yield {
            name: op.forms[min(index, len(op.forms) - 1)]
            for name, op in ops.items()
            if len(op.forms) > 1
        }


def _gap(ones: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Largest difference, as a share of the largest number of a tensor."""
    if [t.shape for t in ones] != [t.shape for t in others]:
        return math.inf
    worst = 0.0
    for one, other in zip(ones, others, strict=True):
        if not one.numel():
            continue
        one, other = one.double(), other.double()
        known = one.isfinite()
        gap = torch.where(known, (one - other).nan_to_num(nan=torch.inf), 0).abs().max()
        scale = torch.where(known, one, 0).abs().max()
        if gap:
            worst = max(worst, float(gap / scale) if scale else math.inf)
    return worst


def _cast(dtype: torch.dtype) -> Callable:
    """A hook that gives the forward pass its real numbers in another type."""

    def cast(module: nn.Module, args: Any, kwargs: Any) -> Any:
        def convert(value: Any) -> Any:
            real = isinstance(value, Tensor) and value.is_floating_point()
            return value.to(dtype) if real else value

        return pytree.tree_map(convert, (args, kwargs))

    return cast


def _noise(parameter: Tensor) -> Tensor:
    """Random numbers of about the size of weights; for matrices a product of two vectors."""
    if parameter.ndim < 2:
        return torch.randn_like(parameter) / 10
    rows, columns = parameter[:, :1], parameter[:1]
    fan_in = parameter[0].numel()
    return torch.randn_like(rows) * torch.randn_like(columns) / math.sqrt(max(fan_in, 4))


@torch.no_grad()
def perturb(model: nn.Module) -> None:
    """Give every parameter and buffer of real numbers some other value, in place.

    Weights stay of the size that layers of their width have, so that a signal comes through.
    """
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.is_floating_point() and parameter.numel():
                parameter.add_(_noise(parameter))
        for name, buffer in module.named_buffers(recurse=False):
            if name == 'running_mean':
                buffer.add_(torch.randn_like(buffer), alpha=0.1)
            elif buffer.is_floating_point() and buffer.numel():
                buffer.mul_(torch.rand_like(buffer) / 2 + 0.75)
