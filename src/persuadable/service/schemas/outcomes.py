"""Schemas of outcomes: what is reported, and what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from persuadable.service import wire
from persuadable.service.schemas.parts import ID, OUTCOME, Document, examples, text


class OutcomeReport(Document):
    """An outcome, or a cost, of a decision."""

    model_config = examples({"decision_id": ID, **OUTCOME})

    decision_id: Annotated[str, text(wire.LONGEST_ID)]
    name: Annotated[str, text(wire.LONGEST_OUTCOME)] = Field(description="Which outcome, such as 'purchase'.")
    value: float = Field(ge=-wire.LARGEST_OUTCOME, le=wire.LARGEST_OUTCOME)
    observed_at: datetime | None = Field(
        None,
        description="When it happened, with its offset from UTC (ISO 8601); when it is received without it. "
        "A value that was reported before is taken for a repeat: to correct back to it, say when.",
    )


class OutcomesRequest(Document):
    """Outcomes and costs of decisions: all are recorded, or none."""

    model_config = examples({"outcomes": [{"decision_id": ID, **OUTCOME}]})

    outcomes: Annotated[list[OutcomeReport], Field(min_length=1)]


class OutcomesAnswer(Document):
    """What became of reported outcomes."""

    model_config = examples({"recorded": 1, "repeated": 0, "corrected": 0})

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
