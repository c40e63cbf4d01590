"""Schemas of decisions: what is asked, what is answered, what is remembered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from persuadable.service import wire
from persuadable.service.records import Reason
from persuadable.service.schemas.outcomes import StoredOutcome
from persuadable.service.schemas.parts import (
    BUNDLE,
    DECIDED,
    DECISION,
    FEATURES,
    OUTCOME,
    PRICED,
    UNIT,
    Document,
    Features,
    Flag,
    Label,
    Option,
    Propensities,
    Threshold,
    UnitName,
    Version,
    examples,
    text,
)


class UnitLine(Document):
    """A user to be scored; in a batch, a line."""

    model_config = examples(UNIT)

    unit: UnitName
    features: Features
    eligible: Annotated[list[Label], Field(max_length=wire.MOST_ELIGIBLE)] | None = Field(
        None, description="The actions this user may be given, by label; all without it. Doing nothing always is one."
    )


class ScoreRequest(Document):
    """Users to be scored or decided on, and the budget.

    Of a bundle whose budget is users it is a share or a number of them, of one whose budget is money an amount per head
    or in all; the bundle's own without any. /v1/policy says which it is.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"units": [UNIT], "budget_share": 0.3},
                {"units": [UNIT], "budget_units": 5000, "population": 120000, "campaign": "spring"},
                {"units": [UNIT], "budget_amount": 9000.0, "population": 120000, "campaign": "spring"},
            ],
            "not": {
                "required": ["budget_share", "budget_units"],
                "properties": {"budget_share": {"type": "number"}, "budget_units": {"type": "number"}},
            },
            "if": {"required": ["population"], "properties": {"population": {"type": "number"}}},
            "then": {
                "anyOf": [
                    {"required": [name], "properties": {name: {"type": "number"}}}
                    for name in ("budget_units", "budget_amount")
                ]
            },
        }
    )

    units: Annotated[list[UnitLine], Field(min_length=1)]
    budget_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Share of users to treat, from which the threshold is drawn; not with budget_units."
    )
    budget_units: Annotated[int, Field(ge=0, le=wire.MOST_PEOPLE)] | None = Field(
        None, description="Most users to treat: in this request when scoring, in the whole campaign when deciding."
    )
    budget_per_head: Annotated[float, Field(ge=0, le=wire.LARGEST_MONEY)] | None = Field(
        None, description="Money per head, from which the price is drawn; of a bundle whose budget is money."
    )
    budget_amount: Annotated[float, Field(ge=0, le=wire.LARGEST_MONEY)] | None = Field(
        None,
        description="Most money that treatments may be expected to cost: in this request when scoring, in the whole "
        "campaign when deciding; of a bundle whose budget is money.",
    )
    population: Annotated[int, Field(ge=1, le=wire.MOST_PEOPLE)] | None = Field(
        None, description="How many users budget_units or budget_amount is for; those of this request without it."
    )
    campaign: Annotated[str, text(wire.LONGEST_CAMPAIGN)] | None = Field(
        None, description=f"Whose budget is charged; {wire.DEFAULT_CAMPAIGN!r} without it."
    )


class Review(Document):
    """Of a decision that waits for a person: codes and what was proposed. Of one a person made: the case, who, why."""

    codes: list[str] = Field(default=[], description="Why it waits for a person.")
    proposed: str | None = Field(
        default=None, description="The action the policy would have given; where it gives by lot, the lot was drawn."
    )
    propensities: Propensities | None = Field(
        default=None, description="The probability of every action with which the proposal was drawn."
    )
    case: str = Field(default="", description="The decision that had waited.")
    by: str = Field(default="", description="Who decided.")
    why: str | None = Field(default=None, description="What they said about it.")


class Scored(Document):
    """What would be decided for a user."""

    unit: str
    action: str = Field(description="What to do.")
    treatment: str = Field(description="The best treatment for this user.")
    effect: float = Field(description="What the treatment changes in the outcome, against doing nothing.")
    interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(
        description="95% interval of the effect; null where the bundle has no half-samples."
    )
    net_effect: float = Field(
        description="The effect less its cost and the break-even, or less price × cost_effect; the effect alone where "
        "the price is null."
    )
    threshold: Threshold
    propensities: Propensities
    reason: Reason
    flags: list[Flag]
    review: Review | None = Field(
        default=None,
        description="Only where a person is to decide, or did; the reason 'review' means not yet.",
    )
    cost_effect: float = Field(
        default=0.0,
        description="What giving the treatment is expected to cost, against doing nothing; only of a bundle whose "
        "budget is money, as price.",
    )
    price: float | None = Field(
        default=None,
        description="What the last unit of money must bring; null where nothing that costs may be offered.",
    )


class Weighed(Scored):
    """What would be decided for a user, and what was weighed."""

    options: dict[str, Option] = Field(
        default={}, description="Every action, by label; only of a bundle whose budget is money."
    )


class Decided(Scored):
    """A decision that is remembered."""

    decision_id: str = Field(description="By which outcomes are reported.")


class ScoreAnswer(Document):
    """What would be decided, in the order of the request."""

    model_config = examples(
        {"decisions": [DECISION], "bundle": BUNDLE},
        {
            "decisions": [
                {
                    **DECISION,
                    **PRICED,
                    "options": {
                        "none": {"effect": 0.0, "cost_effect": 0.0, "net_effect": 0.0, "eligible": True},
                        "letter": {"effect": 0.081, "cost_effect": 0.4, "net_effect": 0.061, "eligible": True},
                    },
                }
            ],
            "bundle": BUNDLE,
        },
    )

    decisions: list[Weighed]
    bundle: Version


class DecideAnswer(Document):
    """What was decided, in the order of the request."""

    model_config = examples({"decisions": [DECIDED], "bundle": BUNDLE})

    decisions: list[Decided]
    bundle: Version


class BatchLine(Decided):
    """A line of a batch's answer."""

    model_config = examples({**DECIDED, "bundle": BUNDLE})

    bundle: Version


class BatchProblem(Document):
    """A line of a batch's answer about a line that was refused."""

    unit: str | None
    line: int = Field(description="Number of the line, from 1.")
    problem: dict[str, Any] = Field(description="A problem document (RFC 9457).")


class Shadow(Document):
    """What the challenger would have done."""

    bundle: str
    action: str = Field(description="The likelier one.")
    treatment: str
    effect: float
    net_effect: float
    threshold: Threshold
    propensities: Propensities


class DecisionRecord(Decided):
    """All that is remembered of a decision."""

    model_config = examples(
        {
            **DECIDED,
            "features": FEATURES,
            "shadow": None,
            "campaign": "spring",
            "bundle": BUNDLE,
            "contract": BUNDLE[::-1],
            "made_at": "2030-01-31T09:00:00Z",
            "outcomes": [{**OUTCOME, "received_at": "2030-02-04T02:00:00Z", "in_force": True}],
        }
    )

    features: dict[str, float | str | bool | None] = Field(description="As they were received.")
    shadow: Shadow | None
    campaign: str
    bundle: Version
    contract: str = Field(description="Version of the contract that checked the features.")
    made_at: datetime
    outcomes: list[StoredOutcome]
    eligible: list[str] = Field(default=[], description="What the request allowed; absent where it said nothing.")
