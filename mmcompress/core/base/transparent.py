"""A model around another one, through which hooks, loops and optimizer constructors see it."""

from __future__ import annotations

import copy
from abc import ABCMeta
from typing import Any

from mmengine.model import BaseModel
from torch import Tensor, nn


def _shared(name: str) -> bool:
    # `module` is how torch and mmengine recognise the wrappers of distributed training.
    return not name.startswith('_') and name != 'module'


class _Constructed(ABCMeta):
    """Marks an instance once the constructors of all its classes have run."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        instance = super().__call__(*args, **kwargs)
        instance._constructed = True
        return instance


class Transparent(BaseModel, metaclass=_Constructed):
    """A model that shows the attributes of the model inside of it.

    - Reading: a public attribute that the outer model lacks is the inner model's.
    - Writing: once the outer model is constructed, a public attribute that the inner model has
      and the outer one lacks is written to the inner model. Everything else is written to the
      outer model, so that subclasses name their settings as they like.
    - Names with a leading underscore are never shared: they belong to torch, mmengine and Python
      (copying, pickling, initialisation). Neither is ``module``, which only distributed wrappers
      have.

    Args:
        architecture: The model inside, of mmengine or of any kind. Its data preprocessor, where it
            has one, serves both.
        init_cfg: As for every mmengine module.
    """

    def __init__(self, architecture: nn.Module, init_cfg: dict | None = None) -> None:
        super().__init__(getattr(architecture, 'data_preprocessor', None), init_cfg)
        self.architecture = architecture

    def __getattr__(self, name: str) -> Any:
        """What neither the instance nor its class has."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            # Not `self.architecture`: copies and unpickled models don't have it from the start.
            inner = self.__dict__.get('_modules', {}).get('architecture')
            if not _shared(name) or inner is None or not hasattr(inner, name):
                raise
        return getattr(inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute where it is."""
        if _shared(name) and self.__dict__.get('_constructed'):
            inner = self.architecture
            if not self._has(name) and hasattr(inner, name):
                setattr(inner, name, value)
                return
        super().__setattr__(name, value)

    def _has(self, name: str) -> bool:
        """Whether the outer model has an attribute itself."""
        own = (self.__dict__, self._parameters, self._buffers, self._modules)
        return hasattr(type(self), name) or any(name in names for names in own)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the inner model; whatever it calls its inputs, and whatever modes it has."""
        if not isinstance(self.architecture, BaseModel):
            return self.architecture(*args, **kwargs)
        mode = kwargs.pop('mode', 'tensor')
        if mode == 'loss':
            return self.loss(*args, **kwargs)
        return self.architecture(*args, mode=mode, **kwargs)

    def loss(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The losses of the inner model; algorithms with losses of their own extend it."""
        return self.architecture(*args, mode='loss', **kwargs)

    def named_as_dense(self) -> nn.Module:
        """The model whose parameters have the names that they have without the outer model.

        Optimizer constructors take the depth of a layer from the names of its parameters
        (``backbone.stages.0...``). All parameters of the outer model are among those of the result.
        """
        inside = {id(parameter) for parameter in self.architecture.parameters()}
        own = {
            name: module
            for name, module in self.named_children()
            if any(id(parameter) not in inside for parameter in module.parameters())
        }
        if not own and not self._parameters:
            return self.architecture
        # A shallow copy: of the same class, with the same parameters, and with some more.
        view = copy.copy(self.architecture)
        view._modules = {**self.architecture._modules, **own}
        view._parameters = {**self.architecture._parameters, **self._parameters}
        return view
