"""Do predicted effects come true? Best linear predictor, group effects, monotonic bins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import DataError, ParameterError
from persuadable.value.estimate import Codes, Estimate, Floats
from persuadable.value.holdout import require_held_out
from persuadable.value.ranks import checked_scores, share_above
from persuadable.value.scores import Comparison, Method, compare_arms, comparison_scores

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["BestLinearPredictor", "Calibration", "Gate", "Monotonicity", "blp", "gates", "monotonic_bins"]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Predicted effects beside the scores that judge them, for the rows of one comparison.

    Attributes:
        effect: (m,) predicted effect.
        gamma: (m,) uplift score, whose conditional mean is the true effect.
        weight: (m,) row weights, or None.
        clusters: (m,) codes of units that repeat, or None.
        outcome: the outcome's name.
        method: how gamma was made.
    """

    effect: Floats
    gamma: Floats
    weight: Floats | None
    clusters: Codes | None
    outcome: str
    method: str

    @property
    def m(self) -> int:
        """Rows judged."""
        return int(self.effect.shape[0])

    @property
    def p(self) -> Floats:
        """(m,) each row's part of the weight, summing to 1."""
        return np.full(self.m, 1 / self.m) if self.weight is None else self.weight / self.weight.sum()

    def estimate(self, value: float, psi: Floats, alpha: float, name: str, parameters: int = 1) -> Estimate:
        """An estimate from its influence function, with the factor (m − 1)/(m − k) of HC1 for k parameters."""
        plain = Estimate.from_influence(value, psi, alpha, self.clusters, self.weight)
        factor = math.sqrt((self.m - 1) / max(self.m - parameters, 1))
        return Estimate.normal(value, plain.stderr * factor, alpha=alpha, n=self.m, name=name)


def effect_of(log: DecisionLog, effect: ArrayLike, action: str | int | None) -> NDArray[Any]:
    """(n,) the predicted effect of one treatment, from (n,) or from a column of (n, A).

    Raises:
        LeakageError: the effects come from models that saw rows of the log.
        DataError: another shape, or not finite.
    """
    require_held_out(log, effect)
    table = np.asarray(effect)
    if table.ndim == 2:
        if table.shape[1] != log.n_actions:
            raise DataError(
                f"effect has {table.shape[1]} columns, the log has {log.n_actions} actions",
                remedy="Pass learner.effect(log.features), or one column of it.",
            )
        table = table[:, log.actions.treatment(action)]
    return np.asarray(checked_scores(table, log.n), dtype=np.float64)


def judge_effects(
    log: DecisionLog,
    effect: ArrayLike,
    outcome: str | None,
    action: str | int | None,
    method: Method,
    mu: NDArray[Any] | None,
) -> Scored:
    """Predicted effects beside their scores; arguments and errors as for ``uplift_scores`` and ``effect_of``."""
    predicted = effect_of(log, effect, action)
    arms: Comparison = compare_arms(log, outcome=outcome, action=action)
    gamma = comparison_scores(log, arms, method=method, mu=mu)
    return Scored(arms.select(predicted), gamma, arms.weight, arms.clusters, arms.name, method)


@dataclass(frozen=True, slots=True)
class BestLinearPredictor:
    """The line that predicts the true effect best from the predicted one.

    Attributes:
        intercept: average effect (ATE).
        slope: 1 where predictions are calibrated, 0 where they say nothing, below 1 where they are spread too widely.
        p_value: two-sided, of slope = 0 (no heterogeneity is predicted).
        p_value_one: two-sided, of slope = 1 (calibrated).
        outcome: the outcome's name.
        method: "ipw" or "dr".
    """

    intercept: Estimate
    slope: Estimate
    p_value: float
    p_value_one: float
    outcome: str
    method: str

    def frame(self) -> pl.DataFrame:
        """Two rows, intercept and slope."""
        import polars as pl

        rows = [("intercept", self.intercept), ("slope", self.slope)]
        return pl.DataFrame([{"term": term} | estimate_row(e) for term, e in rows])

    def __str__(self) -> str:
        return (
            f"average effect on {self.outcome} {_with_interval(self.intercept)}\n"
            f"slope on the predicted effect {_with_interval(self.slope)}, "
            f"p = {self.p_value:.2g} against 0, p = {self.p_value_one:.2g} against 1"
        )


def estimate_row(estimate: Estimate) -> dict[str, float]:
    """An estimate as columns of a table."""
    lower, upper = estimate.interval
    return {
        "estimate": estimate.value,
        "stderr": estimate.stderr,
        "lower": lower,
        "upper": upper,
        "p_value": estimate.p_value,
    }


def _with_interval(estimate: Estimate) -> str:
    return f"{estimate.value:.4g} ({estimate.interval[0]:.4g} to {estimate.interval[1]:.4g})"


def slope_influence(effect: Floats, gamma: Floats, p: Floats) -> tuple[float, Floats]:
    """Weighted least-squares slope of gamma on effect, and its influence function (m,).

    β = Cov(τ̂, Γ)/Var(τ̂), ψ_i = (τ̂_i − τ̄)(Γ_i − Γ̄ − β(τ̂_i − τ̄))/Var(τ̂).

    Raises:
        DataError: all effects are equal.
    """
    centred = effect - p @ effect
    spread = float(p @ centred**2)
    if spread <= (1e-12 * float(np.abs(effect).max(initial=0.0))) ** 2:
        raise DataError(
            "All predicted effects are equal, so they have no slope",
            remedy="Use a learner that tells users apart, or judge the average effect alone.",
        )
    off = gamma - p @ gamma
    slope = float(p @ (centred * off)) / spread
    return slope, centred * (off - slope * centred) / spread


def blp(
    log: DecisionLog,
    effect: ArrayLike,
    *,
    outcome: str | None = None,
    action: str | int | None = None,
    method: Method = "ipw",
    mu: NDArray[Any] | None = None,
    alpha: float = 0.05,
) -> BestLinearPredictor:
    """Best linear predictor of the true effect given the predicted one.

    Γ = β₁ + β₂(τ̂ − mean τ̂) by least squares, standard errors robust to unequal variance (HC1) and clustered where
    units repeat (Chernozhukov, Demirer, Duflo and Fernández-Val 2018, with the scores of ``uplift_scores`` in the
    place of their weighted regression). β₁ is the average effect; its error includes the sampling of mean τ̂, which
    plain least squares leaves out.

    Args:
        log: held-out rows.
        effect: (n,) or (n, A) predicted effects of the log's rows.
        outcome: the outcome's name; the first when None.
        action: the treatment; needed where the log has more than one.
        method: "ipw" or "dr" scores, see ``uplift_scores``.
        mu: (n, A) out-of-fold predictions for "dr"; cross-fitted when None.
        alpha: probability the intervals are meant to miss.

    Raises:
        LeakageError: the effects come from models that saw rows of the log.
        DataError: effects of another shape, not finite, or all equal.
    """
    return line_of(judge_effects(log, effect, outcome, action, method, mu), alpha)


def line_of(scored: Scored, alpha: float) -> BestLinearPredictor:
    """:func:`blp` of rows already scored."""
    average = float(scored.p @ scored.gamma)
    value, psi = slope_influence(scored.effect, scored.gamma, scored.p)
    slope = scored.estimate(value, psi, alpha, "slope", parameters=2)
    return BestLinearPredictor(
        intercept=scored.estimate(average, scored.gamma - average, alpha, "average effect"),
        slope=slope,
        p_value=slope.p_value,
        p_value_one=Estimate.normal(slope.value - 1, slope.stderr, n=scored.m).p_value,
        outcome=scored.outcome,
        method=scored.method,
    )


@dataclass(frozen=True, slots=True)
class Gate:
    """A group of units with similar predicted effects.

    Attributes:
        lower: smallest predicted effect in the group.
        upper: largest.
        n: rows.
        share: of the population.
        predicted: mean predicted effect.
        effect: mean true effect as estimated.
    """

    lower: float
    upper: float
    n: int
    share: float
    predicted: float
    effect: Estimate


@dataclass(frozen=True, slots=True)
class Monotonicity:
    """Do groups with larger predicted effects have larger effects?

    Attributes:
        inversions: neighbouring groups in the wrong order.
        rank_correlation: Spearman's, of the groups' order and their effects; NaN for a single group.
        largest_drop: the fall from a group to the next that is largest in standard errors; None for a single group.
        p_value: of the effects never falling (one-sided, Bonferroni over neighbours); small means they do fall.
    """

    inversions: int
    rank_correlation: float
    largest_drop: Estimate | None
    p_value: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Group average treatment effects (GATES) by predicted effect, the least affected first.

    Attributes:
        bins: the groups.
        top_minus_bottom: effect of the last group less that of the first.
        heterogeneity_p: p-value of all groups having the same effect (Wald).
        monotonicity: whether effects rise with predictions.
        error: Σ share·|effect − predicted|, in outcome units; noise alone makes it positive.
        outcome: the outcome's name.
        method: "ipw" or "dr".
    """

    bins: tuple[Gate, ...]
    top_minus_bottom: Estimate
    heterogeneity_p: float
    monotonicity: Monotonicity
    error: float
    outcome: str
    method: str

    def frame(self) -> pl.DataFrame:
        """One row per group."""
        import polars as pl

        return pl.DataFrame(
            [
                {"group": i, "from": g.lower, "to": g.upper, "n": g.n, "share": g.share, "predicted": g.predicted}
                | {("effect" if k == "estimate" else k): v for k, v in estimate_row(g.effect).items()}
                for i, g in enumerate(self.bins, start=1)
            ]
        )

    def __str__(self) -> str:
        lines = [f"{'group':>5} {'n':>9} {'predicted':>10} {'effect':>10}   interval"]
        for i, g in enumerate(self.bins, start=1):
            low, high = g.effect.interval
            lines.append(f"{i:5d} {g.n:9,d} {g.predicted:10.4g} {g.effect.value:10.4g}   {low:.4g} to {high:.4g}")
        lines.append(f"top − bottom {_with_interval(self.top_minus_bottom)}, p = {self.top_minus_bottom.p_value:.2g}")
        drops, steps = self.monotonicity, len(self.bins) - 1
        lines.append(
            f"{drops.inversions} of {steps} steps fall (p = {drops.p_value:.2g} against effects that never fall)"
        )
        return "\n".join(lines)


def quantile_groups(effect: Floats, bins: int, weight: Floats | None) -> Codes:
    """(m,) group 0 … of each row by rising effect, of equal weight; tied rows stay together, by their mid-rank."""
    below = 1.0 - share_above(effect, weight)
    raw = np.minimum(np.floor(below * bins).astype(np.intp), bins - 1)
    return np.unique(raw, return_inverse=True)[1].astype(np.intp)


def _check_bins(bins: int, m: int, what: str) -> None:
    if not (isinstance(bins, int | np.integer) and 1 <= bins <= m):
        raise ParameterError(f"{what} is {bins!r}", remedy=f"Pass a whole number from 1 to the {m:,} rows.")


def gates(
    log: DecisionLog,
    effect: ArrayLike,
    *,
    bins: int = 5,
    outcome: str | None = None,
    action: str | int | None = None,
    method: Method = "ipw",
    mu: NDArray[Any] | None = None,
    alpha: float = 0.05,
) -> Calibration:
    """Group average treatment effects: the mean score in groups of equal size by predicted effect.

    Means, standard errors (HC1, or clustered where units repeat) and tests are those of regressing Γ on the groups'
    indicators (Chernozhukov, Demirer, Duflo and Fernández-Val 2018). An interval is about the group as cut: the users
    whose predicted effect lies between the bounds found on this log.

    Args:
        log: held-out rows.
        effect: (n,) or (n, A) predicted effects of the log's rows.
        bins: how many groups; fewer where ties do not let them part.
        outcome, action, method, mu, alpha: as for ``blp``.

    Raises:
        ParameterError: bins is not a whole number from 1 to the number of rows.
        LeakageError, DataError: as for ``blp``.
    """
    scored = judge_effects(log, effect, outcome, action, method, mu)
    _check_bins(bins, scored.m, "bins")
    return calibration_of(scored, quantile_groups(scored.effect, bins, scored.weight), alpha)


def monotonic_bins(
    log: DecisionLog,
    effect: ArrayLike,
    *,
    start: int = 20,
    outcome: str | None = None,
    action: str | int | None = None,
    method: Method = "ipw",
    mu: NDArray[Any] | None = None,
    alpha: float = 0.05,
) -> Calibration:
    """Groups by predicted effect, neighbours pooled until the effects rise (pooled adjacent violators).

    From ``start`` groups of equal size, neighbours whose effects fall are pooled: least-squares isotonic regression of
    the groups' means (Ayer, Brunk, Ewing, Reid and Silverman 1955). The groups are chosen by looking at the
    outcomes, so their intervals are too narrow and top − bottom is biased away from 0; ``gates`` tests, this shows.

    Args:
        start: groups to begin with.
        log, effect, outcome, action, method, mu, alpha: as for ``gates``.

    Raises:
        ParameterError, LeakageError, DataError: as for ``gates``.
    """
    scored = judge_effects(log, effect, outcome, action, method, mu)
    _check_bins(start, scored.m, "start")
    group = quantile_groups(scored.effect, start, scored.weight)
    share = np.bincount(group, weights=scored.p)
    means = np.bincount(group, weights=scored.p * scored.gamma) / share
    return calibration_of(scored, pool_adjacent_violators(means, share)[group], alpha)


def pool_adjacent_violators(means: NDArray[Any], mass: NDArray[Any]) -> Codes:
    """(G,) block of each group such that the blocks' weighted means rise strictly."""
    blocks: list[tuple[float, float, int]] = []
    for mean, weight in zip(means.tolist(), mass.tolist(), strict=True):
        block = (mean, weight, 1)
        while blocks and blocks[-1][0] >= block[0]:
            last = blocks.pop()
            total = last[1] + block[1]
            block = ((last[0] * last[1] + block[0] * block[1]) / total, total, last[2] + block[2])
        blocks.append(block)
    return np.repeat(np.arange(len(blocks), dtype=np.intp), [count for _, _, count in blocks])


def calibration_of(scored: Scored, group: Codes, alpha: float) -> Calibration:
    """Means by group (m,), groups numbered from 0, with everything derived from them."""
    count = int(group.max()) + 1
    share = np.bincount(group, weights=scored.p)
    means = np.bincount(group, weights=scored.p * scored.gamma) / share
    predicted = np.bincount(group, weights=scored.p * scored.effect) / share
    influence = (scored.gamma - means[group]) / share[group]

    def contrast(value: float, sign: Floats, name: str) -> Estimate:
        return scored.estimate(value, influence * sign[group], alpha, name, parameters=count)

    unit = np.eye(count)
    bins = tuple(
        Gate(
            lower=float(scored.effect[group == g].min()),
            upper=float(scored.effect[group == g].max()),
            n=int(np.count_nonzero(group == g)),
            share=float(share[g]),
            predicted=float(predicted[g]),
            effect=contrast(float(means[g]), unit[g], f"effect of group {g + 1}"),
        )
        for g in range(count)
    )
    steps = [contrast(float(means[g + 1] - means[g]), unit[g + 1] - unit[g], "step") for g in range(count - 1)]
    return Calibration(
        bins=bins,
        top_minus_bottom=contrast(float(means[-1] - means[0]), unit[-1] - unit[0], "top − bottom"),
        heterogeneity_p=_equal_p(scored, group, means, influence),
        monotonicity=_monotonicity(means, steps),
        error=float(share @ np.abs(means - predicted)),
        outcome=scored.outcome,
        method=scored.method,
    )


def _monotonicity(means: Floats, steps: list[Estimate]) -> Monotonicity:
    from scipy.special import ndtr

    if not steps:
        return Monotonicity(0, math.nan, None, 1.0)
    order = np.arange(means.shape[0])
    correlation = float(np.corrcoef(order, 1.0 - share_above(means))[0, 1]) if np.ptp(means) > 0 else 0.0
    z = [step.value / step.stderr if step.stderr > 0 else math.inf for step in steps]
    worst = int(np.argmin(z))
    return Monotonicity(
        inversions=sum(step.value < 0 for step in steps),
        rank_correlation=correlation,
        largest_drop=steps[worst],
        p_value=min(1.0, len(steps) * float(ndtr(z[worst]))),
    )


def _equal_p(scored: Scored, group: Codes, means: Floats, influence: Floats) -> float:
    """Wald test that all group means are equal, from the (clustered) covariance of the means."""
    from scipy.special import chdtrc

    count = means.shape[0]
    if count == 1:
        return 1.0
    rows = np.arange(scored.m) if scored.clusters is None else scored.clusters
    psi = np.zeros((int(rows.max()) + 1, count))
    np.add.at(psi, (rows, group), influence * scored.p)
    groups = psi.shape[0]
    covariance = psi.T @ psi * (groups / (groups - 1) * (scored.m - 1) / max(scored.m - count, 1))
    contrasts = np.eye(count)[1:] - np.eye(count)[:1]
    difference = contrasts @ means
    statistic = float(difference @ np.linalg.pinv(contrasts @ covariance @ contrasts.T) @ difference)
    return float(chdtrc(count - 1, statistic))
