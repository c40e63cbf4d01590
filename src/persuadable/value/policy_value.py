"""What a policy is worth on a held-out log, and against what one would do without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from persuadable.errors import ActionError, ParameterError, PropensityError
from persuadable.log.checks import require_log
from persuadable.log.tables import by_action
from persuadable.policies import CalibratedPolicy, Policy, RandomPolicy, TreatAll, TreatNone
from persuadable.policies.base import check_eligible
from persuadable.policies.baselines import among
from persuadable.policies.calibrated import Scored, place
from persuadable.policies.threshold import Threshold
from persuadable.value.estimate import Estimate, Floats
from persuadable.value.holdout import require_held_out
from persuadable.value.off_policy import (
    Judged,
    Logged,
    action_scores,
    check_probabilities,
    effect_at_threshold,
    judge,
    look_at,
)

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = [
    "PolicyComparison",
    "PolicyComparisons",
    "PolicyValue",
    "compare",
    "compare_many",
    "policy_value",
    "random_like",
]

Judgeable = Policy | ArrayLike


@dataclass(frozen=True, slots=True)
class PolicyValue:
    """What a policy brings per head.

    Attributes:
        policy: its name.
        outcome: the outcome's name.
        method: how it was estimated, "dr", "ips" or "snips".
        estimate: mean outcome per head under the policy, in outcome units.
        share: share of the log's units it treats.
        action_shares: (A,) share of the units that get each action.
        mean_weight: mean of π/e, which is 1 up to noise where propensities are right.
        cost: mean cost per head under the policy, where the log has a cost.
    """

    policy: str
    outcome: str
    method: str
    estimate: Estimate
    share: float
    action_shares: tuple[float, ...]
    mean_weight: float
    cost: Estimate | None = None

    @property
    def value(self) -> float:
        """Mean outcome per head."""
        return self.estimate.value

    @property
    def stderr(self) -> float:
        """Its standard error."""
        return self.estimate.stderr

    @property
    def interval(self) -> tuple[float, float]:
        """Its 1 − alpha interval."""
        return self.estimate.interval

    @property
    def ess(self) -> float:
        """Effective sample size of the weights π/e."""
        return float("nan") if self.estimate.ess is None else self.estimate.ess

    def __str__(self) -> str:
        lower, upper = self.interval
        cost = "" if self.cost is None else f", cost {self.cost.value:.4g}"
        return (
            f"{self.policy}: {self.outcome} {self.value:.4g} per head ({lower:.4g} to {upper:.4g}), "
            f"treats {self.share:.1%}{cost}, effective sample size {self.ess:,.0f} of {self.estimate.n:,}"
        )


@dataclass(frozen=True, slots=True)
class PolicyComparison:
    """A policy against a baseline on the same rows.

    Attributes:
        policy: the policy.
        baseline: what it is compared with.
        difference: value of the policy less that of the baseline, with the interval of the paired difference.
    """

    policy: PolicyValue
    baseline: PolicyValue
    difference: Estimate

    @property
    def value(self) -> float:
        """The difference, in outcome units per head."""
        return self.difference.value

    @property
    def stderr(self) -> float:
        """Its standard error."""
        return self.difference.stderr

    @property
    def interval(self) -> tuple[float, float]:
        """Its 1 − alpha interval."""
        return self.difference.interval

    @property
    def p_value(self) -> float:
        """Two-sided, against no difference."""
        return self.difference.p_value

    def __str__(self) -> str:
        lower, upper = self.difference.interval
        return (
            f"{self.policy.policy} − {self.baseline.policy}: "
            f"{self.difference.value:+.4g} {self.policy.outcome} per head "
            f"({lower:+.4g} to {upper:+.4g}, p = {self.p_value:.2g})"
        )


@dataclass(frozen=True, slots=True)
class PolicyComparisons:
    """A policy against several baselines, all on the same rows and with the same nuisances.

    Attributes:
        policy: the policy.
        comparisons: one per baseline, in the order given.
    """

    policy: PolicyValue
    comparisons: tuple[PolicyComparison, ...]

    def __getitem__(self, baseline: str) -> PolicyComparison:
        for comparison in self.comparisons:
            if comparison.baseline.policy == baseline:
                return comparison
        names = [c.baseline.policy for c in self.comparisons]
        raise ParameterError(f"There is no baseline {baseline!r}", remedy=f"Compared were {names}.")

    def frame(self) -> pl.DataFrame:
        """One row per policy; differences are the first policy's less the row's."""
        import polars as pl

        own = _row(self.policy) | dict.fromkeys(("difference", "difference_lower", "difference_upper", "p_value"))
        rows = [
            _row(c.baseline)
            | {
                "difference": c.difference.value,
                "difference_lower": c.difference.interval[0],
                "difference_upper": c.difference.interval[1],
                "p_value": c.p_value,
            }
            for c in self.comparisons
        ]
        return pl.DataFrame([own, *rows], infer_schema_length=None)

    def __str__(self) -> str:
        width = max(len(v.policy) for v in (self.policy, *(c.baseline for c in self.comparisons)))
        lines = [f"{'':{width}}  treated      value    interval              gain of {self.policy.policy}"]
        lines.append(_line(self.policy, width))
        for c in self.comparisons:
            low, high = c.difference.interval
            gain = f"{c.difference.value:+.4g} ({low:+.4g} to {high:+.4g}, p = {c.p_value:.2g})"
            lines.append(f"{_line(c.baseline, width)}  {gain}")
        return "\n".join(lines)


def _row(value: PolicyValue) -> dict[str, Any]:
    return {
        "policy": value.policy,
        "share": value.share,
        "value": value.value,
        "stderr": value.stderr,
        "lower": value.interval[0],
        "upper": value.interval[1],
        "ess": value.ess,
        "cost": None if value.cost is None else value.cost.value,
    }


def _line(value: PolicyValue, width: int) -> str:
    lower, upper = value.interval
    return f"{value.policy:{width}}  {value.share:7.1%} {value.value:10.4g}    {f'{lower:.4g} to {upper:.4g}':20}"


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A policy's probabilities on a log, and what its threshold owes to the same rows.

    Attributes:
        name: the policy's name.
        probabilities: (n, A).
        scored: how it ranks units, where its threshold was drawn from these rows; else None.
        rule: the threshold.
    """

    name: str
    probabilities: Floats
    scored: Scored | None = None
    rule: Threshold | None = None

    @classmethod
    def of(cls, log: DecisionLog, policy: Judgeable, name: str | None = None) -> Plan:
        """The plan of a policy, or of an (n, A) table of probabilities."""
        refuse_class(policy)
        require_held_out(log, policy)
        shape, labels = (log.n, log.n_actions), log.actions.names
        if not isinstance(policy, Policy):
            told = name or "the table of probabilities"
            require_table(policy)
            return cls(told, check_probabilities(by_action(policy, labels, told), shape, told, actions=labels))
        policy, called = among(policy, log.actions)
        told = name or called
        if isinstance(policy, CalibratedPolicy):
            rule = policy.rule
            scored = policy.scored(log.features, log.n_actions, log.eligible)
            return cls(told, place(scored, rule, log.n_actions), scored if _drawn_here(log, policy) else None, rule)
        given = policy.probabilities(log.features, log.n_actions, log.eligible)
        return cls(told, check_probabilities(given, shape, told, actions=labels))


def refuse_class(given: Any) -> None:
    """Refuse a class of policies, which has the attributes of a policy and is none."""
    if isinstance(given, type):
        raise ParameterError(f"{given.__name__} is a class, not a policy", remedy=f"Make one: {given.__name__}(…).")


def require_table(given: Any) -> None:
    """Refuse what is neither a policy nor a table of numbers."""
    if hasattr(given, "effect"):
        kind = type(given).__name__
        raise ParameterError(
            f"A {kind} is not a policy", remedy=f"Spend a budget by it: BudgetPolicy({kind}, 0.3).calibrate(log)."
        )
    if hasattr(given, "outcomes") or isinstance(given, str) or not hasattr(given, "__len__"):
        told = f"A {type(given).__name__}" if hasattr(given, "outcomes") else repr(given)
        raise ParameterError(
            f"{told} is not a policy",
            remedy="Pass a policy, such as RandomPolicy(0.3) (any object with name, fitted_on and "
            "probabilities(features, n_actions, eligible)), or (n, A) probabilities.",
        )


def _drawn_here(log: DecisionLog, policy: CalibratedPolicy) -> bool:
    seen = policy.calibrated_on
    return seen is not None and seen.overlap(log.fingerprint) > 0


def judged_plan(logged: Logged, plan: Plan) -> Judged:
    """Value and influence function of a plan, the sampling of a threshold drawn from the same rows included."""
    judged = judge(logged, plan.probabilities, plan.name)
    if plan.scored is None:
        return judged
    moved = threshold_sampling(logged, judged, plan)
    return Judged(judged.value, judged.psi - moved, judged.ess, judged.mean_weight)


def threshold_sampling(logged: Logged, judged: Judged, plan: Plan) -> Floats:
    """(n,) what ψ loses where a budget's threshold was drawn from the same rows; 0 where no budget binds.

    With γ = E[Γ | S = t] the effect of the marginal unit and b the share, it is γ·(π_i − b): the threshold falls as
    more of the sample scores above it, so that the share stays b.
    """
    rule = plan.rule
    if plan.scored is None or rule is None or rule.binds != "budget" or not np.isfinite(rule.threshold):
        return np.zeros(logged.n)
    gamma = marginal_effect(logged, judged, plan.scored, rule)
    return gamma * ((1.0 - plan.probabilities[:, 0]) - rule.share)


def marginal_effect(logged: Logged, judged: Judged, scored: Scored, rule: Threshold) -> float:
    """γ = E[Γ_best − Γ_0 | S = t], the effect of the unit at which the budget ends.

    Raises:
        PropensityError: weights alone would have to tell what an action with propensity 0 brings.
    """
    best = np.take_along_axis(logged.propensity, scored.action[:, None], axis=1)[:, 0]
    impossible = np.isfinite(scored.score) & ((best <= 0) | (logged.propensity[:, 0] <= 0))
    if logged.mu is None and impossible.any():
        raise PropensityError(
            f"In {int(impossible.sum()):,} of {logged.n:,} rows the control or the policy's treatment had propensity "
            f"0, so method={logged.method!r} cannot tell what moving the threshold would change",
            remedy="Use method='dr', or judge on log.overlapping().",
        )
    scores = action_scores(logged, judged)
    gain = np.take_along_axis(scores, scored.action[:, None], axis=1)[:, 0] - scores[:, 0]
    return effect_at_threshold(scored.score, gain, rule.threshold, rule.share, logged.weight)


def policy_value(
    log: DecisionLog,
    policy: Judgeable,
    *,
    outcome: str | None = None,
    method: str = "dr",
    mu: ArrayLike | None = None,
    alpha: float = 0.05,
) -> PolicyValue:
    """Mean outcome per head if the policy decided, estimated from rows another policy decided.

    The interval is that of the policy as it stands, threshold and all. Where a budget's threshold was drawn from this
    same log, it is that of spending the same share on the population instead, and includes the threshold's sampling.
    Units with several rows are clusters; row weights count.

    Args:
        log: held-out rows.
        policy: a policy, or its probabilities (n, A) on the log's rows.
        outcome: which outcome; the first when None.
        method: "dr" (doubly robust, the default), "ips" (inverse propensity scores) or "snips" (self-normalised).
        mu: for "dr", (n, A) predicted outcomes under each action from models that did not see these outcomes, or
            (A,) constants; cross-fitted on the log when None.
        alpha: probability the interval is meant to miss.

    Raises:
        LeakageError: rows of the log fitted the policy.
        DataError: probabilities or ``mu`` that do not fit the log.
        PropensityError: the policy takes an action that was never tried.
        ParameterError: unknown method, or ``mu`` where it would be ignored.
        NotFittedError: the policy is not calibrated.
    """
    require_log(log, "policy_value")
    plan = Plan.of(log, policy)
    logged = look_at(log, outcome, method, mu)
    return _valued(log, plan, logged, judged_plan(logged, plan), outcome, alpha)


def _valued(
    log: DecisionLog, plan: Plan, logged: Logged, judged: Judged, outcome: str | None, alpha: float
) -> PolicyValue:
    shares = tuple(float(share) for share in logged.mean(plan.probabilities))
    return PolicyValue(
        policy=plan.name,
        outcome=outcome or log.primary,
        method=logged.method,
        estimate=logged.estimate(judged.value, judged.psi, alpha, f"value of {plan.name}", judged.ess, tested=False),
        share=1.0 - shares[0],
        action_shares=shares,
        mean_weight=judged.mean_weight,
        cost=_cost(log, plan, logged, alpha),
    )


def _cost(log: DecisionLog, plan: Plan, logged: Logged, alpha: float) -> Estimate | None:
    """Mean cost per head by the same method."""
    costs = look_at_cost(log, logged.method)
    if costs is None:
        return None
    judged = judged_plan(costs, plan)
    return costs.estimate(judged.value, judged.psi, alpha, f"cost of {plan.name}", judged.ess, tested=False)


def look_at_cost(log: DecisionLog, method: str) -> Logged | None:
    """What judging needs of the cost; for "dr" the arms' mean costs stand in for cross-fitted ones."""
    if log.cost_name is None:
        return None
    return look_at(log, log.cost_name, method, arm_mean_outcomes(log, log.cost_name) if method == "dr" else None)


def arm_mean_outcomes(log: DecisionLog, outcome: str | None = None) -> Floats:
    """(A,) inverse-propensity weighted mean outcome of each arm: Σ 1{A=a}Y/e_a ÷ Σ 1{A=a}/e_a (Hájek 1971).

    Raises:
        ActionError: an arm without rows, which has no mean.
    """
    if not (rows := np.bincount(log.action, minlength=log.n_actions)).all():
        empty = log.actions.names[int(rows.argmin())]
        raise ActionError(
            f"No row took {empty!r}, whose mean {outcome or log.primary!r} is asked for",
            where=f"log {log.name!r}",
            remedy="Leave the action out: log.select(actions=…).",
        )
    inverse = 1.0 / np.take_along_axis(log.propensity(), log.action[:, None].astype(np.intp), axis=1)[:, 0]
    if log.weight is not None:
        inverse = inverse * log.weight
    total = np.bincount(log.action, weights=inverse * log.outcome(outcome), minlength=log.n_actions)
    return np.asarray(total / np.bincount(log.action, weights=inverse, minlength=log.n_actions))


def compare(
    log: DecisionLog,
    policy: Judgeable,
    baseline: Judgeable,
    *,
    outcome: str | None = None,
    method: str = "dr",
    mu: ArrayLike | None = None,
    alpha: float = 0.05,
) -> PolicyComparison:
    """The difference two policies make, with the interval of the paired difference.

    The variance is that of ψ_policy − ψ_baseline row by row, so what both policies share cancels. Arguments and errors
    are those of ``policy_value``.
    """
    require_log(log, "compare")
    ours, theirs = Plan.of(log, policy), Plan.of(log, baseline)
    logged = look_at(log, outcome, method, mu)
    judged = judged_plan(logged, ours)
    value = _valued(log, ours, logged, judged, outcome, alpha)
    return _against(log, value, judged, theirs, logged, outcome, alpha)


def _against(
    log: DecisionLog,
    value: PolicyValue,
    judged: Judged,
    theirs: Plan,
    logged: Logged,
    outcome: str | None,
    alpha: float,
) -> PolicyComparison:
    other = judged_plan(logged, theirs)
    baseline = _valued(log, theirs, logged, other, outcome, alpha)
    difference = logged.estimate(
        judged.value - other.value, judged.psi - other.psi, alpha, f"{value.policy} − {theirs.name}"
    )
    return PolicyComparison(value, baseline, difference)


def compare_many(
    log: DecisionLog,
    policy: Judgeable,
    baselines: Mapping[str, Judgeable] | None = None,
    *,
    outcome: str | None = None,
    method: str = "dr",
    mu: ArrayLike | None = None,
    alpha: float = 0.05,
) -> PolicyComparisons:
    """A policy against several baselines by name, the nuisances fitted once.

    Args:
        log: held-out rows.
        policy: as for ``policy_value``.
        baselines: policies or (n, A) probabilities by name; when None, random with as many treated as the policy
            treats on this log (``random_like``), treat all (two arms: the treatment; else each treatment) and treat
            none.
        outcome, method, mu, alpha: as for ``policy_value``.

    Raises:
        ParameterError: no baselines.
        LeakageError, DataError, PropensityError, NotFittedError: as for ``policy_value``.
    """
    require_log(log, "compare_many")
    ours = Plan.of(log, policy)
    logged = look_at(log, outcome, method, mu)
    judged = judged_plan(logged, ours)
    value = _valued(log, ours, logged, judged, outcome, alpha)
    named = baselines if baselines is not None else _usual_baselines(log, ours)
    if not named:
        raise ParameterError("There is nothing to compare with", remedy="Pass at least one baseline by name.")
    plans = [Plan.of(log, other, name) for name, other in named.items()]
    return PolicyComparisons(
        value, tuple(_against(log, value, judged, theirs, logged, outcome, alpha) for theirs in plans)
    )


def random_like(log: DecisionLog, policy: Judgeable) -> RandomPolicy:
    """A lottery that treats as many of this log's units as the policy does.

    ``RandomPolicy(r)`` treats the share r of those who have an eligible treatment. With b the (weighted) share of the
    log's units that the policy treats, and R the share with any eligible treatment, r = b/R.

    Args:
        log: rows the policy is judged on.
        policy: a policy, or its probabilities (n, A) on the log's rows.

    Raises:
        LeakageError, DataError, NotFittedError, ParameterError: as for ``policy_value``.
    """
    require_log(log, "random_like")
    return _lottery(log, Plan.of(log, policy))


def _lottery(log: DecisionLog, plan: Plan) -> RandomPolicy:
    eligible = check_eligible(log.eligible, log.n, log.n_actions)
    reach = 1.0 if eligible is None else float(np.average(eligible[:, 1:].any(axis=1), weights=log.weight))
    treated = float(np.average(1.0 - plan.probabilities[:, 0], weights=log.weight))
    return RandomPolicy(min(max(treated / reach, 0.0), 1.0) if reach > 0 else 0.0)


def _usual_baselines(log: DecisionLog, plan: Plan) -> dict[str, Policy]:
    names = log.actions.names
    everybody: dict[str, Policy] = (
        {"treat all": TreatAll()}
        if log.n_actions == 2
        else {f"treat all with {names[a]}": TreatAll(a) for a in range(1, log.n_actions)}
    )
    return {"random": _lottery(log, plan), **everybody, "treat none": TreatNone()}
