"""Deciding for many: /v1/decide/batch. Users come and decisions go as lines or as Arrow, a thousand at a time.

The body is spooled to a temporary file first, so that a slow sender holds no transaction and the number of users is
known before the first is decided. Each thousand is a transaction of its own, idempotent under the request's key and its
own number: a batch that broke off is sent again, and what had been decided is answered again.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

from starlette.responses import Response, StreamingResponse

from persuadable.errors import StoreError
from persuadable.service import arrow, wire
from persuadable.service.core import Service
from persuadable.service.deployment import Line
from persuadable.service.desk import Desk, ordered
from persuadable.service.problems import Problem
from persuadable.service.records import Decision, Order
from persuadable.service.refusals import problem_of
from persuadable.service.routes.decide import idempotency_key
from persuadable.service.routes.replies import ArrowReply, LineReply, Reply, Told
from persuadable.service.routes.route import Call, require_length, require_type, too_large
from persuadable.service.scoring import Model, ModelFailure
from persuadable.service.wire import Terms, Unit, WireError

__all__ = ["Batch"]

NDJSON, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"
CHUNK = 1_000
ELIGIBLE = "eligible for "
Numbered = tuple[int, Unit | WireError]


@dataclass(frozen=True, slots=True)
class _Batch:
    """One batch under way.

    Attributes:
        line: the bundles it began with.
        terms: what it says of its budget.
        among: how many users it names.
        key: its idempotency key, if any.
        digest: sha256 of what it asks.
    """

    line: Line
    terms: Terms
    among: int
    key: str | None
    digest: bytes

    def part(self, number: int) -> tuple[str | None, bytes]:
        """Key and digest of one of its parts."""
        key = None if self.key is None else f"{self.key} {number}"
        return key, hashlib.sha256(self.digest + number.to_bytes(8, "big")).digest()


@dataclass(frozen=True, slots=True)
class _Part:
    """Some of the users: all of them, the order for those who can be decided, and why the others cannot."""

    users: Sequence[Numbered]
    order: Order | None
    problems: dict[int, Problem]


class Batch:
    """The endpoint that decides for many users."""

    def __init__(self, service: Service) -> None:
        self._service, self._desk = service, Desk(service)

    async def decide_batch(self, call: Call) -> Response:
        """Decide for many users, and remember it. Each thousand is durable before its decisions are answered.

        One answer for each user, in order: the decision, or the line and a problem. Where the store fails half-way, the
        remaining lines say so; the same request with the same `Idempotency-Key` goes on where it broke off.
        """
        media = require_type(call, NDJSON, ARROW)
        replies = _accepted(call)
        terms, key = wire.read_query(dict(call.parameters())), idempotency_key(call)
        line = self._service.lineup.serving()
        if faults := line.champion.model.faults(terms):
            raise WireError(422, [wire.Fault(place.removeprefix("/"), said) for place, said in faults])
        file = tempfile.TemporaryFile(prefix="persuadable-batch-")  # noqa: SIM115 - the answer outlives this call
        try:
            digest = await self._spool(call, file)
            among, users = await asyncio.to_thread(self._opened, file, media, line)
            asked = hashlib.sha256(digest + terms.said().encode()).digest()
            batch = _Batch(line, terms, among, key, asked)
            parts = self._answers(batch, users, file)
            first = await anext(parts)
        except BaseException:
            file.close()
            raise
        reply: Reply = _in_arrow(line.champion.model) if replies == ARROW else LineReply()
        return StreamingResponse(_written(reply, first, parts), media_type=replies)

    async def _spool(self, call: Call, file: BinaryIO) -> bytes:
        """Write the body to a file; its sha256.

        Raises:
            Problem: it is too large, does not come or breaks off, or there is no room for it.
        """
        most = self._service.settings.max_batch_bytes
        require_length(call.scope, most)
        digest, size, more = hashlib.sha256(), 0, True
        while more:
            body, more = await call.piece()
            size += len(body)
            if size > most:
                raise too_large(most)
            digest.update(body)
            try:
                file.write(body)
            except OSError as error:
                raise Problem("store-full", "There is no room to keep the body while it is answered") from error
        return digest.digest()

    def _opened(self, file: BinaryIO, media: str, line: Line) -> tuple[int, Iterator[Numbered]]:
        """How many users the file names, and each with its line.

        Raises:
            Problem: none or too many, or one of them is larger than a request may be.
            WireError: a column says who may be given an action there is not.
            ArrowError: it is no Arrow stream.
        """
        most = self._service.settings.max_batch_units
        file.seek(0)
        among = arrow.rows(file) if media == ARROW else _counted(file, self._service.settings.max_body_bytes)
        if not 1 <= among <= most:
            said = f"The batch names {among:,} users; send 1 to {most:,}"
            raise Problem("too-large" if among else "invalid", said, errors=[("", said)])
        if media == ARROW:
            return among, _rows(arrow.read(file), line)
        file.seek(0)
        return among, wire.read_lines(file)

    async def _answers(self, batch: _Batch, users: Iterator[Numbered], file: BinaryIO) -> AsyncIterator[list[Told]]:
        """The answers of each part; while one is written, the next is scored."""
        failed: Problem | None = None
        number = 0
        coming = asyncio.create_task(asyncio.to_thread(self._part, batch, users, number))
        try:
            while (part := await coming).users:
                number += 1
                coming = asyncio.create_task(asyncio.to_thread(self._part, batch, users, number))
                made: Sequence[Decision] = ()
                if failed is None:
                    try:
                        made = await self._made(batch, part, number - 1)
                    except StoreError as error:
                        failed = problem_of(error)
                        if number == 1 or failed is None:
                            raise
                yield _told(part, made, failed)
        finally:
            # A thread cannot be stopped: it reads the file until its part is through.
            await asyncio.gather(coming, return_exceptions=True)
            file.close()

    async def _made(self, batch: _Batch, part: _Part, number: int) -> Sequence[Decision]:
        """The decisions of a part, made now or when its key was new."""
        if part.order is not None:
            return (await self._desk.decide(part.order)).decisions
        answer = await self._desk.again(*batch.part(number))
        return () if answer is None else answer.decisions

    def _part(self, batch: _Batch, users: Iterator[Numbered], number: int) -> _Part:
        """Read, check and score the next users."""
        some = list(islice(users, CHUNK))
        champion = batch.line.champion
        some = [(line, _known(champion.model, user)) for line, user in some]
        readable = [(i, user) for i, (_, user) in enumerate(some) if isinstance(user, Unit)]
        problems = {i: _problem(user) for i, (_, user) in enumerate(some) if isinstance(user, WireError)}
        if not readable:
            return _Part(some, None, problems)
        kept, taken, refused = champion.intake.sift([user for _, user in readable])
        self._desk.count(taken.counts)
        for j, error in refused.items():
            problems[readable[j][0]] = _problem(error)
            self._desk.count(error.counts)
        if not kept:
            return _Part(some, None, problems)
        units = [readable[j][1] for j in kept]
        budget = champion.model.budget(batch.terms, batch.among)
        try:
            proposals = self._desk.propose(batch.line, units, taken, batch.terms, budget, batch.among)
        except ModelFailure as error:
            return _Part(some, None, problems | {readable[j][0]: _problem(error) for j in kept})
        return _Part(some, ordered(batch.line, budget, proposals, *batch.part(number)), problems)


def _counted(file: BinaryIO, most: int) -> int:
    """How many lines are not blank.

    Raises:
        Problem: a line has too many bytes; no more of it is read.
    """
    number = among = 0
    while raw := file.readline(most + 1):
        number += 1
        if len(raw) > most:
            said = f"Line {number:,} has more than {most:,} bytes"
            raise Problem("too-large", said, errors=[("", said)], remedy="Send one user a line.")
        among += not raw.isspace()
    return among


def _problem(error: Exception) -> Problem:
    problem = problem_of(error)
    if problem is None:
        raise error
    return problem


def _told(part: _Part, made: Sequence[Decision], failed: Problem | None) -> list[Told]:
    """What each user is told. Decisions are in the order of those who were decided, now or when the key was new.

    A decision is about the line with its unit, its features and what it may be given: lines that agree in all three are
    decided or refused alike.
    """
    answers = []
    coming = iter(made)
    decision = next(coming, None)
    for i, (line, user) in enumerate(part.users):
        unit = user.unit if isinstance(user, Unit) else None
        if (
            decision is not None
            and isinstance(user, Unit)
            and user == (decision.unit, decision.features, decision.eligible)
        ):
            answers.append(Told(line, unit, decision, None))
            decision = next(coming, None)
        else:
            answers.append(Told(line, unit, None, part.problems.get(i) or failed or NOT_THEN))
    return answers


NOT_THEN = Problem("idempotency", "When this Idempotency-Key was new, this user could not be decided")


def _in_arrow(model: Model) -> ArrowReply:
    return ArrowReply(model.actions, priced=model.budgets == "budgets", reviewed=model.bundle.review is not None)


def _known(model: Model, user: Unit | WireError) -> Unit | WireError:
    """A user, or that it is said to be eligible for what is no action of the model."""
    faults = model.unknown(user) if isinstance(user, Unit) else ()
    return WireError(422, faults) if faults else user


def _rows(frame: Any, line: Line) -> Iterator[Numbered]:
    """Each row of a frame, with its number from 1."""
    allowed = _allowed(frame.columns, line)

    def rows() -> Iterator[Numbered]:
        for number, row in enumerate(frame.iter_rows(named=True, buffer_size=CHUNK), start=1):
            try:
                yield number, wire.read_row(row, allowed)
            except WireError as error:
                yield number, error

    return rows()


def _allowed(columns: Sequence[str], line: Line) -> dict[str, str | None] | None:
    """Treatment → the column that says who may be given it, None of one without; None where no column says anything.

    Raises:
        WireError: there is no such treatment.
    """
    champion = line.champion
    features = {rule.column.name for rule in champion.bundle.contract.rules}
    treatments = champion.model.actions[1:]
    found = {
        name: name.removeprefix(ELIGIBLE) for name in columns if name.startswith(ELIGIBLE) and name not in features
    }
    if unknown := [name for name, label in found.items() if label not in treatments]:
        known = ", ".join(map(repr, treatments))
        said = f"There is no treatment of column {unknown[0]!r}. The treatments are {known}."
        raise WireError(422, [wire.Fault("", said)])
    columns_of = {label: name for name, label in found.items()}
    return {label: columns_of.get(label) for label in treatments} if found else None


def _accepted(call: Call) -> str:
    """The format of the answer: lines, unless only Arrow is accepted, or it comes first."""
    for told in (call.header(b"accept") or "*/*").split(","):
        media = told.partition(";")[0].strip().lower()
        if media in (NDJSON, "*/*", "application/*"):
            return NDJSON
        if media == ARROW:
            return ARROW
    raise Problem("not-acceptable", "The answer is lines of JSON or Arrow", remedy=f"Accept {NDJSON} or {ARROW}.")


async def _written(reply: Reply, first: list[Told], parts: AsyncIterator[list[Told]]) -> AsyncIterator[bytes]:
    yield await asyncio.to_thread(reply.part, first)
    async for part in parts:
        yield await asyncio.to_thread(reply.part, part)
    yield reply.end
