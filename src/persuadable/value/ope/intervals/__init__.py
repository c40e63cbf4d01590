"""From an estimator's terms to an estimate with its interval, four ways.

- "normal": value ± z·stderr from the influence function. Right in large logs with moderate weights.
- "bootstrap": studentised, numerators and denominators redrawn together. Follows the skewness that large weights give.
- "bernstein": holds at any size if outcomes and weights are bounded as declared; wide.
- "anytime": may be looked at as often as one likes.

Clusters are redrawn, summed and counted as wholes in all four; row weights count in all four.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ParameterError
from persuadable.value.estimate import Estimate, normal_quantile
from persuadable.value.ope.intervals.anytime import (
    BEST_AT,
    ConfidenceSequence,
    anytime_interval,
    confidence_sequence,
)
from persuadable.value.ope.intervals.bernstein import bernstein_interval
from persuadable.value.ope.intervals.bootstrap import Replicates, replicates
from persuadable.value.ope.intervals.bounds import Bounds
from persuadable.value.ope.intervals.influence import Part, Ratios, by_unit
from persuadable.value.ope.terms import Terms

__all__ = [
    "Bounds",
    "ConfidenceSequence",
    "Kind",
    "Part",
    "Ratios",
    "Replicates",
    "anytime_interval",
    "bernstein_interval",
    "by_unit",
    "confidence_sequence",
    "interval_of",
    "intervals_of",
    "replicates",
]

Kind = Literal["normal", "bootstrap", "bernstein", "anytime"]
Seed = int | np.random.Generator | None


def interval_of(
    terms: Terms | Ratios,
    kind: Kind = "normal",
    *,
    alpha: float = 0.05,
    clusters: NDArray[Any] | None = None,
    weight: NDArray[Any] | None = None,
    bounds: Bounds | None = None,
    n_resamples: int = 999,
    best_at: float = BEST_AT,
    random_state: Seed = 0,
    ess: float | None = None,
    name: str = "",
    unit: str = "",
) -> Estimate:
    """The estimate that terms stand for, with an interval; ``intervals_of`` for one estimate.

    Args:
        ess, name, unit: told to the Estimate. The others: see ``intervals_of``.
    """
    found = intervals_of(
        {name: terms},
        kind,
        alpha=alpha,
        clusters=clusters,
        weight=weight,
        bounds=bounds,
        n_resamples=n_resamples,
        best_at=best_at,
        random_state=random_state,
        ess=None if ess is None else {name: ess},
    )[name]
    return replace(found, unit=unit)


def intervals_of(
    terms: Mapping[str, Terms | Ratios],
    kind: Kind = "normal",
    *,
    alpha: float = 0.05,
    clusters: NDArray[Any] | None = None,
    weight: NDArray[Any] | None = None,
    bounds: Bounds | None = None,
    n_resamples: int = 999,
    best_at: float = BEST_AT,
    random_state: Seed = 0,
    ess: Mapping[str, float] | None = None,
) -> dict[str, Estimate]:
    """The estimates that several estimators' terms stand for, or several outcomes', with intervals, in one pass.

    All standard errors are those of the influence functions; only the intervals differ by kind. Bootstrap replicates
    are the same for all, and those with an infinite end say that too few rows count for that estimator.

    Args:
        terms: name → terms, or differences of them (``Ratios``), all on the same n rows.
        kind: "normal", "bootstrap", "bernstein" or "anytime".
        alpha: probability an interval is meant to miss.
        clusters: (n,) ids that repeat where rows belong together.
        weight: (n,) row weights, on any scale.
        bounds: for "bernstein" what is possible of outcomes and weights.
        n_resamples: for "bootstrap" the number of replicates.
        best_at: for "anytime" at how many units (rows, or clusters) the interval is narrowest; fixed beforehand.
        random_state: for "bootstrap" the seed or Generator.
        ess: name → effective sample size, told to the Estimate.

    Returns:
        name → Estimate, in the order given.

    Raises:
        ParameterError: an unknown kind; "bernstein" without bounds, or bounds for another kind; too few replicates.
        DataError: terms of different lengths, not finite, or outside the bounds; bad row weights.
        PropensityError: an estimator divides by weights that are all 0.
    """
    for name, each in terms.items():
        if not isinstance(each, Terms | Ratios):
            raise ParameterError(
                f"{f'The terms of {name!r}' if name else 'terms'} are of type {type(each).__name__}",
                where="interval_of",
                remedy="Pass Terms, as value.ope.estimating.terms(log, probabilities) gives them by estimator.",
            )
    if kind not in get_args(Kind):
        raise ParameterError(f"interval is {kind!r}", remedy=f"Pass one of {list(get_args(Kind))}.")
    if bounds is not None and kind != "bernstein":
        raise ParameterError(f"bounds were passed with interval={kind!r}, which ignores them", remedy="Leave them out.")
    rows = [Ratios.of(each, bounds) for each in terms.values()]
    if not rows:
        return {}
    units = by_unit(rows, clusters, weight)
    intervals = _intervals(units, kind, alpha, n_resamples, best_at, random_state)
    return {
        name: Estimate(
            value,
            stderr,
            ends,
            alpha,
            rows[0].n,
            None if ess is None else ess.get(name),
            name,
            tested=kind == "normal" and isinstance(terms[name], Ratios),
        )
        for name, (value, stderr, ends) in zip(terms, intervals, strict=True)
    }


def _intervals(
    units: list[Ratios], kind: Kind, alpha: float, n_resamples: int, best_at: float, random_state: Seed
) -> list[tuple[float, float, tuple[float, float]]]:
    """(value, stderr, interval) of each estimate over independent units."""
    z = normal_quantile(alpha)
    if kind == "bootstrap":
        draws = replicates(units, n_resamples, np.random.default_rng(random_state))
        return [(each.value, each.stderr, each.interval(alpha)) for each in draws]
    known = [(ratios.value(), ratios.stderr()) for ratios in units]
    if kind == "bernstein":
        return [(v, se, bernstein_interval(ratios, alpha)) for (v, se), ratios in zip(known, units, strict=True)]
    if kind == "anytime":
        return [(v, se, anytime_interval(v, se, units[0].n, alpha, best_at)) for v, se in known]
    return [(v, se, (v - z * se, v + z * se)) for v, se in known]
