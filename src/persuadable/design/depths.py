"""Which depths of an offer to try next: around the promising ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.special import ndtri

__all__ = ["Depth", "promising", "proposed"]

#: label, dose, effect and its standard error
Point = tuple[str, float, float, float]


@dataclass(frozen=True, slots=True)
class Depth:
    """A depth to try next.

    Attributes:
        dose: the depth.
        why: "apart" from those it was pooled with, "between" two depths, or "beyond" the end of the axis.
        beside: the promising action it is proposed for.
        rows: effective rows to log with it, beyond those there are; inf where the control is too thin for any number.
    """

    dose: float
    why: Literal["apart", "between", "beyond"]
    beside: str
    rows: float

    def __str__(self) -> str:
        place = {
            "apart": f"apart from what it is pooled with in {self.beside!r}",
            "between": f"between {self.beside!r} and its neighbour",
            "beyond": f"beyond {self.beside!r}",
        }[self.why]
        rows = "" if math.isinf(self.rows) else f"{math.ceil(self.rows * (1 - 1e-9)):,} effective rows"
        return f"{self.dose:g}, {place}: {rows or 'more of the control first'}"


def promising(points: Sequence[Point], alpha: float) -> list[int]:
    """Places of the points whose effect may be above 0 and may be the largest, the largest effect first.

    Neither the interval of the effect nor that of its difference to the largest says otherwise; the two are taken as
    independent, which they are not as they share the control, so that rather too many are promising than too few.
    """
    z = float(-ndtri(alpha / 2))
    best = max(points, key=lambda point: point[2])
    found = [
        i
        for i, (_, _, effect, stderr) in enumerate(points)
        if effect + z * stderr > 0 and best[2] - effect <= z * math.hypot(stderr, best[3])
    ]
    return sorted(found, key=lambda i: -points[i][2])


def proposed(
    points: Sequence[Point],
    best: Sequence[int],
    apart: Mapping[str, Sequence[tuple[str, float, float]]],
    needed: float,
    lower: float,
    upper: float,
) -> tuple[Depth, ...]:
    """Depths around the promising points, in their order.

    Args:
        points: along the axis.
        best: places of the promising ones.
        apart: label of a pool → its members: label, dose, effective rows they have.
        needed: effective rows a depth needs.
        lower, upper: bounds of the depths.
    """
    axis = sorted({0.0, *(dose for _, dose, _, _ in points)})  # doing nothing is depth 0
    found: dict[float, Depth] = {}

    def propose(dose: float, why: Literal["apart", "between", "beyond"], label: str, rows: float) -> None:
        if lower <= dose <= upper and rows > 0:
            found.setdefault(dose, Depth(dose, why, label, rows))

    for i in best:
        label, dose, _, _ = points[i]
        for _, own, has in apart.get(label, ()):
            propose(own, "apart", label, needed - has)
        at = axis.index(dose)
        left, right = (axis[j] if 0 <= j < len(axis) else None for j in (at - 1, at + 1))
        for neighbour, other in ((left, right), (right, left)):
            if neighbour is not None:
                propose((dose + neighbour) / 2, "between", label, needed)
            elif other is not None:
                propose(2 * dose - other, "beyond", label, needed)
    return tuple(found.values())
