"""What a case of the queue of reviews is: how it is written with the decision it holds, and how it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select

from persuadable.service.records import Answer, Decision, Held, Order, Reason
from persuadable.service.store.errors import UnknownReview
from persuadable.service.store.moments import moment
from persuadable.service.store.rows import as_decision
from persuadable.service.store.statements import Statement
from persuadable.service.store.tables import decisions, reviews

__all__ = [
    "WAITING",
    "Claim",
    "Cursor",
    "Resolution",
    "ReviewCase",
    "State",
    "Waiting",
    "cases_of",
    "count_waiting",
    "enqueue",
    "in_state",
    "is_case",
    "read_case",
]

State = Literal["open", "claimed", "approved", "overridden"]
WAITING = "waiting"  # as the table has it: whether somebody has claimed it depends on the time
ENQUEUE = Statement(
    "INSERT INTO reviews (decision_id, state, rank, codes, proposed, reason, options, units, amount) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """Who looks at a case, since when, and until when nobody else may."""

    by: str
    at: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a person decided.

    Attributes:
        by: who, by their own word or the name of their key.
        key: name of the API key they used; None where there are no keys.
        at: when.
        action: what they gave.
        why: what they said about it.
        decision_id: the decision that was made of it.
    """

    by: str
    key: str | None
    at: datetime
    action: str
    why: str | None
    decision_id: str


@dataclass(frozen=True, slots=True)
class ReviewCase:
    """A decision that waits, or waited, for a person.

    Attributes:
        decision: the held one, with the unit's features and what is predicted for it.
        state: "open", "claimed", "approved" or "overridden".
        codes: why it waits.
        priority: expected cost of deciding without a person.
        proposed: the action the policy would have given.
        reason: of the policy's own decision.
        options: what is known of every action, by label; None where the policy does not weigh them all.
        claim: who looks at it now.
        resolution: what was decided.
    """

    decision: Decision
    state: State
    codes: tuple[str, ...]
    priority: float
    proposed: str
    reason: Reason
    options: Mapping[str, Mapping[str, Any]] | None
    claim: Claim | None
    resolution: Resolution | None

    @property
    def actions(self) -> tuple[str, ...]:
        """What the unit may be given, doing nothing first."""
        control, *others = self.decision.propensities
        eligible = self.decision.eligible
        return (control, *(label for label in others if eligible is None or label in eligible))


class Cursor(NamedTuple):
    """A place in a list of cases: after the one with this rank (or time, of those resolved) and id."""

    at: float
    decision_id: str


class Waiting(NamedTuple):
    """How much waits for people.

    Attributes:
        cases: looked at or not.
        claimed: how many of them somebody looks at.
        codes: reason code → how many of them have it; one may have several.
    """

    cases: int
    claimed: int
    codes: Mapping[str, int]


def enqueue(connection: Connection, made: Iterable[tuple[Order, Answer]]) -> None:
    """Put the held decisions of orders into the queue, in the transaction that writes them."""
    rows = []
    for order, answer in made:
        for proposal, decision in zip(order.proposals, answer.decisions, strict=True):
            case, held = proposal.case, decision.review
            if case is None or not isinstance(held, Held):
                continue
            lost = proposal.reason == "lottery-won" and held.proposed != proposal.treatment
            rows.append(
                (
                    decision.decision_id,
                    WAITING,
                    -case.priority,
                    f" {' '.join(case.codes)} ",
                    held.proposed,
                    "lottery-lost" if lost else proposal.reason,
                    None if case.options is None else _json(case.options),
                    order.budget.units,
                    order.budget.amount,
                )
            )
    if rows:
        ENQUEUE.run_many(connection, rows)


def count_waiting(connection: Connection, now: int) -> Waiting:
    """How much waits at a time, in microseconds."""
    claimed = func.count().filter(reviews.c.claimed_until > now)
    query = select(reviews.c.codes, func.count(), claimed).where(reviews.c.state == WAITING).group_by(reviews.c.codes)
    cases = looked_at = 0
    by_code: dict[str, int] = {}
    for codes, number, its_claimed in connection.execute(query):
        cases, looked_at = cases + number, looked_at + its_claimed
        for code in codes.split():
            by_code[code] = by_code.get(code, 0) + number
    return Waiting(cases, looked_at, by_code)


def is_case(decision_id: str) -> ColumnElement[bool]:
    """Whether a row is that of a case."""
    return reviews.c.decision_id == decision_id


def in_state(state: State, now: int) -> ColumnElement[bool]:
    """Whether a row is in a state at a time, in microseconds."""
    until = reviews.c.claimed_until
    if state == "open":
        return and_(reviews.c.state == WAITING, or_(until.is_(None), until <= now))
    if state == "claimed":
        return and_(reviews.c.state == WAITING, until > now)
    return reviews.c.state == state


def read_case(connection: Connection, decision_id: str, now: int, *, lock: bool = False) -> ReviewCase:
    """One case as it is at a time, in microseconds; with its row locked, if asked for.

    Raises:
        UnknownReview: there is none with this id.
    """
    query = select(reviews).where(is_case(decision_id))
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None or not (found := cases_of(connection, [row], now)):
        raise UnknownReview(decision_id)
    return found[0]


def cases_of(connection: Connection, rows: Sequence[Row[Any]], now: int) -> list[ReviewCase]:
    """Rows of the table as the cases they are; one whose decision has been deleted meanwhile is none."""
    wanted = [row.decision_id for row in rows]
    found = connection.execute(select(decisions).where(decisions.c.decision_id.in_(wanted)))
    held = {row.decision_id: as_decision(row) for row in found}
    return [_case(row, held[row.decision_id], now) for row in rows if row.decision_id in held]


def _case(row: Row[Any], held: Decision, now: int) -> ReviewCase:
    claimed = row.state == WAITING and row.claimed_until is not None and row.claimed_until > now
    state: State = "claimed" if claimed else "open" if row.state == WAITING else row.state
    return ReviewCase(
        decision=held,
        state=state,
        codes=tuple(row.codes.split()),
        priority=-row.rank + 0.0,
        proposed=row.proposed,
        reason=row.reason,
        options=None if row.options is None else orjson.loads(row.options),
        claim=Claim(row.claimed_by, moment(row.claimed_at), moment(row.claimed_until)) if claimed else None,
        resolution=None
        if row.resolution is None
        else Resolution(row.resolved_by, row.key, moment(row.resolved_at), row.action, row.why, row.resolution),
    )


def _json(options: Mapping[str, Any]) -> str:
    return orjson.dumps({label: option._asdict() for label, option in options.items()}).decode()
