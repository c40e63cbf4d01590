"""Estimates as sums of ratios of means: their values, their influence functions, the units they are redrawn by."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import DataError
from persuadable.value.estimate import Codes, Floats, influence_stderr
from persuadable.value.ope.intervals.bounds import Bounds
from persuadable.value.ope.terms import Terms, all_weights_zero

__all__ = ["Part", "Ratios", "by_unit", "place_of"]

# Share of the largest term that ψ has to reach to be more than what is lost in adding up.
ROUNDING = 1e-13


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One ratio of means, mean(numerator) / mean(denominator).

    Attributes:
        numerator: (n,) x.
        denominator: (n,) c; None where it is 1 in every row.
        width: how far apart x − θ·c can lie in two rows, for any one θ the ratio can be; None where not known.
    """

    numerator: Floats
    denominator: Floats | None = None
    width: float | None = None

    @property
    def value(self) -> float:
        """Σx / Σc."""
        if self.denominator is None:
            return float(self.numerator.mean())
        return float(self.numerator.sum() / self.denominator.sum())

    @property
    def scale(self) -> float:
        """Mean of c."""
        return 1.0 if self.denominator is None else float(self.denominator.mean())

    def residual(self, rows: slice = slice(None), value: float | None = None) -> Floats:
        """x − R·c of some rows, R the ratio; the sum over all rows is 0."""
        ratio = self.value if value is None else value
        if self.denominator is None:
            return np.asarray(self.numerator[rows] - ratio)
        return np.asarray(self.numerator[rows] - ratio * self.denominator[rows])

    def __mul__(self, factor: float) -> Part:
        width = None if self.width is None else abs(factor) * self.width
        return Part(factor * self.numerator, self.denominator, width)


@dataclass(frozen=True, slots=True, eq=False)
class Ratios:
    """A sum of ratios of means, V = Σ_j mean(x_j) / mean(c_j), with ψ = Σ_j (x_j − R_j c_j) / mean(c_j).

    IPS, DR and the like are one mean; SNIPS is one ratio; SNDR is a mean and a ratio; and so is every sum or difference
    of such estimates on the same rows. Parts that divide by the same array are one part.

    Attributes:
        parts: the ratios.
    """

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, terms: Terms | Ratios, bounds: Bounds | None = None) -> Ratios:
        """The ratios an estimator's terms stand for, with the widths that bounds imply where there are any.

        Raises:
            DataError: terms that are not finite, or lie outside the bounds.
            PropensityError: the estimator divides by weights that are all 0.
        """
        if isinstance(terms, Ratios):
            return terms
        ratios = cls(_parts(terms) if bounds is None else _bounded_parts(terms, bounds))
        for part in ratios.parts:
            _check(part)
        return ratios

    @property
    def n(self) -> int:
        """Number of rows or units."""
        return int(self.parts[0].numerator.shape[0])

    def value(self) -> float:
        """V = Σ_j mean(x_j) / mean(c_j)."""
        return sum(part.value for part in self.parts)

    def psi(self) -> Floats:
        """(n,) the influence function ψ = Σ_j (x_j − R_j c_j) / mean(c_j)."""
        first, *others = (part.residual() / part.scale for part in self.parts)
        return np.asarray(sum(others, first))

    def stderr(self) -> float:
        """√(Σψ² / (n(n − 1))), the standard error where rows are independent; 0 where ψ is only rounding.

        Infinite for a single unit, which tells nothing of how units vary.
        """
        if self.n < 2:
            return math.inf
        psi = self.psi()
        size = sum(float(np.abs(part.numerator).max()) / part.scale for part in self.parts)
        return influence_stderr(psi) if np.abs(psi).max() > ROUNDING * size else 0.0

    def by_unit(self, clusters: NDArray[Any] | None = None, weight: NDArray[Any] | None = None) -> Ratios:
        """The same estimate from weighted totals per cluster, which are independent; see ``by_unit``."""
        return by_unit([self], clusters, weight)[0]

    def __add__(self, other: Ratios) -> Ratios:
        parts = list(self.parts)
        for part in other.parts:
            below = place_of(part.denominator)
            same = next((i for i, ours in enumerate(parts) if place_of(ours.denominator) == below), None)
            if same is None:
                parts.append(part)
            else:
                parts[same] = _merged(parts[same], part)
        return Ratios(tuple(parts))

    def __mul__(self, factor: float) -> Ratios:
        return Ratios(tuple(part * factor for part in self.parts))

    def __sub__(self, other: Ratios) -> Ratios:
        return self + other * -1.0


def place_of(column: Floats | None) -> Hashable:
    """Where an array lies in memory: the same for two views of the same numbers, as long as both live."""
    if column is None:
        return None
    return column.__array_interface__["data"][0], column.shape, column.strides, column.dtype.str


def _merged(one: Part, other: Part) -> Part:
    width = None if one.width is None or other.width is None else one.width + other.width
    return Part(one.numerator + other.numerator, one.denominator, width)


def _parts(terms: Terms) -> tuple[Part, ...]:
    if terms.weight is not None:
        ratio = Part(terms.weighted, terms.weight)
        return (ratio,) if terms.direct is None else (Part(terms.direct), ratio)
    return (Part(terms.weighted if terms.direct is None else terms.direct + terms.weighted),)


def _bounded_parts(terms: Terms, bounds: Bounds) -> tuple[Part, ...]:
    """Parts with the widths that follow from the outcome's range and the largest weight."""
    bounds.check(terms)
    direct, both = bounds.direct_width, bounds.weighted_width(terms)
    if terms.weight is None:
        return tuple(Part(p.numerator, None, both if terms.direct is None else direct + both) for p in _parts(terms))
    ratio = Part(terms.weighted, terms.weight, both)
    return (ratio,) if terms.direct is None else (Part(terms.direct, None, direct), ratio)


def _check(part: Part) -> None:
    for column in (part.numerator, part.denominator):
        if column is not None and not np.isfinite(column.sum()):
            wrong = np.flatnonzero(~np.isfinite(column))
            raise DataError(
                "An estimator's terms are not finite, or so large that their sum is not",
                where=f"row {int(wrong[0])}" if wrong.size else None,
                remedy="Look for missing outcomes or predictions and for propensities near 0.",
            )
    if part.denominator is not None and part.denominator.sum() <= 0:
        raise all_weights_zero()


def by_unit(
    many: Sequence[Ratios], clusters: NDArray[Any] | None = None, weight: NDArray[Any] | None = None
) -> list[Ratios]:
    """Estimates from what each unit adds up to: x and c multiplied by row weights and summed over clusters.

    Values stay as they are, with weighted means; ψ becomes Σ_{i in cluster} weight_i ψ_i / mean, so that units count
    equally and are independent, and nothing after this needs to know of clusters or weights. A mean without denominator
    becomes a ratio to the unit's total weight. Arrays that several estimates share stay shared.

    Args:
        many: estimates on the same n rows.
        clusters: (n,) ids that repeat where rows belong together.
        weight: (n,) row weights.

    Raises:
        DataError: estimates, clusters or weights of different lengths, or weights that are negative or all 0.
    """
    n = many[0].n
    lengths = [r.n for r in many] + [len(a) for a in (clusters, weight) if a is not None]
    if len(set(lengths)) > 1:
        raise DataError(
            f"Terms, clusters and weights have {sorted(set(lengths))} rows",
            remedy="Pass one entry of each per row of the log.",
        )
    row_weight = None if weight is None else _row_weight(weight)
    if row_weight is None and clusters is None:
        return list(many)
    totals = _Totals(n, None if clusters is None else np.unique(clusters, return_inverse=True)[1], row_weight)
    return [Ratios(tuple(totals.part(part) for part in ratios.parts)) for ratios in many]


def _row_weight(weight: NDArray[Any]) -> Floats:
    found = np.asarray(weight, dtype=np.float64)
    if not (found >= 0).all() or not 0 < found.sum() < np.inf:
        raise DataError("Row weights are negative, missing or all 0", remedy="Pass finite weights of at least 0.")
    return found


class _Totals:
    """Sums over units, each array summed once however many estimates share it."""

    def __init__(self, n: int, codes: Codes | None, weight: Floats | None) -> None:
        self._codes, self._weight = codes, weight
        self._known: dict[Hashable, tuple[Floats, Floats]] = {}
        self.size = self.of(np.ones(n))

    def of(self, column: Floats) -> Floats:
        """(G,) Σ weight·column over each unit."""
        found = self._known.get(place_of(column))
        if found is None:
            weighted = column if self._weight is None else column * self._weight
            summed = weighted if self._codes is None else np.bincount(self._codes, weights=weighted)
            found = self._known[place_of(column)] = (column, np.asarray(summed, dtype=np.float64))
        return found[1]

    def part(self, part: Part) -> Part:
        """The part over units; as many rows as the heaviest unit has can differ by its width each."""
        width = None if part.width is None else part.width * float(self.size.max())
        return Part(
            self.of(part.numerator), self.size if part.denominator is None else self.of(part.denominator), width
        )
