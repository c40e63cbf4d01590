"""What a policy predicts of each unit's decision, and how surely."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import DataError, LeakageError, NotFittedError, ParameterError
from persuadable.features import Features
from persuadable.policies.allocating import AllocationPolicy
from persuadable.policies.base import Flags, Floats, check_eligible
from persuadable.policies.budget import BudgetPolicy, break_evens, net_effects
from persuadable.policies.calibrated import best_treatment
from persuadable.policies.explore.outlook import net_stderr
from persuadable.policies.review.arguments import LARGEST, flags_of, vector

__all__ = ["Predicted", "Reviewable", "features_of", "predicted", "require_reviewable", "threshold_of", "told"]

Reviewable = BudgetPolicy | AllocationPolicy


class Predicted(NamedTuple):
    """What is predicted of n units' best treatments.

    Attributes:
        effect: (n,) on the outcome.
        net: (n,) what the policy compares with its threshold; −inf where no treatment is eligible.
        stderr: (n,) standard error of ``net``.
        between: (n,) whether ``net`` is what one treatment brings beyond another; None is nobody's.
    """

    effect: Floats
    net: Floats
    stderr: Floats
    between: Flags | None = None

    def at(self, rows: Any) -> Predicted:
        """Those of some rows."""
        pairs = None if self.between is None else self.between[rows]
        return Predicted(self.effect[rows], self.net[rows], self.stderr[rows], pairs)


def require_reviewable(policy: object, log: Any) -> None:
    """Refuse what decides nothing, says not how sure it is, or learned from the rows.

    Raises:
        ParameterError: a policy of another kind, or one that treats nobody.
        NotFittedError: it is not calibrated.
        LeakageError: some of the rows fitted its models.
    """
    if not isinstance(policy, Reviewable):
        raise ParameterError(
            f"A {type(policy).__name__} cannot be reviewed here",
            remedy="Pass a BudgetPolicy, an AllocationPolicy, or predictions: Review.of(effect, stderr, features, …).",
        )
    if isinstance(policy, BudgetPolicy):
        bought, remedy = policy.threshold < math.inf, "Give it a larger budget."
    else:
        bought = math.isfinite(policy.price_)
        remedy = f"It says of itself: {policy.explain()}"
    if not bought:
        raise ParameterError("The policy treats nobody, so nothing is decided", remedy=remedy)
    fitted_on = policy.fitted_on
    if fitted_on is not None and (shared := fitted_on.overlap(log.fingerprint)):
        raise LeakageError(
            f"{shared:,} of the {log.n:,} rows to calibrate the review on also fitted the model",
            remedy="Pass held-out rows: on those it learned from a model looks surer than it is.",
        )


def threshold_of(policy: Reviewable) -> float:
    """The net effect above which it treats: an allocation's margins are over the next best action."""
    return policy.threshold if isinstance(policy, BudgetPolicy) else 0.0


def predicted(policy: Reviewable, units: Any) -> Predicted:
    """What a policy predicts of n units' best treatments, and how surely.

    Raises:
        NotFittedError: the learner kept no half-samples.
    """
    features, learner = features_of(policy, units), _learner(policy)
    if not hasattr(learner, "effect_refits"):
        raise NotFittedError(
            f"A {type(learner).__name__} cannot tell how sure its effects are",
            remedy="Take a learner fitted with n_resamples=20, or CalibratedEffects of one.",
        )
    eligible = check_eligible(getattr(units, "eligible", None), len(features), len(learner.actions_))
    if isinstance(policy, BudgetPolicy):
        return _of_budget(policy, features, eligible)
    return _of_allocation(policy, features, eligible)


def _learner(policy: Reviewable) -> Any:
    return policy.learner if isinstance(policy, BudgetPolicy) else policy.value_learner


def _of_budget(policy: BudgetPolicy, features: Features, eligible: Flags | None) -> Predicted:
    learner: Any = policy.learner
    effect = learner.effect(features, outcome=policy.outcome)
    cost = None if policy.cost is None else learner.effect(features, outcome=policy.cost)
    scored = best_treatment(net_effects(effect, cost, break_evens(policy.break_even, learner.actions_)), eligible)
    rows = np.arange(len(features))
    chosen = np.asarray(effect, dtype=np.float64)[rows, scored.action]
    stderr = net_stderr(learner, features, policy.outcome, policy.cost)[rows, scored.action - 1]
    return Predicted(chosen, scored.score, stderr)


def _of_allocation(policy: AllocationPolicy, features: Features, eligible: Flags | None) -> Predicted:
    """Margins: of a given treatment over what would take its place, of any other over doing nothing.

    What takes a treatment's place is the next best action at its price, or nothing, where the treatment's value comes
    closer to what it must bring (its efficiency floor times its cost, and no less than 0). A unit that is given nothing
    has the margin, not above 0, of the treatment that comes closest to being given: its value less what it must bring,
    the price counted. Costs are taken as certain; the error is that of the difference in value.
    """
    value, cost = policy.economics(features)
    chosen = policy.chosen(features, value.shape[1], eligible)
    rows, given, net = np.arange(len(features)), chosen.low, chosen.net
    others = net.copy()
    others[rows, given] = -math.inf
    rival = others.argmax(axis=1)
    floor = np.maximum(0.0 if policy.efficiency_floor is None else policy.efficiency_floor * cost, 0.0)
    short = (value - np.maximum(policy.price_ * cost, floor))[:, 1:]
    closest = best_treatment(short if eligible is None else np.where(eligible[:, 1:], short, -math.inf), None)
    lead, spare = net[rows, given] - others[rows, rival], (value - floor)[rows, given]
    nothing = given == 0
    margin = np.where(nothing, np.minimum(closest.score, 0.0), np.minimum(lead, spare))
    rival = np.where(nothing | (spare < lead), 0, rival)
    shown = np.where(nothing, closest.action, given)
    effect = np.asarray(policy.value_learner.effect(features, outcome=policy.value_outcome_), dtype=np.float64)
    spread = _spread(_differences(policy, features, shown, rival))
    return Predicted(effect[rows, shown], margin, spread, rival > 0)


def _differences(
    policy: AllocationPolicy, features: Features, first: NDArray[np.intp], second: NDArray[np.intp]
) -> Iterator[Floats]:
    """(n,) what one action brings beyond another, once per half-sample."""
    learner: Any = policy.value_learner
    rows = np.arange(len(features))
    for refit in learner.effect_refits(features, policy.value_outcome_):
        effect = np.asarray(refit, dtype=np.float64)
        yield effect[rows, first] - effect[rows, second]


def _spread(refits: Iterator[Floats]) -> Floats:
    return np.asarray(np.std(np.stack(list(refits)), axis=0, ddof=1))


def features_of(policy: Reviewable, units: Any) -> Features:
    columns = getattr(_learner(policy), "columns_", None)
    return Features.of(getattr(units, "features", units), columns)


def told(
    features: Features,
    effect: ArrayLike,
    stderr: ArrayLike | None,
    net: ArrayLike | None,
    between: ArrayLike | None = None,
) -> Predicted:
    """Predictions that a caller hands over.

    Raises:
        ParameterError: no standard errors.
        DataError: another length, or a number that cannot be used: which, and in which row.
    """
    if stderr is None:
        raise ParameterError(
            "Standard errors are missing, so nobody can tell which decisions are unsure",
            where="review",
            remedy="Fit the learner with n_resamples=20, and hand its standard errors over.",
        )
    n = len(features)
    of_effect = vector("effect", effect, n)
    of_net = of_effect if net is None else vector("net", net, n)
    pairs = None if between is None else flags_of("between", between, n)
    return _checked(Predicted(of_effect, of_net, vector("stderr", stderr, n), pairs))


def _checked(told: Predicted) -> Predicted:
    """Refuse what is not finite and standard errors below 0; a net effect of −inf may be."""
    # Whatever is NaN or too large is not below this, so that one look is all that a sound request costs.
    numbers = told[:3]
    if np.abs(numbers).max(initial=0.0) < LARGEST and told.stderr.min(initial=0.0) >= 0:
        return told
    for name, values in zip(Predicted._fields, numbers, strict=False):
        bad = ~(np.abs(values) < LARGEST)
        if name == "net":
            bad &= values != -math.inf
        elif name == "stderr":
            bad |= values < 0
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(
                f"{name} is {values[row]}", where=f"row {row}", remedy="Predictions must be numbers for every unit."
            )
    return told
