"""The queue of decisions that wait for a person: who looks at which, and what they decide.

A case is a held decision, and has its id. It is written with that decision, in one transaction; whatever is done with
it is one transaction on its locked row, so that of two people at once one is first and the other is told by whom.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, and_, func, select, tuple_, update

from persuadable.errors import ParameterError
from persuadable.service.grants import millionths
from persuadable.service.records import Answer, Budget, Held, Order, Verdict
from persuadable.service.store import ids, tallies
from persuadable.service.store.cases import (
    WAITING,
    Cursor,
    ReviewCase,
    State,
    Waiting,
    cases_of,
    count_waiting,
    in_state,
    is_case,
    read_case,
)
from persuadable.service.store.connect import Database
from persuadable.service.store.errors import ActionNotAllowed, CampaignSpent, CaseTaken, UnknownReview
from persuadable.service.store.ledger import Ledger
from persuadable.service.store.moments import micros, moment
from persuadable.service.store.rows import INSERT, as_row
from persuadable.service.store.tables import reviews

__all__ = ["Reviews"]


class Reviews:
    """The queue of a store. Whatever changes a case may be asked again: the same by the same person changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = secrets.token_hex(8)  # counts on a tally of its own

    def waiting(self) -> int:
        """How many cases wait, looked at or not."""
        query = select(func.count()).select_from(reviews).where(reviews.c.state == WAITING)
        return self._database.read(lambda connection: int(connection.execute(query).scalar_one()))

    def counts(self) -> Waiting:
        """How much waits, how much of it is looked at, and for which reasons; it reads every case that waits."""
        return self._database.read(lambda connection: count_waiting(connection, _now()))

    def list(
        self, state: State, *, code: str | None = None, after: Cursor | None = None, limit: int = 50
    ) -> tuple[list[ReviewCase], Cursor | None]:
        """Cases in a state, and where to go on; None at the end.

        Those that wait come by priority, the highest first; those resolved by their time, the last first.

        Args:
            state: which.
            code: only cases with this reason code.
            after: where to begin.
            limit: at most so many.
        """
        now = _now()
        resolved = state in ("approved", "overridden")
        by = reviews.c.resolved_at if resolved else reviews.c.rank
        where = [in_state(state, now)]
        if code is not None:
            where.append(reviews.c.codes.contains(f" {code} ", autoescape=True))
        keys = tuple_(by, reviews.c.decision_id)
        if after is not None:
            place = tuple_(int(after.at) if resolved else after.at, after.decision_id)
            where.append(keys < place if resolved else keys > place)
        order = [by.desc(), reviews.c.decision_id.desc()] if resolved else [by, reviews.c.decision_id]
        query = select(reviews).where(and_(*where)).order_by(*order).limit(limit + 1)

        def read(connection: Connection) -> tuple[list[ReviewCase], Cursor | None]:
            rows = connection.execute(query).all()
            found = cases_of(connection, rows[:limit], now)
            if len(rows) <= limit:
                return found, None
            last = rows[limit - 1]
            return found, Cursor(last.resolved_at if resolved else last.rank, last.decision_id)

        return self._database.read(read)

    def get(self, decision_id: str) -> ReviewCase:
        """One case.

        Raises:
            UnknownReview: there is none with this id.
        """

        def read(connection: Connection) -> ReviewCase:
            return read_case(connection, decision_id, _now())

        _require_id(decision_id)
        return self._database.read(read)

    def claim(self, decision_id: str, reviewer: str, seconds: float) -> ReviewCase:
        """Take a case, so that nobody else does for so many seconds; by whoever has it, for so many more.

        Raises:
            UnknownReview: there is none with this id.
            CaseTaken: somebody else looks at it, or it is resolved.
            ParameterError: no time at all.
        """
        if not seconds > 0:
            raise ParameterError(f"A claim of {seconds} seconds is none", remedy="Pass a positive number of seconds.")

        def change(connection: Connection, case: ReviewCase, now: int) -> None:
            _require_free(case, reviewer)
            since = now if case.claim is None else micros(case.claim.at)
            _set(
                connection,
                decision_id,
                claimed_by=reviewer,
                claimed_at=since,
                claimed_until=now + round(seconds * 1_000_000),
            )

        return self._change(decision_id, change)

    def release(self, decision_id: str, reviewer: str) -> ReviewCase:
        """Give a case back; nothing happens where nobody has it.

        Raises:
            UnknownReview: there is none with this id.
            CaseTaken: somebody else looks at it, or it is resolved.
        """

        def change(connection: Connection, case: ReviewCase, now: int) -> None:
            _require_free(case, reviewer)
            _set(connection, decision_id, claimed_by=None, claimed_at=None, claimed_until=None)

        return self._change(decision_id, change)

    def resolve(
        self,
        decision_id: str,
        reviewer: str,
        *,
        action: str | None = None,
        why: str | None = None,
        key: str | None = None,
    ) -> ReviewCase:
        """Decide a case: a new decision, made by a person, that gives its action with probability 1.

        It charges the campaign's budget under the caps of the request that was held: a cap is not exceeded by people
        either. Nobody needs to have claimed the case; if somebody has, it must be this reviewer.

        Args:
            decision_id: the case.
            reviewer: who decides.
            action: what is given; None is what the policy proposed.
            why: in the reviewer's words.
            key: name of the API key it is done with.

        Raises:
            UnknownReview: there is none with this id.
            CaseTaken: somebody else looks at it, or it was resolved otherwise.
            ActionNotAllowed: there is no such action, the unit may not be given it, or it is what was proposed.
            CampaignSpent: the campaign's cap leaves no room for it.
        """

        def change(connection: Connection, case: ReviewCase, now: int) -> None:
            state = "approved" if action is None else "overridden"
            if (done := case.resolution) is not None:
                asked = (state, reviewer, why, done.action if action is None else action)
                if asked == (case.state, done.by, done.why, done.action):
                    return
            _require_free(case, reviewer)
            given = case.proposed if action is None else action
            _require_allowed(case, given, overridden=action is not None)
            made = self._record(connection, case, given, _verdict(case, reviewer, why), now)
            _set(
                connection,
                decision_id,
                state=state,
                resolved_by=reviewer,
                resolved_at=now,
                key=key,
                action=given,
                why=why,
                resolution=made,
            )

        return self._change(decision_id, change)

    def _record(self, connection: Connection, case: ReviewCase, action: str, verdict: Verdict, now: int) -> str:
        """Charge and write the decision a person made; its id."""
        held = case.decision
        order = _charge(connection, case, action)
        made = held._replace(
            decision_id=ids.consecutive(now, 1)[0],
            action=action,
            propensities={label: float(label == action) for label in held.propensities},
            reason="approved" if action == case.proposed else "overridden",
            shadow=None,
            made_at=moment(now),
            review=verdict,
        )
        INSERT.run_many(connection, [as_row(made, 0, now)])
        tallies.count(connection, self._writer, now, [(order, Answer((made,), replayed=False))], [])
        return str(made.decision_id)

    def _change(self, decision_id: str, change: Callable[[Connection, ReviewCase, int], None]) -> ReviewCase:
        """The case after a change, which is made on its locked row."""

        def write(connection: Connection) -> ReviewCase:
            now = _now()
            change(connection, read_case(connection, decision_id, now, lock=True), now)
            return read_case(connection, decision_id, now)

        _require_id(decision_id)
        return self._database.write(write)


def _verdict(case: ReviewCase, reviewer: str, why: str | None) -> Verdict:
    held = case.decision.review
    chances = held.propensities if isinstance(held, Held) else None
    return Verdict(str(case.decision.decision_id), reviewer, why, case.proposed, chances)


def _charge(connection: Connection, case: ReviewCase, action: str) -> Order:
    """Charge what a person gives to the campaign's budget, where the request that was held had a cap.

    Raises:
        CampaignSpent: the cap leaves no room for it.
    """
    held = case.decision
    row = connection.execute(select(reviews.c.units, reviews.c.amount).where(is_case(str(held.decision_id)))).one()
    budget = Budget(1.0, row.units, held.campaign, None, row.amount)
    actions = tuple(held.propensities)
    if budget.is_capped and action != actions[0]:
        option = None if case.options is None else case.options[action]
        cost = 0 if option is None else millionths(option["cost_effect"])
        ledger = Ledger(connection, [budget])
        left, money = ledger.left(budget), ledger.money(budget)
        if left == 0 or (money is not None and cost > money):
            raise CampaignSpent(held.campaign)
        ledger.charge(budget, 1, cost)
        ledger.save()
    return Order(None, b"", budget, (), actions, held.bundle, held.contract)


def _require_free(case: ReviewCase, reviewer: str) -> None:
    """Make sure that nobody else looks at it, and that it is not resolved."""
    if case.resolution is not None:
        raise CaseTaken(case.state, case.resolution.by, case.resolution.at, None)
    if case.claim is not None and case.claim.by != reviewer:
        raise CaseTaken(case.state, case.claim.by, case.claim.at, case.claim.until)


def _require_allowed(case: ReviewCase, action: str, *, overridden: bool) -> None:
    if action not in case.actions:
        raise ActionNotAllowed(action, case.actions)
    if overridden and action == case.proposed:
        raise ActionNotAllowed(action, [label for label in case.actions if label != action], proposed=True)


def _require_id(decision_id: str) -> None:
    if not ids.is_id(decision_id):
        raise UnknownReview(decision_id)


def _set(connection: Connection, decision_id: str, **values: Any) -> None:
    connection.execute(update(reviews).where(is_case(decision_id)).values(**values))


def _now() -> int:
    return time.time_ns() // 1000
