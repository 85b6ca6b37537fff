"""CompressionAlgorithm: the registered wrapper that mmengine's runner trains."""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmcompress.core.base.build import build_architecture
from mmcompress.core.base.parts import merged
from mmcompress.core.distillation.distiller import Distiller
from mmcompress.core.errors import CompressionError, nearest
from mmcompress.registry import MODELS

from .demo import demo_of, likely_shape
from .figure import Figure
from .mutator import Mutator
from .op import Op
from .pretrained import init_parts, is_pretrained
from .steps import Clock, Steps
from .transparent import Transparent

#: The file in a run's log folder that ``CompressionHook`` writes progress to.
PROGRESS = 'progress.jsonl'
#: What names of the architecture's tensors begin with.
INNER = 'architecture.'


class CompressionAlgorithm(Transparent):
    """Base of all methods: builds the architecture and lets a mutator make it compact.

    Args:
        architecture: Config of any OpenMMLab model, or any model itself. A config of the form
            ``dict(cfg_path='mmpretrain::resnet/resnet50_8xb32_in1k.py')`` takes the model
            of that config.
        mutator_cfg: Config of the mutator; one of :attr:`mutator_type` by default.
        target_pruning_ratio: Keep ratios, see
            :func:`~mmcompress.core.base.units_file.keep_ratios`.
        budget: What the model may cost, such as ``dict(macs=0.55)``, to find keep ratios for;
            instead of ``target_pruning_ratio``. The same config always gives the same widths.
        data_preprocessor: As for the architecture, whose own is used by default.
        init_cfg: As for every mmengine module.
        target: The old name of ``budget``.
        faithful: Whether all options in which a method departs from its authors' program are
            theirs, where the config doesn't give them: what :meth:`authors_mutator` names, and
            options whose default is ``None``.
        distill: Whether the dense network teaches the compact one, and how: settings of a
            :class:`~mmcompress.core.distillation.distiller.Distiller`. If ``architecture`` is a
            model, it is the teacher unless a checkpoint is named.
        demo_inputs: What the architecture is run on, to find its units, to count them and to
            compare an export; see :func:`~mmcompress.core.base.demo.demo_of`. A random image by
            default.
        **parts: Changes of the architecture's config, such as ``head=dict(num_classes=5)``: what a
            child config, or ``--cfg-options model.head.num_classes=5``, says of it.

    Attributes:
        faithful: The argument.
        distiller: What compares the dense network with the compact one, if it teaches.
        loaded: Whether any weights have been loaded.

    Raises:
        CompressionError: If a name or ratio in the config is wrong, or the budget can't be met.
    """

    #: The mutator that the method is made for.
    mutator_type: ClassVar[type[Mutator]] = Mutator

    def __init__(
        self,
        architecture: nn.Module | dict,
        mutator_cfg: dict | None = None,
        *,
        target_pruning_ratio: Any = None,
        budget: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        target: dict | None = None,
        faithful: bool = False,
        distill: Any = None,
        demo_inputs: Any = None,
        **parts: Any,
    ) -> None:
        if not isinstance(faithful, bool):
            raise CompressionError(f'faithful is {faithful!r}; it has to be True or False')
        self.faithful = faithful
        if target is not None:
            if budget is not None:
                raise CompressionError(
                    '`target` is the old name of `budget`, and both are given; remove `target`'
                )
            print_log(
                '`target` has a new name, `budget`; the old one goes with the next release',
                logger='current',
                level=logging.WARNING,
            )
            budget = target
        if budget is not None and target_pruning_ratio is not None:
            raise CompressionError(
                'budget and target_pruning_ratio are both given; set one of them to None'
            )
        if not isinstance(architecture, (dict, nn.Module)):
            raise CompressionError(
                f'architecture is {architecture!r}; it has to be a model, or the config of one'
            )
        mutator_cfg = self._mutator_config(mutator_cfg)
        self._check_parts(parts, architecture)
        model: Any = architecture
        if isinstance(architecture, dict):
            model = build_architecture(merged(architecture, parts), data_preprocessor)
        super().__init__(model, init_cfg)
        self.distiller: Distiller | None = None
        if distill not in (None, False):
            self.distiller = self._distiller(distill, architecture, parts, data_preprocessor)
        self.mutator: Mutator = MODELS.build(mutator_cfg)
        if not isinstance(self.mutator, self.mutator_type):
            raise CompressionError(
                f'mutator_cfg.type is {mutator_cfg["type"]!r}; it has to be '
                f'{self.mutator_type.__name__!r}'
            )
        demo = demo_of(demo_inputs, self.architecture)
        if demo is None and self.mutator.demo is None:
            demo = likely_shape()
        self.mutator.run_on(demo)
        self.mutator.prepare_from_supernet(self.architecture, target_pruning_ratio, budget)
        self.loaded = False
        self._clock: Clock | None = None
        # What `mmcompress.compress` was given, without its weights.
        self._dense: Any = None
        self._watch_loading()

    def _check_parts(self, parts: dict[str, Any], architecture: nn.Module | dict) -> None:
        """See that arguments which aren't the method's own are parts of the architecture."""
        inside = architecture if isinstance(architecture, dict) else {}
        unknown = [name for name in parts if name not in inside]
        if unknown:
            own = _options_of(type(self))
            raise CompressionError(
                f'model.{unknown[0]} is neither an option of {type(self).__name__} nor a part of '
                f'the architecture; the nearest are {nearest(unknown[0], [*own, *inside])}'
            )

    def _mutator_config(self, given: dict | None) -> dict:
        """The config of the mutator, if it is one of :attr:`mutator_type`."""
        default = self.mutator_type.__name__
        given = {} if given is None else given
        if not isinstance(given, dict):
            raise CompressionError(
                f'mutator_cfg is {given!r}; it has to be a dict such as dict(type={default!r})'
            )
        kind = given.get('type', default)
        found = [kind]
        if isinstance(kind, str):
            # Another scope may have the name for ours.
            with MODELS.switch_scope_and_registry(given.get('_scope_')) as registry:
                found = [MODELS.get(kind), registry.get(kind)]
        # A function stands for a class of another library; what it makes is checked once made.
        fits = [issubclass(f, self.mutator_type) for f in found if isinstance(f, type)]
        if not any(fits or map(callable, found)):
            raise CompressionError(f'mutator_cfg.type is {kind!r}; it has to be {default!r}')
        config = {'type': default, **given}
        if self.faithful:
            config = _completed(config, self.authors_mutator(), 'mutator_cfg')
        return config

    def _distiller(
        self, settings: Any, architecture: Any, parts: dict, data_preprocessor: Any
    ) -> Distiller:
        """The distiller; with its teacher, if that is the architecture itself."""
        if isinstance(architecture, nn.Module):
            dense = copy.deepcopy(architecture)
            distiller = Distiller(settings, architecture, lambda: copy.deepcopy(dense))
            if distiller.teacher_path is None:
                distiller.take(dense)
            return distiller
        return Distiller(
            settings,
            self.architecture,
            lambda: build_architecture(merged(architecture, parts), data_preprocessor),
        )

    def authors_mutator(self) -> dict[str, Any]:
        """What ``faithful=True`` sets in ``mutator_cfg``, where the config doesn't."""
        return {}

    # Loading

    def accept(self, state: dict[str, Tensor]) -> None:
        """Turn what is loaded into what this model has, in place.

        The one way in for the weights of a dense network: from here they go to the mutator, its
        units and their ops. Methods that have more to say about a checkpoint extend it.

        Args:
            state: Tensors by their names in this model; names and tensors may be those of the
                dense network inside ``architecture``.

        Raises:
            CompressionError: If a checkpoint doesn't fit.
        """
        inner = {
            name.removeprefix(INNER): state.pop(name)
            for name in list(state)
            if name.startswith(INNER)
        }
        self.mutator.load_dense(inner)
        state.update((INNER + name, value) for name, value in inner.items())

    def _watch_loading(self) -> None:
        """Let :meth:`accept` see all that is loaded, wherever loading begins."""
        self._register_load_state_dict_pre_hook(_Watch(self, ''))
        for name, module in self.architecture.named_modules():
            # An `init_cfg` of type Pretrained loads into its module alone.
            if any(map(is_pretrained, init_parts(module))):
                place = f'{INNER}{name}.' if name else INNER
                module._register_load_state_dict_pre_hook(_Watch(self, place))

    def before_loading(self, place: str, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
        """Hand the tensors of a part of this model to :meth:`accept`, by their full names.

        Args:
            place: Prefix of the part's names in this model; ``''`` for all of it.
            state: What is loaded; changed in place.
            prefix: Of the part's names in ``state``.
        """
        if place and prefix:
            return  # Loaded with what it is in, which has been accepted as a whole.
        own = {
            place + key.removeprefix(prefix): state.pop(key)
            for key in list(state)
            if key.startswith(prefix)
        }
        if own and not place and not any(name.startswith(INNER) for name in own):
            # The checkpoint of a dense network.
            own = {INNER + name: value for name, value in own.items()}
        self.loaded = True
        self.accept(own)
        state.update((prefix + name.removeprefix(place), value) for name, value in own.items())

    def settle(self) -> None:
        """Called once all weights are loaded: before training, evaluation or export.

        Methods that turn what was loaded into what is evaluated (widths, rounded scalars) extend
        it. It may be called any number of times. Loading itself changes nothing but the weights.
        """

    def decide(self, scores: dict[str, Tensor]) -> None:
        """Choose at once what training would choose; weights of a dense network are loaded.

        Methods that can do so extend it.

        Args:
            scores: ``Tensor[n]`` by name of the unit, larger for channels that matter more; units
                of which nothing is known are left out.

        Raises:
            CompressionError: If the method can't.
        """
        raise CompressionError(
            f'{type(self).__name__} has nothing to recover: it makes its filters while it trains '
            'from scratch; train it instead'
        )

    # Training

    def check_start(self, loads: bool) -> None:
        """Called by the tools before anything is written.

        Methods that start from the weights of a dense network extend it.

        Args:
            loads: Whether training begins with a checkpoint, other than by an ``init_cfg``.

        Raises:
            CompressionError: If training lacks what it starts from.
        """

    def start(self, optim_wrapper: OptimWrapper) -> None:
        """Called by ``CompressionHook`` before training, once all weights are loaded; settles.

        Methods that prepare themselves for training, or act around the steps of the optimizer,
        extend it.
        """
        self.settle()

    def tick(self, clock: Clock) -> None:
        """Called by ``CompressionHook`` before every training iteration.

        Methods with a schedule extend it.
        """
        self._clock = clock

    def progress(self) -> dict[str, Any]:
        """What ``CompressionHook`` writes down after every pass over the data.

        Numbers by name, which also go to the log and the visualizer, and lists of numbers.
        """
        return {}

    def diagnostics(self, dense: Mapping[str, Tensor] | None = None) -> list[Figure]:
        """What a report shows of the method itself; weights are loaded. Methods extend it.

        Args:
            dense: Weights of the dense network that training started from, by their names in the
                architecture, if they are known.
        """
        return []

    def next_stage(self) -> None:
        """Go on to the method's next stage of training, with the weights that there are.

        A new optimizer, and :meth:`step_hooks`, are due then.

        Raises:
            CompressionError: If there is none.
        """
        self.advance()
        steps: Any = self._modules.get('_steps')
        if steps is not None:
            steps.restart()

    def advance(self) -> None:
        """What :meth:`next_stage` does of a method that has several; such methods extend it."""
        raise CompressionError(f'{type(self).__name__} has no further stage of training')

    def own_losses(self) -> dict[str, Tensor]:
        """What the method adds to the losses, weighted, by name; methods with some extend it."""
        return {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the architecture."""
        with self._watched(args, kwargs, isinstance(self.architecture, BaseModel)):
            return super().forward(*args, **kwargs)

    def loss(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The losses of the architecture, and those of the method by name."""
        with self._watched(args, kwargs):
            losses = super().loss(*args, **kwargs)
        return {**losses, **self.losses()}

    def _watched(
        self, args: Sequence[Any], kwargs: dict[str, Any], not_now: bool = False
    ) -> contextlib.AbstractContextManager[None]:
        if self.distiller is None or not_now or not self.training:
            return contextlib.nullcontext()
        return self.distiller.watching(self.architecture, args, kwargs)

    def losses(self) -> dict[str, Tensor]:
        """The losses of the method, weighted, by name: what a training loop adds to its own.

        Call it behind the forward pass. For a model of mmengine, ``mode='loss'`` includes them.
        """
        # Sums of many products are no work for half precision.
        device = next(self.parameters()).device
        with torch.autocast(device.type, enabled=False):
            return {**self.own_losses(), **(self.distiller.losses() if self.distiller else {})}

    def step_hooks(
        self, optimizer: torch.optim.Optimizer, *, epochs: int, steps_per_epoch: int
    ) -> Steps:
        """Let the method act around the steps of a training loop that isn't mmengine's.

        Call it once, when all weights are loaded, and before the first step. The loop itself
        needs nothing more: a step begins with the first forward pass in training mode, and ends
        with ``optimizer.step()``. How many steps are over is part of the state dict, so that
        a training goes on where its checkpoint was written.

        Args:
            optimizer: Of the loop; of wrappers, the optimizer inside is taken.
            epochs: How long training is, in passes over the data.
            steps_per_epoch: Steps of the optimizer in each of them.

        Returns:
            What acts; its ``remove()`` ends that.

        Raises:
            CompressionError: If an argument is wrong.
        """
        if '_steps' not in self._modules:
            self.add_module('_steps', Steps())
        steps: Any = self._modules['_steps']
        return steps.begin(self, optimizer, epochs, steps_per_epoch)

    def unfinished(self) -> str:
        """Why there is nothing to export yet, or ``''``."""
        return ''

    def own_buffers(self) -> list[Tensor]:
        """The method's buffers: choices, masks, counters. A moving average copies them.

        Buffers of the architecture's layers, such as the statistics of norms, are not among them.
        """
        return [
            buffer
            for name, module in self.named_modules()
            if isinstance(module, Op) or not f'{name}.'.startswith(INNER)
            for buffer in module.buffers(recurse=False)
        ]

    def counted(self) -> nn.Module | None:
        """The compact model whose parameters and MACs reports show, where it isn't the static one.

        Methods whose static model has other parameters than what is trained and stored return a
        copy with its ops.
        """
        return None

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """One step of training, as every mmengine model does it.

        Raises:
            CompressionError: If no hook tells the algorithm the time.
        """
        if self._clock is None:
            raise CompressionError(
                f'{type(self).__name__} needs to know how far training is: add '
                "default_hooks = dict(compression=dict(type='mmcompress.CompressionHook')) to "
                'the config (`mmcompress train` does this itself)'
            )
        return super().train_step(data, optim_wrapper)


def _completed(given: dict[str, Any], defaults: dict[str, Any], key: str) -> dict[str, Any]:
    """A config with what it lacks of another one, at every depth.

    Raises:
        CompressionError: If it has the path of a file where the other one has a dict.
    """
    result = {**defaults, **given}
    for name, value in defaults.items():
        own = given.get(name)
        if isinstance(value, dict) and own is not None:
            if not isinstance(own, dict):
                raise CompressionError(
                    f'{key}.{name} is {own!r}; with faithful=True it has to be a dict, whose '
                    '`units` may be the path of a file'
                )
            own = _completed(own, value, f'{key}.{name}')
        result[name] = value if own is None else own
    return result


def _options_of(kind: type) -> list[str]:
    """Names of the arguments of an algorithm's constructor, and of those it is built upon."""
    return [
        name
        for base in kind.__mro__
        if issubclass(base, CompressionAlgorithm)
        for name in inspect.signature(base.__init__).parameters
        if name not in ('self', 'parts', 'kwargs')
    ]


class _Watch:
    """A hook that hands what a module loads to the algorithm around it.

    A copy of the algorithm has hooks of its own; in a copy of the architecture alone, such as a
    static model, the hooks do nothing.

    Args:
        algorithm: The algorithm, or ``None``.
        place: See :meth:`CompressionAlgorithm.before_loading`.
    """

    def __init__(self, algorithm: CompressionAlgorithm | None, place: str) -> None:
        self.place = place
        self._of(algorithm)

    def _of(self, algorithm: CompressionAlgorithm | None) -> None:
        # Weakly: the architecture may outlive the algorithm.
        self.algorithm = (lambda: None) if algorithm is None else weakref.ref(algorithm)

    def __call__(self, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
        algorithm = self.algorithm()
        if algorithm is not None:
            algorithm.before_loading(self.place, state, prefix)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Watch:
        return _Watch(memo.get(id(self.algorithm())), self.place)

    def __getstate__(self) -> dict[str, Any]:
        return dict(place=self.place, algorithm=self.algorithm())

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.place = state['place']
        self._of(state['algorithm'])
