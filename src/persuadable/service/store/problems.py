"""The last errors, kept for whoever looks at the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select

from persuadable.service.store.connect import Database
from persuadable.service.store.moments import micros, moment
from persuadable.service.store.tables import problems

__all__ = ["KEPT", "Problem", "latest", "note"]

KEPT = 1000


@dataclass(frozen=True, slots=True)
class Problem:
    """An error that was answered."""

    time: datetime
    status: int
    title: str
    detail: str
    path: str


def note(database: Database, noted: Sequence[Problem]) -> None:
    """Keep these, and of all no more than the last thousand."""
    rows = [
        {"time": micros(p.time), "status": p.status, "title": p.title, "detail": p.detail, "path": p.path}
        for p in noted[-KEPT:]
    ]

    def write(connection: Connection) -> None:
        connection.execute(insert(problems), rows)
        last = connection.execute(select(func.max(problems.c.arrival))).scalar_one()
        connection.execute(delete(problems).where(problems.c.arrival <= last - KEPT))

    if rows:
        database.write(write)


def latest(connection: Connection, n: int) -> tuple[Problem, ...]:
    """The last n, the newest first."""
    rows = connection.execute(select(problems).order_by(problems.c.arrival.desc()).limit(n))
    return tuple(Problem(moment(row.time), row.status, row.title, row.detail, row.path) for row in rows)
