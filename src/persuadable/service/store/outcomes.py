"""Outcomes: an append-only history of what was reported, and which report is in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from persuadable.service.records import Outcomes, Receipt, StoredOutcome
from persuadable.service.store.claims import chunks
from persuadable.service.store.errors import UnknownDecisions
from persuadable.service.store.ids import is_id
from persuadable.service.store.moments import micros, moment
from persuadable.service.store.tables import NOT_SAID, decisions, outcomes

__all__ = ["history", "in_force", "record"]

INSERT = insert(outcomes)
Report = tuple[str, str, int, float]  # decision, name, time of observation, value: twice the same is a repeat


def record(
    connection: Connection, batch: Mapping[int, Outcomes], received_at: int
) -> tuple[dict[int, Receipt | UnknownDecisions], list[dict[str, Any]]]:
    """Record what is new; the receipts, and the new rows.

    The decisions' rows are locked in the order of their ids, so that of two workers with the same report one sees
    that it is a repeat.

    Args:
        batch: place in the batch → what it reports; a request with an unknown decision is refused as a whole.
        received_at: microseconds.
    """
    wanted = sorted({r.decision_id for asked in batch.values() for r in asked.reports if is_id(r.decision_id)})
    known = _locked(connection, wanted)
    seen = _reported(connection, sorted(known))
    named = {(decision_id, name) for decision_id, name, _, _ in seen}
    answers: dict[int, Receipt | UnknownDecisions] = {}
    fresh: list[dict[str, Any]] = []
    for place, asked in batch.items():
        if strange := [r.decision_id for r in asked.reports if r.decision_id not in known]:
            answers[place] = UnknownDecisions(list(dict.fromkeys(strange)))
            continue
        answers[place] = _add(asked, received_at, seen, named, fresh)
    if fresh:
        connection.execute(INSERT, fresh)
    return answers, fresh


def _locked(connection: Connection, wanted: Sequence[str]) -> set[str]:
    known: set[str] = set()
    for some in chunks(wanted):
        query = select(decisions.c.decision_id).where(decisions.c.decision_id.in_(some))
        query = query.order_by(decisions.c.decision_id).with_for_update(key_share=True)
        known.update(connection.execute(query).scalars())
    return known


def _reported(connection: Connection, known: Sequence[str]) -> set[Report]:
    columns = (outcomes.c.decision_id, outcomes.c.name, outcomes.c.observed_at, outcomes.c.value)
    return {
        (row[0], row[1], row[2], row[3])
        for some in chunks(known)
        for row in connection.execute(select(*columns).where(outcomes.c.decision_id.in_(some)))
    }


def _add(
    asked: Outcomes, received_at: int, seen: set[Report], named: set[tuple[str, str]], fresh: list[dict[str, Any]]
) -> Receipt:
    recorded = corrected = 0
    for r in asked.reports:
        observed_at = NOT_SAID if r.observed_at is None else micros(r.observed_at)
        report = (r.decision_id, r.name, observed_at, float(r.value))
        if report in seen:
            continue
        seen.add(report)
        recorded += 1
        corrected += (r.decision_id, r.name) in named
        named.add((r.decision_id, r.name))
        fresh.append(
            {
                "decision_id": r.decision_id,
                "name": r.name,
                "value": report[3],
                "observed_at": observed_at,
                "received_at": received_at,
            }
        )
    return Receipt(recorded, len(asked.reports) - recorded, corrected)


def history(connection: Connection, decision_id: str) -> list[StoredOutcome]:
    """What was reported about a decision, in the order it arrived."""
    query = select(outcomes).where(outcomes.c.decision_id == decision_id).order_by(outcomes.c.arrival)
    rows = connection.execute(query).all()
    last = {(row.decision_id, row.name): row.arrival for row in in_force(rows)}
    return [
        StoredOutcome(
            name=row.name,
            value=row.value,
            observed_at=None if row.observed_at == NOT_SAID else moment(row.observed_at),
            received_at=moment(row.received_at),
            in_force=last[row.decision_id, row.name] == row.arrival,
        )
        for row in rows
    ]


def in_force(rows: Iterable[Row[Any]]) -> Iterable[Row[Any]]:
    """The row in force of each (decision, name): the last one observed, or received where that was not said.

    Ties go to the one that arrived last.
    """
    last: dict[tuple[str, str], Row[Any]] = {}
    for row in rows:
        key = (row.decision_id, row.name)
        if key not in last or _when(row) > _when(last[key]):
            last[key] = row
    return last.values()


def _when(row: Row[Any]) -> tuple[int, int]:
    return (row.received_at if row.observed_at == NOT_SAID else row.observed_at), row.arrival
