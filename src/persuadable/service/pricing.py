"""Models that price: of every action's value and cost, each unit gets what brings most at the price of money."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from persuadable.bundle import Bundle
from persuadable.effects.compiled import CompiledLearner
from persuadable.policies.allocating import AllocationPolicy
from persuadable.policies.choosing import allowed_pairs, choose
from persuadable.policies.hull import SAME_PRICE
from persuadable.policies.price_path import Price
from persuadable.service.grants import MILLIONTHS, propensities
from persuadable.service.intake import Taken
from persuadable.service.records import Budget, Option, Priced, Proposal, Reason, Shadow
from persuadable.service.scoring import FALLBACK, FEW, Allowed, Model, Z, allowed_of, mask_of, no_number, version_of
from persuadable.service.wire import Fault, Terms, Unit

__all__ = ["PricingModel"]

MOST_PRICES = 1024
Vector = NDArray[np.float64]


class Economics(NamedTuple):
    """What every action brings and costs, (n, A) each.

    Attributes:
        effect: on the outcome.
        stderr: its standard error; None where the bundle has no half-samples.
        value: what is decided on: the effect, less the policy's aversion to what is not certain.
        cost: what assigning it is expected to cost.
    """

    effect: Vector
    stderr: Vector | None
    value: Vector
    cost: Vector


class Chosen(NamedTuple):
    """For each unit: the cheapest and the costliest of the best actions (by number), and what to tell.

    Attributes:
        low, high: as ``policies.choosing.choose`` has them; 0 is doing nothing.
        shown: the best treatment, given or not.
        why: why none is given, where none is.
    """

    low: list[int]
    high: list[int]
    shown: list[int]
    why: list[Reason]


class Draw(NamedTuple):
    """A treatment, its chance, and the treatment that is given otherwise, 0 for none."""

    treatment: int
    chance: float
    other: int
    reason: Reason


@dataclass(frozen=True, slots=True, eq=False)
class PricingModel(Model):
    """A bundle with a budget of money, compiled.

    Attributes:
        policy: the bundle's.
        costs: the trees that predict costs, laid out for speed; None where costs are stated.
        cut: budget per head → price, from the policy's path.
    """

    budgets: ClassVar[str] = "budgets"
    policy: AllocationPolicy
    costs: CompiledLearner | None
    cut: Callable[[float | None], Price]

    @classmethod
    def of(cls, bundle: Bundle, policy: AllocationPolicy) -> Self:
        """The model of a bundle with this policy."""
        compiled = CompiledLearner(bundle.learner)
        costs: CompiledLearner | None = None
        if policy.stated_costs_ is None:
            costs = compiled if bundle.cost_learner is None else CompiledLearner(bundle.cost_learner)
        return cls(
            bundle,
            version_of(bundle),
            tuple(bundle.learner.actions_),
            policy.value_outcome_,
            compiled,
            policy,
            costs,
            lru_cache(MOST_PRICES)(policy.price_at),
        )

    def warm(self) -> None:
        """Do everything once that takes longer the first time."""
        self.compiled.warm()
        if self.costs is not None:
            self.costs.warm()
        self.cut(self.policy.budget)

    def faults(self, terms: Terms) -> list[Fault]:
        """A share of users means nothing to it, nor does a population whose budget is told per head."""
        found = []
        if terms.budget_share is not None:
            said = "The bundle in service has a budget of money. Send budget_per_head or budget_amount."
            found.append(Fault("/budget_share", said))
        if terms.population is not None and (terms.budget_amount is None or terms.budget_per_head is not None):
            said = "population divides budget_amount into a budget per head. Send it with that alone, or leave it out."
            found.append(Fault("/population", said))
        return found

    def budget(self, terms: Terms, among: int) -> Budget:
        """What a request may spend.

        Args:
            terms: what it says, none of it a fault.
            among: how many units it names: the population, where it tells none.
        """
        per_head, amount = terms.budget_per_head, terms.budget_amount
        if per_head is None:
            per_head = self.policy.budget if amount is None else amount / (terms.population or max(among, 1))
        most = None if amount is None else int(Decimal(repr(amount)) * MILLIONTHS)
        return Budget(1.0, terms.budget_units, terms.campaign, per_head, most)

    def propose(
        self,
        units: Sequence[Unit],
        taken: Taken,
        budget: Budget,
        shadows: Sequence[Shadow | None] | None = None,
        *,
        options: bool = False,
    ) -> list[Proposal]:
        """What the policy would do with each unit at this budget's price."""
        rule, allowed = self.cut(budget.per_head), allowed_of(units, self.actions)
        seen = self._economics(taken.values)
        chosen = self._choose(seen, rule, allowed)
        price, threshold = (rule.price, 0.0) if math.isfinite(rule.price) else (None, None)
        effects, values, costs = seen.effect.tolist(), seen.value.tolist(), seen.cost.tolist()
        errors = None if seen.stderr is None else seen.stderr.tolist()

        def weighed(i: int) -> dict[str, Option]:
            """What is known of every action for a unit."""
            mine, nets = None if allowed is None else allowed[i], _nets(values[i], costs[i], rule)
            return {
                label: Option(effects[i][a], costs[i][a], nets[a], mine is None or mine[a])
                for a, label in enumerate(self.actions)
            }

        proposals = []
        places = []
        for i, (unit, fallback) in enumerate(zip(units, taken.fallback.tolist(), strict=True)):
            drawn = _draw(chosen, i, rule, fallback)
            place, cost, effect = drawn.treatment, costs[i], effects[i][drawn.treatment]
            places.append(place)
            interval = None
            if errors is not None:
                half = Z * errors[i][place]
                interval = (effect - half, effect + half)
            nets = _nets(values[i], cost, rule)
            told = weighed(i) if options else None
            other, other_cost = (self.actions[drawn.other], cost[drawn.other]) if drawn.other else (None, 0.0)
            proposals.append(
                Proposal(
                    unit.unit,
                    unit.features,
                    self.actions[place],
                    effect,
                    interval,
                    nets[place],
                    threshold,
                    drawn.chance,
                    drawn.reason,
                    taken.flags[i],
                    None if shadows is None else shadows[i],
                    Priced(price, cost[place], other, other_cost, told),
                    unit.eligible,
                )
            )
        if self.bundle.review is not None and errors is not None:
            own = [mine[place] for mine, place in zip(errors, places, strict=True)]
            return self._reviewed(proposals, taken, own, threshold, weighed)
        return proposals

    def shadow(self, units: Sequence[Unit], taken: Taken, budget: Budget) -> list[Shadow]:
        """What this model, as a challenger, would do with units on its own: the likelier action, and how likely."""
        rule = self.cut(budget.per_head)
        seen = self._economics(taken.values)
        chosen = self._choose(seen, rule, allowed_of(units, self.actions))
        threshold = 0.0 if math.isfinite(rule.price) else None
        found = []
        for i, fallback in enumerate(taken.fallback.tolist()):
            drawn = _draw(chosen, i, rule, fallback)
            place, treatment = drawn.treatment, self.actions[drawn.treatment]
            net = _nets(seen.value[i].tolist(), seen.cost[i].tolist(), rule)[place]
            likelier = treatment if drawn.chance >= 0.5 else self.actions[drawn.other]
            other, rest = (self.actions[drawn.other], 1.0 - drawn.chance) if drawn.other else (None, 0.0)
            exact = propensities(self.actions, treatment, drawn.chance, other, rest)
            effect = float(seen.effect[i, place])
            found.append(Shadow(self.version, likelier, treatment, effect, net, threshold, exact))
        return found

    def policy_document(self, budgets: Sequence[float] | None) -> dict[str, Any]:
        """The answer of /v1/policy, as JSON values; a hundred budgets up to all there is to buy where none is named.

        Raises:
            ParameterError: a budget below 0.
        """
        policy, evaluation = self.policy, self.bundle.evaluation
        curve = policy.curve(budgets)
        columns = (curve.budget, curve.price, curve.spend, curve.value, curve.offered)
        stated = policy.stated_costs_
        return {
            "bundle": self.version,
            "outcome": self.outcome,
            "cost": policy.cost_outcome_,
            "stated_costs": None if stated is None else dict(zip(self.actions[1:], stated.tolist()[1:], strict=True)),
            "control": self.control,
            "treatments": list(self.actions[1:]),
            "budget_per_head": policy.budget,
            "roi_floor": policy.roi_floor,
            "efficiency_floor": policy.efficiency_floor,
            "rows": [
                {
                    "budget_per_head": budget,
                    "price": price if math.isfinite(price) else None,
                    "expected_spend": spend,
                    "expected_share": offered,
                    "value_per_head": value,
                }
                for budget, price, spend, value, offered in zip(*(c.tolist() for c in columns), strict=True)
            ],
            "held_out": None if evaluation is None else evaluation.get("budgets"),
        }

    def _best(self, values: NDArray[np.float32]) -> int:
        return self._choose(self._economics(values), self.cut(self.policy.budget), None).shown[0]

    def _economics(self, values: NDArray[np.float32]) -> Economics:
        effect, stderr = self.compiled.effects_and_stderr(values, self.outcome)
        if self.costs is None:
            cost = np.tile(np.asarray(self.policy.stated_costs_, dtype=np.float64), (len(values), 1))
        else:
            cost = self.policy.as_costs(self.costs.effects(values, self.policy.cost_outcome_))
        doubtful = effect.sum(axis=1) + cost.sum(axis=1)
        if stderr is not None:
            doubtful += stderr.sum(axis=1)
        if not np.isfinite(doubtful).all():
            raise no_number(int(np.flatnonzero(~np.isfinite(doubtful))[0]))
        value = effect if stderr is None or not self.policy.averse else effect - self.policy.averse * stderr
        return Economics(effect, stderr, value, cost)

    def _choose(self, seen: Economics, rule: Price, allowed: Allowed) -> Chosen:
        if len(seen.value) < FEW:
            return _choose_few(seen, rule, allowed, self.policy.efficiency_floor)
        return _choose_many(seen, rule, allowed, self.policy.efficiency_floor)


def _nets(values: Sequence[float], costs: Sequence[float], rule: Price) -> list[float]:
    """v − λc of each action; the value alone at a price without bound."""
    if rule.price == math.inf:
        return list(values)
    return [value - rule.price * cost for value, cost in zip(values, costs, strict=True)]


def _draw(chosen: Chosen, i: int, rule: Price, fallback: bool) -> Draw:
    """What a unit is given, and by which lot."""
    low, high, tie = chosen.low[i], chosen.high[i], rule.tie_probability
    if fallback:
        return Draw(chosen.shown[i], 0.0, 0, FALLBACK)
    if low != high and 0.0 < tie < 1.0:
        return Draw(high, tie, low, "lottery-won")
    given = high if tie >= 1.0 else low
    return Draw(given, 1.0, 0, "treated") if given else Draw(chosen.shown[i], 0.0, 0, chosen.why[i])


def _choose_many(seen: Economics, rule: Price, allowed: Allowed, floor: float | None) -> Chosen:
    value, cost = seen.value, seen.cost
    mask = mask_of(allowed, value.shape[1])
    best = choose(value, cost, rule, eligible=mask, efficiency_floor=floor)
    worth = allowed_pairs(value, cost, mask, floor)[:, 1:]
    may = np.ones(worth.shape, dtype=np.bool_) if mask is None else mask[:, 1:]
    net = (value if rule.price == math.inf else value - rule.price * cost)[:, 1:]
    any_worth, any_may = np.logical_or.reduce(worth, axis=1), np.logical_or.reduce(may, axis=1)
    among = np.where(any_worth[:, None], np.where(worth, net, -math.inf), np.where(may, value[:, 1:], -math.inf))
    shown = np.where(any_may[:, None], among, value[:, 1:]).argmax(axis=1) + 1
    why: list[Reason] = [
        "not-eligible" if not possible else "below-threshold" if good and rule.binds != "evidence" else "not-worth-it"
        for possible, good in zip(any_may.tolist(), any_worth.tolist(), strict=True)
    ]
    return Chosen(best.low.tolist(), best.high.tolist(), shown.tolist(), why)


def _choose_few(seen: Economics, rule: Price, allowed: Allowed, floor: float | None) -> Chosen:
    """The same as :func:`_choose_many`, operation by operation, in Python's numbers."""
    chosen = Chosen([], [], [], [])
    for i, (values, costs) in enumerate(zip(seen.value.tolist(), seen.cost.tolist(), strict=True)):
        mine = None if allowed is None else allowed[i]
        treatments = range(1, len(values))
        may = treatments if mine is None else [a for a in treatments if mine[a]]
        worth = [a for a in may if values[a] > 0.0 and (floor is None or values[a] >= floor * costs[a])]
        nets = _nets(values, costs, rule)
        low, high = _best_of([] if rule.binds == "evidence" else worth, values, costs, nets, rule.price)
        chosen.low.append(low)
        chosen.high.append(high)
        by = nets if worth else values
        chosen.shown.append(max(worth or may or treatments, key=by.__getitem__))
        worth_it: Reason = "below-threshold" if worth and rule.binds != "evidence" else "not-worth-it"
        chosen.why.append(worth_it if may else "not-eligible")
    return chosen


def _best_of(
    worth: Sequence[int], values: Sequence[float], costs: Sequence[float], nets: Sequence[float], price: float
) -> tuple[int, int]:
    """The cheapest and the costliest of the actions that tie at the largest v − λc, doing nothing among them."""

    def cheapest(a: int) -> tuple[float, float]:
        return costs[a], -values[a]

    if price == math.inf:
        saving = [a for a in worth if costs[a] < 0.0]
        if saving:  # an infinite gain each: the one that saves most
            return min(saving, key=cheapest), max(saving, key=costs.__getitem__)
        free = [a for a in worth if costs[a] == 0.0]
        best = max(free, key=values.__getitem__, default=0)
        return best, best
    slack = [SAME_PRICE * (abs(value) + abs(price * cost)) for value, cost in zip(values, costs, strict=True)]
    least = max(nets[a] - slack[a] for a in (0, *worth))
    tied = [a for a in (0, *worth) if nets[a] + slack[a] >= least]
    return min(tied, key=cheapest), max(tied, key=costs.__getitem__)
