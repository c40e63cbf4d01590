"""What exploring costs, and what it buys, as far as can be told before an outcome is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from persuadable.errors import DataError, ParameterError
from persuadable.log import DecisionLog
from persuadable.policies.base import Flags, Floats, Policy, check_eligible, count_rows
from persuadable.policies.predicted import EffectModel

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ExplorationCost", "evaluable_share", "exploration_cost", "least_evaluable_share"]


@dataclass(frozen=True, slots=True)
class ExplorationCost:
    """An exploring policy beside the greedy one it replaces, per head, as predicted.

    Attributes:
        exploring: name of the policy that explores.
        greedy: name of the one that does not.
        value_loss: predicted outcome per head that exploring forgoes.
        extra_spend: predicted cost per head that exploring adds; None where no cost was named.
        share: share of the units the exploring policy treats.
        greedy_share: share the greedy one treats.
        least_probability: the smallest the exploring policy gives to an eligible action.
        greedy_evaluable: expected effective sample size, as a share of the rows, with which a log of the exploring
            policy judges the greedy one.
        any_evaluable: the same for the policy that such a log judges worst, whichever it is.
        n: units it was computed on.
    """

    exploring: str
    greedy: str
    value_loss: float
    extra_spend: float | None
    share: float
    greedy_share: float
    least_probability: float
    greedy_evaluable: float
    any_evaluable: float
    n: int

    def __str__(self) -> str:
        lines = [
            f"{self.exploring}, against {self.greedy}",
            f"  forgoes {self.value_loss:.4g} a head (predicted)",
            *([] if self.extra_spend is None else [f"  costs {self.extra_spend:+.4g} a head"]),
            f"  treats {self.share:.1%} instead of {self.greedy_share:.1%}",
            f"  gives every eligible action at least {self.least_probability:.3g}",
            f"  of its rows {self.greedy_evaluable:.0%} would count for judging {self.greedy}",
            f"  and at least {self.any_evaluable:.1%} for any other policy",
        ]
        return "\n".join(lines)

    def frame(self) -> pl.DataFrame:
        """One row, a column for each figure."""
        import polars as pl

        return pl.DataFrame({name: [getattr(self, name)] for name in self.__slots__})


def exploration_cost(
    units: Any,
    exploring: Policy,
    greedy: Policy,
    learner: EffectModel,
    *,
    outcome: str | None = None,
    cost: str | Sequence[float] | None = None,
    eligible: ArrayLike | None = None,
) -> ExplorationCost:
    """What an exploring policy is predicted to lose against a greedy one, and what can be learned from its log.

    The loss is Σ_a (π_greedy − π_exploring)·τ̂_a, the extra spend Σ_a (π_exploring − π_greedy)·ĉ_a. The greedy policy
    is the one that the same predictions favour, errors and all, so the predicted loss is more likely too high than too
    low; ``value.exploration_paid`` measures it on the log that comes of it.

    Args:
        units: held-out units, a log or features.
        exploring: the policy that explores.
        greedy: what would be done without exploring.
        learner: the fitted effect learner whose predictions are used.
        outcome: what is to be raised; the learner's first outcome when None.
        cost: the outcome that is the cost, or (A,) what each action costs.
        eligible: (n, A), for features; a log has its own.

    Raises:
        DataError: costs that are not one per action.
        ParameterError: the greedy policy was passed as the exploring one.
        ActionError, NotFittedError: as the policies and the learner raise.
    """
    n_actions = len(learner.actions_)
    features, weight = units, None
    if isinstance(units, DecisionLog):
        features, eligible, weight = units.features, units.eligible, units.weight
    allowed = check_eligible(eligible, count_rows(features), n_actions)
    p = exploring.probabilities(features, n_actions, allowed)
    q = greedy.probabilities(features, n_actions, allowed)
    effect = np.asarray(learner.effect(features, outcome=outcome), dtype=np.float64)
    _require_order(exploring.name, p, greedy.name, q, allowed)
    prices = _prices(cost, learner, features)

    def mean(values: Floats) -> float:
        return float(np.average(values, weights=weight))

    return ExplorationCost(
        exploring=exploring.name,
        greedy=greedy.name,
        value_loss=mean(((q - p) * effect).sum(axis=1)),
        extra_spend=None if prices is None else mean(((p - q) * prices).sum(axis=1)),
        share=mean(1.0 - p[:, 0]),
        greedy_share=mean(1.0 - q[:, 0]),
        least_probability=float(p.min() if allowed is None else p[allowed].min()),
        greedy_evaluable=evaluable_share(q, p, weight),
        any_evaluable=least_evaluable_share(p, allowed, weight),
        n=p.shape[0],
    )


def _require_order(exploring: str, p: Floats, greedy: str, q: Floats, allowed: Flags | None) -> None:
    """Refuse the two policies in each other's place: the first leaves nothing to chance somewhere, the second does not.

    Raises:
        ParameterError: so it is.
    """
    possible = np.ones(p.shape, dtype=np.bool_) if allowed is None else allowed
    if (p[possible] <= 0).any() and (q[possible] > 0).all():
        raise ParameterError(
            f"{exploring} gives some eligible actions probability 0, and {greedy}, to which it is compared, gives none",
            where="exploration_cost",
            remedy="Pass the policy that explores first, then the greedy one.",
        )


def evaluable_share(candidate: Floats, logged: Floats, weight: Any = None) -> float:
    """Expected effective sample size of judging a candidate, as a share of the rows: 1 / E[Σ_a π_a²/e_a].

    With w = π(A)/e(A), E[w] = 1 and E[w²] = E[Σ_a π_a²/e_a], so (Σw)²/Σw² is about n over that (Kish 1965). 0 where
    the candidate does what the logging policy never does.

    Args:
        candidate: (n, A) π.
        logged: (n, A) e, the probabilities the log is drawn with.
        weight: (n,) how many users each row stands for.
    """
    needed = candidate > 0.0
    if (needed & (logged <= 0.0)).any():
        return 0.0
    square = np.divide(candidate**2, logged, out=np.zeros(logged.shape), where=needed)
    return 1.0 / float(np.average(square.sum(axis=1), weights=weight))


def least_evaluable_share(logged: Floats, eligible: Flags | None = None, weight: Any = None) -> float:
    """The least ``evaluable_share`` of all policies, never below the floor: 1 / E[max_a 1/e_a] over eligible actions.

    Σ_a π_a²/e_a is convex in π, so it is largest for a policy that always takes the action logged most rarely.
    """
    rarest = (logged if eligible is None else np.where(eligible, logged, 1.0)).min(axis=1)
    if (rarest <= 0.0).any():
        return 0.0
    return 1.0 / float(np.average(1.0 / rarest, weights=weight))


def _prices(cost: str | Sequence[float] | None, learner: EffectModel, features: Any) -> Floats | None:
    """What each action costs: (n, A) predicted, or (A,) told."""
    if cost is None:
        return None
    if isinstance(cost, str):
        return np.asarray(learner.effect(features, outcome=cost), dtype=np.float64)
    told = np.asarray(cost, dtype=np.float64)
    if told.shape != (len(learner.actions_),) or not np.isfinite(told).all():
        raise DataError(
            f"cost is {cost!r}, not one number for each of the {len(learner.actions_)} actions",
            remedy="Pass e.g. [0, 0.5], the control first, or the name of an outcome the learner was fitted on.",
        )
    return told
