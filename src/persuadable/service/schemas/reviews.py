"""Schemas of the queue of reviews: what people do with a case, and what they are told of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from persuadable.service import wire
from persuadable.service.records import Reason
from persuadable.service.schemas.parts import (
    BUNDLE,
    FEATURES,
    ID,
    Document,
    Flag,
    Label,
    Option,
    Threshold,
    Version,
    examples,
    text,
)
from persuadable.service.store import State

Reviewer = Annotated[
    Annotated[str, text(wire.LONGEST_REVIEWER)] | None,
    Field(description="Who this is; the name of the API key without it."),
]
Why = Annotated[str, Field(min_length=1, max_length=wire.LONGEST_TEXT, pattern=wire.TEXT_PATTERN)]


class ReviewRequest(Document):
    """Who takes a case, or gives it back."""

    model_config = examples({"reviewer": "Ada"}, {})

    reviewer: Reviewer = None


class VerdictRequest(Document):
    """Who gives what the policy proposed, and maybe why."""

    model_config = examples({"reviewer": "Ada", "why": "A regular who likes letters."}, {})

    reviewer: Reviewer = None
    why: Why | None = None


class OverrideRequest(Document):
    """Who gives something else, what, and why."""

    model_config = examples({"reviewer": "Ada", "action": "none", "why": "Complained about the last letter."})

    reviewer: Reviewer = None
    action: Label = Field(description="One of the case's actions, other than the one proposed.")
    why: Why


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

    model_config = examples(
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

    model_config = examples(
        {
            "cases": [],
            "next": None,
            "waiting": 3,
            "claimed": 1,
            "codes": {"borderline": 2, "too-good": 2},
            "load": 0.1,
            "reasons": {"borderline": "Close to the threshold.", "too-good": "Larger than any before."},
        }
    )

    cases: list[ReviewAnswer]
    next: str | None = Field(description="Send it as `after` for the rest of the list; null at the end.")
    waiting: int = Field(description="How many cases wait for a person, in all.")
    claimed: int = Field(description="How many of them somebody looks at.")
    codes: dict[str, int] = Field(description="How many of them wait for which reason; a case may have several.")
    load: float | None = Field(
        description="Share of the decisions that the bundle in service leaves to people; null where it leaves none."
    )
    reasons: dict[str, str] = Field(description="What each code means.")
