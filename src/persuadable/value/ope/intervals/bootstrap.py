"""The studentised bootstrap of many estimates at once: numerators and denominators are redrawn together.

Each replicate gives unit u a Poisson(1) weight W_u (Hanley and MacGibbon 2006; Chamandy et al. 2012), the same for
every estimate, and needs of the rows only weighted sums of the estimates' columns and of their products. So replicates
are one product of the matrix of W with the matrix of columns, block by block, in memory that does not grow with the
log. Keeping the denominator of a self-normalised estimate fixed, as a bootstrap of finished scores does, would give
SNIPS the wrong width.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ParameterError
from persuadable.value.estimate import Floats
from persuadable.value.ope.intervals.influence import Part, Ratios, place_of
from persuadable.value.ope.products import product

__all__ = ["Replicates", "replicates"]

ROWS, DRAWS = 8192, 32
# Relative rounding below which a replicate's variance is 0: all its rows are alike.
ALIKE = 1e-12
# How many of 65,536 are 0, 1, … 8: Poisson(1) to 1e-4, moved by at most 4 so that mean and variance are 1 exactly.
POISSON = np.repeat(np.arange(9.0), [24107, 24113, 12055, 4017, 1004, 201, 33, 5, 1])


@dataclass(frozen=True, slots=True, eq=False)
class Replicates:
    """What one estimate does when its units are redrawn.

    Attributes:
        value: the estimate V.
        stderr: its standard error.
        deviation: (B,) V* − V; NaN where a replicate drew nothing to divide by.
        t: (B,) (V* − V) / stderr*, its stderr computed from the replicate itself; infinite where the replicate's units
            are all alike and elsewhere than V; 0 where all units are.
    """

    value: float
    stderr: float
    deviation: Floats
    t: Floats

    def interval(self, alpha: float) -> tuple[float, float]:
        """(V − t*_{1−α/2}·stderr, V − t*_{α/2}·stderr), the studentised or percentile-t interval (Hall 1988).

        An end is infinite where more than a share α/2 of the replicates cannot be studentised: too few rows count.
        """
        rank = _rank(self.t.shape[0], alpha / 2)
        lost = np.isnan(self.t)
        low = np.sort(np.where(lost, -math.inf, self.t))[rank - 1]
        high = np.sort(np.where(lost, math.inf, self.t))[-rank]
        if self.stderr == 0:
            return self.value, self.value
        if math.isinf(self.stderr):
            return -math.inf, math.inf
        return float(self.value - high * self.stderr), float(self.value - low * self.stderr)

    def symmetric_quantile(self, alpha: float) -> float:
        """The |t| that a share α of replicates lies above."""
        size = np.sort(np.where(np.isnan(self.t), math.inf, np.abs(self.t)))
        return float(size[-_rank(size.shape[0], alpha)])


def _rank(n: int, tail: float) -> int:
    """Which of n ordered draws, counted from the end, leaves the tail beyond it: ⌊(n + 1)·tail⌋."""
    rank = math.floor((n + 1) * tail + 1e-9)
    if rank < 1:
        raise ParameterError(
            f"n_resamples is {n}, too few to have a share {tail:g} of them beyond an interval's end",
            remedy=f"Pass n_resamples={math.ceil(1 / tail) - 1} or more.",
        )
    return rank


def replicates(many: Sequence[Ratios], n_resamples: int, rng: np.random.Generator) -> list[Replicates]:
    """Studentised replicates of each estimate, all from the same redrawn units.

    Args:
        many: estimates over the same independent units; see ``by_unit``.
        n_resamples: number of replicates B.
        rng: draws them.

    Raises:
        ParameterError: no replicates asked for.
    """
    if n_resamples < 1:
        raise ParameterError(f"n_resamples is {n_resamples}", remedy="Pass 39 or more for a 95% interval, better 999.")
    columns = _Columns(many)
    sums = np.zeros((n_resamples, len(columns.pairs)))
    for rows in _blocks(columns.n, ROWS):
        products = columns.products(rows)
        for draws in _blocks(n_resamples, DRAWS):
            sums[draws] += product(_weights(draws.stop - draws.start, products.shape[1], rng), products)
    return [columns.studentised(ratios, sums) for ratios in many]


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _weights(draws: int, rows: int, rng: np.random.Generator) -> Floats:
    """(draws, rows) Poisson(1) weights, sixteen random bits each."""
    words = rng.integers(0, 2**64, size=-(-draws * rows // 4), dtype=np.uint64)
    bits: NDArray[np.uint16] = words.view(np.uint16)[: draws * rows]
    return np.take(POISSON, bits.reshape(draws, rows), mode="clip")


class _Columns:
    """The distinct columns of many estimates, and which of their products have to be summed.

    Column 0 is 1, so that the product with it is the column itself. Numerators enter as x − R·c, which sum to 0 over
    all units: V* − V is then Σ_j S(x_j − R_j c_j) / S(c_j), without cancellation, S being the replicate's sum.
    """

    def __init__(self, many: Sequence[Ratios]) -> None:
        self.n = many[0].n
        self.pairs: dict[tuple[int, int], int] = {}
        self._columns: list[tuple[Part, float] | Floats] = []
        self._places: dict[Hashable, int] = {}
        for ratios in many:
            own = sorted({place for part in ratios.parts for place in self._register(part)})
            for i, left in enumerate(own):
                for right in own[i:]:
                    self.pairs.setdefault((left, right), len(self.pairs))
                self.pairs.setdefault((0, left), len(self.pairs))

    def _register(self, part: Part) -> tuple[int, int]:
        """Give a part's centred numerator and its denominator a place among the columns, where they have none yet."""
        if id(part) not in self._places:
            self._columns.append((part, part.value))
            self._places[id(part)] = len(self._columns)
        below = place_of(part.denominator)
        if part.denominator is not None and below not in self._places:
            self._columns.append(part.denominator)
            self._places[below] = len(self._columns)
        return self._places_of(part)

    def _places_of(self, part: Part) -> tuple[int, int]:
        """Where a part's centred numerator and its denominator stand among the columns."""
        return self._places[id(part)], 0 if part.denominator is None else self._places[place_of(part.denominator)]

    def products(self, rows: slice) -> Floats:
        """(pairs, rows) every product that is summed."""
        found = np.ones((len(self._columns) + 1, rows.stop - rows.start))
        for place, column in enumerate(self._columns, start=1):
            found[place] = column[0].residual(rows, column[1]) if isinstance(column, tuple) else column[rows]
        left, right = np.array(list(self.pairs)).T
        return np.asarray(found[left] * found[right])

    def studentised(self, ratios: Ratios, sums: Floats) -> Replicates:
        """V* − V and its studentised form, from the replicates' sums (B, pairs).

        The replicate's ψ*_u is Σ_j ((x_j − R_j c_j)_u − δ_j c_ju) / S(c_j) with δ_j = S(x_j − R_j c_j) / S(c_j), a
        combination of the columns; its square summed over the units is the variance of V* − V = Σ_j δ_j.
        """
        factors: dict[int, Floats] = {}
        deviation = np.zeros(sums.shape[0])
        value, stderr = ratios.value(), ratios.stderr()
        with np.errstate(divide="ignore", invalid="ignore"):
            for part in ratios.parts:
                numerator, denominator = self._places_of(part)
                total = sums[:, self.pairs[0, denominator]]
                delta = np.where(total > 0, sums[:, self.pairs[0, numerator]] / total, math.nan)
                deviation += delta
                factors[numerator] = 1 / total
                factors[denominator] = factors.get(denominator, 0.0) - delta / total
            t = deviation / self._spread(factors, sums) if stderr > 0 else np.zeros_like(deviation)
        return Replicates(value, stderr, deviation, t)

    def _spread(self, factors: dict[int, Floats], sums: Floats) -> Floats:
        """(B,) √(n/(n − 1)·Σ W ψ*²), 0 where it is only rounding."""
        places = sorted(factors)
        variance, size = np.zeros(sums.shape[0]), np.zeros(sums.shape[0])
        for i, left in enumerate(places):
            for right in places[i:]:
                term = factors[left] * factors[right] * sums[:, self.pairs[left, right]] * (1 if left == right else 2)
                variance += term
                size += np.abs(term)
        real = np.where(variance > ALIKE * size, variance, 0.0)
        return np.sqrt(real * (self.n / max(self.n - 1, 1)))
