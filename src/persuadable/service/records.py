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
    "Decision",
    "Flag",
    "Order",
    "OutcomeReport",
    "Outcomes",
    "Proposal",
    "Reason",
    "Receipt",
    "Shadow",
    "StoredOutcome",
]

Reason = Literal[
    "treated", "lottery-won", "lottery-lost", "below-threshold", "not-worth-it", "budget-spent", "fallback"
]
Interval = tuple[float, float]


class Budget(NamedTuple):
    """What a request may spend.

    Attributes:
        share: share of users to treat, from which the threshold is drawn.
        units: hard cap on the number treated, or None.
        campaign: whose ledger the treatments are charged to; they are charged only where ``units`` is given.
    """

    share: float
    units: int | None = None
    campaign: str = "default"


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


class Proposal(NamedTuple):
    """What a model proposes for a unit, before the budget's ledger is asked.

    Attributes:
        unit: who.
        features: as they were received, JSON values.
        treatment: label of the best treatment.
        effect: its effect on the outcome against the control, in outcome units.
        interval: 95% interval of the effect; None where the bundle has no half-samples.
        net_effect: effect less cost effect less break-even; what the threshold is compared with.
        threshold: net effect from which the budget treats; None where it treats nobody.
        chance: probability of being treated while the budget lasts.
        reason: "treated", "below-threshold", "not-worth-it" or "fallback" where the chance is 1 or 0, and
            "lottery-won" where it lies between: the draw may turn it to "lottery-lost".
        flags: how its features broke the contract.
        shadow: what the challenger would do.
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
    """What was decided for a unit; with ``decision_id`` it is, or is about to be, in the store."""

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
