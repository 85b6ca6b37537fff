"""What algorithms and tools ask of every mutator."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcompress.core.errors import CompressionError
from mmcompress.core.layers.plain import Layers
from mmcompress.core.probe.example import BatchShape, Demo, Example, LikelyShape
from mmcompress.registry import TASK_UTILS


class Mutator(BaseModule, ABC):
    """Finds the units of an architecture and prepares them.

    Args:
        parse_cfg: Config of what finds the units.
        init_cfg: As for every mmengine module.

    Attributes:
        units: Units by name, once :meth:`prepare_from_supernet` has run.
        refused: Why what was found stays dense, by name of the unit or layer. Of a reason that ends
            with names or numbers, the part in front of the colon is the same for all of its kind.
        solution: What a budget came to, if one was solved.
        found: What a budget of time came to, for a checkpoint: ``ratios`` and ``forms``.
        divided: Why the parts of what was found are units instead, by its name.
        reorders_sums: Whether a static model takes sums in another order than the trained one:
            without channels that are zero, or with kernels that were merged.
    """

    reorders_sums = False
    #: The key of the config about units, and the attribute that holds it.
    key: str
    #: The unit that the method is made for.
    unit_type: str = ''
    #: What finds the units, by default.
    parser: str

    def __init__(self, parse_cfg: dict | None = None, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if not isinstance(parse_cfg, (dict, type(None))):
            raise CompressionError(f'parse_cfg is {parse_cfg!r}; it has to be a dict')
        self.parse_cfg = {'type': self.parser, **(parse_cfg or {})}
        self.units: dict[str, Any] = {}
        self.refused: dict[str, str] = {}
        self.found: dict[str, Any] | None = None
        self.solution: Any = None
        self.divided: dict[str, str] = {}
        self._given: Demo = None

    @property
    def demo(self) -> Demo:
        """What the model is run on: as given, else the ``input_shape`` of :attr:`parse_cfg`."""
        return self.parse_cfg.get('input_shape') if self._given is None else self._given

    @property
    def demo_image(self) -> tuple[int, ...] | Example | None:
        """:attr:`demo` as budgets take it: of a shape, that of one image."""
        demo = self.demo
        return demo if demo is None or isinstance(demo, Example) else tuple(demo)[1:]

    def run_on(self, demo: BatchShape | Example | None) -> None:
        """Say what the model is run on, before its units are found.

        Raises:
            CompressionError: If ``parse_cfg`` says so too.
        """
        if demo is not None and self.parse_cfg.get('input_shape') is not None:
            raise CompressionError(
                f"mutator_cfg.parse_cfg has 'input_shape' already; remove it, or {demo.key}"
            )
        self._given = demo

    @property
    def parser_cfg(self) -> dict[str, Any]:
        """:attr:`parse_cfg` with what the model is run on."""
        if self._given is None:
            return self.parse_cfg
        kind: Any = TASK_UTILS.get(self.parse_cfg['type'])
        insisted = not isinstance(self._given, LikelyShape)
        if insisted or (kind and 'input_shape' in inspect.signature(kind).parameters):
            return dict(self.parse_cfg, input_shape=self._given)
        return self.parse_cfg

    @abstractmethod
    def prepare_from_supernet(
        self, architecture: nn.Module, ratios: Any = None, budget: dict | None = None
    ) -> None:
        """Find the units of ``architecture`` and swap in ops, in place.

        Args:
            architecture: The dense model.
            ratios: Keep ratios, see :func:`~mmcompress.core.base.units_file.keep_ratios`.
            budget: What the model may cost, instead of keep ratios.
        """

    def prepare_units(self, architecture: nn.Module) -> None:
        """Swap in the ops of all units, in place; methods that change what follows extend it.

        A rehearsal of the export calls it for copies of the architecture.
        """

    def pretend_trained(self, architecture: nn.Module) -> None:
        """Make the choices that training would make, at random, so that there is an export.

        Called for a copy of a model that is prepared; methods that choose something extend it.
        """

    def load_dense(self, state: dict[str, Tensor]) -> None:
        """Let every unit turn weights of a dense network into those of its ops.

        Args:
            state: Tensors by their names in the architecture; changed in place. Units leave alone
                what is theirs already.
        """
        for unit in self.units.values():
            unit.load_dense(state)

    # What the tools show

    @property
    def choice_template(self) -> dict[str, float]:
        """Keep ratio by unit name: what ``target_pruning_ratio`` accepts."""
        return {name: unit.choice for name, unit in self.units.items()}

    def config_template(
        self, with_unit_init_args: bool = False, with_channels: bool = False
    ) -> dict:
        """The mutator as a config that builds it again; MMRazor's shape.

        Args:
            with_unit_init_args: Give the arguments of every unit.
            with_channels: Give its channels, or its layers, so that nothing is searched for.
        """
        config = getattr(self, self.key)
        parts = dict(
            type=config['type'],
            default_args=config.get('default_args', {}),
            units={
                name: self._unit_template(name, with_unit_init_args, with_channels)
                for name in self.units
            },
        )
        return {'type': type(self).__name__, self.key: parts, 'parse_cfg': dict(self.parse_cfg)}

    def _unit_template(self, name: str, with_init_args: bool, with_parts: bool) -> dict:
        return self.units[name].as_dict(with_init_args, with_parts)

    # Static models

    def static_forms(self, architecture: nn.Module, prefer: str = 'macs') -> dict[str, str]:
        """Which of its forms each op takes in a static model, by layer; for those that have some.

        Args:
            architecture: The compact model.
            prefer: Quantity to minimise, ``'macs'`` or ``'params'``.
                :func:`~mmcompress.latency.layers.fastest_forms` minimises measured time instead.
        """
        return {}

    def replaced(self, architecture: nn.Module, forms: dict[str, str]) -> dict[str, Layers]:
        """Layers that a static model has other layers for, by name, with their configs."""
        return {}

    def left_dense(self, name: str, why: str) -> None:
        """Note why a unit stays dense, in :attr:`refused` and in the log."""
        self.refused[name] = why
        print_log(f'left alone: {name}: {why}', logger='current')

    def finish_static(self, static: nn.Module) -> None:
        """Last changes to a static model, in place.

        Called by :func:`~mmcompress.core.export.static.to_static` once every op is a plain layer;
        methods that remove channels only now extend it.

        Args:
            static: The static model; layers have the names they have in the architecture.
        """
