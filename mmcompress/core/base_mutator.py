"""What algorithms and tools ask of every mutator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from mmengine.model import BaseModule
from torch import nn

from .budget import Budget
from .plain import Layers


class Mutator(BaseModule, ABC):
    """Finds the units of an architecture and prepares them.

    Attributes:
        removes_on_export: Whether :meth:`finish_static` removes channels, or ops become other
            layers. The exported model then takes the same sums in another order.
    """

    removes_on_export = False

    @abstractmethod
    def prepare_from_supernet(
        self, architecture: nn.Module, target: Any = None, budget: Budget | None = None
    ) -> None:
        """Find the units of ``architecture`` and swap in ops, in place."""

    @property
    @abstractmethod
    def choice_template(self) -> dict[str, float]:
        """Keep ratio by unit name: what ``target_pruning_ratio`` accepts."""

    @abstractmethod
    def config_template(
        self, with_unit_init_args: bool = False, with_channels: bool = False
    ) -> dict:
        """The mutator as a config that builds it again."""

    def static_forms(self, architecture: nn.Module, prefer: str = 'macs') -> dict[str, str]:
        """Which of its forms each op takes in a static model, by layer; for those that have some.

        Args:
            architecture: The compact model.
            prefer: ``'macs'`` or ``'params'``: what there is to be least of.
        """
        return {}

    def replaced(self, architecture: nn.Module, forms: dict[str, str]) -> dict[str, Layers]:
        """Layers that a static model has other layers for, by name, with their configs."""
        return {}

    def finish_static(self, static: nn.Module) -> None:
        """Last changes to a static model, in place.

        Called by :func:`~mmcompress.core.subnet.to_static` once every op is a plain layer;
        methods that remove channels only now extend it.

        Args:
            static: The static model; layers have the names they have in the architecture.
        """
