"""The convolutions of a model in the tree of its modules: their blocks, and their stages.

Nothing here knows the class of a backbone: a block is read off the tree, a stage off the tree and
the sizes of feature maps in the model's own forward pass.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import nn

from mmcompress.core.layers.narrow import is_convolution
from mmcompress.core.probe.example import Demo
from mmcompress.core.probe.shapes import shapes_in

#: Sizes of the feature maps that a module takes or gives: one, unless it runs on several.
Sizes = frozenset[tuple[int, ...]]
#: What gates (squeeze and excitation) work on: one value a channel.
POOLED: Sizes = frozenset({(1, 1)})


class ConvTree:
    """The part of a model's module tree that holds convolutions.

    Args:
        convs: Names of the convolutions, in the order of the model's modules.
    """

    def __init__(self, convs: Iterable[str]) -> None:
        self._inside: dict[str, list[str]] = {}
        parts: dict[str, dict[str, None]] = defaultdict(dict)
        for conv in convs:
            name = conv
            self._inside[conv] = [conv]
            while name:
                parent = name.rpartition('.')[0]
                parts[parent][name] = None
                self._inside.setdefault(parent, []).append(conv)
                name = parent
        self._parts = {name: list(children) for name, children in parts.items()}

    def parts(self, name: str) -> list[str]:
        """The children of a module that are convolutions, or hold some; in order."""
        return self._parts.get(name, [])

    def inside(self, name: str) -> list[str]:
        """The convolutions of a module; a convolution is its own."""
        return self._inside.get(name, [])

    def block_of(self, conv: str) -> str:
        """The smallest module around a convolution that holds at least two; ``''`` is the model."""
        name = conv.rpartition('.')[0]
        while name and len(self.inside(name)) < 2:
            name = name.rpartition('.')[0]
        return name


def convolutions_of(model: nn.Module) -> dict[str, nn.Module]:
    """The convolutions of a model by name, in order.

    What stands inside of one is part of it, such as the offsets of a deformable convolution.
    """
    found: dict[str, nn.Module] = {}
    outer = '.'
    for name, module in model.named_modules():
        if name and is_convolution(module) and not name.startswith(outer):
            found[name] = module
            outer = f'{name}.'
    return found


def stages_of_convolutions(
    model: nn.Module, tree: ConvTree, outermost: str, input_shape: Demo = None
) -> dict[str, str]:
    """The stage of each convolution that the model's own forward pass runs.

    Args:
        model: Any architecture; left as it is.
        tree: Its convolutions.
        outermost: The module that holds all stages one is interested in.
        input_shape: ``(N, C, H, W)`` of the demo batch; ``None`` finds one.

    Returns:
        Name of the stage by name of the convolution, see :func:`stages_by_size`.

    Raises:
        CompressionError: If no forward pass can be run.
    """
    taken, given = _sizes(model, tree, input_shape)
    run = ConvTree(conv for conv in tree.inside('') if conv in given)
    return stages_by_size(run, taken, given, outermost)


def stages_by_size(
    tree: ConvTree, taken: Mapping[str, Sizes], given: Mapping[str, Sizes], outermost: str = ''
) -> dict[str, str]:
    """Group convolutions by the size of the feature maps that come out.

    A stage is a largest subtree that gives one size. What is left stands in modules that span
    several sizes, each alone: there, neighbours with the same size are one stage
    (``features.3-4``).

    A block that makes maps smaller gives the size of its output, although it may begin with
    convolutions that still have the size of its input (the first one of a bottleneck). Gates, which
    look at pooled maps, don't count, and have no stage.

    Args:
        tree: Convolutions that are run.
        taken: Sizes of the input, by name of the module.
        given: Sizes of the output, by name of the module; of every convolution at least.
        outermost: A module that is no such block, nor any around it.

    Returns:
        Name of the stage by name of the convolution, in the order of the tree.
    """

    def alone(name: str) -> bool:
        convs = tree.inside(name)
        return len(convs) == 1 or sum(given[conv] != POOLED for conv in convs) == 1

    def size_of(name: str) -> Sizes | None:
        """What a subtree gives; ``None`` where that is several sizes."""
        if not tree.parts(name):
            return given[name]
        out = given.get(name)
        sizes = {part: size_of(part) for part in tree.parts(name)}
        if out is not None and out != POOLED:
            sizes = {part: size for part, size in sizes.items() if size != POOLED} or sizes
        found = set(sizes.values())
        if len(found) == 1:
            return found.pop()
        around = f'{outermost}.'.startswith(f'{name}.')
        if around or out is None or name not in taken or found != {taken[name], out}:
            return None
        first = [part for part, size in sizes.items() if size != out]
        return out if all(map(alone, first)) else None

    def stages(name: str) -> Iterator[tuple[list[str], Sizes]]:
        """Parts that make up a stage, and the size they give."""
        run: list[str] = []
        sizes: Any = None
        for part in tree.parts(name):
            size = size_of(part)
            if run and not (alone(part) and size == sizes):
                yield run, sizes
                run = []
            if size is None:
                yield from stages(part)
            elif alone(part):
                run.append(part)
                sizes = size
            else:
                yield [part], size
        if run:
            yield run, sizes

    found: dict[str, str] = {}
    for run, size in stages(''):
        last = run[-1].rpartition('.')[2]
        stage = run[0] if len(run) == 1 else f'{run[0]}-{last}'
        for conv in (conv for part in run for conv in tree.inside(part)):
            if size == POOLED or given[conv] != POOLED:
                found[conv] = stage
    return {conv: found[conv] for conv in tree.inside('') if conv in found}


def common_module(names: Iterable[str]) -> str:
    """The smallest module around all of some modules; ``''`` is the model."""
    counts: Counter[str] = Counter()
    total = 0
    for name in names:
        total += 1
        steps = name.split('.')
        counts.update('.'.join(steps[:length]) for length in range(1, len(steps)))
    return max((name for name, count in counts.items() if count == total), key=len, default='')


def _sizes(
    model: nn.Module, tree: ConvTree, input_shape: Demo
) -> tuple[dict[str, Sizes], dict[str, Sizes]]:
    """Sizes of what modules with convolutions take and give in the model's forward pass."""
    taken: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    given: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    names = [name for name, _ in model.named_modules() if name and tree.inside(name)]
    for name, pairs in shapes_in(model, names, input_shape).items():
        for table, shapes in zip((taken, given), zip(*pairs, strict=True), strict=True):
            sizes = {tuple(shape[2:]) for shape in shapes if shape is not None and len(shape) > 2}
            table[name] |= sizes
    return (
        {name: frozenset(sizes) for name, sizes in taken.items() if sizes},
        {name: frozenset(sizes) for name, sizes in given.items() if sizes},
    )
