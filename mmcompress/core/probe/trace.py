"""The autograd graph of a forward pass, and which part of it couples channels.

Channels are coupled between the layers that produce them and the next layers that mix them. What
a head does behind that (attention, box decoding, losses) has no say in it; leaving it out of the
graph keeps analysis fast, and free of operations that nobody can map channels through.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from mmcompress.core.layers.narrow import is_narrowable, is_pass_through


class Recorder:
    """Outputs of layers in forward passes, while :meth:`recording`.

    Args:
        is_layer: Which modules are layers; by default those that can be narrowed.
    """

    def __init__(self, is_layer: Callable[[nn.Module], bool] = is_narrowable) -> None:
        self.is_layer = is_layer
        self.outputs: dict[nn.Module, list[Tensor]] = defaultdict(list)

    @contextmanager
    def recording(self, model: nn.Module) -> Iterator[None]:
        """Record what the layers of ``model`` return inside."""

        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self.outputs[module].append(output)

        hooks = [m.register_forward_hook(note) for m in model.modules() if self.is_layer(m)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def differentiable(self) -> set[nn.Module]:
        """Layers that the graph can show: what they returned has a gradient."""
        return {
            module
            for module, outputs in self.outputs.items()
            if any(output.grad_fn is not None for output in outputs)
        }

    def boundary(
        self, results: Iterable[Tensor], wanted: Callable[[nn.Module], bool]
    ) -> list[Tensor]:
        """Where the channels of wanted layers end: the tensors that bound their graph.

        Args:
            results: What the forward pass returned.
            wanted: Whether the output channels of this layer are looked at.

        Returns:
            Outputs of the first layers behind the wanted ones that mix channels, and results
            that none stands before.
        """
        made = [output for outputs in self.outputs.values() for output in outputs]
        # Also what goes nowhere: a layer whose result is dropped still takes its input.
        inputs = inputs_of([*results, *made])
        users: dict[Any, list[Any]] = defaultdict(list)
        for node, sources in inputs.items():
            for source in sources:
                users[source].append(node)
        tensors: dict[Any, Tensor] = {result.grad_fn: result for result in results}
        makers: dict[Any, nn.Module] = {}
        for module, outputs in self.outputs.items():
            for output in outputs:
                tensors.setdefault(output.grad_fn, output)
                makers[output.grad_fn] = module
        queue = [node for node, module in makers.items() if node in inputs and wanted(module)]
        seen = set(queue)
        ends = []
        while queue:
            node = queue.pop()
            maker = makers.get(node)
            mixes = maker is not None and not is_pass_through(maker) and not wanted(maker)
            if (mixes or not users[node]) and node in tensors:
                ends.append(tensors[node])
            if not mixes:
                fresh = [user for user in users[node] if user not in seen]
                seen.update(fresh)
                queue.extend(fresh)
        return ends


def inputs_of(results: Iterable[Tensor]) -> dict[Any, list[Any]]:
    """All nodes behind some tensors, each with the nodes whose results it takes."""
    inputs: dict[Any, list[Any]] = {}
    queue = [result.grad_fn for result in results if result.grad_fn is not None]
    while queue:
        node = queue.pop()
        if node not in inputs:
            inputs[node] = [source for source, _ in node.next_functions if source is not None]
            queue.extend(inputs[node])
    return inputs
