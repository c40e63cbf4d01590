"""Idempotency: of all requests with one key, one is decided, and the others are told what was decided then."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from persuadable.service.records import Answer, Order
from persuadable.service.store import ids
from persuadable.service.store.errors import Erased, KeyReused
from persuadable.service.store.rows import as_decision
from persuadable.service.store.statements import Statement
from persuadable.service.store.tables import decisions, requests

__all__ = ["Held", "chunks", "claim", "hashed", "holder", "replay"]

CLAIM = Statement(
    "INSERT INTO requests (key, first_id, number, digest) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"
)
HELD = select(requests)
MADE = select(decisions).order_by(decisions.c.decision_id)
CHUNK = 500  # values in one IN list


def hashed(key: str) -> bytes:
    """A key as it is stored: what a caller writes into it may name a person."""
    return hashlib.sha256(key.encode()).digest()


class Held(NamedTuple):
    """Whose request holds a key: the id of its first decision, their number, and the digest of what was asked."""

    first_id: str
    number: int
    digest: bytes | None


def claim(connection: Connection, asked: Mapping[bytes, tuple[Order, Sequence[str]]]) -> dict[bytes, Held]:
    """Who holds each key, after all of them have been claimed, in the order of the keys, where they were free.

    Args:
        asked: hashed key → the order that comes with it and the ids its decisions would get.
    """
    held: dict[bytes, Held] = {}
    while wanted := sorted(asked.keys() - held.keys()):  # again only where a key was deleted in between
        ours = {key: Held(its[0], len(its), order.digest) for key, (order, its) in ((k, asked[k]) for k in wanted)}
        if CLAIM.run_many(connection, [(key, *its) for key, its in ours.items()]).rowcount == len(ours):
            return held | ours
        for some in chunks(wanted):
            rows = connection.execute(HELD.where(requests.c.key.in_(some)))
            held.update((bytes(row.key), Held(row.first_id, row.number, row.digest)) for row in rows)
    return held


def holder(connection: Connection, key: str) -> Held | None:
    """Who holds a key; None where it is free."""
    row = connection.execute(HELD.where(requests.c.key == hashed(key))).first()
    return None if row is None else Held(row.first_id, row.number, row.digest)


def replay(connection: Connection, key: str, digest: bytes, held: Held) -> Answer | KeyReused | Erased:
    """What was answered to the request that holds the key, or why that is not told to who sends this digest."""
    if held.digest is None:
        return Erased(key)
    if bytes(held.digest) != digest:
        return KeyReused(key)
    last = ids.after(held.first_id, held.number - 1)
    rows = connection.execute(MADE.where(decisions.c.decision_id.between(held.first_id, last))).all()
    return Answer(tuple(map(as_decision, rows)), replayed=True) if len(rows) == held.number else Erased(key)


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The values, some hundreds at a time."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]
