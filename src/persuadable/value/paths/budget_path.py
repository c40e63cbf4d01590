"""The whole path of policies from no budget to all of it, judged on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import ParameterError
from persuadable.log.checks import require_log
from persuadable.policies.base import Flags, check_eligible
from persuadable.policies.costs import never_saves
from persuadable.policies.hull import hull_steps
from persuadable.value.estimate import Floats, normal_quantile
from persuadable.value.off_policy import look_at
from persuadable.value.paths.climb import Climb
from persuadable.value.paths.ladder import Ladder
from persuadable.value.paths.result import AVERAGE, BudgetPath, amount
from persuadable.value.paths.trail import Scores, Trail, require_tried
from persuadable.value.policy_value import arm_mean_outcomes
from persuadable.value.predictions import predicted_effects

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["budget_path"]

STEPS = 20


def budget_path(
    log: DecisionLog,
    value: Any,
    cost: Any,
    *,
    outcome: str | None = None,
    cost_outcome: str | None = None,
    budgets: Sequence[float] | None = None,
    mu: ArrayLike | None = None,
    cost_mu: ArrayLike | None = None,
    alpha: float = 0.05,
    name: str = "all actions",
) -> BudgetPath:
    """What targeting several costly actions is worth at every budget, on held-out rows: the multi-armed Qini.

    At each budget per head B the policy π_B maximises the predicted value at a predicted cost of B: every unit gets
    argmax_a v̂_a − λĉ_a at the one price λ at which the cost is B, and actions without predicted value are never given.
    The gain G(B) = E[Γ(π_B)] is estimated from doubly robust scores Γ_a of this log (Sverdrup, Wu, Athey and Wager,
    "Qini Curves for Multi-Armed Treatment Rules", 2024), and so is what the policy spends, which the predicted costs
    only promise. One sort of the units' hull steps gives all policies at once.

    Intervals come from influence functions, the price's sampling included (see ``BudgetPath.at`` and ``at_price``), by
    clusters where units repeat; row weights count. They are pointwise.

    Where the log shows that no action can save money, because no logged cost is below 0 and doing nothing never cost
    anything, costs predicted below 0 count as 0, as in ``policies.AllocationPolicy``; stated ones are taken as stated.

    Beside the path stand those of each treatment by itself, where there are several, and of all treatments by their
    average effects: the best plan for anybody who cannot tell users apart. These averages are of the predictions, and
    intervals are about the plan they make, not about which plan they might have made on other rows.

    Args:
        log: held-out rows.
        value: predicted effects on the outcome: a fitted effect model, or (n, A) over doing nothing (column 0 is 0).
        cost: predicted effects on cost, in the unit of the budget, as a model or (n, A); or stated costs, (A,) or by
            label.
        outcome: what is to be gained; the log's first when None.
        cost_outcome: the outcome that is the cost; the log's cost when None.
        budgets: per head, for ``points``; 20 equal steps from 0 to what everything costs when None.
        mu: (n, A) out-of-fold predictions of the outcome, or (A,) constants; cross-fitted on the log when None.
        cost_mu: the same of the cost outcome; the arms' mean costs when None.
        alpha: intervals are meant to miss with this probability.
        name: what tables and figures call the path.

    Raises:
        LeakageError: rows of the log fitted a model.
        DataError: predictions that do not fit the log, are not finite, or are not over doing nothing.
        ActionError: a model of other actions, or a treatment without a stated cost.
        PropensityError: the path takes an action where it was never tried.
        ParameterError: no budget, or one that is not a number from 0 on; alpha outside (0, 0.5]; ``cost_mu`` where
            the log has no cost.
    """
    require_log(log, "budget_path")
    normal_quantile(alpha)
    asked = None if budgets is None else _asked(budgets)
    spent_on = cost_outcome or log.cost_name
    v, c = predicted_effects(log, value, "value", outcome), predicted_effects(log, cost, "cost", spent_on)
    if spent_on is not None and (hasattr(cost, "effect") or np.ndim(cost) == 2) and never_saves(log, spent_on):
        c = np.maximum(c, 0.0)
    judges = _Judges.of(log, outcome, mu, spent_on, cost_mu)
    eligible = check_eligible(log.eligible, log.n, log.n_actions)
    allowed = np.ones(v.shape, dtype=np.bool_) if eligible is None else eligible
    whole = judges.climb(name, v, c, (v, c), allowed)
    steps = np.linspace(0.0, max(whole.ladder.full, 0.0), STEPS + 1).tolist()
    grid = list(dict.fromkeys(steps)) if asked is None else asked

    def path(called: str, climb: Climb, beside: Mapping[str, BudgetPath]) -> BudgetPath:
        points = tuple(climb.at(budget, alpha) for budget in grid)
        told = (outcome or log.primary, spent_on, log.actions.names, alpha, log.n)
        return BudgetPath(called, points, beside, max(climb.ladder.full, 0.0), *told, climb)

    beside = judges.beside(v, c, allowed, log.actions.treatments)
    return path(name, whole, {called: path(called, climb, {}) for called, climb in beside.items()})


def _asked(budgets: Sequence[float]) -> list[float]:
    asked = list(dict.fromkeys(amount(budget, "budget") for budget in budgets))
    if not asked:
        raise ParameterError(
            "No budget was asked for", remedy="Pass budgets=None for steps of equal size, or name some."
        )
    return asked


@dataclass(frozen=True, slots=True, eq=False)
class _Judges:
    """The log's scores of the outcome and, where it tells it, the cost."""

    gain: Scores
    spend: Scores | None
    share: Floats
    rows: NDArray[np.uint64]

    @classmethod
    def of(
        cls,
        log: DecisionLog,
        outcome: str | None,
        mu: ArrayLike | None,
        cost_name: str | None,
        cost_mu: ArrayLike | None,
    ) -> Self:
        if cost_name is None and cost_mu is not None:
            raise ParameterError(
                "cost_mu= was passed, but the log has no cost",
                remedy="Name the outcome that is the cost, cost_outcome=.",
            )
        gain = look_at(log, outcome, "dr", mu)
        spend = None
        if cost_name is not None:
            spend = look_at(log, cost_name, "dr", arm_mean_outcomes(log, cost_name) if cost_mu is None else cost_mu)
        share = np.full(log.n, 1.0 / log.n) if gain.weight is None else gain.weight / log.n
        return cls(Scores.of(gain), None if spend is None else Scores.of(spend), share, log.rows)

    def average(self, effects: Floats, allowed: Flags) -> Floats:
        """(n, A) each action's mean over those who may get it, the same for everybody."""
        mass = self.share @ allowed
        mean = np.divide(self.share @ (effects * allowed), mass, out=np.zeros_like(mass), where=mass > 0)
        return np.broadcast_to(mean, effects.shape)

    def beside(self, value: Floats, cost: Floats, allowed: Flags, treatments: Sequence[str]) -> dict[str, Climb]:
        """The paths of single treatments, where there are several, and that of all by their average effects."""
        found = {}
        for code, label in enumerate(treatments, start=1) if len(treatments) > 1 else ():
            only = allowed & np.isin(np.arange(value.shape[1]), (0, code))
            found[f"only {label}"] = self.climb(f"only {label}", value, cost, (value, cost), only)
        means = (self.average(value, allowed), self.average(cost, allowed))
        return found | {AVERAGE: self.climb(AVERAGE, value, cost, means, allowed)}

    def climb(self, name: str, value: Floats, cost: Floats, by: tuple[Floats, Floats], allowed: Flags) -> Climb:
        """The path of those who are ranked by value and cost ``by``, and charged ``cost``."""
        worth = allowed & (by[0] > 0)
        worth[:, 0] = True
        ladder = Ladder.of(hull_steps(*by, worth), cost, self.share)
        require_tried(ladder, self.gain.logged.propensity, name, self.gain.logged.actions)
        charged = ladder.follow(cost)
        return Climb(
            ladder=ladder,
            gain=Trail.of(ladder, charged, self.gain),
            spend=None if self.spend is None else Trail.of(ladder, charged, self.spend),
            cost=charged,
            value=ladder.follow(value),
            rows=self.rows,
            n_actions=value.shape[1],
        )
