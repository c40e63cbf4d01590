"""Treat those whom it moves most, as many as the budget pays for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ActionError, NotFittedError, ParameterError
from persuadable.policies.base import Flags, Floats, check_actions
from persuadable.policies.calibrated import CalibratedPolicy, Scored, best_treatment
from persuadable.policies.predicted import EffectModel, held_out_effects

if TYPE_CHECKING:
    from persuadable.fingerprint import Fingerprint
    from persuadable.log import DecisionLog
    from persuadable.spaces import Discrete

__all__ = ["BudgetPolicy", "break_evens", "net_effects"]


def net_effects(effect: NDArray[Any], cost: NDArray[Any] | None, break_even: Floats) -> Floats:
    """(n, A − 1) net effects of the treatments: effect − cost effect − break-even.

    Args:
        effect: (n, A) effects, column 0 is the control.
        cost: (n, A) effects on cost in the outcome's unit, or None.
        break_even: (A,) what a treatment must bring at least, column 0 unused.
    """
    net = np.asarray(effect, dtype=np.float64)[:, 1:]
    if cost is not None:
        net = net - np.asarray(cost, dtype=np.float64)[:, 1:]
    return net - break_even[1:]


def _number(value: Any) -> float:
    if not isinstance(value, int | float | np.number):
        raise ParameterError(f"break_even is {value!r}", remedy="Pass finite numbers in the outcome's unit.")
    return float(value)


def break_evens(told: float | Mapping[str, float], actions: Discrete) -> Floats:
    """(A,) what each action must bring at least, from one number or one per treatment by label.

    Raises:
        ActionError: a label that is no treatment.
        ParameterError: a value that is not a finite number.
    """
    if not isinstance(told, Mapping):
        values = np.full(len(actions), _number(told))
    else:
        unknown = set(told) - set(actions.treatments)
        if unknown:
            raise ActionError(
                f"break_even names {sorted(unknown)[0]!r}, which is not a treatment",
                remedy=f"The treatments are {list(actions.treatments)}.",
            )
        values = np.array([_number(told.get(label, 0.0)) for label in actions])
    if not np.isfinite(values).all():
        raise ParameterError(f"break_even is {told!r}", remedy="Pass finite numbers in the outcome's unit.")
    return values


class BudgetPolicy(CalibratedPolicy):
    """Treat the share of users with the largest net effects, each with its best treatment.

    The net effect is the effect on ``outcome``, less that on ``cost`` if named, less ``break_even``. The threshold t is
    F⁻¹(1 − share) on the held-out distribution F of net effects. Above t everybody is treated, at t with the
    probability that makes the expected share exactly ``share``, and nobody whose net effect is ≤ 0.

    Args:
        learner: a fitted effect learner.
        share: share of users the budget pays for, in [0, 1].
        outcome: what is to be raised; the learner's first outcome when None.
        cost: the outcome that is the treatment's cost, in the same unit; none when None.
        break_even: the effect a treatment must exceed, one number or one per treatment by label.
    """

    def __init__(
        self,
        learner: EffectModel,
        share: float = 0.3,
        outcome: str | None = None,
        cost: str | None = None,
        break_even: float | Mapping[str, float] = 0.0,
    ) -> None:
        self.learner = learner
        self.share = share
        self.outcome = outcome
        self.cost = cost
        self.break_even = break_even

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{type(self.learner).__name__} budget {self.share:.0%}"

    @property
    def fitted_on(self) -> Fingerprint | None:
        """The rows its learner learned from."""
        return getattr(self.learner, "fitted_on", None)

    @property
    def floor(self) -> float:
        """Net effects at or below 0 are not worth treating."""
        return 0.0

    def _best(self, effect: NDArray[Any], cost: NDArray[Any] | None, eligible: Flags | None) -> Scored:
        net = net_effects(effect, cost, break_evens(self.break_even, self.learner.actions_))
        return best_treatment(net, eligible)

    def _require_learner(self, n_actions: int) -> None:
        if self.fitted_on is None:
            raise NotFittedError(
                f"The {type(self.learner).__name__} is not fitted", remedy="Call learner.fit(train) before calibrating."
            )
        check_actions(n_actions, len(self.learner.actions_), self.name)

    def _score(self, features: Any, n_actions: int, eligible: Flags | None) -> Scored:
        self._require_learner(n_actions)
        effect = self.learner.effect(features, outcome=self.outcome)
        cost = None if self.cost is None else self.learner.effect(features, outcome=self.cost)
        return self._best(effect, cost, eligible)

    def _score_held_out(self, log: DecisionLog, eligible: Flags | None) -> Scored:
        self._require_learner(log.n_actions)
        effect = held_out_effects(self.learner, log, self.outcome)
        cost = None if self.cost is None else held_out_effects(self.learner, log, self.cost)
        return self._best(effect, cost, eligible)

    def _plain_parameters(self) -> dict[str, Any]:
        even = self.break_even
        return {
            "share": float(self.share),
            "outcome": self.outcome,
            "cost": self.cost,
            "break_even": {k: float(v) for k, v in even.items()} if isinstance(even, Mapping) else float(even),
        }

    def explain(self) -> str:
        """The policy in words.

        Raises:
            NotFittedError: before ``calibrate``.
        """
        rule, n = self.rule, self.distribution_.n
        what = "net effect" if self.cost is not None or self.break_even else "effect"
        on = f" on {self.outcome}" if self.outcome else ""
        if rule.expected_share == 0.0:
            why = "The budget pays for nobody" if rule.share == 0.0 else "No user's effect exceeds the break-even"
            return f"Treat nobody. {why}."
        who = "everybody whose predicted" if self.n_actions_ == 2 else "everybody whose best treatment's predicted"
        words = f"Treat {who} {what}{on} is above {rule.threshold:.4g}"
        words += f": {rule.expected_share:.1%} of the {n:,} users it was calibrated on."
        if rule.tie_probability > 0.0:
            words += f" Of those exactly at {rule.threshold:.4g}, draw lots and treat {rule.tie_probability:.1%}."
        if rule.binds == "break-even":
            words += (
                f" The budget would pay for {rule.share:.1%}, "
                "but the others are not predicted to bring more than they cost."
            )
        return words
