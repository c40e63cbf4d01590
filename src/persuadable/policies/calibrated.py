"""Policies that treat the best of a ranking: what budgets on effects and on any other score have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.effects.state import fingerprint_told
from persuadable.errors import DataError, ParameterError
from persuadable.fingerprint import Fingerprint
from persuadable.policies.base import Flags, Floats, check_eligible, check_share, count_rows
from persuadable.policies.drawn import DrawnPolicy
from persuadable.policies.threshold import BudgetCurve, ScoreDistribution, Threshold, treat_probability

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["Affordable", "CalibratedPolicy", "Scored"]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What a policy would treat a unit with, and how much it wants to.

    Attributes:
        score: (n,) what the policy ranks by, −inf where no treatment is eligible.
        action: (n,) the treatment it would give.
    """

    score: Floats
    action: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Affordable:
    """How many a budget treats.

    Attributes:
        share: the share asked for.
        expected_share: the share that will be treated; smaller where the break-even binds.
        population: how many users there are, None where not told.
        users: expected number treated, None where the population is not told.
        rule: the threshold that does it.
    """

    share: float
    expected_share: float
    population: int | None
    users: float | None
    rule: Threshold

    def __str__(self) -> str:
        limit = "" if self.rule.binds == "budget" else f" of the {self.share:.1%} asked for; the rest is not worth it"
        if self.users is None:
            return f"{self.expected_share:.1%} of the users{limit}"
        return f"{self.users:,.0f} of {self.population:,} users ({self.expected_share:.1%}){limit}"


class CalibratedPolicy(DrawnPolicy):
    """A policy that treats the top share of a held-out distribution of scores.

    A subclass says how units are scored and below which floor nobody is treated.
    """

    share: float
    distribution_: ScoreDistribution
    _cut: Threshold
    _rule: ClassVar[str] = "threshold"

    @property
    @abstractmethod
    def floor(self) -> float:
        """Nobody with a score at or below this is treated."""

    @abstractmethod
    def _score(self, features: Any, n_actions: int, eligible: Flags | None) -> Scored:
        """Scores of units the models have not seen."""

    @abstractmethod
    def _score_held_out(self, log: DecisionLog, eligible: Flags | None) -> Scored:
        """Scores of a log's rows, out of fold where the models were fitted on them."""

    def calibrate(self, log: DecisionLog) -> Self:
        """Draw the threshold from the scores of a log's rows, as models that did not see them score them.

        Rows that fitted the models are scored out of fold: in-sample scores are spread too widely, and the
        threshold drawn from them would treat too few. Rows count by their weights and treatments only where eligible.

        Raises:
            ParameterError: a share outside [0, 1].
            NotFittedError: the models are not fitted.
            LeakageError: some of the rows fitted the models, but not all, or the model has no out-of-fold scores.
            DataError: a score is not finite.
        """
        check_share(self.share)
        eligible = check_eligible(log.eligible, log.n, log.n_actions)
        scored = self._score_held_out(log, eligible)
        self.distribution_ = ScoreDistribution.of(scored.score, log.weight)
        self.calibrated_on_ = log.fingerprint
        self.n_actions_ = log.n_actions
        self._cut = self.distribution_.cut(self.share, self.floor)
        self._terms_ = self._terms()
        return self

    def _terms(self) -> dict[str, Any]:
        """What the distribution depends on besides the models."""
        return {name: value for name, value in self._plain_parameters().items() if name not in ("share", "name")}

    def scored(self, features: Any, n_actions: int, eligible: ArrayLike | None = None) -> Scored:
        """How the policy scores units, and with what it would treat them.

        Raises:
            ActionError: eligibility or number of actions do not fit.
        """
        return self._score(features, n_actions, check_eligible(eligible, count_rows(features), n_actions))

    def probabilities(self, features: Any, n_actions: int, eligible: ArrayLike | None = None) -> Floats:
        """(n, A) probabilities: 1 above the threshold, the tie probability at it, on each unit's best treatment.

        Raises:
            NotFittedError: before ``calibrate``.
            ActionError: eligibility or number of actions do not fit.
        """
        rule = self.rule
        return place(self.scored(features, n_actions, eligible), rule, n_actions)

    @property
    def rule(self) -> Threshold:
        """The threshold of the policy's share."""
        self._require_calibrated()
        if self._cut.share != self.share:
            self._cut = self.threshold_at(self.share)
        return self._cut

    @property
    def threshold(self) -> float:
        """The score above which units are treated; infinite where nobody is."""
        return self.rule.threshold

    @property
    def tie_probability(self) -> float:
        """Probability of treating a unit exactly at the threshold."""
        return self.rule.tie_probability

    @property
    def expected_share(self) -> float:
        """Share treated on the held-out distribution: ``share``, or less where the break-even binds."""
        return self.rule.expected_share

    def threshold_at(self, share: float) -> Threshold:
        """The rule for any other share, from the same distribution.

        Raises:
            ParameterError: a share outside [0, 1].
            NotFittedError: before ``calibrate``.
        """
        self._require_calibrated()
        return self.distribution_.cut(check_share(share), self.floor)

    def affordable(self, share: float | None = None, population: int | None = None) -> Affordable:
        """How many are treated with a budget for this share (the policy's own when None).

        Raises:
            ParameterError: a share outside [0, 1], or a negative population.
            NotFittedError: before ``calibrate``.
        """
        if population is not None and population < 0:
            raise ParameterError(f"population is {population}", remedy="Pass how many users there are.")
        rule = self.rule if share is None else self.threshold_at(share)
        users = None if population is None else rule.expected_share * population
        return Affordable(rule.share, rule.expected_share, population, users, rule)

    def at(self, share: float) -> Self:
        """The same models and distribution with another share, without refitting.

        Raises:
            ParameterError: a share outside [0, 1].
            NotFittedError: before ``calibrate``.
        """
        cut = self.threshold_at(share)
        other = copy(self)
        other.share, other._cut = float(share), cut
        return other

    def for_capacity(self, capacity: float, population: int) -> Self:
        """The same policy for a number of users out of a population, such as 10,000 letters for 250,000 customers.

        Raises:
            ParameterError: an empty population or a negative capacity.
            NotFittedError: before ``calibrate``.
        """
        if not population > 0 or not capacity >= 0:
            raise ParameterError(
                f"capacity {capacity!r} of a population of {population!r}",
                remedy="Pass how many users can be treated and how many there are.",
            )
        return self.at(min(capacity / population, 1.0))

    def curve(self, shares: ArrayLike | None = None) -> BudgetCurve:
        """Threshold, expected share and predicted gain over shares (0 %, 1 %, … 100 % when None).

        Raises:
            NotFittedError: before ``calibrate``.
        """
        self._require_calibrated()
        return self.distribution_.curve(np.linspace(0, 1, 101) if shares is None else shares, self.floor)

    def state(self) -> dict[str, Any]:
        """What ``from_state`` needs besides the models: ``{"json": …, "arrays": …}``, nothing that needs pickle.

        Raises:
            NotFittedError: before ``calibrate``.
        """
        self._require_calibrated()
        seen = self.calibrated_on_
        return {
            "json": {
                "kind": type(self).__name__,
                "parameters": self._plain_parameters(),
                "n_actions": self.n_actions_,
                "n": self.distribution_.n,
                "calibrated_on": fingerprint_told(seen),
            },
            "arrays": {
                "values": self.distribution_.values,
                "mass": self.distribution_.mass,
                "calibrated_ids": seen.ids,
            },
        }

    @abstractmethod
    def _plain_parameters(self) -> dict[str, Any]:
        """Constructor arguments other than models, as JSON has them."""

    @classmethod
    def from_state(cls, model: Any, state: Mapping[str, Any]) -> Self:
        """The policy that ``state`` was taken from, around its model.

        Raises:
            BundleError: the state is of another kind of policy, or incomplete.
        """
        with cls._reading(state) as (told, arrays):
            build: Any = cls
            policy: Self = build(model, **told["parameters"])
            policy.distribution_ = ScoreDistribution.read(arrays["values"], arrays["mass"], told["n"])
            policy.calibrated_on_ = Fingerprint.read(arrays["calibrated_ids"], told["calibrated_on"])
            policy.n_actions_ = told["n_actions"]
            policy._cut = policy.distribution_.cut(check_share(policy.share), policy.floor)
            policy._terms_ = policy._terms()
        return policy


def place(scored: Scored, rule: Threshold, n_actions: int) -> Floats:
    """(n, A) probabilities that a threshold gives scored units."""
    p = np.zeros((scored.score.shape[0], n_actions))
    treat = treat_probability(scored.score, rule)
    np.put_along_axis(p, scored.action[:, None], treat[:, None], axis=1)
    p[:, 0] = 1.0 - treat
    return p


def best_treatment(net: Floats, eligible: Flags | None) -> Scored:
    """Each unit's best eligible treatment from net effects (n, A − 1) of the treatments; ties go to the first.

    Raises:
        DataError: a net effect is NaN.
    """
    if np.isnan(net).any():
        row = int(np.flatnonzero(np.isnan(net).any(axis=1))[0])
        raise DataError("A net effect is NaN", where=f"row {row}", remedy="Effects must be numbers for every row.")
    allowed = net if eligible is None else np.where(eligible[:, 1:], net, -math.inf)
    best = allowed.argmax(axis=1)
    return Scored(np.take_along_axis(allowed, best[:, None], axis=1)[:, 0], best + 1)
