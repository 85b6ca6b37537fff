"""CompressionAlgorithm: the registered wrapper that mmengine's runner trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmrazor.models.algorithms import BaseAlgorithm
from torch import Tensor, nn

from mmcompress.core.base.build import build_architecture
from mmcompress.core.channels.budget import Budget
from mmcompress.core.errors import CompressionError
from mmcompress.registry import MODELS

from .mutator import Mutator

#: The file in a run's log folder that ``CompressionHook`` writes progress to.
PROGRESS = 'progress.jsonl'


@dataclass(frozen=True)
class Clock:
    """The runner's time at the beginning of an iteration.

    An epoch is one pass over the data, also in a loop that counts iterations.

    Attributes:
        epoch: Epochs that are over.
        iteration: Iterations that are over, in all epochs.
        max_epochs: Length of training in epochs; not whole in a loop that counts iterations.
        max_iterations: Length of training in iterations.
        starts_epoch: Whether this iteration is the first of an epoch.
    """

    epoch: int
    iteration: int
    max_epochs: float
    max_iterations: int
    starts_epoch: bool


class CompressionAlgorithm(BaseAlgorithm):
    """Base of all methods: builds the architecture and lets a mutator make it compact.

    Args:
        architecture: Config of any OpenMMLab model, or the model. A config of the form
            ``dict(cfg_path='mmpretrain::resnet/resnet50_8xb32_in1k.py')`` takes the model
            of that config.
        mutator_cfg: Config of the mutator.
        target_pruning_ratio: Keep ratios, see
            :func:`~mmcompress.core.base.units_file.keep_ratios`.
        data_preprocessor: As for the architecture, whose own is used by default.
        init_cfg: As for every mmengine module.
        target: Instead of ``target_pruning_ratio``, a budget to find keep ratios for, such as
            ``dict(macs=0.55)``; see :class:`~mmcompress.core.channels.budget.Budget`. The same
            config always gives the same widths.

    Raises:
        CompressionError: If a name or ratio in the config is wrong, or the budget can't be met.
    """

    def __init__(
        self,
        architecture: BaseModel | dict,
        mutator_cfg: dict,
        target_pruning_ratio: Any = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        target: dict | None = None,
    ) -> None:
        if target is not None and target_pruning_ratio is not None:
            raise CompressionError(
                'target and target_pruning_ratio are both given; set one of them to None'
            )
        budget = None if target is None else Budget.from_config(target)
        if not isinstance(architecture, (dict, BaseModel)):
            raise CompressionError(
                f'architecture is {architecture!r}; it has to be the config of a model'
            )
        if not isinstance(mutator_cfg, dict):
            raise CompressionError(
                f'mutator_cfg is {mutator_cfg!r}; it has to be a dict such as '
                "dict(type='DCFFMutator')"
            )
        if isinstance(architecture, dict):
            architecture = build_architecture(architecture, data_preprocessor)
        # No recorder taps into the activations, so in-place ones may stay.
        super().__init__(architecture, init_cfg=init_cfg, module_inplace=True)
        self.mutator: Mutator = MODELS.build(mutator_cfg)
        self.mutator.prepare_from_supernet(self.architecture, target_pruning_ratio, budget)
        self._clock: Clock | None = None
        self._register_load_state_dict_pre_hook(_accept_dense)

    def check_start(self, loads: bool) -> None:
        """Called by the tools before anything is written.

        Methods that start from the weights of a dense network extend it.

        Args:
            loads: Whether training begins with a checkpoint, other than by an ``init_cfg``.

        Raises:
            CompressionError: If training lacks what it starts from.
        """

    def start(self, optim_wrapper: OptimWrapper) -> None:
        """Called by ``CompressionHook`` before training, once all weights are loaded.

        Methods that prepare themselves from the weights, or act around the steps of the
        optimizer, extend it.
        """

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

    def unfinished(self) -> str:
        """Why there is nothing to export yet, or ``''``."""
        return ''

    def averages_buffers(self) -> bool:
        """Whether a moving average of the weights may average buffers as well."""
        return True

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
                'the config (tools/train.py does so by itself)'
            )
        return super().train_step(data, optim_wrapper)


def _accept_dense(state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Let ``load_from`` name the checkpoint of a dense network: give it the names used here."""
    own = [name for name in state if name.startswith(prefix)]
    inner = f'{prefix}architecture.'
    if not any(name.startswith(inner) for name in own):
        for name in own:
            state[inner + name[len(prefix) :]] = state.pop(name)
