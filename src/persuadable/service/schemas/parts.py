"""What several schemas are made of, and one user of a letter campaign for their examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from persuadable.contract import ViolationCode
from persuadable.service import wire

__all__ = [
    "BUNDLE",
    "DECIDED",
    "DECISION",
    "FEATURES",
    "ID",
    "OUTCOME",
    "PRICED",
    "UNIT",
    "Document",
    "Features",
    "Flag",
    "Label",
    "Option",
    "Propensities",
    "Threshold",
    "UnitName",
    "Version",
    "examples",
    "text",
]

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


def examples(*told: dict[str, Any]) -> ConfigDict:
    """A document's configuration, with examples of it."""
    return ConfigDict(json_schema_extra={"examples": list(told)})


def text(longest: int) -> Any:
    """A field of text on one line, such as a name, of so many characters at most."""
    return Field(min_length=1, max_length=longest, pattern=wire.NAME_PATTERN)


UnitName = Annotated[str, text(wire.LONGEST_UNIT), Field(description="Who this is about; yours to choose.")]
Label = Annotated[str, text(wire.LONGEST_TEXT)]
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


class Option(Document):
    """One action for one user, whoever gets it."""

    effect: float
    cost_effect: float
    net_effect: float
    eligible: bool = Field(description="Whether the request allows it.")
