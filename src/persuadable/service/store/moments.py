"""Times, in the store: whole microseconds since 1970, in UTC. They sort, compare and fit an index as they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["MINUTE", "micros", "moment"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MINUTE = 60_000_000


def micros(time: datetime) -> int:
    """Microseconds since the epoch; a time without a zone is read as UTC."""
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return (aware - EPOCH) // MICROSECOND


def moment(told: int) -> datetime:
    """The time, in UTC, this many microseconds after the epoch."""
    return EPOCH + told * MICROSECOND
