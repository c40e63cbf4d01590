"""Give every unit the action that brings most for its money, as much as the budget pays for."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import ArrayLike

from persuadable.design.power import is_number
from persuadable.errors import NotFittedError, ParameterError
from persuadable.fingerprint import Fingerprint
from persuadable.policies.allocation_state import read_into, told_of
from persuadable.policies.base import Flags, Floats, check_actions, check_eligible, count_rows
from persuadable.policies.choosing import Chosen, allowed_pairs, choose, placed
from persuadable.policies.costs import never_saves, stated_costs
from persuadable.policies.drawn import DrawnPolicy
from persuadable.policies.effect_evidence import Evidence, evidence_of
from persuadable.policies.predicted import EffectModel, finite_effects, first_outcome, held_out_effects
from persuadable.policies.price_path import Price, PriceCurve, PricePath

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["AllocationPolicy"]

_TERMS: Final = ("value", "cost", "efficiency_floor", "averse", "evidence")  # what the path depends on


class AllocationPolicy(DrawnPolicy):
    """Which action for whom: the one with the largest incremental value less the price of its incremental cost.

    ``calibrate`` draws, from rows the models did not see, the path of prices from no budget to all, and the price λ at
    which the expected spend is the budget. Serving is then one argmax of v̂ − λĉ a unit. What is predicted to bring
    nothing is never given. Where actions tie at the price, the costlier is given with the probability that spends the
    budget exactly.

    Estimated effects are never exactly zero, and the largest of many is mostly luck, so where nothing has an effect an
    argmax would still make offers and pay for them. By default ``calibrate`` therefore tests first whether the
    predicted effects show on the rows at all, at the one-sided level ``evidence``; if not, nobody is given anything.
    The test is of all the predictions at once, so it does not take the place of calibrating them
    (``effects.CalibratedEffects``), and where effects are real and data sufficient it changes nothing.

    Args:
        value_learner: a fitted effect model of the value.
        cost_learner: a fitted effect model of the cost; None where ``value_learner`` was fitted on the cost as well; or
            what each treatment costs whenever it is given, by label or as (A,) numbers beginning with 0.
        budget: expected spend per head, in the cost's unit; None for no budget.
        value: the outcome to be raised; the value learner's first when None.
        cost: the outcome that is the cost; when None the cost learner's first, or the log's cost.
        roi_floor: least total value per unit of total cost; None for no floor.
        efficiency_floor: least value per unit of cost of every single offer; None for no floor.
        averse: decide on v̂ − ``averse``·stderr, from the value learner's half-sample refits; 0 takes v̂ as it is.
        evidence: one-sided level at which held-out rows must show the effects before any offer is made; None not to
            ask.

    Attributes:
        path_: spend, value and offers at every price.
        evidence_: what the test found; None where it was not asked for.
        value_outcome_, cost_outcome_: names of the outcomes; the latter None where costs are stated.
        stated_costs_: (A,) costs where they are stated, else None.
        never_saves_: whether predicted costs below 0 count as 0, see ``as_costs``.
        calibrated_on_: rows the path was drawn from.
        n_actions_: how many actions there are, doing nothing included.
    """

    path_: PricePath
    evidence_: Evidence | None
    value_outcome_: str
    cost_outcome_: str | None
    stated_costs_: Floats | None
    never_saves_: bool
    _cut: Price
    _rule: ClassVar[str] = "price"

    def __init__(
        self,
        value_learner: EffectModel,
        cost_learner: EffectModel | Mapping[str, float] | Sequence[float] | None = None,
        *,
        budget: float | None,
        value: str | None = None,
        cost: str | None = None,
        roi_floor: float | None = None,
        efficiency_floor: float | None = None,
        averse: float = 0.0,
        evidence: float | None = 0.01,
    ) -> None:
        self.value_learner = value_learner
        self.cost_learner = cost_learner
        self.budget = budget
        self.value = value
        self.cost = cost
        self.roi_floor = roi_floor
        self.efficiency_floor = efficiency_floor
        self.averse = averse
        self.evidence = evidence

    @property
    def name(self) -> str:
        """What tables call it."""
        amount = "no budget" if self.budget is None else f"{self.budget:g} a head"
        return f"allocation, {amount}"

    @property
    def fitted_on(self) -> Fingerprint | None:
        """The rows its models learned from."""
        first: Fingerprint | None = getattr(self.value_learner, "fitted_on", None)
        second: Fingerprint | None = getattr(self.cost_learner, "fitted_on", None)
        if first is None or second is None:
            return second if first is None else first
        return first if first.same_rows(second) else first.union(second)

    # -- calibrating ---------------------------------------------------------------------------------------------

    def calibrate(self, log: DecisionLog) -> Self:
        """Draw the path of prices from a log's rows, as models that did not see them predict their effects.

        Rows that fitted the models are predicted out of fold: in-sample effects are spread too widely, and the price
        drawn from them would spend too much. Rows count by their weights and actions only where eligible.

        Raises:
            ParameterError: a budget, floor, aversion or level out of range, or no cost to be found.
            NotFittedError: a model is not fitted, or has no half-samples to be averse with.
            ActionError: the models or stated costs know other actions than the log.
            LeakageError: some of the rows fitted a model, but not all.
            DataError: an effect is not finite.
            PropensityError: evidence was asked for and the log does not tell the propensities of all actions.
        """
        self._check_parameters()
        self._resolve(log)
        plain, eligible = self._draw(log)
        if self.evidence is None:
            self.evidence_ = None
        else:
            anything = np.ones(plain.shape, dtype=np.bool_) if eligible is None else eligible
            self.evidence_ = evidence_of(log, self.value_outcome_, plain, anything, float(self.evidence))
        self._settle()
        return self

    def reprice(self, log: DecisionLog) -> Self:
        """Draw the path of prices anew from other rows, such as those about to be served; the evidence stays.

        Predictions out of fold, which ``calibrate`` takes on the rows that fitted the models, are not those that will
        be served: where effects are nearly all the same a price between them may buy twice the budget, or nothing. Only
        features, eligibility and weights are read, no outcomes, so the rows may still judge the policy.

        Raises:
            NotFittedError: before ``calibrate``.
            ActionError, LeakageError, DataError: as for ``calibrate``.
        """
        self._require_calibrated()
        self._require_model(self.value_learner, log.n_actions)
        self._draw(log)
        self._settle()
        return self

    def _draw(self, log: DecisionLog) -> tuple[Floats, Flags | None]:
        """Draw the path from a log's rows; their values before any aversion, and what is eligible."""
        eligible = check_eligible(log.eligible, log.n, log.n_actions)
        plain = _held_out(self.value_learner, log, self.value_outcome_)
        value = plain if not self.averse else plain - self._aversion(log.features)
        if self.stated_costs_ is not None:
            cost = np.tile(self.stated_costs_, (log.n, 1))
        else:
            cost = self.as_costs(_held_out(self._cost_model(), log, self._cost_outcome()))
        allowed = allowed_pairs(value, cost, eligible, self.efficiency_floor)
        self.path_ = PricePath.of(value, cost, allowed, log.weight)
        self.calibrated_on_, self.n_actions_ = log.fingerprint, log.n_actions
        return plain, eligible

    def _settle(self) -> None:
        self._cut, self._cut_for = self._price(self.budget), (self.budget, self.roi_floor)
        self._terms_ = self._terms()

    def _check_parameters(self) -> None:
        _require_least(self.budget, "budget", 0.0, "Pass the expected spend per head of the population, or None.")
        _require_least(self.roi_floor, "roi_floor", 0.0, "Pass the least value per unit of cost, or None.")
        _require_least(
            self.efficiency_floor, "efficiency_floor", 0.0, "Pass the least value per unit of cost, or None."
        )
        _require_least(self.averse, "averse", 0.0, "Pass how many standard errors to take off; 0 for none.", none=False)
        level = self.evidence
        if level is not None and not (is_number(level) and 0.0 < level < 1.0):
            raise ParameterError(
                f"evidence is {level!r}", remedy="Pass a level between 0 and 1, such as 0.01, or None."
            )

    def _resolve(self, log: DecisionLog) -> None:
        """Find the outcomes' names and the stated costs, once the actions are known to agree."""
        self._require_model(self.value_learner, log.n_actions)
        self.value_outcome_ = self.value or first_outcome(self.value_learner, log.primary)
        told = self.cost_learner
        if isinstance(told, Mapping | Sequence | np.ndarray):
            self.stated_costs_, self.cost_outcome_ = stated_costs(told, self.value_learner.actions_), None
            self.never_saves_ = True
            return
        self.stated_costs_ = None
        if told is not None:
            self._require_model(told, log.n_actions)
            self.cost_outcome_ = self.cost or first_outcome(told, log.cost_name)
        else:
            self.cost_outcome_ = self.cost or log.cost_name
        if self.cost_outcome_ is None:
            raise ParameterError(
                "There is no cost to weigh the value against",
                where=type(self).__name__,
                remedy='Name the cost outcome, cost="…", pass a cost learner, or state what each treatment costs.',
            )
        if told is None and self.cost_outcome_ == self.value_outcome_:
            raise ParameterError(
                f"{self.cost_outcome_!r} is both the value and its cost", remedy="Name two outcomes of the log."
            )
        self.never_saves_ = never_saves(log, self.cost_outcome_)

    def _require_model(self, model: EffectModel, n_actions: int) -> None:
        if getattr(model, "fitted_on", None) is None:
            raise NotFittedError(
                f"The {type(model).__name__} is not fitted", remedy="Call learner.fit(train) before calibrating."
            )
        check_actions(n_actions, len(model.actions_), self.name)

    def _cost_model(self) -> EffectModel:
        told: Any = self.cost_learner
        model: EffectModel = self.value_learner if told is None else told
        return model

    def _cost_outcome(self) -> str:
        name = self.cost_outcome_
        if name is None:
            raise ParameterError("Stated costs are no outcome", remedy="Read stated_costs_.")
        return name

    # -- what it sees ----------------------------------------------------------------------------------------------

    def economics(self, features: Any) -> tuple[Floats, Floats]:
        """(value, cost), each (n, A): what each action is predicted to bring, less the aversion, and to cost.

        Raises:
            NotFittedError: before ``calibrate``.
            DataError: an effect is not finite.
        """
        self._require_calibrated()
        value = finite_effects(self.value_learner.effect(features, outcome=self.value_outcome_), self.value_outcome_)
        if self.averse:
            value = value - self._aversion(features)
        if self.stated_costs_ is not None:
            return value, np.tile(self.stated_costs_, (value.shape[0], 1))
        name = self._cost_outcome()
        return value, self.as_costs(finite_effects(self._cost_model().effect(features, outcome=name), name))

    def as_costs(self, predicted: Floats) -> Floats:
        """(n, A) predicted effects on cost as the costs that are decided by.

        Models of effects know no sign, and an offer predicted to save money would pay for others out of nothing. So
        where the log the policy was calibrated on shows that no action can save money, what is predicted below 0 is 0:
        where no logged cost is below 0 and doing nothing never cost anything (``policies.costs.never_saves``).
        """
        return np.maximum(predicted, 0.0) if self.never_saves_ else predicted

    def _aversion(self, features: Any) -> Floats:
        """(n, A) what is taken off the values: ``averse`` times their standard errors."""
        refits = getattr(self.value_learner, "effect_refits", None)
        if refits is None:
            raise ParameterError(
                f"The {type(self.value_learner).__name__} does not say how sure it is of its effects",
                remedy="Pass averse=0, or a learner with half-sample refits (n_resamples=20).",
            )
        told = np.stack(list(refits(features, self.value_outcome_)))
        if len(told) < 2:
            raise NotFittedError(
                f"The {type(self.value_learner).__name__} has one refit, and no spread can be told from it",
                remedy="Pass averse=0, or a learner with half-sample refits (n_resamples=20).",
            )
        return self.averse * finite_effects(told.std(axis=0, ddof=1), self.value_outcome_)

    def chosen(self, features: Any, n_actions: int, eligible: ArrayLike | None = None) -> Chosen:
        """The actions with the largest net value at the policy's price.

        Raises:
            NotFittedError: before ``calibrate``.
            ActionError: eligibility or number of actions do not fit.
        """
        rule = self.rule
        check_actions(n_actions, self.n_actions_, self.name)
        mask = check_eligible(eligible, count_rows(features), n_actions)
        value, cost = self.economics(features)
        return choose(value, cost, rule, eligible=mask, efficiency_floor=self.efficiency_floor)

    def probabilities(self, features: Any, n_actions: int, eligible: ArrayLike | None = None) -> Floats:
        """(n, A) probabilities: 1 for the action with the largest net value; two at most share where they tie.

        Raises:
            NotFittedError: before ``calibrate``.
            ActionError: eligibility or number of actions do not fit.
        """
        return placed(self.chosen(features, n_actions, eligible), self.rule)

    # -- budgets and prices ----------------------------------------------------------------------------------------

    @property
    def rule(self) -> Price:
        """The price of the policy's budget."""
        self._require_calibrated()
        if self._cut_for != (self.budget, self.roi_floor):
            self._check_parameters()
            self._cut, self._cut_for = self._price(self.budget), (self.budget, self.roi_floor)
        return self._cut

    @property
    def price_(self) -> float:
        """λ, what the last unit of money brings."""
        return self.rule.price

    @property
    def tie_probability(self) -> float:
        """Probability of the costlier action where two tie at the price."""
        return self.rule.tie_probability

    def price_at(self, budget: float | None) -> Price:
        """The rule for any other budget per head, from the same path.

        Raises:
            ParameterError: a budget that is not a number from 0.
            NotFittedError: before ``calibrate``.
        """
        self._require_calibrated()
        _require_least(budget, "budget", 0.0, "Pass the expected spend per head of the population, or None.")
        return self._price(budget)

    def _price(self, budget: float | None) -> Price:
        told = None if budget is None else float(budget)
        if self.evidence_ is not None and not self.evidence_.enough:
            return Price(told, math.inf, 0.0, 0.0, 0.0, 0.0, "evidence")
        return self.path_.cut(told, self.roi_floor)

    def at(self, budget: float | None) -> Self:
        """The same models and path with another budget per head, without refitting.

        Raises:
            ParameterError: a budget that is not a number from 0.
            NotFittedError: before ``calibrate``.
        """
        cut = self.price_at(budget)
        other = copy(self)
        other.budget, other._cut, other._cut_for = budget, cut, (budget, self.roi_floor)
        return other

    def for_amount(self, amount: float, population: int) -> Self:
        """The same policy for a total amount and a population, such as 50,000 euros for 200,000 customers.

        Raises:
            ParameterError: an empty population or a negative amount.
            NotFittedError: before ``calibrate``.
        """
        if not (population > 0 and is_number(amount) and amount >= 0):
            raise ParameterError(
                f"an amount of {amount!r} for a population of {population!r}",
                remedy="Pass how much can be spent and how many units there are.",
            )
        return self.at(amount / population)

    def curve(self, budgets: ArrayLike | None = None) -> PriceCurve:
        """Price, spend, value and share of offers over budgets per head (0 to all there is to buy when None).

        Raises:
            ParameterError: a budget that is not a number from 0.
            NotFittedError: before ``calibrate``.
        """
        self._require_calibrated()
        told = np.linspace(0.0, max(self.path_.most, 0.0), 101) if budgets is None else np.atleast_1d(budgets)
        return PriceCurve.of([self.price_at(float(b)) for b in told])

    def _terms(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _TERMS}

    # -- words and bytes -------------------------------------------------------------------------------------------

    def explain(self) -> str:
        """The policy in words.

        Raises:
            NotFittedError: before ``calibrate``.
        """
        rule, n, on = self.rule, self.path_.n, self.value_outcome_
        if rule.binds == "evidence":
            return f"Offer nothing. {self.evidence_}, so the effects on {on} may be chance."
        if rule.offered == 0.0:
            why = "The budget pays for nothing" if rule.budget == 0.0 else f"No offer is predicted to raise {on}"
            return f"Offer nothing. {why}."
        words = f"Give each unit the action with the largest predicted effect on {on}"
        if rule.price == math.inf:
            words += " among those that cost nothing"
        elif rule.price > 0.0:
            words += f" less {rule.price:.4g} times its predicted cost"
        words += f", and none where that is not above 0: {rule.offered:.1%} of the {n:,} units it was calibrated on get"
        words += f" an offer, for {rule.spend:.4g} a head, and {rule.value:.4g} a head is predicted to come of it."
        if 0.0 < rule.price < math.inf:
            words += f" The last unit of money brings {rule.price:.4g}."
        if rule.binds == "roi":
            words += f" More would bring less than {self.roi_floor:g} per unit of cost in total."
        if rule.binds == "nothing" and rule.budget is not None:
            words += f" The budget would pay for {rule.budget:.4g} a head; nothing more is predicted to bring anything."
        return words

    def state(self) -> dict[str, Any]:
        """What ``from_state`` needs besides the models: ``{"json": …, "arrays": …}``, nothing that needs pickle.

        Raises:
            NotFittedError: before ``calibrate``.
        """
        self._require_calibrated()
        return told_of(self)

    @classmethod
    def from_state(cls, value_learner: EffectModel, cost_learner: EffectModel | None, state: Mapping[str, Any]) -> Self:
        """The policy that ``state`` was taken from, around its models.

        Args:
            value_learner: the value's effect model.
            cost_learner: the cost's; None where the value's knows the cost, or where costs are stated.
            state: from ``state()``.

        Raises:
            BundleError: the state is of another kind of policy, incomplete, or does not fit the models.
        """
        with cls._reading(state) as (told, arrays):
            stated = told["stated_costs"]
            policy = cls(value_learner, cost_learner if stated is None else tuple(stated), **told["parameters"])
            policy._check_parameters()
            read_into(policy, told, arrays)
            policy._settle()
        return policy


def _held_out(model: EffectModel, log: DecisionLog, outcome: str) -> Floats:
    return finite_effects(held_out_effects(model, log, outcome), outcome)


def _require_least(told: Any, name: str, least: float, remedy: str, *, none: bool = True) -> None:
    if told is None and none:
        return
    if not (is_number(told) and least <= told <= sys.float_info.max):
        raise ParameterError(f"{name} is {told!r}, not a number from {least:g}", remedy=remedy)
