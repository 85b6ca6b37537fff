"""A validation loop that leaves the static model behind, as MMRazor's ItePruneValLoop does."""

from __future__ import annotations

import contextlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import ValLoop
from torch import nn

from mmcompress.core.base.build import build_architecture
from mmcompress.core.export.static import subnet_of, to_static
from mmcompress.registry import LOOPS

from .compression_hook import algorithm_of


@LOOPS.register_module()
class ExportValLoop(ValLoop):
    """Validates, and writes ``fix_subnet.json`` and ``fix_subnet_weight.pth`` to the work dir.

    ``dict(type='mmcompress.sub_model', cfg=..., fix_subnet=...)`` rebuilds the static model from
    the first file, and loads the second. Unlike ``mmcompress export`` the loop doesn't compare the
    two models. While a method has nothing to export yet, it writes nothing and the log says why.
    """

    FILES = ('fix_subnet.json', 'fix_subnet_weight.pth')

    @staticmethod
    def fits(model: nn.Module) -> bool:
        """Whether a runner's model is one that the loop can export."""
        return algorithm_of(model) is not None

    def run(self) -> dict[str, Any]:
        """Validate and export."""
        metrics = super().run()
        if is_main_process():
            self._export()
        return metrics

    def _export(self) -> None:
        algorithm: Any = algorithm_of(self.runner.model)
        unfinished = algorithm.unfinished()
        if unfinished:
            self.runner.logger.info(f'nothing is exported yet: {unfinished}')
            return
        cfg = self.runner.cfg
        architecture = cfg.model
        while 'architecture' in architecture:  # the algorithm may be the student of another
            architecture = architecture['architecture']
        dense = build_architecture(architecture, cfg.get('data_preprocessor'))
        forms = algorithm.mutator.static_forms(algorithm.architecture)
        # Hooks of a distiller hold tensors that belong to a graph, which can't be copied.
        inside = algorithm is not _unwrapped(self.runner.model)
        with _without_hooks(algorithm.architecture) if inside else contextlib.nullcontext():
            static = to_static(algorithm, forms)
        subnet = subnet_of(algorithm, static, dense, forms)
        widths, weights = (Path(self.runner.work_dir, name) for name in self.FILES)
        widths.write_text(json.dumps(subnet, indent=1), encoding='utf-8')
        state = {name: tensor.cpu() for name, tensor in static.state_dict().items()}
        torch.save(dict(state_dict=state), weights)
        self.runner.logger.info(f'the static model is in {widths} and {weights}')


def _unwrapped(model: Any) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


@contextlib.contextmanager
def _without_hooks(model: nn.Module) -> Iterator[None]:
    """Take the forward hooks off every layer, and put them back afterwards."""
    saved = [(module, module._forward_hooks) for module in model.modules()]
    try:
        for module, _ in saved:
            module._forward_hooks = OrderedDict()
        yield
    finally:
        for module, hooks in saved:
            module._forward_hooks = hooks
