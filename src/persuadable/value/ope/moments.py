"""Means and products of columns over any number of rounds, and what they say of estimates and their errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from persuadable.errors import DataError
from persuadable.value.estimate import Floats
from persuadable.value.ope.columns import Layout, Places
from persuadable.value.ope.products import product
from persuadable.value.ope.terms import all_weights_zero

__all__ = ["Answers", "Moments", "answers", "require_finite"]


@dataclass(slots=True, eq=False)
class Moments:
    """How many rounds were seen, the mean of every column, and the sums of products around the means.

    Attributes:
        n: rounds.
        mean: (k,) means.
        scatter: (k, k) Σ (z − mean)(z − mean)ᵀ.
    """

    n: int
    mean: Floats
    scatter: Floats

    @classmethod
    def empty(cls, width: int) -> Moments:
        """Of no rounds yet."""
        return cls(0, np.zeros(width), np.zeros((width, width)))

    def add(self, columns: Floats) -> None:
        """Count in a block (k, m), which is centred in place (Chan, Golub and LeVeque 1979)."""
        count = columns.shape[1]
        mean = columns.mean(axis=1)
        columns -= mean[:, None]
        self.merge(Moments(count, mean, product(columns, columns)))

    def merge(self, other: Moments) -> None:
        """Count in other rounds."""
        total = self.n + other.n
        step = other.mean - self.mean
        self.scatter += other.scatter + np.outer(step, step) * (self.n * other.n / total)
        self.mean += step * (other.n / total)
        self.n = total

    def squares(self) -> Floats:
        """(k,) Σ z²."""
        return np.asarray(np.diagonal(self.scatter) + self.n * self.mean**2)


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Estimates and how they vary together.

    Attributes:
        values: (E,) estimates.
        covariance: (E, E) of their errors.
        ess: (E,) effective sample size of the weights each uses; None for differences.
        mean_weight: mean of π/π_b for each candidate that weights were asked of.
    """

    values: Floats
    covariance: Floats
    ess: Floats | None
    mean_weight: Mapping[int, float]

    def sizes(self) -> list[float]:
        """The effective sample sizes; none where they are not told."""
        return [] if self.ess is None else self.ess.tolist()

    def take(self, which: slice | Sequence[int]) -> Answers:
        """Some of the estimates."""
        ess = None if self.ess is None else self.ess[which]
        return Answers(self.values[which], self.covariance[which][:, which], ess, self.mean_weight)

    def differences(self) -> Answers:
        """The first half of the estimates less the second."""
        size = len(self.values) // 2
        ours, theirs = slice(0, size), slice(size, None)
        if np.isinf(self.covariance).any():  # a single unit: nothing is known of the errors of differences either
            covariance = np.full((size, size), math.inf)
        else:
            both = self.covariance[ours, theirs]
            covariance = self.covariance[ours, ours] + self.covariance[theirs, theirs] - both - both.T
        return Answers(self.values[ours] - self.values[theirs], covariance, None, {})


def answers(moments: Moments, layout: Layout, groups: Moments | None = None, centres: Sequence[float] = ()) -> Answers:
    """The estimates of a layout's questions.

    With L the gradient of the estimates in the sums of the columns, the covariance is Lᵀ S L · G/(G − 1) over the
    squared sum of the row weights, S the scatter of the columns over G rounds, or over G groups of rounds where units
    have several (Liang and Zeger 1986).

    Args:
        moments: of the rounds, row weights counted in.
        layout: the questions.
        groups: moments of the groups' sums of the columns.
        centres: for each outcome the number it was counted from; none for 0.

    Raises:
        PropensityError: an estimate that normalises its weights has none above 0.
        DataError: squares that are not finite.
    """
    places = [layout.places(question) for question in layout.questions]
    mean = moments.mean / moments.mean[layout.one]
    solved = [
        _solve(mean, place, layout.one, centres[q.outcome] if centres and q.predictions is None else 0.0)
        for q, place in zip(layout.questions, places, strict=True)
    ]
    gradient = np.stack([slope for _, slope in solved], axis=1)
    over = moments if groups is None else groups
    if over.n < 2:
        covariance = np.full((len(solved), len(solved)), math.inf)
    else:
        total = moments.n * moments.mean[layout.one]
        covariance = gradient.T @ over.scatter @ gradient * (over.n / (over.n - 1) / total**2)
        require_finite(covariance)
    return Answers(
        np.array([value for value, _ in solved]),
        np.asarray(covariance),
        _effective(moments, layout, places),
        {candidate: float(mean[place]) for candidate, place in layout.raw_weights.items()},
    )


def require_finite(covariance: Floats) -> None:
    """Refuse sums of squares that are no numbers any more.

    Raises:
        DataError: they are not.
    """
    if not np.isfinite(covariance).all():
        raise DataError(
            "Weights or outcomes are so large that their squares are not finite",
            remedy="Look for propensities near 0 that were never meant, or count the outcome in a larger unit.",
        )


def _solve(mean: Floats, at: Places, one: int, centre: float) -> tuple[float, Floats]:
    """An estimate V = d̄ + b̄/c̄ from means relative to the row weights, and ψ as a combination of the columns.

    Where the outcome was counted from a centre y₀, b is ρ(y − y₀) + y₀ρ: a normalised estimate moves by y₀, others by
    y₀ρ̄, whose error is that of ρ̄.
    """
    slope = np.zeros(mean.shape[0])
    value = 0.0
    if at.direct is not None:
        value = float(mean[at.direct])
        slope[at.direct] += 1.0
        slope[one] -= value
    if at.weighted is not None:
        below = one if at.weight is None else at.weight
        if mean[below] <= 0:
            raise all_weights_zero()
        ratio = float(mean[at.weighted] / mean[below])
        slope[at.weighted] += 1.0 / mean[below]
        slope[below] -= ratio / mean[below]
        value += ratio
        if at.weight is not None:
            value += centre
        elif centre and at.rho is not None:
            value += centre * float(mean[at.rho])
            slope[at.rho] += centre
            slope[one] -= centre * float(mean[at.rho])
    return value, slope


def _effective(moments: Moments, layout: Layout, places: Sequence[Places]) -> Floats:
    """(E,) (Σρ)²/Σρ² (Kish 1965); the rounds themselves where an estimate has no weights."""
    squares, sums = moments.squares(), moments.n * moments.mean
    at = [layout.one if place.rho is None else place.rho for place in places]
    return np.array([sums[k] ** 2 / squares[k] if squares[k] > 0 else 0.0 for k in at])
