"""What a compression is going to give, told before training: a few lines for the log."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from mmcompress.core.base.algorithm import INNER, CompressionAlgorithm
from mmcompress.core.base.op import Op
from mmcompress.core.export.static import to_static
from mmcompress.core.layers.narrow import is_narrowable
from mmcompress.core.probe.example import Example, Images

from .complexity import macs_of_layers
from .models import in_a_mode

#: Bytes of a stored number.
FLOAT = 4
#: Names of this file's costs in the log, with how they are written.
UNITS = (('parameters', 'M', 1e6), ('MACs', 'M', 1e6), ('file', 'MB', 1e6 / FLOAT))


@dataclass(frozen=True)
class Plan:
    """Figures of the whole model, dense and compact.

    Attributes:
        units: Units that the method compresses.
        found: Those that were found.
        reasons: Why the others stay dense, with how many.
        macs_left: Share of the dense MACs in layers that stay as they are.
        dense: ``params``, ``macs`` and ``stored``, the numbers that a file holds.
        compact: As well.
        shape: ``(C, H, W)`` of the image that MACs are counted with.
    """

    units: int
    found: int
    reasons: dict[str, int]
    macs_left: float
    dense: dict[str, int]
    compact: dict[str, int]
    shape: tuple[int, ...]

    def lines(self, following: str = '') -> list[str]:
        """The plan in words.

        Args:
            following: The command that comes next.
        """
        lines = [f'{self.units} of {self.found} units are compressed']
        if self.reasons:
            told = [f'{why} ({many})' for why, many in list(self.reasons.items())[:3]]
            more = len(self.reasons) - len(told)
            told += [f'{more} other reasons'] if more > 0 else []
            lines[0] += f'; the others stay dense: {"; ".join(told)}'
        size = 'x'.join(map(str, self.shape))
        lines.append(f'{self.macs_left:.0%} of the MACs are in layers that stay as they are')
        pairs = [
            f'{name} {self.dense[key] / unit:,.2f} -> {self.compact[key] / unit:,.2f} {suffix} '
            f'({self.compact[key] / max(self.dense[key], 1):.0%})'
            for key, (name, suffix, unit) in zip(('params', 'macs', 'stored'), UNITS, strict=True)
        ]
        lines.append(f'whole model at {size}: {", ".join(pairs)}')
        return [*lines, f'next: {following}'] if following else lines

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def plan_of(algorithm: CompressionAlgorithm, dense: nn.Module, shape: Images) -> Plan:
    """Count what an algorithm is going to give.

    Args:
        algorithm: Built, not trained.
        dense: The dense architecture.
        shape: ``(C, H, W)`` of an image, or inputs.

    Raises:
        CompressionError: If a model doesn't run on such an image.
    """
    static = to_static(algorithm)
    stored = algorithm.counted()
    macs = in_a_mode(dense, shape, lambda mode: macs_of_layers(dense, shape, mode))
    compact = in_a_mode(static, shape, lambda mode: macs_of_layers(static, shape, mode))
    modules = dict(static.named_modules())
    ops = {name.removeprefix(INNER) for name, m in algorithm.named_modules() if isinstance(m, Op)}
    same = sum(
        macs['layers'][name]
        for name, layer in dense.named_modules()
        if is_narrowable(layer) and name not in ops and _shape(layer) == _shape(modules.get(name))
    )
    mutator: Any = algorithm.mutator
    rejected = getattr(getattr(mutator, 'analysis', None), 'rejected', {})
    why_dense = {**rejected, **mutator.refused}
    reasons = Counter(_kind(why, modules) for why in why_dense.values())
    params = _size(dense), _size(static)
    return Plan(
        units=len(mutator.units),
        found=len(mutator.units) + sum(reasons.values()),
        reasons=dict(reasons.most_common()),
        macs_left=same / max(macs['total'], 1),
        dense=dict(params=params[0], macs=macs['total'], stored=params[0]),
        compact=dict(
            params=params[1],
            macs=compact['total'],
            stored=params[1] if stored is None else _size(stored),
        ),
        shape=tuple(shape.shape if isinstance(shape, Example) else shape),
    )


def _kind(why: str, modules: dict[str, nn.Module]) -> str:
    """What a reason has in common with others of its kind: all but names and numbers."""
    words = why.split(':')[0].split(' (')[0].split(' ')
    named = [('.' in word) and word.rstrip(',') in modules for word in words]
    return ' '.join(
        f'a layer{"," * word.endswith(",")}' if is_name else word
        for word, is_name in zip(words, named, strict=True)
    )


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _shape(layer: Any) -> Any:
    weight = getattr(layer, 'weight', None)
    return None if weight is None else (type(layer), tuple(weight.shape))
