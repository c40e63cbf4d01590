"""What it is expected to cost to decide without a person, from what is predicted of a unit and believed of all."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import DataError, NotFittedError, ParameterError
from persuadable.features import Features
from persuadable.policies.base import Floats, check_eligible
from persuadable.policies.budget import BudgetPolicy, break_evens, net_effects
from persuadable.policies.calibrated import best_treatment
from persuadable.policies.explore.outlook import net_stderr
from persuadable.policies.review.beliefs import LARGEST, Beliefs

__all__ = [
    "Predicted",
    "Weighed",
    "checked",
    "features_of",
    "is_number",
    "predicted",
    "share",
    "shares",
    "vector",
    "weigh",
]

CHUNK: Final = 4_096  # rows whose posteriors stay in the cache


class Predicted(NamedTuple):
    """What is predicted of n units' best treatments.

    Attributes:
        effect: (n,) on the outcome.
        net: (n,) what the policy compares with its threshold; −inf where no treatment is eligible.
        stderr: (n,) standard error of ``net``.
    """

    effect: Floats
    net: Floats
    stderr: Floats


class Weighed(NamedTuple):
    """Risks of n decisions.

    Attributes:
        priority: (n,) expected cost of being wrong.
        own: (n,) the part of it that is due to the estimate's own error.
        wrong: (n,) chance of being wrong.
        harm: (n,) chance that a treatment to be given lowers the outcome, by more than is passed over; else 0.
        strange: (n, 3) too good, outside support, flagged.
    """

    priority: Floats
    own: Floats
    wrong: Floats
    harm: Floats
    strange: NDArray[np.bool_]


def weigh(
    beliefs: Beliefs,
    told: Predicted,
    threshold: float,
    treat: Floats,
    strange: NDArray[np.bool_],
    doubt: Floats | None,
    harm: float,
) -> Weighed:
    """Expected cost and chance of being wrong, of decisions that treat with probability ``treat`` (n,).

    With p(τ) the posterior, treating costs E[(t − τ)⁺] and leaving alone E[(τ − t)⁺]; p is
    (1 − doubt)·posterior + doubt·prior.
    """
    n, table = told.net.size, _outcomes(beliefs, threshold)
    open_ = np.isfinite(told.net)
    everybody = bool(open_.all())
    net = told.net if everybody else np.where(open_, told.net, 0.0)
    likely = treat > 0.5
    # An effect below −harm is a net effect below −harm − (effect − net).
    limit = net - told.effect - harm
    parts, harmed = np.empty((n, 4)), np.zeros(n)
    for start in range(0, n, CHUNK):
        rows = slice(start, start + CHUNK)
        p = beliefs.posterior(net[rows], told.stderr[rows])
        np.matmul(p, table, out=parts[rows])
        if likely[rows].any():
            harmed[rows] = (p * beliefs.below(limit[rows])).sum(axis=1)
    own, wrong = _of_decision(parts, treat)
    priority = own
    if doubt is not None:
        unknown, mistaken = _of_decision((beliefs.prior @ table)[None, :], treat)
        priority = (1.0 - doubt) * own + doubt * unknown
        wrong = (1.0 - doubt) * wrong + doubt * mistaken
    harmed *= likely
    if not everybody:
        priority, own, wrong, harmed = (np.where(open_, part, 0.0) for part in (priority, own, wrong, harmed))
        strange = strange & open_[:, None]
    return Weighed(priority, own, wrong, harmed, strange)


def _of_decision(parts: Floats, treat: Floats) -> tuple[Floats, Floats]:
    """What a decision costs and its chance of being wrong, (n,) each, from those of treating and leaving alone."""
    both = parts[:, 1::2] + treat[:, None] * (parts[:, ::2] - parts[:, 1::2])
    return both[:, 0], both[:, 1]


@lru_cache(maxsize=1_024)
def _outcomes(beliefs: Beliefs, threshold: float) -> Floats:
    """(k, 4) what treating and leaving alone cost, and whether they are wrong, at each true net effect."""
    short, below = beliefs.grid - threshold, beliefs.below(threshold)
    return np.column_stack([np.maximum(-short, 0.0), np.maximum(short, 0.0), below, 1.0 - below])


def predicted(policy: BudgetPolicy, units: Any) -> Predicted:
    """What a policy predicts of n units' best treatments, and how surely.

    Raises:
        NotFittedError: the learner kept no half-samples.
    """
    learner: Any = policy.learner
    if not hasattr(learner, "effect_refits"):
        raise NotFittedError(
            f"A {type(learner).__name__} cannot tell how sure its effects are",
            remedy="Take a learner fitted with n_resamples=20, or CalibratedEffects of one.",
        )
    features, even = features_of(policy, units), break_evens(policy.break_even, learner.actions_)
    eligible = check_eligible(getattr(units, "eligible", None), len(features), len(learner.actions_))
    effect = learner.effect(features, outcome=policy.outcome)
    cost = None if policy.cost is None else learner.effect(features, outcome=policy.cost)
    scored = best_treatment(net_effects(effect, cost, even), eligible)
    rows = np.arange(len(features))
    chosen = np.asarray(effect, dtype=np.float64)[rows, scored.action]
    stderr = net_stderr(learner, features, policy.outcome, policy.cost)[rows, scored.action - 1]
    return Predicted(chosen, scored.score, stderr)


def features_of(policy: BudgetPolicy, units: Any) -> Features:
    columns = getattr(policy.learner, "columns_", None)
    return Features.of(getattr(units, "features", units), columns)


def checked(told: Predicted) -> Predicted:
    """Refuse predictions that cannot be used; a net effect of −inf is one.

    Raises:
        DataError: which number, and in which row.
    """
    # NaN is the largest of numpy's numbers, so three looks are all that a sound request costs.
    tops = [np.abs(values).max(initial=0.0) for values in told]
    if all(top < LARGEST for top in tops) and told.stderr.min(initial=0.0) >= 0:
        return told
    for name, values in zip(Predicted._fields, told, strict=True):
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


def vector(name: str, values: ArrayLike, n: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (n,):
        raise DataError(f"{name} has shape {array.shape}, expected {(n,)}", remedy="Pass one number per unit.")
    return array


def shares(name: str, values: ArrayLike, n: int) -> Floats:
    """(n,) numbers from 0 to 1, but for rounding.

    Raises:
        DataError: another shape, or which number is out of range.
    """
    array = vector(name, values, n)
    if not (bad := ~((array >= -1e-9) & (array <= 1.0 + 1e-9))).any():
        return array
    row = int(np.flatnonzero(bad)[0])
    raise DataError(f"{name} is {array[row]}", where=f"row {row}", remedy="Pass a number from 0 to 1 per unit.")


def is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def share(name: str, value: Any) -> float:
    if not is_number(value) or not 0 <= value <= 1:
        raise ParameterError(f"{name} is {value!r}", where="review", remedy="Pass a share, from 0 to 1.")
    return float(value)
