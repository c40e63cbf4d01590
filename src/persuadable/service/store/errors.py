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
    ├── BundleTooLarge       an archive above the store's bound
    ├── DeploymentConflict   the deployment changed since it was read, or cannot be changed this way
    └── MixedExport          decisions of several contracts or action sets asked for in one file
"""

from __future__ import annotations

from collections.abc import Sequence

from persuadable.errors import StoreError

__all__ = [
    "Beaten",
    "BundleTooLarge",
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
