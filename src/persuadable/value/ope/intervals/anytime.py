"""Confidence sequences: intervals that may be looked at after every round, and hold at all looks together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from persuadable.design.sequential import always_valid_quantile
from persuadable.errors import ParameterError, PropensityError
from persuadable.value.estimate import Floats
from persuadable.value.ope.intervals.influence import Ratios
from persuadable.value.ope.terms import Terms

__all__ = ["BEST_AT", "ConfidenceSequence", "anytime_interval", "confidence_sequence"]

# Within a third of the narrowest possible between 1,000 and 10,000,000 units.
BEST_AT = 10_000


def anytime_interval(
    value: float, stderr: float, units: int, alpha: float, best_at: float = BEST_AT
) -> tuple[float, float]:
    """The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024) after t units.

    V ± σ̂·√(2(tρ² + 1)/(t²ρ²) · ln(√(tρ² + 1)/α)), σ̂ = stderr·√t, with the ρ that makes it narrowest after
    ``best_at`` units: ρ² = (−W₋₁(−α²/e) − 1) / best_at. It holds at all looks together once the first is late enough
    for the central limit theorem; ``best_at`` has to be chosen before the first look and kept.

    Args:
        value, stderr: the estimate after t units.
        units: t, rows or clusters that are independent.
        alpha: probability that any look misses.
        best_at: at how many units it is narrowest.
    """
    half = always_valid_quantile(units, best_at=best_at, alpha=alpha) * stderr
    return value - half, value + half


@dataclass(frozen=True, slots=True, eq=False)
class ConfidenceSequence:
    """An estimate as it stood at several looks, with intervals that hold at all of them together.

    Attributes:
        units: (k,) units seen at each look.
        value: (k,) the estimate from these.
        lower: (k,) lower ends.
        upper: (k,) upper ends.
    """

    units: np.ndarray[tuple[int], np.dtype[np.intp]]
    value: Floats
    lower: Floats
    upper: Floats


def confidence_sequence(
    terms: Terms | Ratios, looks: Sequence[int], *, alpha: float = 0.05, best_at: float = BEST_AT
) -> ConfidenceSequence:
    """The estimate after the first t rows for every t of ``looks``, in one pass; see ``anytime_interval``.

    Args:
        terms: rows in the order they arrived; for clusters their totals in the order they were complete, ``by_unit``.
        looks: numbers of rows seen, each at least 2.
        alpha: probability that any look misses.
        best_at: at how many rows it is narrowest; fixed before the first look.

    Raises:
        ParameterError: a look at fewer than 2 rows or more than there are.
        PropensityError: an estimator divides by weights that are all 0 until a look.
    """
    ratios, seen = Ratios.of(terms), np.asarray(looks, dtype=np.intp)
    if not seen.size or seen.min() < 2 or seen.max() > ratios.n:
        raise ParameterError(f"looks are {list(looks)[:5]}", remedy=f"Pass numbers of rows from 2 to {ratios.n}.")
    value, variance = _running(ratios, seen)
    quantile = np.array([always_valid_quantile(float(t), best_at=best_at, alpha=alpha) for t in seen])
    half = quantile * np.sqrt(variance / (seen - 1))
    return ConfidenceSequence(seen, value, value - half, value + half)


def _running(ratios: Ratios, seen: np.ndarray[tuple[int], np.dtype[np.intp]]) -> tuple[Floats, Floats]:
    """(k,) value and mean ψ² of the first t rows, ψ around the value they give.

    With z the centred numerators x_j − R_j c_j (R_j of all rows) and the denominators, ψ of the first t rows is a
    combination a_t of z, and its mean square a_tᵀ M_t a_t with M_t the running mean of z zᵀ.
    """
    parts = ratios.parts
    columns = np.stack(
        [part.residual() for part in parts]
        + [np.ones(ratios.n) if part.denominator is None else part.denominator for part in parts]
    )
    at = seen - 1
    means = columns.cumsum(axis=1)[:, at] / seen
    centred, scale = means[: len(parts)], means[len(parts) :]
    if (empty := (scale <= 0).any(axis=0)).any():
        raise PropensityError(
            "All weights are 0 up to a look, so there is nothing to normalise",
            where=f"the look at {int(seen[empty][0]):,} rows",
            remedy="Look later, or at an estimator that does not normalise.",
        )
    delta = centred / scale
    factors = np.concatenate([1 / scale, -delta / scale])
    square = np.zeros(seen.shape[0])
    for i, left in enumerate(columns):
        for j, right in enumerate(columns):
            square += factors[i] * factors[j] * (left * right).cumsum()[at] / seen
    return sum(part.value for part in parts) + delta.sum(axis=0), np.maximum(square, 0.0)
