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

__all__ = [
    "BatchLine",
    "BatchProblem",
    "ContractAnswer",
    "DecideAnswer",
    "DecisionRecord",
    "ExplainAnswer",
    "ExplainRequest",
    "OutcomesAnswer",
    "OutcomesRequest",
    "PolicyAnswer",
    "ScoreAnswer",
    "ScoreRequest",
    "UnitLine",
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


class ScoreRequest(Document):
    """Users to be scored or decided on, and the budget: a share, a number of users, or the bundle's own share."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"units": [UNIT], "budget_share": 0.3},
                {"units": [UNIT], "budget_units": 5000, "population": 120000, "campaign": "spring"},
            ],
            "not": {
                "required": ["budget_share", "budget_units"],
                "properties": {"budget_share": {"type": "number"}, "budget_units": {"type": "number"}},
            },
            "if": {"required": ["population"], "properties": {"population": {"type": "number"}}},
            "then": {"required": ["budget_units"], "properties": {"budget_units": {"type": "number"}}},
        }
    )

    units: Annotated[list[UnitLine], Field(min_length=1)]
    budget_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Share of users to treat, from which the threshold is drawn; not with budget_units."
    )
    budget_units: Annotated[int, Field(ge=0, le=wire.MOST_PEOPLE)] | None = Field(
        None, description="Most users to treat: in this request when scoring, in the whole campaign when deciding."
    )
    population: Annotated[int, Field(ge=1, le=wire.MOST_PEOPLE)] | None = Field(
        None, description="How many users budget_units is for; those of this request without it."
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


class Scored(Document):
    """What would be decided for a user."""

    unit: str
    action: str = Field(description="What to do.")
    treatment: str = Field(description="The best treatment for this user.")
    effect: float = Field(description="What the treatment changes in the outcome, against doing nothing.")
    interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(
        description="95% interval of the effect; null where the bundle has no half-samples."
    )
    net_effect: float = Field(description="The effect less its cost and the break-even.")
    threshold: Threshold
    propensities: Propensities
    reason: Reason
    flags: list[Flag]


class Decided(Scored):
    """A decision that is remembered."""

    decision_id: str = Field(description="By which outcomes are reported.")


class ScoreAnswer(Document):
    """What would be decided, in the order of the request."""

    model_config = _examples({"decisions": [DECISION], "bundle": BUNDLE})

    decisions: list[Scored]
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
