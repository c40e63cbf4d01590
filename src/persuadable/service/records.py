"""What the rooms of the service hand one another: proposals, orders, decisions, outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from persuadable.contract import ViolationCode

__all__ = [
    "Answer",
    "Budget",
    "Case",
    "Decision",
    "Flag",
    "Held",
    "Option",
    "Order",
    "OutcomeReport",
    "Outcomes",
    "Priced",
    "Proposal",
    "Reason",
    "Receipt",
    "Shadow",
    "StoredOutcome",
    "Verdict",
]

Reason = Literal[
    "treated",
    "lottery-won",
    "lottery-lost",
    "below-threshold",
    "not-worth-it",
    "not-eligible",
    "budget-spent",
    "fallback",
    "review",
    "approved",
    "overridden",
]
Interval = tuple[float, float]


class Budget(NamedTuple):
    """What a request may spend.

    Attributes:
        share: share of users to treat, from which the threshold is drawn; 1 where money is what is budgeted.
        units: hard cap on the number treated, or None.
        campaign: whose ledger is charged; it is charged only where there is a hard cap, and then with both the
            treatments and their expected costs.
        per_head: money per head from which the price is drawn, or None without a budget of money.
        amount: hard cap on the expected cost of all treatments, in millionths, or None.
    """

    share: float
    units: int | None = None
    campaign: str = "default"
    per_head: float | None = None
    amount: int | None = None

    @property
    def is_capped(self) -> bool:
        """Whether the ledger has to be asked."""
        return self.units is not None or self.amount is not None


@dataclass(frozen=True, slots=True)
class Flag:
    """A feature that broke the contract and was let pass, clipped, or led to no action."""

    code: ViolationCode
    feature: str
    answer: Literal["flag", "clip", "fallback"]


@dataclass(frozen=True, slots=True)
class Shadow:
    """What the challenger would have done with the same unit, on its own."""

    bundle: str
    action: str
    treatment: str
    effect: float
    net_effect: float
    threshold: float | None
    propensities: Mapping[str, float]


class Option(NamedTuple):
    """One action for one unit, whoever gets it.

    Attributes:
        effect: on the outcome, against doing nothing.
        cost_effect: what assigning it is expected to cost, against doing nothing.
        net_effect: effect less price × cost effect; what actions are compared by.
        eligible: whether the request allows it.
    """

    effect: float
    cost_effect: float
    net_effect: float
    eligible: bool


class Priced(NamedTuple):
    """What a proposal says more where actions are chosen under a price of money.

    Attributes:
        price: outcome that the last unit of money must bring (the multiplier of the budget); None where nothing that
            costs may be offered.
        cost_effect: what assigning the treatment is expected to cost.
        other: the action that the lot is drawn against, where that is a treatment as well; None where it is none.
        other_cost: what that one is expected to cost.
        options: what is known of every action, by label; None where it is not told.
    """

    price: float | None
    cost_effect: float
    other: str | None = None
    other_cost: float = 0.0
    options: Mapping[str, Option] | None = None


class Case(NamedTuple):
    """Why a person is to decide about a unit, and what they need to know for it.

    Attributes:
        codes: why, by the bundle's review policy.
        priority: expected cost of deciding without a person; the queue is worked from the highest down.
        options: what is known of every action, by label, where the policy weighs them all.
    """

    codes: tuple[str, ...]
    priority: float
    options: Mapping[str, Option] | None = None


class Held(NamedTuple):
    """What a decision says that waits for a person.

    Attributes:
        codes: why it waits.
        proposed: label of the action the policy would have given. Where it gives by lot, the lot was drawn.
        propensities: the probability of every action with which it was drawn; None in rows of before it was noted.
    """

    codes: tuple[str, ...]
    proposed: str
    propensities: Mapping[str, float] | None = None


class Verdict(NamedTuple):
    """What a decision says that a person made.

    Attributes:
        case: id of the held decision.
        by: who.
        why: in their words, if they said.
        proposed, propensities: of the held decision; None in rows of before it was noted.
    """

    case: str
    by: str
    why: str | None
    proposed: str | None = None
    propensities: Mapping[str, float] | None = None


class Proposal(NamedTuple):
    """What a model proposes for a unit, before the budget's ledger is asked.

    Attributes:
        unit: who.
        features: as they were received, JSON values.
        treatment: label of the best treatment.
        effect: its effect on the outcome against the control, in outcome units.
        interval: 95% interval of the effect; None where the bundle has no half-samples.
        net_effect: effect less cost effect less break-even, or less price × cost effect; what the threshold is
            compared with.
        threshold: net effect from which the budget treats; None where it treats nobody.
        chance: probability of being given the treatment while the budget lasts.
        reason: "treated", "below-threshold", "not-worth-it", "not-eligible" or "fallback" where the chance is 1 or 0,
            and "lottery-won" where it lies between: the draw may turn it to "lottery-lost".
        flags: how its features broke the contract.
        shadow: what the challenger would do.
        priced: what it costs, where the policy has a price of money.
        eligible: the actions that the request allows; None is all.
        case: why a person is to decide; None where the policy does.
    """

    unit: str
    features: Mapping[str, Any]
    treatment: str
    effect: float
    interval: Interval | None
    net_effect: float
    threshold: float | None
    chance: float
    reason: Reason
    flags: tuple[Flag, ...] = ()
    shadow: Shadow | None = None
    priced: Priced | None = None
    eligible: tuple[str, ...] | None = None
    case: Case | None = None


class Order(NamedTuple):
    """A request to decide, as the store's writer takes it.

    Attributes:
        key: the idempotency key, made unique by who sent it; None where every request is new.
        digest: sha256 of the request's content, by which the same key with another body is told.
        budget: what may be spent.
        proposals: one per unit, in request order.
        actions: every action's label, the control first.
        bundle: version of the bundle that proposed.
        contract: version of the contract that checked the features.
    """

    key: str | None
    digest: bytes
    budget: Budget
    proposals: tuple[Proposal, ...]
    actions: tuple[str, ...]
    bundle: str
    contract: str


class Decision(NamedTuple):
    """What was decided for a unit; with ``decision_id`` it is, or is about to be, in the store.

    ``review`` says more where a person decides: of a decision held for one, or of the one they made.
    """

    decision_id: str | None
    unit: str
    action: str
    treatment: str
    effect: float
    interval: Interval | None
    net_effect: float
    threshold: float | None
    propensities: Mapping[str, float]
    reason: Reason
    flags: tuple[Flag, ...]
    shadow: Shadow | None
    features: Mapping[str, Any]
    bundle: str
    contract: str
    campaign: str
    made_at: datetime
    priced: Priced | None = None
    eligible: tuple[str, ...] | None = None
    review: Held | Verdict | None = None


class Answer(NamedTuple):
    """The decisions of an order, in its order; ``replayed`` where they had been made before."""

    decisions: tuple[Decision, ...]
    replayed: bool


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """One outcome or cost of one decision, as it was reported."""

    decision_id: str
    name: str
    value: float
    observed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """A request that reports outcomes: all are recorded, or none."""

    reports: tuple[OutcomeReport, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """How many reported outcomes were new, exact repeats, and new values of known outcomes (among the new)."""

    recorded: int
    repeated: int
    corrected: int


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """One row of a decision's outcome history."""

    name: str
    value: float
    observed_at: datetime | None
    received_at: datetime
    in_force: bool
