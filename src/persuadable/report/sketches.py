"""Small static figures as SVG marks, for a page without scripts: intervals by name, bars by group, lines and bands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from persuadable.report.theme import INK, MUTED, PALETTE, RULE

__all__ = ["Line", "Mark", "Sketch", "bars", "forest", "lines"]

WIDTH = 460
LEFT, RIGHT, TOP, BOTTOM = 12, 14, 10, 40
Pairs = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Mark:
    """One SVG element; attribute names are ours, values and text are escaped by the template.

    Attributes:
        tag: "line", "rect", "circle", "path" or "text".
        attributes: name → value.
        text: what a "text" says.
    """

    tag: str
    attributes: dict[str, str]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of ``lines``, and the band about it.

    Attributes:
        x: (k,) positions.
        y: (k,) heights.
        lower, upper: (k,) ends of the band; None for none.
        colour: #rrggbb.
    """

    x: Sequence[float]
    y: Sequence[float]
    lower: Sequence[float] | None = None
    upper: Sequence[float] | None = None
    colour: str = PALETTE[0]


@dataclass(frozen=True, slots=True)
class Sketch:
    """A figure: its marks, and what it says to those who cannot see it.

    Attributes:
        title: the heading.
        reading: how to read it, a sentence.
        height: of the view box, whose width is 460.
        marks: what is drawn, in order.
        legend: (colour, name) pairs.
    """

    title: str
    reading: str
    height: int
    marks: tuple[Mark, ...]
    legend: tuple[tuple[str, str], ...] = field(default=())

    @property
    def width(self) -> int:
        """Width of the view box."""
        return WIDTH


def forest(
    rows: Sequence[tuple[str, float, float, float]], guide: float, *, title: str, reading: str, x: str, strong: int
) -> Sketch:
    """Named rows from top to bottom, a value with an interval each.

    Args:
        rows: (name, value, lower, upper).
        guide: where a vertical line stands.
        title, reading: of the sketch.
        x: title of the axis.
        strong: the row drawn in colour.
    """
    left = LEFT + max(7 * max(len(row[0]) for row in rows), 30)
    step, top = 26, TOP + 8
    bottom = top + step * len(rows)
    scale = _Scale.over([guide, *(end for row in rows for end in row[2:])], left + 6, WIDTH - RIGHT)
    marks = [*_ticks(scale, bottom, x), _rule(scale(guide), top - 6, scale(guide), bottom, MUTED, dash="4 3")]
    for place, (name, value, lower, upper) in enumerate(rows):
        y = top + step * (place + 0.5)
        colour = PALETTE[0] if place == strong else MUTED
        marks.append(_text(left - 6, y + 4, name, anchor="end", bold=place == strong))
        marks.append(_rule(scale(lower), y, scale(upper), y, colour, 2.5 if place == strong else 1.8))
        marks.append(Mark("circle", {"cx": _n(scale(value)), "cy": _n(y), "r": "4.5", "fill": colour}))
    return Sketch(title, reading, bottom + BOTTOM, tuple(marks))


def bars(
    labels: Sequence[str], groups: Sequence[tuple[str, Sequence[float]]], *, title: str, reading: str, x: str
) -> Sketch:
    """Rows from top to bottom with a bar for each group, lengths in shares.

    Args:
        labels: the rows.
        groups: (name, (k,) shares from 0 to 1).
        title, reading: of the sketch.
        x: title of the axis.
    """
    left = LEFT + 7 * max(map(len, labels))
    thick, gap, top = 7, 7, TOP
    step = thick * len(groups) + gap
    bottom = top + step * len(labels)
    scale = _Scale(0.0, max(max(shares) for _, shares in groups) * 1.02, left + 6, WIDTH - RIGHT)
    marks = list(_ticks(scale, bottom, x, percent=True))
    for row, label in enumerate(labels):
        y = top + step * row
        marks.append(_text(left - 6, y + (step - gap) / 2 + 4, label, anchor="end"))
        for place, (_, shares) in enumerate(groups):
            size = {"x": _n(scale(0.0)), "y": _n(y + thick * place)}
            length = _n(max(scale(shares[row]) - scale(0.0), 0.0))
            marks.append(
                Mark("rect", {**size, "width": length, "height": _n(thick - 1), "fill": _colour(place, len(groups))})
            )
    legend = tuple((_colour(place, len(groups)), name) for place, (name, _) in enumerate(groups))
    return Sketch(title, reading, bottom + BOTTOM, tuple(marks), legend)


def lines(
    drawn: Sequence[Line],
    *,
    title: str,
    reading: str,
    x: str,
    y: str,
    guide: float | None = None,
    at: tuple[float, str] | None = None,
    percent: bool = False,
) -> Sketch:
    """Lines over an axis, with their bands.

    Args:
        drawn: the lines.
        title, reading: of the sketch.
        x, y: titles of the axes.
        guide: where a horizontal line stands.
        at: (position, name) of a vertical line.
        percent: whether heights are shares from 0 to 1.
    """
    left, top, bottom = LEFT + 56, TOP + 16, 196
    ends = [value for one in drawn for part in (one.y, one.lower, one.upper) if part is not None for value in part]
    across = _Scale.over([value for one in drawn for value in one.x], left, WIDTH - RIGHT, room=0.0)
    up = (
        _Scale(0.0, 1.0, bottom, top)
        if percent
        else _Scale.over([*ends, *([] if guide is None else [guide])], bottom, top)
    )
    marks = list(_ticks(across, bottom, x))
    for value in up.ticks(5):
        marks.append(_rule(left, up(value), WIDTH - RIGHT, up(value), RULE))
        marks.append(_text(left - 6, up(value) + 4, up.told(value, 5, percent), anchor="end", colour=MUTED))
    marks.append(_text(LEFT - 8, top - 12, y, colour=MUTED))
    for one in drawn:
        if one.lower is not None and one.upper is not None:
            edge = [*zip(one.x, one.upper, strict=True), *reversed(list(zip(one.x, one.lower, strict=True)))]
            path = _path([(across(a), up(b)) for a, b in edge]) + " Z"
            marks.append(Mark("path", {"d": path, "fill": one.colour, "fill-opacity": "0.14"}))
        path = _path([(across(a), up(b)) for a, b in zip(one.x, one.y, strict=True)])
        marks.append(Mark("path", {"d": path, "fill": "none", "stroke": one.colour, "stroke-width": "2.2"}))
    if guide is not None:
        marks.append(_rule(left, up(guide), WIDTH - RIGHT, up(guide), INK, dash="4 3"))
    if at is not None:
        place, name = across(at[0]), at[1]
        marks.append(_rule(place, top, place, bottom, PALETTE[1], 1.6, dash="4 3"))
        late = place > (left + WIDTH) / 2
        high = bottom - 7 if percent else top + 10
        marks.append(
            _text(place + (-5 if late else 5), high, name, anchor="end" if late else "start", colour=PALETTE[1])
        )
    return Sketch(title, reading, bottom + BOTTOM, tuple(marks))


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to places along an axis."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, room: float = 0.06) -> _Scale:
        """One that holds all values with some room."""
        low, high = min(values), max(values)
        margin = room * (high - low) if high > low else max(abs(high), 1.0)
        return cls(low - margin, high + margin, start, end)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def step(self, most: int) -> float:
        """1, 2 or 5 times a power of ten, so that at most so many steps fit."""
        span = self.high - self.low
        power = 10.0 ** math.floor(math.log10(span / most))
        return next(power * m for m in (1, 2, 5, 10, 20) if span / (power * m) <= most)

    def ticks(self, most: int) -> list[float]:
        """Round values within the scale, a step apart."""
        step = self.step(most)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def told(self, value: float, most: int, percent: bool) -> str:
        """A tick's value, to as many decimals as the step has."""
        part = 100 if percent else 1
        decimals = max(0, -math.floor(math.log10(part * self.step(most)) + 1e-9))
        return f"{part * value:z,.{decimals}f}{'%' if percent else ''}".replace("-", "−")


def _ticks(scale: _Scale, bottom: float, title: str, *, percent: bool = False) -> Sequence[Mark]:
    """The axis beneath: a line, its ticks, their values and its title."""
    marks = [_rule(scale.start, bottom, scale.end, bottom, MUTED)]
    for value in scale.ticks(5):
        marks.append(_rule(scale(value), bottom, scale(value), bottom + 4, MUTED))
        marks.append(_text(scale(value), bottom + 17, scale.told(value, 5, percent), anchor="middle", colour=MUTED))
    marks.append(_text((scale.start + scale.end) / 2, bottom + 35, title, anchor="middle", colour=MUTED))
    return marks


def _colour(place: int, groups: int) -> str:
    """The last group, what was logged, in grey."""
    return MUTED if place == groups - 1 else PALETTE[place]


def _n(value: float) -> str:
    return f"{value:.1f}"


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.0, dash: str = "") -> Mark:
    told = {"x1": _n(x1), "y1": _n(y1), "x2": _n(x2), "y2": _n(y2), "stroke": colour, "stroke-width": _n(width)}
    return Mark("line", told | ({"stroke-dasharray": dash} if dash else {}))


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = INK, bold: bool = False) -> Mark:
    told = {"x": _n(x), "y": _n(y), "text-anchor": anchor, "fill": colour}
    return Mark("text", told | ({"font-weight": "600"} if bold else {}), text)


def _path(points: Pairs) -> str:
    return " ".join(f"{'M' if k == 0 else 'L'}{_n(x)} {_n(y)}" for k, (x, y) in enumerate(points))
