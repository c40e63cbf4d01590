"""Human review: /v1/reviews, the decisions that wait for a person, and what people do with them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import struct
from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import Path as InPath
from fastapi import Query
from starlette.responses import Response

from persuadable.errors import StoreError
from persuadable.policies.review import REASONS
from persuadable.service import wire
from persuadable.service.core import Service
from persuadable.service.encoding import told_case
from persuadable.service.problems import Problem
from persuadable.service.routes.route import JSON, Call, json_of, require_type
from persuadable.service.store import Cursor, ReviewCase, State
from persuadable.service.store.ids import is_id
from persuadable.service.wire import ReviewRequest

__all__ = ["Reviewing"]

LARGEST_BODY = 2**14
MOST_CASES = 200
WHO, WHY = ("reviewer",), ("reviewer", "why")

InState = Annotated[State, Query(description="Open cases nobody looks at; claimed ones somebody does.")]
Code = Annotated[
    str | None,
    Query(min_length=1, max_length=64, pattern="^[a-z][a-z-]*$", description="Only cases with this reason code."),
]
After = Annotated[
    str | None, Query(max_length=128, pattern="^[A-Za-z0-9_-]*$", description="`next` of the page before.")
]
Limit = Annotated[int, Query(ge=1, le=MOST_CASES, description="At most so many.")]
DecisionId = Annotated[str, InPath(max_length=64, description="The case: the id of the held decision.")]


class Reviewing:
    """The endpoints of the queue."""

    def __init__(self, service: Service) -> None:
        self._service, self._reviews = service, service.store.reviews

    async def reviews(
        self, state: InState = "open", code: Code = None, after: After = None, limit: Limit = 50
    ) -> Response:
        """The queue, page by page: cases that wait by priority, the most pressing first; resolved ones newest first."""
        place = None if after is None else _place(after)
        cases, more = await asyncio.to_thread(self._reviews.list, state, code=code, after=place, limit=limit)
        counts = await asyncio.to_thread(self._reviews.counts)
        review = self._service.lineup.serving().champion.bundle.review
        return json_of(
            {
                "cases": [told_case(case) for case in cases],
                "next": None if more is None else _told(more),
                "waiting": counts.cases,
                "claimed": counts.claimed,
                "codes": counts.codes,
                "load": None if review is None else review.load,
                "reasons": dict(REASONS),
            }
        )

    async def review(self, decision_id: DecisionId) -> Response:
        """One case: the user's features, what is predicted, why a person is asked, who has it, what they decided."""
        return json_of(told_case(await asyncio.to_thread(self._reviews.get, decision_id)))

    async def claim_review(self, call: Call) -> Response:
        """Take a case, so that nobody else decides it. Of two who take it at once, one does; the other is told who.

        A claim ends by itself. Taken again by the same reviewer, it lasts longer.
        """
        seconds = self._service.settings.review_claim_seconds
        return await self._done(call, "claimed", WHO, (), lambda case, who, _: self._reviews.claim(case, who, seconds))

    async def release_review(self, call: Call) -> Response:
        """Give a case back to the queue."""
        return await self._done(call, "released", WHO, (), lambda case, who, _: self._reviews.release(case, who))

    async def approve_review(self, call: Call) -> Response:
        """Give what the policy proposed. That is a new decision, made by a person; the case says its id."""
        key = call.caller.name or None
        return await self._done(
            call,
            "approved",
            WHY,
            (),
            lambda case, who, told: self._reviews.resolve(case, who, why=told.why, key=key),
        )

    async def override_review(self, call: Call) -> Response:
        """Give something else, and say why. That is a new decision, made by a person; the case says its id.

        Its action has the probability 1, and the log says that a person chose it, so that nothing is learned from it as
        if the policy had.
        """
        key = call.caller.name or None
        return await self._done(
            call,
            "overridden",
            ("reviewer", "action", "why"),
            ("action", "why"),
            lambda case, who, told: self._reviews.resolve(case, who, action=told.action, why=told.why, key=key),
        )

    async def _done(
        self,
        call: Call,
        event: str,
        known: Sequence[str],
        required: Sequence[str],
        work: Callable[[str, str, ReviewRequest], ReviewCase],
    ) -> Response:
        """Do something with a case, in the name of the reviewer the body states or of the caller's key."""
        raw = await call.body(LARGEST_BODY)
        if raw or required:
            require_type(call, JSON)
        told = wire.read_review(raw, known=known, required=required)
        decision_id = call.scope["path_params"]["decision_id"]
        who = told.reviewer or call.caller.name or call.caller.id
        try:
            case = await asyncio.to_thread(work, decision_id, who, told)
        except StoreError:
            self._service.metrics.reviewed("refused")
            raise
        self._service.metrics.reviewed(event)
        self._service.log.info("review", what=event, decision=decision_id, caller=call.caller.id)
        return json_of(told_case(case))


def _told(cursor: Cursor) -> str:
    """A place in the list as text for an address."""
    return base64.urlsafe_b64encode(struct.pack("<d", cursor.at) + cursor.decision_id.encode()).decode().rstrip("=")


def _place(text: str) -> Cursor:
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        (at,) = struct.unpack("<d", raw[:8])
        decision_id = raw[8:].decode("ascii")
    except (binascii.Error, struct.error, UnicodeDecodeError, ValueError):
        at, decision_id = math.nan, ""
    if not (is_id(decision_id) and abs(at) < 2**62):
        said = "after is no place in this list"
        raise Problem("invalid", said, errors=[("after", said)], remedy="Send `next` as it was answered.")
    return Cursor(at, decision_id)
