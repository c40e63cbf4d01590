"""What each action would bring each unit: the scores a policy is learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.effects.scores import action_scores
from persuadable.engine import LocalEngine, Trees
from persuadable.errors import DataError, OutcomeError, ParameterError
from persuadable.fingerprint import Fingerprint
from persuadable.log import checks
from persuadable.policies.base import Flags, Floats
from persuadable.policies.budget import break_evens
from persuadable.response import cross_fit_arms

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["Stakes", "checked_scores", "learned_from", "net_scores", "scores_for"]


def net_scores(
    log: DecisionLog,
    outcome: str | None = None,
    *,
    cost: str | None = None,
    break_even: float | Mapping[str, float] = 0.0,
    trees: Trees | None = None,
    n_folds: int = 5,
    engine: LocalEngine | None = None,
    random_state: int = 0,
) -> Floats:
    """(n, A) doubly robust scores of each action, net of what it costs: Γ_a(outcome) − Γ_a(cost) − break-even_a.

    Γ_a = μ_a + 1{A = a}(y − μ_a)/e_a with out-of-fold responses μ, so E[Γ_a | x] = E[y | x, a] where the propensities
    are right (Robins, Rotnitzky, Zhao 1994; Zhou, Athey, Wager 2023).

    Args:
        log: n rows, A actions.
        outcome: what is to be raised; the first when None.
        cost: the outcome that is the treatment's cost, in the same unit; none when None.
        break_even: what a treatment must bring at least, one number or one per treatment by label.
        trees, n_folds, engine, random_state: of the responses, as in ``response.cross_fit_arms``.

    Raises:
        PropensityError: an action that was allowed had propensity 0, so that nothing was tried there.
        OutcomeError: there is no such outcome, or the cost is the outcome.
        ActionError: an arm without rows, or a break-even for what is no treatment.
    """
    checks.arms(log.action, log.actions, "action")
    for treatment in range(1, log.n_actions):
        checks.require_comparable(log, treatment)
    if cost is not None and cost == (outcome or log.primary):
        raise OutcomeError(f"{cost!r} is both the outcome and its cost", remedy="Name two outcomes of the log.")

    def score(name: str | None) -> Floats:
        mu = cross_fit_arms(log, name, trees=trees, n_folds=n_folds, engine=engine, random_state=random_state)
        return action_scores(log.outcome(name), log.action, log.propensity(), mu)

    told = break_evens(break_even, log.actions)
    net = score(outcome) if cost is None else score(outcome) - score(cost)
    net[:, 1:] -= told[1:]
    return net


def checked_scores(scores: ArrayLike, shape: tuple[int, int]) -> Floats:
    """Scores as (n, A) numbers.

    Raises:
        DataError: another shape, or a number that is not finite.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.shape != shape:
        raise DataError(
            f"scores has shape {table.shape}, expected {shape}",
            remedy="Pass one row per row of the log and one column per action, the control first.",
        )
    if not np.isfinite(table).all():
        row, action = (int(i[0]) for i in np.nonzero(~np.isfinite(table)))
        raise DataError(
            f"A score is {table[row, action]}",
            where=f"row {row}, action {action}",
            remedy="Scores must be finite; look at the propensities and predictions they are made of.",
        )
    return np.asarray(table)


class Scoring(Protocol):
    """What a policy says of the scores it is learned from; see ``net_scores``."""

    outcome: str | None
    cost: str | None
    break_even: float | Mapping[str, float]
    trees: Trees | None
    n_folds: int
    engine: LocalEngine | None
    random_state: int


def scores_for(policy: Scoring, log: DecisionLog, scores: ArrayLike | None) -> Floats:
    """(n, A) the scores given, checked, or those the policy's parameters ask for.

    Raises:
        ParameterError: no log, or a cost or break-even beside scores, which are net already.
        DataError, PropensityError, OutcomeError, ActionError: as ``checked_scores`` and ``net_scores``.
    """
    checks.require_log(log, f"{type(policy).__name__}.fit")
    if scores is None:
        return net_scores(
            log,
            policy.outcome,
            cost=policy.cost,
            break_even=policy.break_even,
            trees=policy.trees,
            n_folds=policy.n_folds,
            engine=policy.engine,
            random_state=policy.random_state,
        )
    if policy.cost is not None or policy.break_even != 0.0:
        raise ParameterError(
            "scores= was passed to a policy with a cost or a break-even, which would be ignored",
            remedy="Pass scores net of cost and leave cost and break_even out, or let the policy make its scores.",
        )
    return checked_scores(scores, (log.n, log.n_actions))


def learned_from(log: DecisionLog, scores: Any) -> Fingerprint:
    """The log's rows, and those behind scores that remember theirs."""
    behind = getattr(scores, "fitted_on", None)
    return log.fingerprint if behind is None else log.fingerprint.union(behind)


@dataclass(frozen=True, slots=True, eq=False)
class Stakes:
    """What is at stake in each row, per head of all rows: sums over rows are means over units.

    A leaf that says "treat with a" leaves those alone who may not get a, so for them a is worth what doing nothing is
    and costs no budget.

    Attributes:
        control: (n,) worth of doing nothing.
        gain: (A − 1, n) worth of each treatment over doing nothing.
        charge: (A − 1, n) what each treatment takes of the budget: the row's share of all units, or 0.
        share: (n,) the row's share of all units.
    """

    control: Floats
    gain: Floats
    charge: Floats
    share: Floats

    @classmethod
    def of(cls, scores: Floats, weight: NDArray[Any] | None, eligible: Flags | None) -> Stakes:
        """Stakes of scores (n, A) with row weights (n,) and eligibility (n, A)."""
        n = scores.shape[0]
        share = np.full(n, 1.0 / n) if weight is None else np.asarray(weight, dtype=np.float64) / np.sum(weight)
        allowed = np.ones((scores.shape[1] - 1, n)) if eligible is None else eligible[:, 1:].T.astype(np.float64)
        charge = allowed * share
        return cls(scores[:, 0] * share, (scores[:, 1:] - scores[:, :1]).T * charge, charge, share)

    def at(self, price: float) -> Floats:
        """(A − 1, n) gains less what they take of the budget at this price, rounded so that sums of them are exact.

        Multiples of a power of two with a total below 2⁵² add without rounding in any order, so which of two equal
        trees is found depends neither on the order of the rows nor on how sums are arranged.
        """
        net = self.gain - price * self.charge
        largest = float(np.abs(net).sum(axis=1).max())
        if largest == 0.0:
            return net
        digits = 51 - int(np.frexp(largest)[1])
        return np.asarray(np.ldexp(np.rint(np.ldexp(net, digits)), -digits))

    def by_leaf(self, leaf: NDArray[np.intp], n_leaves: int) -> tuple[Floats, Floats]:
        """(L, A) worth, and share of the budget, of each action in each leaf, per head of all rows."""
        worth = np.empty((n_leaves, len(self.gain) + 1))
        charge = np.zeros_like(worth)
        worth[:, 0] = np.bincount(leaf, self.control, n_leaves)
        for a, (gain, mass) in enumerate(zip(self.gain, self.charge, strict=True), 1):
            worth[:, a] = worth[:, 0] + np.bincount(leaf, gain, n_leaves)
            charge[:, a] = np.bincount(leaf, mass, n_leaves)
        return worth, charge
