"""Schemas of the model that decides: its budgets, its contract, and what moved an effect."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from persuadable.service.schemas.parts import (
    BUNDLE,
    FEATURES,
    Document,
    Features,
    Flag,
    Label,
    Threshold,
    UnitName,
    Version,
    examples,
)


class ExplainRequest(Document):
    """A user, and the treatment whose effect is to be explained."""

    model_config = examples({"features": FEATURES, "treatment": "letter"})

    unit: UnitName | None = None
    features: Features
    treatment: Label | None = Field(None, description="The best for this user without it.")


class Contribution(Document):
    """What a feature adds to the effect."""

    feature: str
    value: float | str | bool | None = Field(description="As it was received.")
    contribution: float


class ExplainAnswer(Document):
    """What moved an effect, the strongest first: base and contributions add up to the effect."""

    model_config = examples(
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

    model_config = examples(
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

    model_config = examples(
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

    model_config = examples(
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
