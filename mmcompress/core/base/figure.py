"""What a report is to draw, as numbers: whoever draws it knows nothing of their origin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: How figures can be drawn, see :class:`Figure`.
KINDS = ('lines', 'points', 'bars', 'steps', 'image')


@dataclass
class Series:
    """Some numbers of a figure that belong together.

    Attributes:
        name: For the legend.
        x: Where they are; of ``bars`` the names of the bars, of ``steps`` the edges of bins, of an
            ``image`` its left and right end.
        y: What they are; of an ``image`` rows of numbers, the lowest first.
        low: Lower ends of intervals, if there are some.
        high: Upper ends.
        style: Number of its colour, mark and dashes; by default its place in the figure.
    """

    name: str
    x: list[Any]
    y: list[Any]
    low: list[float] | None = None
    high: list[float] | None = None
    style: int | None = None


@dataclass
class Figure:
    """A figure of a report.

    Attributes:
        name: Of its file, in lower case with hyphens.
        title: What it shows, in a few words.
        kind: ``'lines'``: a curve for each series. ``'points'``: a mark for each series, which has
            one point; see ``front``. ``'bars'``: horizontal ones, one below the other, as long as
            ``y``. ``'steps'``: a histogram. ``'image'``: numbers as shades; one series.
        x: Name of the horizontal axis.
        y: Name of the vertical axis, of an image that of the shades.
        series: What is drawn.
        note: How to read it, in a sentence or two.
        log: Whether the axis of ``y`` is logarithmic.
        ends: Of an image, the lower and the upper end of its vertical axis, by default row numbers.
        side: Of an image, the name of its vertical axis.
        front: Of points, those that no other point beats in both, as ``x`` and ``y``.
    """

    name: str
    title: str
    kind: str
    x: str
    y: str
    series: list[Series] = field(default_factory=list)
    note: str = ''
    log: bool = False
    ends: Sequence[float] | None = None
    side: str = ''
    front: Series | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f'kind is {self.kind!r}; it has to be one of {", ".join(KINDS)}')

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it; what is None or empty is left out."""
        return _filled(asdict(self))


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    filled = {}
    for key, value in values.items():
        if isinstance(value, dict):
            value = _filled(value)
        elif key == 'series':
            value = [_filled(series) for series in value]
        if value is not None and value is not False and value != '':
            filled[key] = value
    return filled
