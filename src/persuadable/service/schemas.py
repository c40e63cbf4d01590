"""Schemas of the requests and answers, for the API's description. They describe; :mod:`persuadable.service.wire` reads.

The bounds are the reader's own constants, and a test holds the two together.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from persuadable.contract import ViolationCode
from persuadable.service import wire
from persuadable.service.records import Reason
from persuadable.service.store import State

__all__ = [
    "AllocationAnswer",
    "BatchLine",
    "BatchProblem",
    "ContractAnswer",
    "DecideAnswer",
    "DecisionRecord",
    "ExplainAnswer",
    "ExplainRequest",
    "OutcomesAnswer",
    "OutcomesRequest",
    "OverrideRequest",
    "PolicyAnswer",
    "ReviewAnswer",
    "ReviewRequest",
    "ReviewsAnswer",
    "ScoreAnswer",
    "ScoreRequest",
    "UnitLine",
    "VerdictRequest",
]

# --- examples: one user of a letter campaign, from the question to the outcome ---------------------------------------

FEATURES: dict[str, Any] = {"age": 41, "spend": 129.9, "channel": "web", "newsletter": True, "last_visit_days": None}
UNIT: dict[str, Any] = {"unit": "u1", "features": FEATURES}
BUNDLE = "8be847eadf0489cd5ec852b49d58fe757bb731f481a3d111c1d6706e0102fcb0"
ID = "01936f2e-5c00-7a3b-9d41-2f6c80a1b2c3"
DECISION: dict[str, Any] = {
    "unit": "u1",
    "action": "letter",
    "treatment": "letter",
    "effect": 0.081,
    "interval": [0.052, 0.11],
    "net_effect": 0.061,
    "threshold": 0.045,
    "propensities": {"none": 0.0, "letter": 1.0},
    "reason": "treated",
    "flags": [],
}
PRICED = {"cost_effect": 0.4, "price": 0.05}
DECIDED = {"decision_id": ID, **DECISION}
OUTCOME = {"name": "purchase", "value": 1.0, "observed_at": "2030-02-03T18:30:00Z"}


class Document(BaseModel):
    """A JSON object whose members are all named here."""

    model_config = ConfigDict(extra="forbid")


def _examples(*examples: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(examples)})


# --- requests -----------------------------------------------------------------------------------------------------


def _name(longest: int) -> Any:
    return Field(min_length=1, max_length=longest, pattern=wire.NAME_PATTERN)


UnitName = Annotated[str, _name(wire.LONGEST_UNIT), Field(description="Who this is about; yours to choose.")]
Label = Annotated[str, _name(wire.LONGEST_TEXT)]
Features = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "description": "What is known of the unit, by feature: a number, text, true or false, or null where "
            "missing. GET /v1/contract lists the features.",
            "maxProperties": wire.MOST_FEATURES,
            "propertyNames": {"maxLength": wire.LONGEST_NAME, "pattern": wire.TEXT_PATTERN},
            "additionalProperties": {
                "anyOf": [
                    {"type": "number"},
                    {"type": "string", "maxLength": wire.LONGEST_TEXT, "pattern": wire.TEXT_PATTERN},
                    {"type": "boolean"},
                    {"type": "null"},
                ]
            },
            "examples": [FEATURES],
        }
    ),
]


class UnitLine(Document):
    """A user to be scored; in a batch, a line."""

    model_config = _examples(UNIT)

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
    campaign: Annotated[str, _name(wire.LONGEST_CAMPAIGN)] | None = Field(
        None, description=f"Whose budget is charged; {wire.DEFAULT_CAMPAIGN!r} without it."
    )


class ExplainRequest(Document):
    """A user, and the treatment whose effect is to be explained."""

    model_config = _examples({"features": FEATURES, "treatment": "letter"})

    unit: UnitName | None = None
    features: Features
    treatment: Label | None = Field(None, description="The best for this user without it.")


class OutcomeReport(Document):
    """An outcome, or a cost, of a decision."""

    model_config = _examples({"decision_id": ID, **OUTCOME})

    decision_id: Annotated[str, _name(wire.LONGEST_ID)]
    name: Annotated[str, _name(wire.LONGEST_OUTCOME)] = Field(description="Which outcome, such as 'purchase'.")
    value: float = Field(ge=-wire.LARGEST_OUTCOME, le=wire.LARGEST_OUTCOME)
    observed_at: datetime | None = Field(
        None,
        description="When it happened, with its offset from UTC (ISO 8601); when it is received without it. "
        "A value that was reported before is taken for a repeat: to correct back to it, say when.",
    )


class OutcomesRequest(Document):
    """Outcomes and costs of decisions: all are recorded, or none."""

    model_config = _examples({"outcomes": [{"decision_id": ID, **OUTCOME}]})

    outcomes: Annotated[list[OutcomeReport], Field(min_length=1)]


Reviewer = Annotated[
    Annotated[str, _name(wire.LONGEST_REVIEWER)] | None,
    Field(description="Who this is; the name of the API key without it."),
]
Why = Annotated[str, Field(min_length=1, max_length=wire.LONGEST_TEXT, pattern=wire.TEXT_PATTERN)]


class ReviewRequest(Document):
    """Who takes a case, or gives it back."""

    model_config = _examples({"reviewer": "Ada"}, {})

    reviewer: Reviewer = None


class VerdictRequest(Document):
    """Who gives what the policy proposed, and maybe why."""

    model_config = _examples({"reviewer": "Ada", "why": "A regular who likes letters."}, {})

    reviewer: Reviewer = None
    why: Why | None = None


class OverrideRequest(Document):
    """Who gives something else, what, and why."""

    model_config = _examples({"reviewer": "Ada", "action": "none", "why": "Complained about the last letter."})

    reviewer: Reviewer = None
    action: Label = Field(description="One of the case's actions, other than the one proposed.")
    why: Why


# --- answers ------------------------------------------------------------------------------------------------------

Version = Annotated[str, Field(description="Version of the bundle that decided.")]
Threshold = Annotated[
    float | None, Field(description="Net effect from which the budget treats; null where it treats nobody.")
]
Propensities = Annotated[
    dict[str, Annotated[float, Field(ge=0, le=1)]],
    Field(description="The exact probability of every action; they sum to 1."),
]


class Flag(Document):
    """A feature that broke the contract, and what was done about it."""

    code: ViolationCode
    feature: str
    answer: Literal["flag", "clip", "fallback"]


class Review(Document):
    """Of a decision that waits for a person: codes and what was proposed. Of one a person made: the case, who, why."""

    codes: list[str] = Field(default=[], description="Why it waits for a person.")
    proposed: str = Field(default="", description="The action the policy would have given.")
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


class Option(Document):
    """One action for one user, whoever gets it."""

    effect: float
    cost_effect: float
    net_effect: float
    eligible: bool = Field(description="Whether the request allows it.")


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

    model_config = _examples(
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

    model_config = _examples({"decisions": [DECIDED], "bundle": BUNDLE})

    decisions: list[Decided]
    bundle: Version


class BatchLine(Decided):
    """A line of a batch's answer."""

    model_config = _examples({**DECIDED, "bundle": BUNDLE})

    bundle: Version


class BatchProblem(Document):
    """A line of a batch's answer about a line that was refused."""

    unit: str | None
    line: int = Field(description="Number of the line, from 1.")
    problem: dict[str, Any] = Field(description="A problem document (RFC 9457).")


class OutcomesAnswer(Document):
    """What became of reported outcomes."""

    model_config = _examples({"recorded": 1, "repeated": 0, "corrected": 0})

    recorded: int = Field(description="How many are new.")
    repeated: int = Field(description="How many were known, value and time: nothing changed.")
    corrected: int = Field(description="How many of the new are another value of a known outcome.")


class StoredOutcome(Document):
    """One report in the history of a decision's outcomes."""

    name: str
    value: float
    observed_at: datetime | None
    received_at: datetime
    in_force: bool = Field(description="Whether this is the value that counts: the one observed last.")


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

    model_config = _examples(
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


class Contribution(Document):
    """What a feature adds to the effect."""

    feature: str
    value: float | str | bool | None = Field(description="As it was received.")
    contribution: float


class ExplainAnswer(Document):
    """What moved an effect, the strongest first: base and contributions add up to the effect."""

    model_config = _examples(
        {
            "unit": None,
            "outcome": "purchase",
            "treatment": "letter",
            "effect": 0.081,
            "base": 0.03,
            "contributions": [
                {"feature": "age", "value": 41, "contribution": 0.041},
                {"feature": "channel", "value": "web", "contribution": 0.01},
            ],
            "flags": [],
            "bundle": BUNDLE,
        }
    )

    unit: str | None
    outcome: str
    treatment: str
    effect: float
    base: float = Field(description="The effect before anything is known of the user.")
    contributions: list[Contribution]
    flags: list[Flag]
    bundle: Version


class PolicyRow(Document):
    """What a budget share means, on the users the policy was calibrated on."""

    share: float
    threshold: Threshold
    expected_share: float = Field(description="Share treated: the budget, or less where more is not worth it.")
    value_per_head: float = Field(description="Predicted net effect per head of all users.")
    value_per_treated: float | None = Field(description="The same per treated user; null where nobody is treated.")


class PolicyAnswer(Document):
    """The budget curve."""

    model_config = _examples(
        {
            "bundle": BUNDLE,
            "outcome": "purchase",
            "cost": None,
            "control": "none",
            "treatments": ["letter"],
            "share": 0.3,
            "break_even": {"letter": 0.02},
            "rows": [
                {
                    "share": 0.3,
                    "threshold": 0.045,
                    "expected_share": 0.3,
                    "value_per_head": 0.021,
                    "value_per_treated": 0.07,
                }
            ],
            "held_out": None,
        }
    )

    bundle: Version
    outcome: str
    cost: str | None = Field(description="The outcome that is the treatment's cost.")
    control: str
    treatments: list[str]
    share: float = Field(description="The bundle's own budget.")
    break_even: dict[str, float] = Field(description="What each treatment must bring at least.")
    rows: list[PolicyRow]
    held_out: list[dict[str, Any]] | None = Field(
        description="What the policy brought on held-out users at some budgets, from the bundle's evaluation."
    )


class AllocationRow(Document):
    """What a budget of money per head means, on the users the policy was calibrated on."""

    budget_per_head: float
    price: float | None = Field(
        description="What the last unit of money brings; null where nothing that costs is given."
    )
    expected_spend: float = Field(description="Money per head: the budget, or less where more is not worth it.")
    expected_share: float = Field(description="Share of users that is offered anything.")
    value_per_head: float = Field(description="Predicted effect per head of all users.")


class AllocationAnswer(Document):
    """The budget curve of a bundle whose budget is money."""

    model_config = _examples(
        {
            "bundle": BUNDLE,
            "outcome": "margin",
            "cost": "cost",
            "stated_costs": None,
            "control": "none",
            "treatments": ["5 off", "10 off"],
            "budget_per_head": 0.4,
            "roi_floor": None,
            "efficiency_floor": None,
            "rows": [
                {
                    "budget_per_head": 0.4,
                    "price": 1.7,
                    "expected_spend": 0.4,
                    "expected_share": 0.31,
                    "value_per_head": 1.2,
                }
            ],
            "held_out": None,
        }
    )

    bundle: Version
    outcome: str
    cost: str | None = Field(description="The outcome that is the cost; null where costs are stated.")
    stated_costs: dict[str, float] | None = Field(description="What giving each treatment costs, where it is stated.")
    control: str
    treatments: list[str]
    budget_per_head: float | None = Field(description="The bundle's own budget; null for no bound.")
    roi_floor: float | None = Field(description="Least effect per cost of all that is given.")
    efficiency_floor: float | None = Field(description="Least effect per cost of every single offer.")
    rows: list[AllocationRow]
    held_out: list[dict[str, Any]] | None = Field(
        description="What the policy brought on held-out users at some budgets, from the bundle's evaluation."
    )


class ContractColumn(Document):
    """A feature's name and kind."""

    name: str
    kind: Literal["number", "category"]
    categories: list[str]


class ContractFeature(Document):
    """What a feature may be."""

    column: ContractColumn
    low: float | None
    high: float | None
    missing: bool = Field(description="Whether missing values were seen in training.")


class ContractAnswer(Document):
    """What the features must look like."""

    model_config = _examples(
        {
            "version": BUNDLE[::-1],
            "format": 1,
            "features": [
                {
                    "column": {"name": "age", "kind": "number", "categories": []},
                    "low": 18.0,
                    "high": 93.0,
                    "missing": False,
                },
                {
                    "column": {"name": "channel", "kind": "category", "categories": ["phone", "web"]},
                    "low": None,
                    "high": None,
                    "missing": True,
                },
            ],
        }
    )

    version: str
    format: int
    features: list[ContractFeature]


class Claim(Document):
    """Who looks at a case; until the claim ends, nobody else may decide it."""

    by: str
    at: datetime
    until: datetime


class Resolution(Document):
    """What a person decided."""

    by: str = Field(description="Who, by their own word or the name of their key.")
    key: str | None = Field(description="Name of the API key they used; null where none is needed.")
    at: datetime
    action: str
    why: str | None
    decision_id: str = Field(description="The decision they made, by which outcomes are reported.")


class ReviewAnswer(Document):
    """A decision that waits, or waited, for a person."""

    model_config = _examples(
        {
            "decision_id": ID,
            "state": "claimed",
            "codes": ["borderline"],
            "priority": 0.004,
            "proposed": "letter",
            "reason": "treated",
            "actions": ["none", "letter"],
            "unit": "u1",
            "features": FEATURES,
            "treatment": "letter",
            "effect": 0.046,
            "interval": [-0.011, 0.103],
            "net_effect": 0.046,
            "threshold": 0.045,
            "flags": [],
            "campaign": "spring",
            "bundle": BUNDLE,
            "made_at": "2030-01-31T09:00:00Z",
            "claim": {"by": "Ada", "at": "2030-01-31T09:20:00Z", "until": "2030-01-31T09:35:00Z"},
            "resolution": None,
        }
    )

    decision_id: str = Field(description="The held decision, which is also the name of the case.")
    state: State
    codes: list[str] = Field(description="Why it waits for a person.")
    priority: float = Field(description="Expected cost of deciding without a person, in units of the outcome.")
    proposed: str = Field(description="The action the policy would have given.")
    reason: Reason = Field(description="Of the policy's own decision.")
    actions: list[str] = Field(description="What this unit may be given, doing nothing first.")
    unit: str
    features: dict[str, float | str | bool | None] = Field(description="As they were received.")
    treatment: str = Field(description="The best treatment for this user.")
    effect: float
    interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    net_effect: float
    threshold: Threshold
    flags: list[Flag]
    campaign: str
    bundle: Version
    made_at: datetime = Field(description="When it was held.")
    claim: Claim | None = Field(description="Who looks at it now.")
    resolution: Resolution | None = Field(description="What was decided.")
    cost_effect: float = Field(default=0.0, description="Only of a bundle whose budget is money, as price.")
    price: float | None = Field(default=None, description="What the last unit of money had to bring.")
    options: dict[str, Option] = Field(
        default={}, description="Every action, by label; only of a bundle whose budget is money."
    )


class ReviewsAnswer(Document):
    """Cases in one state, and where the list goes on."""

    model_config = _examples(
        {"cases": [], "next": None, "waiting": 0, "load": 0.1, "reasons": {"borderline": "Close to the threshold."}}
    )

    cases: list[ReviewAnswer]
    next: str | None = Field(description="Send it as `after` for the rest of the list; null at the end.")
    waiting: int = Field(description="How many cases wait for a person, in all.")
    load: float | None = Field(
        description="Share of the decisions that the bundle in service leaves to people; null where it leaves none."
    )
    reasons: dict[str, str] = Field(description="What each code means.")
