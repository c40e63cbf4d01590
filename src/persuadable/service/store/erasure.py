"""Forgetting: everything about one unit, or everything older than a time. In small transactions, so that deciding
goes on meanwhile; begun again after a break, it goes on where it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, select, update

from persuadable.service.store import ids
from persuadable.service.store.claims import chunks
from persuadable.service.store.connect import Database
from persuadable.service.store.moments import MINUTE, micros
from persuadable.service.store.tables import decisions, outcomes, problems, requests, tallies

__all__ = ["Erasure", "erase", "retain"]

STEP = 500  # decisions in one transaction


@dataclass(frozen=True, slots=True)
class Erasure:
    """How many rows were deleted."""

    decisions: int
    outcomes: int


def erase(database: Database, unit: str) -> Erasure:
    """Delete what names or describes a unit: its decisions with their features, their outcomes, errors naming it.

    The idempotency keys of its requests stay, without the digest of what was asked, so that a request sent again is
    not decided again. Counts and what was spent stay. In SQLite's file and log the rows are overwritten, in the log
    once nobody reads them any more; PostgreSQL frees theirs at its next vacuum.
    """
    done = _delete(database, decisions.c.unit == unit)
    database.write(lambda connection: _forget_problems(connection, unit))
    database.compact()
    return done


def retain(database: Database, before: datetime) -> Erasure:
    """Delete decisions made before a time with their outcomes and idempotency keys, older counts and errors too.

    The time counts to the millisecond. A key that is forgotten is a new one.
    """
    bound = micros(before)
    done = _delete(database, decisions.c.decision_id < ids.first_at(bound))
    _trim(database, requests.c.first_id, ids.first_at(bound))
    _trim(database, tallies.c.minute, bound - MINUTE + 1)  # minutes that were over by then
    _trim(database, problems.c.time, bound)
    database.compact()
    return done


def _delete(database: Database, which: ColumnElement[bool]) -> Erasure:
    """Delete decisions and their outcomes, some hundreds a transaction, until there are no more."""
    gone = Erasure(0, 0)
    while (step := database.write(lambda connection: _step(connection, which))).decisions:
        gone = Erasure(gone.decisions + step.decisions, gone.outcomes + step.outcomes)
    return gone


def _step(connection: Connection, which: ColumnElement[bool]) -> Erasure:
    chosen = select(decisions.c.decision_id, decisions.c.position).where(which)
    rows = connection.execute(chosen.order_by(decisions.c.decision_id).limit(STEP).with_for_update()).all()
    theirs = [row.decision_id for row in rows]
    firsts = sorted({ids.after(row.decision_id, -row.position) for row in rows})
    connection.execute(update(requests).where(requests.c.first_id.in_(firsts)).values(digest=None))
    reported = connection.execute(delete(outcomes).where(outcomes.c.decision_id.in_(theirs))).rowcount
    connection.execute(delete(decisions).where(decisions.c.decision_id.in_(theirs)))
    return Erasure(len(theirs), reported)


def _trim(database: Database, column: ColumnElement[Any], bound: str | int) -> None:
    """Delete the rows whose value lies below the bound, some hundreds a transaction (more where values are equal)."""
    table = column.table

    def step(connection: Connection) -> int:
        below = select(column).where(column < bound).order_by(column)
        last = connection.execute(below.offset(STEP - 1).limit(1)).scalar()
        return connection.execute(delete(table).where(column < bound if last is None else column <= last)).rowcount

    while database.write(step) >= STEP:
        pass


def _forget_problems(connection: Connection, unit: str) -> None:
    rows = connection.execute(select(problems.c.arrival, problems.c.title, problems.c.detail, problems.c.path))
    named = re.compile(rf"(?<!\w){re.escape(unit)}(?!\w)")  # u1 is not named by u12
    naming = [row.arrival for row in rows if any(map(named.search, (row.title, row.detail, row.path)))]
    for some in chunks(naming):
        connection.execute(delete(problems).where(problems.c.arrival.in_(some)))
