"""Around every request: an id, a time, a line in the log, and the counters. One plain ASGI middleware."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from persuadable.service.logs import Log
from persuadable.service.metrics import Metrics
from persuadable.service.problems import Problem
from persuadable.service.refusals import problem_of
from persuadable.service.store import Problem as Noted

__all__ = ["LATE", "Observe", "header", "refusal", "request_id"]

SANE = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
ID = "persuadable.request_id"
HEADERS = "persuadable.headers"
STATUS = "persuadable.status"
PROBLEM = "persuadable.problem"
FAILURE = "persuadable.failure"
CALLER = "persuadable.caller"
LATE = "persuadable.late"
TOGETHER = 64
LONGEST_DETAIL, LONGEST_PATH = 300, 200
# Asked every few seconds by machines: worth a line only when something is wrong, or for debugging.
QUIET = frozenset({"/health/live", "/health/ready", "/metrics"})
# Of no interest to who watches the service: addresses that do not exist, and strangers at the door.
PASSING = frozenset({"no-such-path", "method", "no-key", "unknown-key", "foreign-host"})


def header(scope: Scope, name: bytes) -> str | None:
    """A request header, by its lower-case name; None where it is absent."""
    value = scope[HEADERS].get(name)
    return None if value is None else str(value, "latin-1")


def refusal(scope: Scope, error: Exception) -> Problem:
    """The problem an error is answered with; a fault of ours is kept for the log and told to nobody.

    Raises:
        Exception: the error, where the answer has begun.
    """
    if STATUS in scope:
        raise error
    problem = problem_of(error)
    if problem is None:
        scope[FAILURE] = error
        problem = Problem("unexpected", "The request could not be answered")
    scope[PROBLEM] = problem
    return problem


def request_id(scope: Scope) -> str:
    """The id of the request, which its answer and its log line carry."""
    told: str = scope.get(ID, "")
    return told


class Observe:
    """The middleware. What it sees is logged and counted some dozens at a time, which is quicker than one by one;
    failures at once.

    Args:
        app: what answers.
        metrics: the counters.
        log: the logger.
        notes: where refusals and failures are noted for the Live page; the oldest are forgotten.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, log: Log, notes: deque[Noted]) -> None:
        self._app, self._metrics, self._log, self._notes = app, metrics, log, notes
        self._seen: list[tuple[float, Scope, int, float]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and observe it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        headers = scope[HEADERS] = dict(scope["headers"])
        identity = _identity(headers)
        scope[ID] = str(identity, "ascii")

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = scope[STATUS] = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", identity)]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            scope[FAILURE] = error
            raise
        finally:
            self._seen.append((time.time(), scope, status, time.perf_counter() - began))
            if status >= 500 or len(self._seen) >= TOGETHER:
                self.tell()

    def tell(self) -> None:
        """Log and count what was seen since the last time."""
        seen, self._seen = self._seen, []
        for moment, scope, status, seconds in seen:
            self._tell(moment, scope, status, seconds)

    def _tell(self, moment: float, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        if (failure := scope.get(FAILURE)) is not None:
            self._log.error("failed", time=moment, id=scope[ID], path=scope["path"], error=failure)
        self._metrics.request(scope["method"], route, status, seconds)
        problem: Problem | None = scope.get(PROBLEM)
        told: dict[str, Any] = {
            "time": moment,
            "id": scope[ID],
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(seconds * 1e3, 3),
        }
        if (caller := scope.get(CALLER)) is not None:
            told["caller"] = caller.id
        if problem is not None:
            told["problem"] = problem.kind.slug
            if problem.kind.slug not in PASSING:
                self._notes.append(_note(problem, scope["path"]))
        if status >= 500:
            self._log.error("request", **told)
        elif route in QUIET:
            self._log.debug("request", **told)
        else:
            self._log.info("request", **told)


def _identity(headers: dict[bytes, bytes]) -> bytes:
    """The caller's X-Request-ID where it is sane, else a new one."""
    told = headers.get(b"x-request-id")
    return told if told is not None and SANE.fullmatch(told) else os.urandom(12).hex().encode()


def _note(problem: Problem, path: str) -> Noted:
    """A refusal or failure as the Live page shows it.

    Of the request there are its address, and names in it that a pointer goes through, printable and shortened; never a
    value.
    """
    detail, place = _printable(problem.detail, LONGEST_DETAIL), _printable(path, LONGEST_PATH)
    return Noted(datetime.now(UTC), problem.kind.status, problem.kind.title, detail, place)


def _printable(text: str, longest: int) -> str:
    """Text that any store takes and any page shows."""
    told = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:longest])
    return told if len(text) <= longest else f"{told[:-1]}…"
