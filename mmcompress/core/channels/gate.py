"""Channels that are silenced while a network trains, and removed from it when it is exported.

A channel that is to go has to be zero wherever it is read; then the network without it does the
same. Filters get scales for that, which a method sets or learns, and what stands behind the filters
and would put something into a silent channel (the bias of a norm) is multiplied by them too.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from mmcompress.core.base.conv_op import ConvOp, plain_conv
from mmcompress.core.base.op import Op
from mmcompress.core.base.rehearsal import Rehearsal
from mmcompress.core.layers.narrow import is_pass_through
from mmcompress.core.layers.partial_add import add_partially
from mmcompress.core.probe.followers import norms_behind
from mmcompress.core.probe.probe import seeded

from .choose import keep_largest
from .config import ChannelRange, UnitConfig, narrow_layers
from .mutator import ChannelMutator
from .unit import ChannelUnit


class ScaledConv2d(ConvOp, nn.Conv2d):
    """Convolution with ``diag(s) W``: a scale for each filter.

    Where a norm stands directly behind it, the filter is the convolution and its norm, as it is
    once they are folded into one: the norm, in a :class:`Gate`, then is what is multiplied by the
    scales, and the convolution leaves it alone. (A batch norm cancels any factor in front of it,
    and would turn a filter that is zero into a constant.)

    Args:
        conv: The dense convolution to stand in for, ``weight`` of ``Tensor[n, c / g, k, k]``.
        owner: Another op, whose scales this one shares; by default it has its own.

    Attributes:
        scaled_by_norm: Whether a norm behind it multiplies by the scales.
        scales_bias: Whether they multiply the bias as well as the weight.
    """

    #: Name of the scales, ``Tensor[n]``, in the owner's ``state_dict``.
    scales_name: ClassVar[str] = 'mask'

    def __init__(self, conv: nn.Conv2d, owner: ScaledConv2d | None = None) -> None:
        super().__init__(conv)
        # Not registered as a child: the scales stay the owner's.
        self.__dict__['_owner'] = owner
        self.scaled_by_norm, self.scales_bias = False, True
        if owner is None:
            self.add_scales(self.weight.detach().new_ones(conv.out_channels))

    def add_scales(self, ones: Tensor) -> None:
        """Make what the owner has: a buffer by default; methods that train scales extend it.

        Args:
            ones: ``Tensor[n]``, the scales at first.
        """
        self.register_buffer(self.scales_name, ones)

    @property
    def scales(self) -> Tensor:
        """``Tensor[n]``, of this op or of its owner."""
        return getattr(self if self._owner is None else self._owner, self.scales_name)

    def unscaled(self) -> Tensor:
        """The weight, ``Tensor[n, c / g, k, k]``, that the scales multiply."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        """``Tensor[N, c, H, W]`` to ``Tensor[N, n, H', W']``."""
        weight, bias = self.unscaled(), self.bias
        if not self.scaled_by_norm:
            scales = self.scales
            weight = scales.view(-1, 1, 1, 1) * weight
            if self.scales_bias and bias is not None:
                bias = scales * bias
        return self._conv_forward(x, weight, bias)

    def to_static(self, form: str | None = None) -> nn.Conv2d:
        """The plain convolution, all filters at their full strength.

        Those whose scale is zero go afterwards, see :meth:`GatedMutator.finish_static`.
        """
        return plain_conv(self, self.weight, self.bias)

    def fill_missing(self, state: dict[str, Tensor], prefix: str) -> None:
        """Weights of a dense network come without scales: these start at 1."""
        key = f'{prefix}{self.scales_name}'
        if self._owner is None and f'{prefix}weight' in state and key not in state:
            state[key] = torch.ones_like(self.scales)


class Gate(Op):
    """A layer that multiplies what it puts out by the scales of the filters in front of it.

    Args:
        norm: The layer to stand in for: a norm, or another that hands channels on, such as a
            shortcut that pads them.

    Attributes:
        norm: That layer.
    """

    _scales: list[tuple[int, int, ScaledConv2d]]

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.__dict__['_scales'] = []

    def scale(self, start: int, end: int, op: ScaledConv2d) -> None:
        """Multiply channels ``start`` to ``end`` by the scales of ``op``."""
        self._scales.append((start, end, op))
        self._scales.sort(key=lambda scale: scale[0])

    def forward(self, x: Tensor) -> Tensor:
        """``Tensor[N, n, H, W]`` to the same shape."""
        out = self.norm(x)
        return out * torch.cat(list(self._factors(out))).view(1, -1, *[1] * (out.ndim - 2))

    def _factors(self, out: Tensor) -> Iterable[Tensor]:
        """The scales, and ones for channels between them that have none."""
        position = 0
        for start, end, op in self._scales:
            if start > position:
                yield out.new_ones(start - position)
            factors = op.scales.to(out.dtype)
            # Behind a flattened feature map several channels stand for one.
            each = (end - start) // len(factors)
            yield factors if each == 1 else factors.repeat_interleave(each)
            position = end
        if position < out.shape[1]:
            yield out.new_ones(out.shape[1] - position)

    def to_static(self, form: str | None = None) -> nn.Module:
        """The layer itself."""
        return self.norm

    def fill_missing(self, state: dict[str, Tensor], prefix: str) -> None:
        """Take the weights of a dense network, where the layer has no gate."""
        for name in self.norm.state_dict():
            if f'{prefix}{name}' in state:
                state[f'{prefix}norm.{name}'] = state.pop(f'{prefix}{name}')


class GatedUnit(ChannelUnit):
    """Channels with one vector of scales; those of a scale of zero are silent, and go in the end.

    While a network trains every layer has its dense width. A unit without consumers is *partial*:
    the channels of its convolution are added to others, which stay. A block of the exported network
    then adds what is left of them into those.

    Args:
        config: The channels, as the analyzer found them.
        choice: Keep ratio in (0, 1].
        divisor: The width has to be a multiple of this number.
        norms: Name of the norm directly behind a convolution, by name of the convolution.

    Attributes:
        groups: Consecutive parts of the channels that have to keep equally many (grouped
            convolutions).
        op: The owner of the scales, once :meth:`prepare` has run.
        ops: That and the ops that share them.
    """

    #: What stands in for the convolutions.
    op_type: ClassVar[type[ScaledConv2d]] = ScaledConv2d

    def __init__(
        self,
        config: UnitConfig,
        choice: float = 1.0,
        divisor: int | str = 1,
        *,
        norms: Mapping[str, str] | None = None,
    ) -> None:
        self.groups = config.divisor
        super().__init__(config, choice, divisor)
        self.norms = dict(norms or {})
        self.op: Any = None
        self.ops: list[Any] = []

    @property
    def partial(self) -> bool:
        """Whether the channels are added to others and have no consumers of their own."""
        return all(channel.is_output for channel in self.config.channels)

    def unsupported(self, architecture: nn.Module) -> str:
        """Scales stand for whole convolutions, and for norms that treat channels alone."""
        why = super().unsupported(architecture)
        if why:
            return why
        filters = self.filters(architecture)
        if not filters:
            return 'none of its layers has filters of its own'
        for channel in filters:
            out_channels = architecture.get_submodule(channel.name).out_channels
            if (channel.start, channel.end) != (0, out_channels):
                return (
                    f'{channel.name} gives it channels {channel.start} to {channel.end} of '
                    f'{out_channels}; it needs all of a convolution in one unit'
                )
        for channel in self.config.producers:
            layer = architecture.get_submodule(channel.name)
            if isinstance(layer, (nn.GroupNorm, nn.LayerNorm)):
                return (
                    f'{channel.name} is a {type(layer).__name__}, whose statistics would change '
                    'without the channels that are zero'
                )
        return ''

    def prepare(self, architecture: nn.Module) -> list[ChannelRange]:
        """Swap convolutions and norms for ops.

        Returns:
            All ranges of the unit: nothing becomes narrower before the export.
        """
        scaled = self.scaled(architecture)
        for channel in self.filters(architecture):
            conv = cast(nn.Conv2d, architecture.get_submodule(channel.name))
            op = self.op_type(conv, self.op)
            op.scaled_by_norm = self.norms.get(channel.name) in scaled
            self.put(architecture, channel.name, op)
            self.op = self.op or op
            self.ops.append(op)
        for name, channel in scaled.items():
            gate = architecture.get_submodule(name)
            if not isinstance(gate, Gate):
                gate = Gate(gate)
            self.put(architecture, name, gate)
            gate.scale(channel.start, channel.end, self.op)
        return self.config.channels

    def scaled(self, architecture: nn.Module) -> dict[str, ChannelRange]:
        """Layers other than convolutions that would write into a removed channel, by name.

        These are norms, biases and padding shortcuts: they make non-zero values of zeros.
        """
        filters = self.filters(architecture)
        return {
            channel.name: channel
            for channel in self.config.producers
            if channel not in filters and not keeps_zero(architecture.get_submodule(channel.name))
        }

    @property
    def rows(self) -> Tensor:
        """The scales as ``Tensor[groups, n / groups]``; shares their memory."""
        return self.op.scales.detach().view(self.groups, -1)

    @torch.no_grad()
    def kept(self) -> Tensor:
        """LongTensor[width] of the channels with the largest scales, ascending."""
        return keep_largest(self.rows, self.width // self.groups).flatten().nonzero().flatten()

    @torch.no_grad()
    def pretend_trained(self) -> None:
        """Set the scales as if training were over: 1 for random channels, 0 for the others."""
        width = self.width_at(self.choice)
        if self.choice < 1 and not 0 < self.width < self.num_channels:
            width = self.width_at(0.5)  # How many stay is not known before weights are.
        kept = keep_largest(torch.rand_like(self.rows), width // self.groups)
        self.op.scales.copy_(kept.flatten())

    @torch.no_grad()
    def silent(self) -> Tensor:
        """LongTensor of the channels whose scale is zero."""
        return (self.op.scales == 0).nonzero().flatten()


class GatedMutator(ChannelMutator):
    """Gives channels their scales, and removes those that are not kept from a static model.

    The arguments are those of :class:`~mmcompress.core.channels.mutator.ChannelMutator`.

    Attributes:
        norms: Name of the norm directly behind a convolution, by name of the convolution.
    """

    norms: dict[str, str]
    reorders_sums = True
    units: dict[str, Any]

    def prepare_from_supernet(
        self, architecture: nn.Module, ratios: Any = None, budget: dict | None = None
    ) -> None:
        """Find the units of ``architecture`` and give them scales."""
        self.norms = norms_behind(architecture, self.demo)
        super().prepare_from_supernet(architecture, ratios, budget)

    def unit_args(self) -> dict[str, Any]:
        """The norm behind each convolution, for every unit."""
        return dict(norms=self.norms)

    @torch.no_grad()
    def pretend_trained(self, architecture: nn.Module) -> None:
        """Silence random channels, as many as are to go."""
        super().pretend_trained(architecture)
        for unit in self.units.values():
            unit.pretend_trained()

    def spoiled(self, rehearsal: Rehearsal, units: dict[str, Any]) -> dict[str, str]:
        """Units whose silent channels are not zero where a layer reads them."""
        found: dict[str, str] = {}
        with seeded(), torch.no_grad():
            mutator, model = rehearsal.trial(units)
            gone = {n: unit.silent() for n, unit in mutator.units.items()}
            readers: dict[str, list[tuple[str, ChannelRange]]] = defaultdict(list)
            for name, unit in mutator.units.items():
                for channel in unit.config.channels:
                    layer = model.get_submodule(channel.name)
                    passes = isinstance(layer, Gate) or is_pass_through(layer)
                    if not channel.is_output and not passes and len(gone[name]):
                        readers[channel.name].append((name, channel))

            def watch(reader: str) -> Callable:
                def look(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
                    x: Any = inputs[0] if inputs else None
                    for name, channel in readers[reader] if isinstance(x, Tensor) else ():
                        places = channel.expand(gone[name], units[name].num_channels)
                        channels = -1 if isinstance(layer, nn.Linear) else 1
                        if bool(x.index_select(channels, places).any()):
                            found.setdefault(
                                name,
                                'an operation behind it moves or mixes channels, or does not '
                                f'keep zero: in front of {reader}',
                            )

                return look

            for reader in readers:
                model.get_submodule(reader).register_forward_pre_hook(watch(reader))
            # What goes wrong here does so for a reason that is searched for.
            with contextlib.suppress(Exception):
                rehearsal.outputs(model)
        return found

    def removed(self) -> dict[str, Tensor]:
        """LongTensor of the channels that are kept, by name, of units that lose some."""
        kept = {name: unit.kept().cpu() for name, unit in self.units.items()}
        return {n: keep for n, keep in kept.items() if len(keep) < self.units[n].num_channels}

    def finish_static(self, static: nn.Module) -> None:
        """Remove the channels that are not kept from a copy made of plain layers.

        Args:
            static: The architecture, dense, in place of each op the plain layer; changed in
                place.
        """
        gone = self.removed()
        narrow_layers(static, [(self.units[name].config, keep) for name, keep in gone.items()])
        self.add_rest(static, {self.last_layer(n): n for n in gone if self.units[n].partial}, gone)

    def last_layer(self, name: str) -> str:
        """The layer of a partial unit that puts out what is added: the norm, or the convolution."""
        return self.units[name].config.producers[-1].name

    def add_rest(self, static: nn.Module, partial: dict[str, str], gone: dict[str, Tensor]) -> None:
        """Let layers add the channels that are left to them into those of others, in place.

        Args:
            static: Narrowed already.
            partial: The unit, by name of the layer that puts out its channels.
            gone: What :meth:`removed` gave.
        """
        add_partially(
            static,
            {layer: gone[name] for layer, name in partial.items()},
            {layer: self.units[name].num_channels for layer, name in partial.items()},
        )


def keeps_zero(layer: nn.Module) -> bool:
    """Whether a channel that is zero comes out as zero, and no other takes its place.

    Norms add a bias, a shortcut that pads puts other channels there.
    """
    if isinstance(layer, nn.Conv2d):
        return layer.bias is None
    return isinstance(layer, nn.PReLU)
