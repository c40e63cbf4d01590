"""What the gate looks at: a log, two policies on it, and what the log cannot say about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.value.estimate import Estimate, Floats
from persuadable.value.holdout import require_held_out
from persuadable.value.off_policy import Judged, effective_sample_size, look_at, share_sampling
from persuadable.value.ope.rounds import as_predictions, not_finite
from persuadable.value.ope.terms import Terms
from persuadable.value.policy_value import Judgeable, Plan, threshold_sampling

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["Evidence", "Method", "Shares", "Unsupported", "by_arm_means", "gather", "less"]

Method = Literal["dm", "ips", "snips", "dr"]


@dataclass(frozen=True, slots=True)
class Unsupported:
    """The part of a difference that rests on actions never tried.

    Attributes:
        share: share of decisions in which the two policies differ by an action never tried.
        candidate: share of the candidate's decisions that it gives to actions never tried.
        baseline: the same of the baseline.
        predicted: what the outcome model predicts for this part of the difference.
        lower: what it is if every outcome there is the one worst for the candidate.
        upper: what it is if every one is the best.
    """

    share: float = 0.0
    candidate: float = 0.0
    baseline: float = 0.0
    predicted: float = 0.0
    lower: float = 0.0
    upper: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """A log and two policies, ready for every check.

    Attributes:
        log: held-out rows.
        outcome: name of the outcome.
        y: (n,) the outcome.
        action: (n,) actions taken.
        taken: (n,) the propensity of the action taken.
        table: (n, A) propensities of all actions; None where the log has only those of the actions taken.
        mu: (n, A) predicted outcomes.
        weight: (n,) row weights divided by their mean; None where rows count equally.
        clusters: (n,) codes of units that repeat, or None.
        candidate: the candidate's plan as told.
        baseline: the baseline's plan as told.
        rows_told: whether a policy says which rows it was fitted on (others than these, or nothing would be judged).
        tried: (n, A) where an action's logged propensity lies above the floor; None where all do, or nobody knows.
        unsupported: what rests on the other actions.
    """

    log: DecisionLog
    outcome: str
    y: Floats
    action: NDArray[np.intp]
    taken: Floats
    table: Floats | None
    mu: Floats
    weight: Floats | None
    clusters: NDArray[np.intp] | None
    candidate: Plan
    baseline: Plan
    rows_told: bool
    tried: NDArray[np.bool_] | None = None
    unsupported: Unsupported = Unsupported()

    @property
    def n(self) -> int:
        """How many rows there are."""
        return self.log.n

    @property
    def shares_estimated(self) -> bool:
        """Whether the propensities are the observed shares of the arms."""
        return self.log.propensities is None and self.log.taken_propensities is None

    def probabilities(self, plan: Plan) -> Floats:
        """(n, A) the plan without what was never tried; rows may then sum to less than 1."""
        return plan.probabilities if self.tried is None else np.where(self.tried, plan.probabilities, 0.0)

    @property
    def gap(self) -> Floats:
        """(n, A) π − π⁰ where it can be judged, 0 for actions never tried."""
        return self.probabilities(self.candidate) - self.probabilities(self.baseline)

    def at_taken(self, table: NDArray[Any]) -> Floats:
        """(n,) the entries of an (n, A) table at the actions taken."""
        return np.asarray(np.take_along_axis(table, self.action[:, None], axis=1)[:, 0], dtype=np.float64)

    def mean(self, values: Floats) -> float:
        """Weighted mean over the rows."""
        return float(values.mean() if self.weight is None else self.weight @ values / self.n)

    def estimate(self, judged: Judged, alpha: float, name: str) -> Estimate:
        """An estimate from its influence function, by rows or by units."""
        return Estimate.from_influence(
            judged.value, judged.psi, alpha, self.clusters, self.weight, name=name, ess=judged.ess
        )

    # -- values ------------------------------------------------------------------------------------------------------

    def judge(self, plan: Plan, method: Method = "dr", y: Floats | None = None) -> Judged:
        """Value and influence of the part of a plan that was tried; ``y`` replaces the outcome."""
        p = self.probabilities(plan)
        w = self.at_taken(p) / self.taken
        terms = self._terms(p, w, method, self.y if y is None else y)
        psi = terms.influence(self.weight)
        if self.table is not None and self.shares_estimated:
            psi = psi - share_sampling(Shares(self.table, self.action, self.weight), terms.ratio_parts(self.weight))
        ess = effective_sample_size(w if self.weight is None else w * self.weight)
        return Judged(terms.value(self.weight), psi, ess, self.mean(w))

    def _terms(self, p: Floats, w: Floats, method: Method, y: Floats) -> Terms:
        if method in ("ips", "snips"):
            return Terms(w * y, None, w if method == "snips" else None)
        direct = np.einsum("na,na->n", p, self.mu)
        return Terms(np.zeros(self.n) if method == "dm" else w * (y - self.at_taken(self.mu)), direct)

    def difference(self, method: Method = "dr", y: Floats | None = None) -> Judged:
        """Candidate less baseline, of the part that was tried."""
        return less(self.judge(self.candidate, method, y), self.judge(self.baseline, method, y))

    def answer(self, alpha: float) -> tuple[Estimate, Estimate, Estimate]:
        """The candidate's value, the baseline's, and their paired difference, doubly robust.

        Where something was never tried the predicted outcome stands in for it, and the difference's interval reaches
        as far as the outcome's range lets that part go (Manski 1990).
        """
        ours, theirs = self.whole(self.candidate), self.whole(self.baseline)
        values = [self.estimate(one, alpha, plan.name) for plan, one in self._named(ours, theirs)]
        name = f"{self.candidate.name} − {self.baseline.name}"
        found = replace(self.estimate(less(ours, theirs), alpha, name), ess=None)
        moved = self.unsupported
        low, high = found.interval
        # The predicted part is in the value; what it may be instead is in the interval.
        ends = (low - moved.predicted + moved.lower, high - moved.predicted + moved.upper)
        return values[0], values[1], replace(found, interval=ends)

    def _named(self, ours: Judged, theirs: Judged) -> tuple[tuple[Plan, Judged], tuple[Plan, Judged]]:
        return (self.candidate, ours), (self.baseline, theirs)

    def whole(self, plan: Plan) -> Judged:
        """With the sampling of a threshold drawn from these rows, and predictions for what was never tried."""
        judged = self.judge(plan)
        if plan.scored is not None and self.table is not None:
            logged = look_at(self.log, self.outcome, "dr", self.mu)
            judged = replace(judged, psi=judged.psi - threshold_sampling(logged, judged, plan))
        if self.tried is None:
            return judged
        extra = np.einsum("na,na->n", np.where(self.tried, 0.0, plan.probabilities), self.mu)
        value = self.mean(extra)
        return replace(judged, value=judged.value + value, psi=judged.psi + extra - value)


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """What ``share_sampling`` asks of a log."""

    propensity: Floats
    action: NDArray[np.intp]
    weight: Floats | None


def less(ours: Judged, theirs: Judged) -> Judged:
    """The paired difference: ψ less ψ, row by row."""
    return Judged(ours.value - theirs.value, ours.psi - theirs.psi, ours.ess, ours.mean_weight)


def gather(
    log: DecisionLog,
    candidate: Judgeable,
    baseline: Judgeable,
    *,
    outcome: str | None = None,
    q_hat: ArrayLike | None = None,
    support_floor: float = 0.0,
    outcome_range: tuple[float, float] | None = None,
) -> Evidence:
    """The evidence on two policies.

    Args:
        log: held-out rows.
        candidate, baseline: policies, or their probabilities (n, A).
        outcome: which outcome; the first when None.
        q_hat: (n, A) or (A,) predicted outcomes; cross-fitted on the log when None.
        support_floor: an action with a propensity at or below this counts as never tried.
        outcome_range: (lowest, highest) outcome; that of the log when None.

    Raises:
        LeakageError: rows of the log fitted a policy, or the model behind ``q_hat``.
        DataError: probabilities or ``q_hat`` that do not fit the log.
    """
    require_held_out(log, q_hat)
    known = log.taken_propensities is None
    evidence = Evidence(
        log=log,
        outcome=outcome or log.primary,
        y=log.outcome(outcome),
        action=np.asarray(log.action, dtype=np.intp),
        taken=log.taken_propensity(),
        table=log.propensity() if known else None,
        mu=_predictions(log, outcome, q_hat),
        weight=None if log.weight is None else np.asarray(log.weight, dtype=np.float64) / float(log.weight.mean()),
        clusters=log.clusters,
        candidate=Plan.of(log, candidate, None if hasattr(candidate, "probabilities") else "the candidate"),
        baseline=Plan.of(log, baseline, None if hasattr(baseline, "probabilities") else "the baseline"),
        rows_told=any(getattr(one, "fitted_on", None) is not None for one in (candidate, baseline)),
    )
    if evidence.table is None or (tried := evidence.table > support_floor).all():
        return evidence
    return _with_gap(replace(evidence, tried=tried), outcome_range)


def by_arm_means(evidence: Evidence, outcome: str) -> Evidence:
    """The same evidence on another outcome, predicted by each arm's weighted mean Σ Y/e ÷ Σ 1/e (Hájek 1971).

    An arm that no row took, as may be in a part of a log, is predicted by that of all arms together.
    """
    y = evidence.log.outcome(outcome)
    inverse = 1.0 / evidence.taken if evidence.weight is None else evidence.weight / evidence.taken
    total, mass = (
        np.bincount(evidence.action, weights=one, minlength=evidence.mu.shape[1]) for one in (inverse * y, inverse)
    )
    means = np.divide(total, mass, out=np.full(mass.shape, total.sum() / mass.sum()), where=mass > 0)
    mu = np.broadcast_to(means, evidence.mu.shape)
    return _with_gap(replace(evidence, outcome=outcome, y=y, mu=mu), None)


def _with_gap(evidence: Evidence, outcome_range: tuple[float, float] | None) -> Evidence:
    if evidence.tried is None:
        return evidence
    ends = (float(evidence.y.min()), float(evidence.y.max())) if outcome_range is None else outcome_range
    return replace(evidence, unsupported=_unsupported(evidence, ~evidence.tried, ends))


def _predictions(log: DecisionLog, outcome: str | None, q_hat: ArrayLike | None) -> Floats:
    if q_hat is None:
        from persuadable.response import cross_fit_arms

        return np.asarray(cross_fit_arms(log, outcome), dtype=np.float64)
    table = np.asarray(as_predictions(q_hat, (log.n, log.n_actions), log.actions.names), dtype=np.float64)
    if not np.isfinite(table).all():
        raise not_finite(table, 0)
    return table


def _unsupported(evidence: Evidence, untried: NDArray[np.bool_], ends: tuple[float, float]) -> Unsupported:
    """How much the two policies differ by what was never tried, and how far that can move their difference."""

    def mass(table: NDArray[Any]) -> Floats:
        return np.asarray(np.where(untried, table, 0.0).sum(axis=1))

    ours, theirs = evidence.candidate.probabilities, evidence.baseline.probabilities
    gap = ours - theirs
    gained, lost = mass(np.maximum(gap, 0.0)), mass(np.maximum(-gap, 0.0))
    more, fewer = evidence.mean(gained), evidence.mean(lost)
    low, high = ends
    return Unsupported(
        share=evidence.mean(np.maximum(gained, lost)),
        candidate=evidence.mean(mass(ours)),
        baseline=evidence.mean(mass(theirs)),
        predicted=evidence.mean(mass(gap * evidence.mu)),
        lower=more * low - fewer * high,
        upper=more * high - fewer * low,
    )
