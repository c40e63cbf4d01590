"""Who is selected, who gains, and whose effects are reached: by group, with intervals and alarms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import ParameterError
from persuadable.log.checks import require_log
from persuadable.value.calibration import slope_influence
from persuadable.value.estimate import Estimate, normal_quantile
from persuadable.value.fair.disparity import (
    Disparity,
    benefit_disparity,
    calibration_disparity,
    opportunity,
    opportunity_disparity,
    rate_spread,
    selection_disparity,
)
from persuadable.value.fair.groups import Segment, Segments, segments_of
from persuadable.value.fair.material import BENEFIT, GAP, POTENTIAL, SELECTION, Material, material
from persuadable.value.fair.means import GroupMeans, group_means
from persuadable.value.fair.result import Fairness, FairnessAlarm, GroupFairness
from persuadable.value.policy_value import Judgeable, Plan

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["FOUR_FIFTHS", "check_arguments", "fairness"]

FOUR_FIFTHS = 0.8


def fairness(
    log: DecisionLog,
    policy: Judgeable,
    segments: Segments,
    *,
    effect: ArrayLike | None = None,
    gainers: ArrayLike | None = None,
    action: str | int | None = None,
    outcome: str | None = None,
    method: str = "dr",
    mu: ArrayLike | None = None,
    bins: int = 4,
    min_size: int = 100,
    threshold: float = FOUR_FIFTHS,
    alpha: float = 0.05,
) -> Fairness:
    """Does a policy treat groups alike: whom it selects, what it brings them, and whose effects it reaches?

    With π̄ the probability of treatment under the policy, Γ the scores of ``policy_value`` and g a group:

    * **selection** E[π̄ | g]; the ratio of two groups is the disparate impact, asked to be at least 0.8 by the
      four-fifths rule (29 CFR 1607.4 D); their difference the statistical parity difference.
    * **benefit** per member, E[Σ_a π_a(Γ_a − Γ_0) | g].
    * **opportunity** E[π_a s (Γ_a − Γ_0) | g] / E[s (Γ_a − Γ_0) | g], s marking the gainers (everybody who may have
      the treatment, if none are named): of the effect there is in the group, the share the policy reaches.
    * **calibration** E[Γ_a − Γ_0 − τ̂ | g], for predicted effects τ̂.

    Opportunity is Hardt, Price and Srebro's (2016) equal opportunity with "persuadable", Y(1) > Y(0), as the deserving
    class. Nobody sees who is persuadable, for of two outcomes one is observed. But where the outcome is 0 or 1 and the
    treatment harms none of the gainers, P(persuadable | x) = τ(x), and since a policy knows no more than x,
    P(treated, persuadable | g) = E[π τ | g]: the ratio is P(treated | persuadable, g) (principal fairness, Imai and
    Jiang 2023). Where it harms some, or the outcome is an amount, it is what the definition says: a share of the net
    effect; ``gainers`` then leave out those whom earlier evidence shows to lose. It asks nothing of the model that the
    policy was made from, so a model that is blind to a group's effects shows.

    Alarms are given for a selection rate or an opportunity shown to be below ``threshold`` of another group's, for
    effects foretold less well than for another group, and for a group that is shown to lose. All statements compared
    hold together with 1 − alpha. Propensities that are shares of the arms count as known, which makes intervals a
    little wide. A threshold drawn from these rows counts as fixed.

    Args:
        log: held-out rows.
        policy: a policy, or its probabilities (n, A) on the log's rows.
        segments: the name of a feature; (n,) labels or numbers; or names for several of these. Numbers with more than
            ``bins`` values are cut at their quantiles.
        effect: (n,) or (n, A) predicted effects of models that did not see these rows.
        gainers: (n,) bool, whom the treatment is for; None for everybody who may have it.
        action: the treatment asked about. None takes the only one; with several, any counts as selected, and there is
            no opportunity and no calibration.
        outcome: which outcome; the first when None.
        method: "dr" or "ips".
        mu: for "dr", (n, A) or (A,) predicted outcomes; cross-fitted on the log when None.
        bins: ranges that a number is cut into.
        min_size: units (weighted: effective ones) a group needs to be compared.
        threshold: the least ratio asked for.
        alpha: probability that any comparison may be wrong.

    Raises:
        LeakageError: rows of the log fitted the policy, the effects or the gainers.
        DataError, FeatureError: segments, effects or probabilities that do not fit the log.
        PropensityError: the policy takes what was never tried, or what it is compared with was never done.
        ParameterError: an argument outside its range; effects with several treatments and no ``action``.
    """
    require_log(log, "fairness")
    check_arguments(min_size, threshold, alpha)
    plan = Plan.of(log, policy)
    columns = segments_of(log, segments, bins)
    seen = material(log, plan, effect=effect, gainers=gainers, action=action, outcome=outcome, method=method, mu=mu)
    parts = [_Part.of(segment, seen, min_size, alpha) for segment in columns]
    count = sum(part.comparisons for part in parts)
    each = alpha / max(count, 1)
    disparities = tuple(d for part in parts for d in part.disparities(threshold, each))
    harmed = [alarm for part in parts for alarm in part.harm(each)]
    return Fairness(
        policy=plan.name,
        outcome=outcome or log.primary,
        method=method,
        groups=tuple(row for part in parts for row in part.rows),
        disparities=disparities,
        alarms=(*(_alarm(d) for d in disparities if d.alarm), *harmed),
        comparisons=count,
        threshold=float(threshold),
        min_size=int(min_size),
        alpha=alpha,
        n=log.n,
    )


def check_arguments(min_size: int, threshold: float, alpha: float) -> None:
    """Refuse what no audit can be made with.

    Raises:
        ParameterError: which argument.
    """
    normal_quantile(alpha)
    if isinstance(min_size, bool) or not isinstance(min_size, int | np.integer) or min_size < 2:
        raise ParameterError(f"min_size is {min_size!r}", remedy="Pass how many units a group needs, at least 2.")
    if not (isinstance(threshold, int | float | np.number) and 0.0 < threshold <= 1.0):
        raise ParameterError(f"threshold is {threshold!r}", remedy="Pass a ratio above 0, at most 1, such as 0.8.")


def _alarm(found: Disparity) -> FairnessAlarm:
    code: Any = found.measure
    return FairnessAlarm(code, found.segment, found.group, found.against, f"{found}.")


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One segment: its groups, and which pairs of them are compared."""

    segment: Segment
    means: GroupMeans
    rows: tuple[GroupFairness, ...]

    @classmethod
    def of(cls, segment: Segment, seen: Material, min_size: int, alpha: float) -> _Part:
        logged = seen.logged
        means = group_means(seen.columns, segment.code, len(segment.labels), logged.weight, logged.clusters)
        rows = [_group(segment, g, means, seen, min_size, alpha) for g in range(len(segment.labels))]
        highest = max((row.selection.value for row in rows if row.enough), default=0.0)
        if highest > 0.0:
            rows = [replace(row, impact=row.selection.value / highest) for row in rows]
        return cls(segment, means, tuple(rows))

    @property
    def compared(self) -> list[tuple[int, int]]:
        """Pairs of groups that are large enough."""
        return list(combinations([g for g, row in enumerate(self.rows) if row.enough], 2))

    @property
    def causal(self) -> list[tuple[int, int]]:
        """Those whose effects can be compared as well."""
        return [pair for pair in self.compared if all(self.rows[g].causal for g in pair)]

    @property
    def comparisons(self) -> int:
        """How many statements are made."""
        measured = self.means.mean.shape[1]
        kinds = 1 + int(measured > POTENTIAL) + int(measured > GAP)
        harmed = sum(row.causal for row in self.rows)
        return len(self.compared) + kinds * len(self.causal) + harmed

    def disparities(self, threshold: float, alpha: float) -> list[Disparity]:
        """Every pair in every measure there is."""
        name, labels, means = self.segment.name, self.segment.labels, self.means
        found: list[Disparity | None] = [
            selection_disparity(means, pair, name, labels, threshold, alpha) for pair in self.compared
        ]
        found += [benefit_disparity(means, pair, name, labels, alpha) for pair in self.causal]
        if means.mean.shape[1] > POTENTIAL:
            found += [opportunity_disparity(means, pair, name, labels, threshold, alpha) for pair in self.causal]
        if means.mean.shape[1] > GAP:
            able = [pair for pair in self.causal if np.isfinite(means.mean[list(pair), GAP]).all()]
            found += [calibration_disparity(means, pair, name, labels, alpha) for pair in able]
        return [one for one in found if one is not None]

    def harm(self, alpha: float) -> list[FairnessAlarm]:
        """The groups shown to lose."""
        alarms, z = [], normal_quantile(alpha)
        for row in self.rows:
            upper = row.benefit.value + z * row.benefit.stderr
            if row.causal and upper < 0.0:
                words = f"{row.segment} {row.group!r} loses {-row.benefit.value:.4g} per member, at least {-upper:.4g}."
                alarms.append(FairnessAlarm("harm", row.segment, row.group, None, words))
        return alarms


def _group(segment: Segment, g: int, means: GroupMeans, seen: Material, min_size: int, alpha: float) -> GroupFairness:
    """A group's own numbers."""
    label, rows = segment.labels[g], segment.code == g
    called = f"of {segment.name} {label!r}"
    has_gap = means.mean.shape[1] > GAP and bool(np.isfinite(means.mean[g, GAP]))
    single = means.mean.shape[1] > POTENTIAL
    return GroupFairness(
        segment=segment.name,
        group=label,
        n=int(means.rows[g]),
        size=float(means.size[g]),
        share=float(means.share[g]),
        enough=bool(means.size[g] >= min_size),
        responses=int(min(np.count_nonzero(seen.control & rows), np.count_nonzero(seen.treated & rows))),
        selection=_rate(means, g, alpha, f"selection {called}"),
        impact=None,
        benefit=_level(means, g, BENEFIT, alpha, f"benefit {called}"),
        potential=_level(means, g, POTENTIAL, alpha, f"potential {called}") if single else None,
        opportunity=opportunity(means, g, alpha, f"opportunity {called}") if single else None,
        predicted=_mean_predicted(seen, rows) if has_gap else None,
        gap=_level(means, g, GAP, alpha, f"realised less predicted effect {called}") if has_gap else None,
        slope=_slope(seen, rows, alpha, f"slope {called}") if has_gap else None,
    )


def _rate(means: GroupMeans, g: int, alpha: float, name: str) -> Estimate:
    value, variance = float(means.mean[g, SELECTION]), rate_spread(means, g)[1]
    found = Estimate.normal(value, variance**0.5, alpha=alpha, n=int(means.rows[g]), name=name, tested=False)
    lower, upper = found.interval
    return replace(found, interval=(max(lower, 0.0), min(upper, 1.0)))


def _level(means: GroupMeans, g: int, column: int, alpha: float, name: str) -> Estimate:
    stderr = float(means.covariance[g, g, column, column]) ** 0.5
    return Estimate.normal(float(means.mean[g, column]), stderr, alpha=alpha, n=int(means.rows[g]), name=name)


def _counted(seen: Material, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    assert seen.predicted is not None  # asked only where effects were passed
    return rows & np.isfinite(seen.predicted)


def _mean_predicted(seen: Material, rows: NDArray[np.bool_]) -> float:
    assert seen.predicted is not None
    counted, weight = _counted(seen, rows), seen.logged.weight
    return float(np.average(seen.predicted[counted], weights=None if weight is None else weight[counted]))


def _slope(seen: Material, rows: NDArray[np.bool_], alpha: float, name: str) -> Estimate | None:
    """Slope of the scores on the predicted effects within a group; None where these are all equal."""
    assert seen.predicted is not None
    counted, logged = _counted(seen, rows), seen.logged
    predicted = seen.predicted[counted]
    if np.ptp(predicted) <= 1e-12 * np.abs(predicted).max():
        return None
    gamma = seen.columns[GAP].values[counted] + predicted
    weight = None if logged.weight is None else logged.weight[counted]
    p = np.full(len(gamma), 1.0 / len(gamma)) if weight is None else weight / weight.sum()
    value, psi = slope_influence(predicted, gamma, p)
    clusters = None if logged.clusters is None else logged.clusters[counted]
    return Estimate.from_influence(value, psi, alpha, clusters, weight, name=name)
