"""Which norm stands directly behind a convolution: together they are one filter bank."""

from __future__ import annotations

import warnings
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from mmcompress.core.layers.narrow import is_convolution, is_narrowable, is_pass_through

from .example import Demo
from .probe import Probe, few_proposals, seeded, tensors_in, working_copy
from .trace import Recorder, inputs_of


def norms_behind(
    model: nn.Module, input_shape: Demo = None, probe: Probe | None = None
) -> dict[str, str]:
    """Map each convolution to the norm that is the only consumer of its output.

    The function watches the model's own forward pass, and needs no assumption on names or on the
    order of modules. A convolution has no follower if its output is also used elsewhere, if it
    shares its norm with another convolution, or if it runs in front of several norms.

    Args:
        model: Any architecture; left as it is.
        input_shape: ``(N, C, H, W)`` of the demo batch; ``None`` finds one.
        probe: Forward modes and demo batches of this model, where they have been found before.

    Returns:
        Name of the norm by name of the convolution.

    Raises:
        CompressionError: If no forward pass can be run.
    """
    with seeded(), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        work = few_proposals(working_copy(model))
        probe = probe or Probe(work, input_shape)
        return _pairs(work, probe)


def _pairs(model: nn.Module, probe: Probe) -> dict[str, str]:
    names = {module: name for name, module in model.named_modules()}
    # Tensors are kept until the end, so that no two of them share an address.
    taken: dict[int, list[nn.Module]] = defaultdict(list)
    alive: list[Tensor] = []
    recorder = Recorder()

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        for tensor in inputs:
            if isinstance(tensor, Tensor):
                taken[id(tensor)].append(module)
                alive.append(tensor)

    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [module.register_forward_pre_hook(note) for module in leaves]
    try:
        with recorder.recording(model):
            results = probe.run(model)
    finally:
        for hook in hooks:
            hook.remove()
    made = [output for outputs in recorder.outputs.values() for output in outputs]
    users: dict[Any, int] = defaultdict(int)
    for sources in inputs_of([*tensors_in(results), *made]).values():
        for source in set(sources):
            users[source] += 1
    behind: dict[nn.Module, set[nn.Module | None]] = defaultdict(set)
    before: dict[nn.Module, set[nn.Module]] = defaultdict(set)
    for module, outputs in recorder.outputs.items():
        if not is_convolution(module):
            continue
        for output in outputs:
            takers = set(taken[id(output)])
            alone = len(takers) == 1 and users[output.grad_fn] <= 1
            norm = takers.pop() if alone else None
            behind[module].add(norm if norm is not None and _is_norm(norm) else None)
            if norm is not None:
                before[norm].add(module)
    return {
        names[module]: names[norm]
        for module, norms in behind.items()
        for norm in norms
        if norm is not None and len(norms) == 1 and before[norm] == {module}
    }


def _is_norm(module: nn.Module) -> bool:
    return (
        is_narrowable(module)
        and is_pass_through(module)
        and not is_convolution(module)
        and not isinstance(module, nn.PReLU)
    )
