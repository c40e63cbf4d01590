"""Policy value at every size of the budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from persuadable.errors import DataError, ParameterError
from persuadable.policies import CalibratedPolicy
from persuadable.policies.base import check_eligible, check_share, one_action, spread_equally
from persuadable.policies.calibrated import Scored, best_treatment, place
from persuadable.policies.threshold import ScoreDistribution, Threshold
from persuadable.value.estimate import Estimate, Floats
from persuadable.value.holdout import require_held_out
from persuadable.value.off_policy import Judged, Logged, judge, look_at
from persuadable.value.policy_value import Plan, judged_plan, look_at_cost

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["BudgetRow", "BudgetValues", "budget_values"]

SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One size of the budget.

    Attributes:
        share: share asked for.
        treated: share treated on the log; smaller where the break-even binds.
        threshold: score above which units are treated.
        value: mean outcome per head.
        random: the same when as many are drawn by lot.
        difference: value − random, paired.
        over_none: value − treating nobody, paired.
        cost: mean cost per head less that of treating nobody, paired; None where the log has no cost.
        baselines: value of each other ranking at the same share, by name.
        gains: value − baseline, paired, by name.
    """

    share: float
    treated: float
    threshold: float
    value: Estimate
    random: Estimate
    difference: Estimate
    over_none: Estimate
    cost: Estimate | None
    baselines: Mapping[str, Estimate]
    gains: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class BudgetValues:
    """Policy value over budgets.

    Attributes:
        rows: one per share, in the order given.
        treat_all: mean outcome per head when everybody eligible is treated (each treatment equally often).
        treat_none: mean outcome per head when nobody is.
        outcome: the outcome's name.
        method: "dr" or "ips".
        threshold_from: "calibration" or "this log".
    """

    rows: tuple[BudgetRow, ...]
    treat_all: Estimate
    treat_none: Estimate
    outcome: str
    method: str
    threshold_from: str

    def frame(self) -> pl.DataFrame:
        """One row per share; columns value, random, difference, over_none, cost where the log has one, and every
        baseline, each with its interval."""
        import polars as pl

        return pl.DataFrame([_flat(row) for row in self.rows])

    def __str__(self) -> str:
        head = f"{'budget':>7} {'treated':>8} {'value':>9} {'random':>9}"
        lines = [f"{head}   gain over random ({self.outcome} per head)"]
        for row in self.rows:
            low, high = row.difference.interval
            lines.append(
                f"{row.share:7.0%} {row.treated:8.1%} {row.value.value:9.4g} {row.random.value:9.4g}   "
                f"{row.difference.value:+.4g} ({low:+.4g} to {high:+.4g})"
            )
        return "\n".join(lines)


def _flat(row: BudgetRow) -> dict[str, float]:
    flat = {"share": row.share, "treated": row.treated, "threshold": row.threshold}
    named = {"value": row.value, "random": row.random, "difference": row.difference, "over_none": row.over_none}
    named |= {} if row.cost is None else {"cost": row.cost}
    named |= row.baselines
    named |= {f"gain over {name}": gain for name, gain in row.gains.items()}
    for name, estimate in named.items():
        flat[name] = estimate.value
        flat[f"{name}_lower"], flat[f"{name}_upper"] = estimate.interval
    return flat


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Scored units and where thresholds come from."""

    name: str
    scored: Scored
    distribution: ScoreDistribution
    floor: float
    same_rows: bool

    def plan(self, share: float, n_actions: int) -> Plan:
        """The plan of spending this share."""
        rule = self.distribution.cut(share, self.floor)
        return Plan(self.name, place(self.scored, rule, n_actions), self.scored if self.same_rows else None, rule)


def budget_values(
    log: DecisionLog,
    ranking: Any,
    shares: Sequence[float] = SHARES,
    *,
    baselines: Mapping[str, Any] | None = None,
    action: str | int | None = None,
    break_even: float | None = None,
    outcome: str | None = None,
    method: str = "dr",
    mu: ArrayLike | None = None,
    alpha: float = 0.05,
) -> BudgetValues:
    """Policy value by budget, against random with the same share treated and against other rankings.

    Where thresholds come from makes a difference. A calibrated policy brings its own, so each row judges that
    very rule, which may treat a little more or less than the share on this log. Scores alone are cut at this log's own
    quantiles: each row then treats exactly the share, estimates the value of that share of the population, and its
    interval includes the sampling of the threshold (as it does for a policy calibrated on this same log).
    Random always treats as many as the ranking does on this log.

    Args:
        log: held-out rows.
        ranking: a calibrated policy, a fitted effect learner (its first outcome), or scores (n,) or effects (n, A)
            of the log's rows.
        shares: budgets, in [0, 1].
        baselines: other rankings of the same kinds by name, such as a response model's predictions.
        action: the treatment that (n,) scores are about; needed where there are several.
        break_even: scores at or below this are never treated; None is 0 for a learner and no floor for arrays.
        outcome, mu, alpha: as for ``policy_value``.
        method: "dr" or "ips".

    Raises:
        ParameterError: a share outside [0, 1], or another method.
        LeakageError, DataError, PropensityError, NotFittedError: as for ``policy_value``.
    """
    if method == "snips":
        raise ParameterError("method='snips' has no value by budget", remedy="Pass 'dr' or 'ips'.")
    wanted = [check_share(share) for share in shares]
    ours = _ranking(log, "value", ranking, action, break_even)
    others = [_ranking(log, name, other, action, break_even) for name, other in (baselines or {}).items()]
    logged = look_at(log, outcome, method, mu)
    eligible = check_eligible(log.eligible, log.n, log.n_actions)
    lottery = spread_equally(1.0, log.n, log.n_actions, eligible)
    everybody = judge(logged, lottery, "treat all")
    control = one_action(0, 1.0, log.n, log.n_actions, eligible)
    nobody = judge(logged, control, "treat none")
    costs = look_at_cost(log, method)
    free = None if costs is None else (costs, judge(costs, control, "treat none"))
    return BudgetValues(
        rows=tuple(
            _row(log, logged, share, ours, others, lottery, (everybody, nobody), free, alpha) for share in wanted
        ),
        treat_all=logged.estimate(everybody.value, everybody.psi, alpha, "treat all", everybody.ess),
        treat_none=logged.estimate(nobody.value, nobody.psi, alpha, "treat none", nobody.ess),
        outcome=outcome or log.primary,
        method=method,
        threshold_from="calibration" if isinstance(ranking, CalibratedPolicy) else "this log",
    )


def _ranking(log: DecisionLog, name: str, given: Any, action: str | int | None, break_even: float | None) -> Ranking:
    require_held_out(log, given)
    eligible = check_eligible(log.eligible, log.n, log.n_actions)
    if isinstance(given, CalibratedPolicy):
        same = given.calibrated_on is not None and given.calibrated_on.overlap(log.fingerprint) > 0
        given.rule  # noqa: B018 - raises where the policy is not calibrated
        scored = given.scored(log.features, log.n_actions, log.eligible)
        return Ranking(name, scored, given.distribution_, given.floor, same)
    floor = -math.inf if break_even is None else float(break_even)
    if hasattr(given, "effect"):
        floor = 0.0 if break_even is None else floor
        given = given.effect(log.features, outcome=None)
    table = np.asarray(given, dtype=np.float64)
    if table.shape == (log.n,):
        code = log.actions.treatment(action)
        net = np.full((log.n, log.n_actions - 1), -math.inf)
        net[:, code - 1] = table
    elif table.shape == (log.n, log.n_actions):
        net = table[:, 1:]
    else:
        raise DataError(
            f"The ranking {name!r} has shape {table.shape}",
            remedy=f"Pass scores {(log.n,)}, effects {(log.n, log.n_actions)}, a learner or a calibrated policy.",
        )
    scored = best_treatment(net, eligible)
    return Ranking(name, scored, ScoreDistribution.of(scored.score, log.weight), floor, True)


def _row(
    log: DecisionLog,
    logged: Logged,
    share: float,
    ours: Ranking,
    others: Sequence[Ranking],
    lottery: Floats,
    ends: tuple[Judged, Judged],
    free: tuple[Logged, Judged] | None,
    alpha: float,
) -> BudgetRow:
    plan = ours.plan(share, log.n_actions)
    judged = judged_plan(logged, plan)
    rule = plan.rule
    assert rule is not None
    nobody = ends[1]
    random = _random_at(logged, plan, rule, lottery, ends)
    values, gains = {}, {}
    for other in others:
        theirs = judged_plan(logged, other.plan(share, log.n_actions))
        values[other.name] = logged.estimate(theirs.value, theirs.psi, alpha, other.name, theirs.ess)
        gains[other.name] = logged.estimate(
            judged.value - theirs.value, judged.psi - theirs.psi, alpha, f"gain over {other.name}"
        )
    return BudgetRow(
        share=share,
        treated=float(logged.mean(1.0 - plan.probabilities[:, 0])),
        threshold=rule.threshold,
        value=logged.estimate(judged.value, judged.psi, alpha, f"value at {share:.0%}", judged.ess),
        random=logged.estimate(random.value, random.psi, alpha, f"random at {share:.0%}"),
        difference=logged.estimate(
            judged.value - random.value, judged.psi - random.psi, alpha, f"gain over random at {share:.0%}"
        ),
        over_none=logged.estimate(
            judged.value - nobody.value, judged.psi - nobody.psi, alpha, f"gain over treating nobody at {share:.0%}"
        ),
        cost=None if free is None else _cost(plan, *free, alpha),
        baselines=values,
        gains=gains,
    )


def _cost(plan: Plan, costs: Logged, nobody: Judged, alpha: float) -> Estimate:
    """What a plan costs per head more than treating nobody."""
    judged = judged_plan(costs, plan)
    return costs.estimate(judged.value - nobody.value, judged.psi - nobody.psi, alpha, "cost over treating nobody")


def _random_at(logged: Logged, plan: Plan, rule: Threshold, lottery: Floats, ends: tuple[Judged, Judged]) -> Judged:
    """Drawing by lot as many as the plan treats: V(r) = V(0) + r·(V(1) − V(0)) with r = treated / eligible.

    r is a ratio of two means of this log, so its influence (s_i − r·E_i)/mean(E) comes on top, with s_i the plan's
    probability of treating, or its fixed share where the threshold keeps it fixed.
    """
    everybody, nobody = ends
    eligible = 1.0 - lottery[:, 0]
    treated = 1.0 - plan.probabilities[:, 0]
    reach = float(logged.mean(eligible))
    rate = float(logged.mean(treated)) / reach if reach > 0 else 0.0
    fixed = plan.scored is not None and rule.binds == "budget"
    moved = ((rule.share if fixed else treated) - rate * eligible) / reach if reach > 0 else np.zeros(logged.n)
    gain = everybody.value - nobody.value
    psi = nobody.psi + rate * (everybody.psi - nobody.psi) + gain * moved
    return Judged(nobody.value + rate * gain, psi, math.nan, math.nan)
