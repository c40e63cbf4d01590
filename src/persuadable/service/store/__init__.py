"""The decision store: every decision and outcome, kept before it is acknowledged, in SQLite or PostgreSQL."""

from __future__ import annotations

from persuadable.service.store.bundles import StoredBundle
from persuadable.service.store.cases import Claim, Cursor, Resolution, ReviewCase, State, Waiting
from persuadable.service.store.connect import masked_url
from persuadable.service.store.deployment import Deployed
from persuadable.service.store.erasure import Erasure
from persuadable.service.store.errors import (
    ActionNotAllowed,
    BundleTooLarge,
    CampaignSpent,
    CaseTaken,
    DeploymentConflict,
    Erased,
    KeyReused,
    MixedExport,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UnknownBundle,
    UnknownDecisions,
    UnknownKey,
    UnknownReview,
)
from persuadable.service.store.keys import ApiKey, Role, digest_of, id_of
from persuadable.service.store.live import Live
from persuadable.service.store.problems import Problem
from persuadable.service.store.store import Store
from persuadable.service.store.writer import Writer

__all__ = [
    "ActionNotAllowed",
    "ApiKey",
    "BundleTooLarge",
    "CampaignSpent",
    "CaseTaken",
    "Claim",
    "Cursor",
    "Deployed",
    "DeploymentConflict",
    "Erased",
    "Erasure",
    "KeyReused",
    "Live",
    "MixedExport",
    "Problem",
    "Resolution",
    "ReviewCase",
    "Role",
    "State",
    "Store",
    "StoreBusy",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "StoredBundle",
    "UnknownBundle",
    "UnknownDecisions",
    "UnknownKey",
    "UnknownReview",
    "Waiting",
    "Writer",
    "digest_of",
    "id_of",
    "masked_url",
]
