"""Times of layers by their widths, and the file that keeps them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmcompress.core.checks import is_number
from mmcompress.core.errors import CompressionError

from .time_layers import FIXED, SCHEMA, Clock, head

#: A layer without its widths, as ``time_layers`` describes it.
Layer = dict[str, Any]
Point = tuple[int, int]
#: Layers with their channels.
Timed = list[tuple[Layer, Point]]


def key_of(layer: Mapping[str, Any]) -> str:
    """What tells a layer from others of other shapes."""
    return json.dumps([layer[name] for name in FIXED])


@dataclass(frozen=True)
class Grid:
    """Widths at which a layer is timed.

    Attributes:
        layer: The layer.
        ins: Input channels, ascending.
        outs: Output channels; of a depthwise layer the same.
        checks: Pairs beside the grid, to see how far interpolation is off.
    """

    layer: Layer
    ins: list[int]
    outs: list[int]
    checks: tuple[Point, ...] = ()

    @property
    def points(self) -> list[Point]:
        """All pairs to time."""
        if self.layer['depthwise']:
            return [*((out, out) for out in self.outs), *self.checks]
        return [*((i, o) for i in self.ins for o in self.outs), *self.checks]


def grids_at(works: Iterable[Timed]) -> list[Grid]:
    """What to time of layers whose channels are known: single points, each once."""
    points: dict[str, tuple[Layer, set[Point]]] = {}
    for work in works:
        for layer, pair in work:
            points.setdefault(key_of(layer), (layer, set()))[1].add(pair)
    return [Grid(layer, [], [], tuple(sorted(pairs))) for layer, pairs in points.values()]


class TimeTable:
    """Milliseconds of layers at measured widths, and in between by interpolation.

    Args:
        runtime: One of :data:`~mmcompress.latency.time_layers.RUNTIMES`.
        threads: CPU threads.
        path: A file to keep what is measured in, and to begin with; ``None`` keeps nothing.
        given: Whether the file is a user's, of whatever machine: nothing is measured then.

    Attributes:
        points: ``{(in, out): milliseconds}`` by :func:`key_of` of the layer.
        head: What the file says besides: machine, version and the like.

    Raises:
        CompressionError: If the file is none, or of another runtime or number of threads.
    """

    def __init__(
        self, runtime: str, threads: int, path: str | Path | None = None, given: bool = False
    ) -> None:
        self.runtime, self.threads = runtime, threads
        self.path = None if path is None else Path(path)
        self.given = given
        self._clock: Clock | None = None
        self._grids: dict[str, tuple[list[int], list[int]]] = {}
        self.points: dict[str, dict[Point, float]] = {}
        self.head: dict[str, Any] = {} if given else head(runtime, threads)
        if self.path is not None and (given or self.path.is_file()):
            self._read(self.path)

    def measure(self, grids: Iterable[Grid], advance: Callable[[], None] = lambda: None) -> int:
        """Time what the table lacks of some grids, and keep it.

        Args:
            grids: Of widths; a table that a user gives keeps its own, if it is wide enough.
            advance: Called after each point.

        Returns:
            How many points were timed.

        Raises:
            CompressionError: If the table is a user's and lacks some.
        """
        timed = 0
        for grid in grids:
            key = key_of(grid.layer)
            found = self.points.setdefault(key, {})
            if self.given:
                self._grids[key] = self._own_grid(grid)
                continue
            self._grids[key] = (grid.ins, grid.outs)
            lacking = dict.fromkeys(pair for pair in grid.points if pair not in found)
            for _ in range(len(grid.points) - len(lacking)):
                advance()
            for ins, outs, ms in self._timed(grid.layer, lacking):
                found[ins, outs] = ms
                timed += 1
                advance()
        if timed and self.path is not None:
            self.save(self.path)
        return timed

    def _timed(self, layer: Layer, pairs: Iterable[Point]) -> Iterator[tuple[int, int, float]]:
        if self._clock is None:
            self._clock = Clock(self.runtime, self.threads, self.head.get('reference'))
            self.head['reference'] = self._clock.reference
        return self._clock.times(layer, pairs)

    def _own_grid(self, grid: Grid) -> tuple[list[int], list[int]]:
        """The grid of a user's table, if it reaches as far as the one that is asked for."""
        found = self.points[key_of(grid.layer)]
        asked = grid.points
        if grid.layer['depthwise']:
            ins = outs = sorted(pair[0] for pair in found)
        else:
            ins, outs = grid_of(found)
        for side, own in enumerate((ins, outs)):
            wanted = sorted(pair[side] for pair in asked)
            if not own or own[0] > wanted[0] or own[-1] < wanted[-1]:
                size = 'x'.join(map(str, grid.layer['size']))
                raise CompressionError(
                    f'table {str(self.path)!r} has not enough times of a {grid.layer["kind"]} at '
                    f'{size}: {wanted[0]} to {wanted[-1]} channels are asked for; write the shapes '
                    'with `mmcompress bench CONFIG --shapes FILE` and time them on that machine'
                )
        return ins, outs

    def time(self, layer: Layer, ins: Any, outs: Any) -> np.ndarray:
        """Milliseconds, linear between the points of the grid in either width.

        Args:
            layer: One that has been measured.
            ins: Input channels, of any shape.
            outs: Output channels, likewise; of a depthwise layer the same.
        """
        key = key_of(layer)
        return interpolated(self.points[key], *self._grids[key], ins, outs, layer['depthwise'])

    def at(self, layer: Layer, pair: Point) -> float:
        """Milliseconds at one point: measured, or of a user's table between its points."""
        found = self.points[key_of(layer)].get(pair)
        return float(self.time(layer, *pair)) if found is None else found

    def total(self, work: Timed) -> float:
        """Milliseconds of some layers together, see :meth:`at`."""
        return sum(self.at(layer, pair) for layer, pair in work)

    def errors(self, grids: Iterable[Grid]) -> list[float]:
        """How far interpolation is off where it was checked, relative to what was measured."""
        return [
            float(self.time(grid.layer, *pair)) / self.points[key_of(grid.layer)][pair] - 1
            for grid in grids
            for pair in grid.checks
            if pair in self.points[key_of(grid.layer)]
        ]

    def save(self, path: str | Path) -> None:
        """Write the table; see :func:`write_json`."""
        layers = [
            dict(
                zip(FIXED, json.loads(key), strict=True),
                points=[[*pair, ms] for pair, ms in sorted(points.items())],
            )
            for key, points in self.points.items()
        ]
        write_json(dict(self.head, layers=layers), Path(path))

    def _read(self, path: Path) -> None:
        key = f'table {str(path)!r}'
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            schema = content['schema']
            if schema != SCHEMA:
                raise CompressionError(f'{key} has the schema {schema!r}; it has to be {SCHEMA!r}')
            for name, own in (('runtime', self.runtime), ('threads', self.threads)):
                if content[name] != own:
                    raise CompressionError(
                        f'{key} is of {name} {content[name]!r}, and the budget of {own!r}; they '
                        'have to be the same'
                    )
            for layer in content['layers']:
                points = self.points.setdefault(key_of(layer), {})
                for ins, outs, ms in layer['points']:
                    if not (is_number(ms) and 0 < ms < math.inf):
                        raise CompressionError(
                            f'{key} has a time of {ms!r} milliseconds; it has to be above 0'
                        )
                    points[int(ins), int(outs)] = float(ms)
            self.head = {name: part for name, part in content.items() if name != 'layers'}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, CompressionError):
                raise
            raise CompressionError(
                f'{key} is no table of times ({type(error).__name__}: {error}); make one with '
                '`mmcompress bench CONFIG --table FILE`'
            ) from None


def interpolated(
    points: Mapping[Point, float],
    xs: Sequence[int],
    ys: Sequence[int],
    ins: Any,
    outs: Any,
    paired: bool = False,
) -> np.ndarray:
    """Linear between the points of a grid, in either width.

    Args:
        points: By input and output channels.
        xs: Input channels of the grid, ascending.
        ys: Output channels, likewise.
        ins: Input channels asked for, of any shape.
        outs: Output channels, likewise.
        paired: Whether both are always the same, as in a depthwise layer.

    Raises:
        CompressionError: If widths are outside of the grid.
    """
    ins, outs = np.broadcast_arrays(np.asarray(ins, float), np.asarray(outs, float))
    _inside(outs, ys)
    if paired:
        return np.interp(outs, ys, [points[y, y] for y in ys])
    _inside(ins, xs)
    values = np.array([[points[x, y] for y in ys] for x in xs])
    i, u = _between(ins, xs)
    j, v = _between(outs, ys)
    i1, j1 = np.minimum(i + 1, len(xs) - 1), np.minimum(j + 1, len(ys) - 1)
    low = values[i, j] * (1 - v) + values[i, j1] * v
    high = values[i1, j] * (1 - v) + values[i1, j1] * v
    found: np.ndarray = low * (1 - u) + high * u
    return found


def grid_of(points: Iterable[Point]) -> tuple[list[int], list[int]]:
    """The widths of which every pair is there; other points are there to check with."""
    pairs = set(points)
    xs, ys = ({pair[side] for pair in pairs} for side in (0, 1))
    # The one that lacks most goes first.
    while len(xs) * len(ys) > sum(x in xs and y in ys for x, y in pairs):
        gaps = {(0, x): sum((x, y) not in pairs for y in ys) / len(ys) for x in xs}
        gaps |= {(1, y): sum((x, y) not in pairs for x in xs) / len(xs) for y in ys}
        side, width = max(gaps, key=gaps.__getitem__)
        (xs, ys)[side].discard(width)
    return sorted(xs), sorted(ys)


def _between(values: np.ndarray, grid: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Index of the grid point below, and how far it is to the next."""
    if len(grid) == 1:
        return np.zeros(values.shape, int), np.zeros(values.shape)
    index = np.clip(np.searchsorted(grid, values, side='right') - 1, 0, len(grid) - 2)
    low, high = np.array(grid)[index], np.array(grid)[index + 1]
    return index, (values - low) / (high - low)


def _inside(values: np.ndarray, grid: Sequence[int]) -> None:
    if values.size and (values.min() < grid[0] - 1e-6 or values.max() > grid[-1] + 1e-6):
        raise CompressionError(
            f'a layer of {values.min():g} to {values.max():g} channels is outside of what was '
            f'timed, {grid[0]} to {grid[-1]}'
        )


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a file; under its name stands the whole one, or what stood there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f'.{path.name}.{os.getpid()}')
    aside.write_text(json.dumps(content, indent=1), encoding='utf-8')
    os.replace(aside, path)


# The files of this machine


def cache_folder() -> Path:
    """Where tables are kept: ``$MMCOMPRESS_CACHE``, or ``mmcompress`` in the user's cache."""
    given = os.environ.get('MMCOMPRESS_CACHE')
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(given) if given else Path(base) / 'mmcompress'


def cached(runtime: str, threads: int) -> TimeTable:
    """The table of this machine, of this version of the runtime and this number of threads."""
    own = head(runtime, threads)
    name = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]
    return TimeTable(runtime, threads, cache_folder() / f'{runtime}-{name}.json')


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Inside, no other process of this user measures: it would spoil both.

    Where there are no locks of files, as on Windows, nobody waits.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / 'lock', 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
