"""Distiller: what the dense network puts out, beside what the compact one does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmcompress.core.checks import is_number, one_of, weight_of_loss
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.core.probe.probe import tensors_in

from .losses import LOSSES, SOFTENED, WEIGHTS, distance

#: The settings of ``distill``.
KEYS = ('teacher', 'layers', 'loss', 'weight', 'temperature')
#: Name of the loss in the log.
LOSS = 'loss_distill'


class Distiller:
    """Compares what layers of a compact network put out with the dense network.

    The teacher is no part of the algorithm: it is in no checkpoint and in no optimizer. Copies of a
    distiller, such as those in a moving average, share it.

    Args:
        settings: A dict of

            - ``teacher``: path or address of the dense network's checkpoint;
            - ``layers``: names of the modules whose outputs are compared, or a dict with the loss
              of each; by default see :meth:`_choose`;
            - ``loss``: ``'logits'``, ``'pkd'``, ``'cwd'`` or ``'l1'``, see
              :mod:`mmcompress.core.distillation.losses`;
            - ``weight``: of the loss, beside that of the task;
            - ``temperature``: of ``'logits'`` and ``'cwd'``.

            ``True`` stands for no setting, and a path for that of the teacher.
        student: The network to be compressed, while it is dense.
        build: Makes the dense network, whatever its weights.

    Raises:
        CompressionError: If a setting is wrong.
    """

    def __init__(self, settings: Any, student: nn.Module, build: Callable[[], nn.Module]) -> None:
        given = _settings(settings)
        self.teacher_path: str | None = given.get('teacher')
        self.loss: str | None = given.get('loss')
        self.weight: float | None = given.get('weight')
        self.temperature = float(given.get('temperature', 4))
        self.build = build
        #: Losses by names of layers, once they are known.
        self.layers = self._given_layers(given.get('layers'), student)
        self._teacher: nn.Module | None = None
        self._pairs: dict[str, tuple[list[Tensor], list[Tensor]]] = {}

    def _given_layers(self, layers: Any, student: nn.Module) -> dict[str, str | None]:
        if layers is None:
            return {}
        given = layers
        layers = [layers] if isinstance(layers, str) else layers
        if isinstance(layers, (list, tuple)) and all(isinstance(n, str) for n in layers):
            layers = dict.fromkeys(layers)
        if not isinstance(layers, dict) or not layers:
            raise CompressionError(
                f'distill.layers is {given!r}; it has to be a list of names of modules, or a '
                "dict with the loss of each, such as dict(neck='pkd')"
            )
        names = [name for name, _ in student.named_modules()]
        for name, loss in layers.items():
            if name not in names:
                raise CompressionError(
                    f'distill.layers: the model has no {name!r}; the nearest are '
                    f'{nearest(name, names[1:])}'
                )
            if loss is not None:
                one_of(loss, LOSSES, f'distill.layers[{name!r}]')
        return dict(layers)

    @property
    def taught(self) -> bool:
        """Whether there is a teacher."""
        return self._teacher is not None

    def take(self, teacher: nn.Module) -> None:
        """Learn from this network from now on; its weights stay as they are."""
        self._teacher = teacher.eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Distiller:
        other = object.__new__(Distiller)
        other.__dict__.update(self.__dict__, layers=dict(self.layers), _pairs={})
        return other

    @contextlib.contextmanager
    def watching(self, student: nn.Module, args: Sequence[Any], kwargs: dict) -> Iterator[None]:
        """Watch a forward pass of the student, and then run the teacher on the same inputs.

        Args:
            student: The compact network.
            args: What it is run on.
            kwargs: As well, by name.

        Raises:
            CompressionError: If there is no teacher, or nothing to compare.
        """
        if self._teacher is None:
            raise CompressionError(
                'distill.teacher is missing; it has to be the checkpoint of the dense network'
            )
        names = list(self.layers) or _candidates(student)
        with _outputs(student, names) as seen:
            yield
        device = next((p.device for p in student.parameters()), torch.device('cpu'))
        if next((p.device for p in self._teacher.parameters()), device) != device:
            self._teacher.to(device)
        calls = {name: len(outputs) for name, outputs in seen.items()}
        theirs = self._ask(calls, args, kwargs)
        pairs = {name: _pairs(seen[name], theirs.get(name, [])) for name in calls}
        self._pairs = {name: pair for name, pair in pairs.items() if pair[0]}
        if not self.layers or None in self.layers.values():
            self._choose(student)
        missing = [name for name in self.layers if name not in self._pairs]
        if missing:
            raise CompressionError(
                f'distill.layers: {missing[0]!r} puts out no tensor of the same shape in the '
                'dense and the compact network, or is not run in training; name layers that do'
            )

    @torch.no_grad()
    def _ask(
        self, calls: dict[str, int], args: Sequence[Any], kwargs: dict
    ) -> dict[str, list[Tensor]]:
        """What layers of the teacher put out; it runs no further than the last of them."""
        teacher: Any = self._teacher
        mode = dict(mode='tensor') if isinstance(teacher, BaseModel) else {}
        with _outputs(teacher, list(calls), calls) as seen, contextlib.suppress(_Enough):
            teacher(*args, **{**kwargs, **mode})
        return seen

    def _choose(self, student: nn.Module) -> None:
        """Decide once what is compared, by what the first batch shows.

        1. The layers of the config; or those that the model names itself, with their losses, in an
           attribute ``distilled``.
        2. The logits of a classifier: what ``head``, or a model that is none of mmengine's, puts
           out, where it has two dimensions.
        3. Feature maps of ``neck``, or else of ``backbone``, or else of the last layer whose output
           has the same shape in both networks.
        """
        chosen: dict[str, str | None] = dict(self.layers)
        if not chosen:
            pairs = self._pairs
            flat = {name for name, (own, _) in pairs.items() if all(t.ndim == 2 for t in own)}
            maps = [name for name in pairs if name not in flat]
            own = getattr(student, 'distilled', None)
            order: list[str] = [name for name in ('', 'head') if name in flat]
            order += [name for name in ('', 'neck', 'backbone') if name in maps]
            order += [name for name in reversed(pairs) if '.' in name or name in flat]
            if own:
                chosen = {name: self.loss or loss for name, loss in own.items()}
            elif order:
                chosen = {order[0]: None}
            else:
                raise CompressionError(
                    'distill.layers: no layer puts out the same shape in the dense and the compact '
                    'network; name layers whose outputs are to be compared'
                )
        self.layers = {}
        for name, loss in chosen.items():
            own_tensors = self._pairs.get(name, ([], []))[0]
            by_shape = 'logits' if own_tensors and own_tensors[0].ndim == 2 else 'pkd'
            self.layers[name] = loss or self.loss or by_shape
        self._pairs = {name: self._pairs[name] for name in self.layers if name in self._pairs}
        told = ', '.join(
            f'{loss} of {name or "the output"}, weight {self._weight(loss):g}'
            for name, loss in self.layers.items()
        )
        print_log(f'distillation from {self.teacher_path or "the dense model"}: {told}', 'current')

    def _weight(self, loss: str | None) -> float:
        return WEIGHTS[str(loss)] if self.weight is None else self.weight

    def losses(self) -> dict[str, Tensor]:
        """The loss of the last forward pass that was watched, weighted, by name."""
        pairs, self._pairs = self._pairs, {}
        if not pairs:
            return {}
        parts = [
            self._weight(self.layers[name])
            * distance(own, theirs, str(self.layers[name]), self.temperature)
            for name, (own, theirs) in pairs.items()
        ]
        return {LOSS: torch.stack(parts).mean()}


def _settings(given: Any) -> dict[str, Any]:
    """Settings as a dict; see :class:`Distiller`."""
    given = {} if given is True else given
    given = dict(teacher=given) if isinstance(given, str) else given
    if not isinstance(given, dict):
        raise CompressionError(
            f"distill is {given!r}; it has to be a dict such as dict(teacher='dense.pth')"
        )
    for key in given:
        if key not in KEYS:
            raise CompressionError(
                f'distill has no setting {key!r}; the nearest are {nearest(str(key), KEYS)}'
            )
    given = {key: value for key, value in given.items() if value is not None}
    if not isinstance(given.get('teacher', ''), str):
        raise CompressionError(
            f'distill.teacher is {given["teacher"]!r}; it has to be the path of a checkpoint'
        )
    if 'loss' in given:
        one_of(given['loss'], LOSSES, 'distill.loss')
    if 'weight' in given:
        given['weight'] = weight_of_loss(given['weight'], 'distill.weight')
    temperature = given.get('temperature', 1)
    if not is_number(temperature) or temperature <= 0:
        raise CompressionError(
            f'distill.temperature is {temperature!r}; it has to be a number above 0, for the '
            f'losses {" and ".join(SOFTENED)}'
        )
    return given


def _candidates(student: nn.Module) -> list[str]:
    """Names of modules whose outputs may be compared, in the order of the model."""
    own = getattr(student, 'distilled', None)
    if own:
        return list(own)
    whole = [] if isinstance(student, BaseModel) else ['']
    parts = [name for name in ('backbone', 'neck', 'head') if hasattr(student, name)]
    parts = [name for name in parts if isinstance(getattr(student, name), nn.Module)]
    layers = [
        name
        for name, module in student.named_modules()
        if isinstance(module, (_ConvNd, nn.Linear)) and not name.startswith('backbone.')
    ]
    return [*whole, *parts, *(layers if parts else ())]


class _Enough(Exception):  # noqa: N818, it is no error
    """The teacher has put out all that was asked for."""


@contextlib.contextmanager
def _outputs(
    model: nn.Module, names: Sequence[str], calls: dict[str, int] | None = None
) -> Iterator[dict[str, list[Any]]]:
    """What modules put out while this is open, one entry a call; in the order of first calls.

    Args:
        model: They are in.
        names: Of the modules.
        calls: How many calls of each are enough: then the forward pass ends.
    """
    seen: dict[str, list[Any]] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            seen.setdefault(name, []).append(output)
            if calls and all(len(seen.get(n, ())) >= many for n, many in calls.items()):
                raise _Enough

        return hook

    modules = [(name, model.get_submodule(name)) for name in names]
    handles = [module.register_forward_hook(watch(name)) for name, module in modules]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _pairs(own: list[Any], theirs: list[Any]) -> tuple[list[Tensor], list[Tensor]]:
    """Tensors of both networks that have the same shape and at least two dimensions."""
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for a, b in zip(tensors_in(own), tensors_in(theirs), strict=False):
        if a.shape == b.shape and a.ndim > 1 and a.is_floating_point():
            found[0].append(a)
            found[1].append(b)
    return found
