"""Which layers have a weight that is also used outside of their own forward pass."""

from __future__ import annotations

from collections import Counter

import torch
from torch import nn

from mmcompress.core.layers.narrow import is_convolution

from .probe import Probe, tensors_in
from .trace import Recorder, inputs_of


def used_elsewhere(model: nn.Module, probe: Probe) -> set[str]:
    """Names of convolutions whose weight a forward pass uses more often than it runs them.

    Args:
        model: A working copy (see :func:`~mmcompress.core.probe.probe.working_copy`).
        probe: How to run it.
    """
    recorder = Recorder(is_convolution)
    with torch.enable_grad(), recorder.recording(model):
        results = list(tensors_in(probe.run(model)))
    made = [output for outputs in recorder.outputs.values() for output in outputs]
    users: Counter[int] = Counter()
    # Nodes of the graph are made anew whenever they are asked for; tensors are not.
    for sources in inputs_of([*results, *made]).values():
        users.update(id(s.variable) for s in sources if hasattr(s, 'variable'))
    names = {module: name for name, module in model.named_modules()}
    return {
        names[layer]
        for layer, outputs in recorder.outputs.items()
        if users[id(getattr(layer, 'weight', None))] > len(outputs)
    }
