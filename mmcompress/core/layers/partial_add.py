"""Residual adds that take only some channels.

The last convolution of a residual block may lose output channels on its own, although its
channels are added to a shortcut that keeps all: a channel that is always zero adds nothing. The
block then adds the k channels that are left into the shortcut where they belong, and no tensor of
full width is made of them.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, fx, nn
from torch.nn.modules.dropout import _DropoutNd

from mmcompress.core.errors import CompressionError, nearest

from .narrow import channels_of, is_narrowable
from .stand_ins import update_widths

ADDS = (operator.add, operator.iadd, torch.add, 'add', 'add_')
#: Those that change their first operand, and return it.
IN_PLACE = (operator.iadd, 'add_')
#: Modules that work on each channel alone and leave one that is zero as it is.
KEEP_ZERO = (nn.Identity, _DropoutNd, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU)
#: The same in every library, and in none the same class.
KEEP_ZERO_NAMES = ('DropPath',)
#: Methods by which other modules come into a module past its forward pass.
OTHER_WAYS_IN = ('loss', 'predict', 'extract_feat', 'rfp_forward')
KEEP_ZERO_FUNCTIONS = (torch.relu, nn.functional.relu, 'relu', 'relu_')


def is_exporting() -> bool:
    """Whether a graph for other runtimes is being made, by ``torch.export`` or for ONNX."""
    return torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()


def places_among(kept: Tensor, of: int) -> Tensor:
    """For each of n channels, which of the k it is; k for one that is not there.

    Args:
        kept: LongTensor[k], the channel of the n that each of the k is.
        of: n.

    Returns:
        LongTensor[n].
    """
    places = kept.new_full((of,), len(kept))
    places[kept] = torch.arange(len(kept), device=kept.device)
    return places


def put_among_zeros(out: Tensor, places: Tensor) -> Tensor:
    """Put k channels among n of which the others are zero, with what every runtime reads.

    One channel of zeros behind the k, and a selection: a scatter would say the same, but few
    runtimes outside of PyTorch know one that adds.

    Args:
        out: Tensor[N, k, ...].
        places: See :func:`places_among`.

    Returns:
        Tensor[N, n, ...].
    """
    return torch.cat([out, torch.zeros_like(out[:, :1])], dim=1).index_select(1, places)


def _remember(module: nn.Module, kept: Tensor, of: int) -> None:
    """Let a module hold the channels, and what follows from them, whichever are loaded."""
    module.register_buffer('kept', kept)
    module.register_buffer('places', places_among(kept, of), persistent=False)
    module.of = of  # type: ignore[assignment]
    module.register_load_state_dict_post_hook(_find_places)


def _find_places(module: Any, _: object) -> None:
    module.places = places_among(module.kept, module.of)


class PartialAdd(nn.Module):
    """Add k channels into a tensor that has n of them.

    Args:
        kept: LongTensor[k], the channel of the n that each of the k is added to.
        of: n.
        layer: Name, within the block that this is a child of, of the layer that has k channels.
        in_place: Change the wider tensor itself, as ``shortcut += out`` does.
    """

    kept: Tensor
    places: Tensor
    of: int

    def __init__(self, kept: Tensor, of: int, layer: str, in_place: bool = False) -> None:
        super().__init__()
        _remember(self, kept, of)
        self.layer, self.in_place = layer, in_place

    def forward(self, shortcut: Tensor, out: Tensor) -> Tensor:
        """Add ``Tensor[N, k, H, W]`` to ``Tensor[N, n, H, W]``."""
        if is_exporting():
            wide = put_among_zeros(out, self.places)
            return shortcut.add_(wide) if self.in_place else shortcut + wide
        # All that is asked here about tensors is known without their values.
        full = (out.shape[0], self.of, *out.shape[2:])
        if shortcut.shape != full or shortcut.dtype != out.dtype:
            shortcut, out = self._agree(shortcut, out, full)
        if torch.compiler.is_compiling() and not self.in_place:
            # One loop over the shortcut, where index_add would be a loop of atomic additions.
            return shortcut + out.new_zeros(full).index_copy(1, self.kept, out)
        if not (is_channels_last(shortcut) and is_channels_last(out)):
            return self._add(shortcut, out)
        # As rows of channels this takes a quarter of the time.
        rows, ours = (x.permute(0, 2, 3, 1).flatten(0, 2) for x in (shortcut, out))
        n, _, h, w = full
        return self._add(rows, ours).view(n, h, w, self.of).permute(0, 3, 1, 2)

    def _add(self, shortcut: Tensor, out: Tensor) -> Tensor:
        add = shortcut.index_add_ if self.in_place else shortcut.index_add
        return add(1, self.kept, out)

    def _agree(self, shortcut: Tensor, out: Tensor, full: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """What an addition does by itself, and ``index_add`` does not."""
        shape = torch.broadcast_shapes(shortcut.shape, full)
        dtype = torch.promote_types(shortcut.dtype, out.dtype)
        if self.in_place:
            dtype = shortcut.dtype
        else:
            shortcut = shortcut.to(dtype).expand(shape)
        return shortcut, out.to(dtype).expand(shape[0], -1, *shape[2:])

    def extra_repr(self) -> str:
        """What the module's ``repr`` shows."""
        return f'{len(self.kept)} of {self.of} channels, from {self.layer}'


class AroundLayer(nn.Module):
    """In the place of a layer that works with k of n channels.

    Args:
        layer: The layer.
        kept: LongTensor[k], the channels of the n.
        of: n.
    """

    kept: Tensor
    places: Tensor
    of: int

    def __init__(self, layer: nn.Module, kept: Tensor, of: int) -> None:
        super().__init__()
        self.layer = layer
        _remember(self, kept, of)


class Expanded(AroundLayer):
    """A layer with k output channels, put back among n of which the others are zero."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Map what the layer takes to ``Tensor[N, n, H, W]``."""
        out = self.layer(*inputs)
        if is_exporting():
            return put_among_zeros(out, self.places)
        zeros = out.new_zeros(out.shape[0], self.of, *out.shape[2:])
        return zeros.index_copy(1, self.kept, out)


def add_partially(model: nn.Module, kept: dict[str, Tensor], of: dict[str, int]) -> list[str]:
    """Let a model work with layers that have lost output channels on their own, in place.

    Where the output of such a layer goes to an addition and nowhere else, the residual block
    becomes a :class:`torch.fx.GraphModule` with the same submodules in which the addition takes
    only the channels that are there. Everywhere else (an attention in between, an activation that
    moves zero, a second layer without all its channels on the other side of the addition, a block
    that can't be traced) the missing channels are put back as zeros right behind the layer.

    Args:
        model: Any model of plain layers.
        kept: For names of layers that have ``k`` output channels by now, LongTensor[k] of the
            channels that these are of those that the model expects.
        of: How many channels the model expects, by the same names.

    Returns:
        The layers whose missing channels were put back, in the order of the model's modules.

    Raises:
        CompressionError: If a layer doesn't exist or doesn't have ``k`` output channels, or a
            channel isn't one of those that the model expects.
    """
    modules = dict(model.named_modules())
    for name, channels in kept.items():
        _check(model, modules, name, channels, of[name])
    update_widths(model)  # a graph holds them as numbers
    # Which of two operands of an addition is expanded must not depend on the order of a file.
    expanded = [
        name
        for name in modules
        if name in kept and not _add_in_block(model, name, kept[name], of[name])
    ]
    for name in expanded:
        layer = model.get_submodule(name)
        put_in_place(model, layer, Expanded(layer, beside(layer, kept[name]), of[name]))
    if expanded:
        print_log(f'put back as zeros: channels of {", ".join(expanded)}', logger='current')
    return expanded


def partial_adds_of(model: nn.Module) -> dict[str, dict[str, int]]:
    """What :func:`add_partially` did to a model: ``channels`` and ``of`` by layer name."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, PartialAdd):
            name = '.'.join([*name.split('.')[:-1], module.layer])
        elif isinstance(module, Expanded):
            name = name_before(model, name)
        else:
            continue
        found[name] = dict(channels=len(module.kept), of=module.of)
    return found


def name_before(model: nn.Module, name: str) -> str:
    """The name that a layer had before something was put around it."""
    parent, _, _ = name.rpartition('.')
    while isinstance(model.get_submodule(parent), AroundLayer):
        name = parent
        parent, _, _ = name.rpartition('.')
    return name


def _check(model: nn.Module, modules: dict, name: str, channels: Tensor, of: int) -> None:
    layer = modules.get(name)
    if layer is None or not is_narrowable(layer):
        raise CompressionError(
            f'partial_adds: {type(model).__name__} has no layer {name!r}; the nearest are '
            f'{nearest(name, modules)}'
        )
    width = channels_of(layer)[1]
    if len(channels) != width:
        raise CompressionError(
            f'partial_adds: {len(channels)} channels are given for layer {name!r}, which has '
            f'{width} output channels'
        )
    if len(channels.unique()) != width or not 0 <= int(channels.min()) <= int(channels.max()) < of:
        raise CompressionError(
            f'partial_adds: the channels of layer {name!r} have to be {width} different ones '
            f'of 0 to {of - 1}'
        )


def _add_in_block(model: nn.Module, name: str, kept: Tensor, of: int) -> bool:
    """Make the addition that a layer's output goes to a partial one, if there is such."""
    for ancestor in _ancestors(name):
        block = model.get_submodule(ancestor)
        layer = name[len(ancestor) + 1 :]
        graph = _trace(block, layer)
        if graph is None:
            continue
        end = _end_of_chain(graph, block, layer)
        if end is None:
            return False
        node, add = end
        if add.op == 'output':
            continue
        shortcut = add.args[1] if add.args[0] is node else add.args[0]
        in_place = add.target in IN_PLACE and add.args[0] is shortcut
        kept = beside(block.get_submodule(layer), kept)
        partial = PartialAdd(kept, of, layer, in_place)
        target = f'{layer.replace(".", "_")}_add'
        block.add_module(target, partial)
        with graph.inserting_before(add):
            new = graph.call_module(target, (shortcut, node))
        add.replace_all_uses_with(new)
        graph.erase_node(add)
        put_in_place(model, block, fx.GraphModule(block, graph, type(block).__name__))
        return True
    return False


def _ancestors(name: str) -> Iterator[str]:
    """Names of the modules around a layer, from the innermost; not the model itself."""
    parent = name.rpartition('.')[0]
    while parent:
        yield parent
        parent = parent.rpartition('.')[0]


class _Proxy(fx.Proxy):
    """Remembers that an operator changed its first operand; fx by itself makes a new one."""

    def __iadd__(self, other: object) -> fx.Proxy:
        return self._change(operator.iadd, other)

    def __isub__(self, other: object) -> fx.Proxy:
        return self._change(operator.isub, other)

    def __imul__(self, other: object) -> fx.Proxy:
        return self._change(operator.imul, other)

    def __itruediv__(self, other: object) -> fx.Proxy:
        return self._change(operator.itruediv, other)

    def _change(self, how: Callable, other: object) -> fx.Proxy:
        return self.tracer.create_proxy('call_function', how, (self, other), {})


class _Tracer(fx.Tracer):
    """Looks into the modules that hold one layer, and into no others."""

    def __init__(self, layer: str = '') -> None:  # a copied graph module gives none
        super().__init__()
        self.layer = layer

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether ``m`` becomes one node of the graph."""
        return not self.layer.startswith(f'{module_qualified_name}.')

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """What stands for a tensor in the forward pass."""
        return _Proxy(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Blocks with checkpointing ask whether their input needs a gradient; take it as no."""
        if obj.node.op == 'call_function' and obj.node.args[1:] == ('requires_grad',):
            return False
        return super().to_bool(obj)


def _trace(block: nn.Module, layer: str) -> fx.Graph | None:
    """Graph of a block's forward pass, if it has one and only one, in training and in eval."""
    if type(block).train is not nn.Module.train or any(hasattr(block, n) for n in OTHER_WAYS_IN):
        return None
    inside = [block, *(block.get_submodule(name) for name in _ancestors(layer))]
    before = [module.training for module in inside]
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(block.forward).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    graphs = []
    try:
        for mode in (True, False):
            for module in inside:
                module.training = mode
            graphs.append(_Tracer(layer).trace(block, defaults or None))
    except Exception:  # whatever a forward pass makes of an input that has no values
        return None
    finally:
        for module, mode in zip(inside, before, strict=True):
            module.training = mode
    if str(graphs[0]) != str(graphs[1]):
        return None
    for node in graphs[0].nodes:
        node.type = None  # annotations of the forward pass that a copy could not resolve
    return graphs[0]


def _end_of_chain(graph: fx.Graph, block: nn.Module, layer: str) -> tuple[fx.Node, fx.Node] | None:
    """The addition, or end of the graph, that a layer's channels reach, and what goes into it.

    Between the two, each channel is on its own, and zero stays zero; otherwise there is none.
    """
    calls = [node for node in graph.nodes if node.op == 'call_module' and node.target == layer]
    if len(calls) != 1:
        return None
    node = calls[0]
    while len(node.users) == 1:
        user = next(iter(node.users))
        if user.op == 'output':
            return (node, user) if user.args[0] is node else None
        if user.op != 'call_module' and user.target in ADDS:
            others = [arg for arg in user.args if isinstance(arg, fx.Node) and arg is not node]
            return (node, user) if len(others) == 1 and not user.kwargs else None
        if not _is_channelwise(user, node, block):
            return None
        node = user
    return None


def _is_channelwise(user: fx.Node, node: fx.Node, block: nn.Module) -> bool:
    """Whether ``user`` treats each channel alone, and leaves one that is zero as it is."""
    if user.op == 'call_module':
        module = block.get_submodule(str(user.target))
        return isinstance(module, KEEP_ZERO) or type(module).__name__ in KEEP_ZERO_NAMES
    return user.target in KEEP_ZERO_FUNCTIONS and user.args[:1] == (node,)


def is_channels_last(x: Tensor) -> bool:
    """Whether a feature map is laid out as rows of channels."""
    return (
        x.dim() == 4
        and not x.is_contiguous()
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def beside(layer: nn.Module, kept: Tensor) -> Tensor:
    """The indices ``kept`` on the device of a layer."""
    return kept.to(next(iter(layer.state_dict().values()), kept).device)


def put_in_place(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` is."""
    new.training = old.training  # not of what is inside: part of it may be frozen
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):
            if child is old and module is not new:
                setattr(module, name, new)
