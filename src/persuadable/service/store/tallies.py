"""What happened in each minute: counted where it happens, so that looking at it reads no decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

from persuadable.service.records import Answer, Order
from persuadable.service.store.moments import MINUTE
from persuadable.service.store.statements import Statement

__all__ = ["count"]

ADD = Statement(
    "INSERT INTO tallies (minute, writer, kind, name, tenth, number, treated, total) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (minute, writer, kind, name, tenth) DO UPDATE SET number = tallies.number + excluded.number, "
    "treated = tallies.treated + excluded.treated, total = tallies.total + excluded.total"
)


def count(
    connection: Connection,
    writer: str,
    now: int,
    made: Iterable[tuple[Order, Answer]],
    reported: Iterable[Mapping[str, Any]],
) -> None:
    """Add what a transaction wrote to the tally of this minute.

    Args:
        writer: who counts; only one transaction at a time should use a name.
        now: microseconds.
        made: orders and what was decided.
        reported: the new rows of outcomes.
    """
    counts: dict[tuple[str, str, int], list[float]] = {}
    for order, answer in made:
        control = order.actions[0]
        for decision in answer.decisions:
            tenth = min(int(decision.propensities[decision.treatment] * 10), 9)
            tally = counts.setdefault(("decision", decision.action, tenth), [0, 0, 0.0])
            tally[0] += 1
            tally[1] += decision.action != control
    for row in reported:
        tally = counts.setdefault(("outcome", row["name"], 0), [0, 0, 0.0])
        tally[0] += 1
        tally[2] += row["value"]
    if counts:
        minute = now - now % MINUTE
        ADD.run_many(connection, [(minute, writer, *key, *tally) for key, tally in sorted(counts.items())])
