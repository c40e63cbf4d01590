"""What a study of offers found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from persuadable.design import Balance
from persuadable.design.propensity import Propensity
from persuadable.design.support import Support
from persuadable.effects import CalibratedEffects, Learner
from persuadable.log import DecisionLog
from persuadable.policies import AllocationPolicy
from persuadable.policies.allocation.sensitivity import Robustness
from persuadable.study.offers.plan import OfferPlan
from persuadable.value import BudgetPath, Estimate, HeadReport, PolicyComparisons, Ratio

__all__ = ["Heads", "OfferStudy"]

Head = Learner | CalibratedEffects


@dataclass(frozen=True, slots=True)
class Heads:
    """A pair of heads that was tried.

    Attributes:
        name: learner and size of its trees.
        score: gain per head, out of fold on the training rows, averaged over the budgets up to the plan's.
        chosen: whether the policy stands on it.
    """

    name: str
    score: float
    chosen: bool


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class OfferStudy:
    """Everything a study of offers found; ``print`` tells the verdict and the path of budgets.

    Attributes:
        plan: what was asked.
        support: what the whole log knows of every offer.
        log: all rows, thin offers pooled or left out; ``train`` fitted everything, ``test`` judged it.
        balance: of ``log``.
        candidates: the heads that were tried, best first.
        propensity: the propensities the heads were fitted with.
        value_head: the model of the value that the policy stands on.
        cost_head: the model of the cost; None where costs are stated.
        policy: its evidence from the training rows, its price from what is predicted for the held-out ones.
        heads: how far the predictions come true.
        path: what every budget is worth, with what single offers and average effects would bring beside it.
        budget: per head, at which the path is compared with what stands beside it: the plan's, or what the policy
            spends where no budget was asked for or the return stops it before.
        decision: value of the policy against nobody, and against each offer for everybody.
        spend: what the policy costs per head more than doing nothing; None where costs are stated.
        roi: its incremental value over its incremental cost; None where costs are stated or nothing is offered.
        robustness: what happens if the predicted effects are off by their standard errors; None without half-samples,
            or where nothing is offered.
        others: policy less nobody on the outcomes that were not targeted.
    """

    plan: OfferPlan
    support: Support
    log: DecisionLog
    train: DecisionLog
    test: DecisionLog
    balance: Balance
    candidates: tuple[Heads, ...]
    propensity: Propensity
    value_head: Head
    cost_head: Head | None
    policy: AllocationPolicy
    heads: HeadReport
    path: BudgetPath
    budget: float
    decision: PolicyComparisons
    spend: Estimate | None
    roi: Ratio | None
    robustness: Robustness | None
    others: Mapping[str, Estimate]

    @property
    def value(self) -> str:
        """The outcome to be raised."""
        return self.policy.value_outcome_

    @property
    def offers(self) -> tuple[str, ...]:
        """Labels of what may be offered."""
        return self.log.actions.treatments

    def __str__(self) -> str:
        from persuadable.study.offers.words import bullets, verdict  # they read this class

        return f"{bullets(verdict(self))}\n\n{self.path}"
