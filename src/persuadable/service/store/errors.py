"""What the store may answer instead of doing what was asked.

::

    StoreError
    ├── StoreUnavailable     the database cannot be reached, is locked, or is not ready; nothing was acknowledged
    │   └── Beaten           another transaction is in the way, and was not waited for
    ├── StoreFull            the database has no space left; nothing was written
    ├── StoreBusy            more is waiting to be written than the writer keeps
    ├── KeyReused            an idempotency key came again with another request
    ├── Erased               the decisions made under an idempotency key have been erased
    ├── UnknownDecisions     outcomes or a question for decisions the store does not have
    ├── UnknownBundle        a bundle the store does not have
    ├── UnknownKey           an API key the store does not have
    ├── UnknownReview        a case the queue of reviews does not have
    ├── CaseTaken            somebody else looks at the case, or it is resolved
    ├── ActionNotAllowed     a person gives what the unit may not be given
    ├── CampaignSpent        the campaign's cap leaves no room for what a person gives
    ├── BundleTooLarge       an archive above the store's bound
    ├── DeploymentConflict   the deployment changed since it was read, or cannot be changed this way
    └── MixedExport          decisions of several contracts or action sets asked for in one file
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from persuadable.errors import StoreError

__all__ = [
    "ActionNotAllowed",
    "Beaten",
    "BundleTooLarge",
    "CampaignSpent",
    "CaseTaken",
    "DeploymentConflict",
    "Erased",
    "KeyReused",
    "MixedExport",
    "StoreBusy",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "UnknownBundle",
    "UnknownDecisions",
    "UnknownKey",
    "UnknownReview",
]

MOST_NAMED = 20  # names in one message; the rest are counted


class StoreUnavailable(StoreError):
    """The database cannot be reached, is locked, or is not ready. Nothing was acknowledged; it may be asked again."""


class Beaten(StoreUnavailable):
    """Another transaction is in the way, and was not waited for. Nothing was begun."""


class StoreFull(StoreError):
    """The database, or a disk on the way to it, has no space left. Nothing was written."""

    def __init__(
        self,
        what: str = "The store's disk is full, and nothing was written",
        remedy: str = "Free space on the store's disk; it takes decisions again by itself.",
    ) -> None:
        super().__init__(what, remedy=remedy)


class StoreBusy(StoreError):
    """More is waiting to be written than the writer keeps."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        super().__init__(
            f"{waiting:,} units are waiting to be written, as many as may wait", remedy="Ask again in a moment."
        )


class KeyReused(StoreError):
    """An idempotency key came again with another request."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            "This idempotency key was used for another request",
            remedy="Send the very same request again, or choose a new key for a new one.",
        )


class Erased(StoreError):
    """The decisions made under an idempotency key have been erased, so they can be neither repeated nor made again."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            "The decisions made under this idempotency key have been erased",
            remedy="Choose a new key to have the units decided anew.",
        )


class UnknownDecisions(StoreError):
    """Decisions the store does not have; ``ids`` names them all."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = tuple(ids)
        named = ", ".join(self.ids[:MOST_NAMED])
        more = f" and {len(self.ids) - MOST_NAMED} more" if len(self.ids) > MOST_NAMED else ""
        super().__init__(
            f"There is no decision {named}{more}",
            remedy="Pass the decision_id that was answered; what was erased or is too old is gone.",
        )


class UnknownBundle(StoreError):
    """A bundle the store does not have."""

    def __init__(self, version: str) -> None:
        self.version = version
        super().__init__(f"The store has no bundle {version!r}", remedy="Upload it first.")


class UnknownKey(StoreError):
    """An API key the store does not have."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        super().__init__(f"There is no key {key_id!r}", remedy="List the keys to see their ids.")


class UnknownReview(StoreError):
    """A case the queue of reviews does not have."""

    def __init__(self, decision_id: str) -> None:
        self.decision_id = decision_id
        super().__init__(
            f"No decision {decision_id[:64]!r} was held for a person",
            remedy="GET /v1/reviews lists those that wait; what was erased or is too old is gone.",
        )


class CaseTaken(StoreError):
    """Somebody else looks at the case, or it is resolved.

    Attributes:
        state: "claimed", "approved" or "overridden".
        by: who.
        since: when they claimed or resolved it.
        until: when their claim ends; None where it is resolved.
    """

    def __init__(self, state: str, by: str, since: datetime, until: datetime | None) -> None:
        self.state, self.by, self.since, self.until = state, by, since, until
        done = {"claimed": "claimed", "approved": "approved the proposal of", "overridden": "overrode"}[state]
        super().__init__(
            f"{by} {done} this case at {since:%Y-%m-%dT%H:%M:%SZ}",
            remedy="Take another case."
            if until is None
            else f"Take another case, or wait until {until:%Y-%m-%dT%H:%M:%SZ}, when the claim ends.",
        )


class ActionNotAllowed(StoreError):
    """A person gives what the unit may not be given, or overrides a proposal with itself."""

    def __init__(self, action: str, allowed: Sequence[str], *, proposed: bool = False) -> None:
        self.action = action
        what = f"{action!r} is what the policy proposed" if proposed else f"This unit may not be given {action[:60]!r}"
        choices = ", ".join(map(repr, allowed))
        super().__init__(what, remedy=f"Approve it, or choose one of {choices}." if proposed else f"Choose {choices}.")


class CampaignSpent(StoreError):
    """The campaign's cap leaves no room for what a person gives."""

    def __init__(self, campaign: str) -> None:
        self.campaign = campaign
        super().__init__(
            f"The budget of the campaign {campaign!r} is spent, so nothing more can be given under it",
            remedy="Decide on doing nothing, or release the case until there is a new budget.",
        )


class BundleTooLarge(StoreError):
    """An archive above the store's bound."""

    def __init__(self, size: int, most: int) -> None:
        self.size, self.most = size, most
        super().__init__(
            f"The bundle's archive has {size:,} bytes, the store keeps at most {most:,}",
            remedy="Fit fewer or smaller trees.",
        )


class DeploymentConflict(StoreError):
    """The deployment changed since it was read, or cannot be changed this way."""


class MixedExport(StoreError):
    """Decisions of several contracts or action sets were asked for in one file; ``bundles`` names who made them."""

    def __init__(self, bundles: Sequence[str]) -> None:
        self.bundles = tuple(bundles)
        named = ", ".join(self.bundles[:MOST_NAMED])
        super().__init__(
            "The decisions asked for were not all made with these features and actions",
            where=f"bundles {named}",
            remedy="Export one bundle at a time, with that bundle's contract.",
        )
