"""The documents of the deployment, of the last hour and of health, for the API's description."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DeploymentAnswer", "HealthAnswer", "LiveAnswer", "NamedFolder", "NamedVersion"]

Version = Annotated[str, Field(description="A bundle's version: the digest of its content.")]


Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]


class NamedFolder(BaseModel):
    """A bundle in the service's bundles folder."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"path": "2026-11"}]})

    path: Name = Field(description="Name of a folder inside the service's bundles folder.")


class NamedVersion(BaseModel):
    """A bundle the store knows."""

    model_config = ConfigDict(extra="forbid")

    version: Name = Field(description="A version that GET /v1/admin/bundles lists.")


class KnownBundle(BaseModel):
    """What is told of a bundle without opening it."""

    version: Version
    added_at: datetime
    bytes: int = Field(description="Of its zip file.")
    learner: str
    outcome: str
    control: str
    treatments: list[str]
    share: float | None = Field(description="The budget share it was made for; null where its budget is money.")
    budget_per_head: float | None = Field(
        default=None,
        description="The money per head it was made for; null for no bound. Only where its budget is money.",
    )
    features: int
    review_load: float | None = Field(
        default=None, description="Share of the decisions that it leaves to people; null where none."
    )


class DeploymentAnswer(BaseModel):
    """Which bundles answer, and all that the store knows."""

    champion: Version | None
    previous: Version | None
    challenger: Version | None
    known: list[KnownBundle]
    version: Version | None = Field(default=None, description="The bundle this request was about.")


class Minute(BaseModel):
    """One minute of the last hour."""

    minute: datetime
    decisions: int
    treated: int


class Bin(BaseModel):
    """Decisions with a probability of treatment from low up to high."""

    low: float
    high: float
    count: int


class OutcomeMean(BaseModel):
    """Reports of one outcome in the last hour."""

    name: str
    count: int
    mean: float


class LastError(BaseModel):
    """A refusal or failure."""

    time: datetime
    status: int
    title: str
    detail: str
    path: str


class LiveAnswer(BaseModel):
    """The last hour, over all workers."""

    minutes: list[Minute]
    decisions: int
    treated: int
    propensity_histogram: list[Bin]
    outcomes: list[OutcomeMean]
    actions: dict[str, int]
    errors: list[LastError]
    bundle: Version
    challenger: Version | None


class HealthAnswer(BaseModel):
    """How it is."""

    status: Literal["alive", "ready"]
    bundle: Version | None = None
