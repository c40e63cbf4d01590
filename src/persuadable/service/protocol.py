"""HTTP as uvicorn reads it, with a bound on what comes before a body, and on how long anything is waited for."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from persuadable.service.observe import LATE
from persuadable.service.problems import Problem, response

__all__ = ["Protocol"]

LARGEST_HEAD = 2**16  # bytes
BETWEEN = 4  # ": " and the line's end, of each header
SECONDS = 30.0  # a head may take, and the next piece of a body
TOO_LARGE = Problem("headers-too-large", f"Address and headers have more than {LARGEST_HEAD:,} bytes")


class TooLargeHead(Exception):
    """Address and headers have too many bytes."""


class Protocol(HttpToolsProtocol):
    """A connection whose requests have at most 64 KiB of address and headers, and do not stop coming.

    The parser gathers a header until it is whole, and says nothing meanwhile; so it is the bytes that came since it
    last said something that are counted, trailers too, and only where they are many are the headers themselves
    measured. Of requests sent without waiting for answers the last of a read may be longer by that read.

    A request is looked at every 30 seconds, not timed one by one: a head, and the next piece of a body, have 30 to 60
    seconds to come. While we do not read, or answer an earlier request, nothing is waited for.
    """

    def __init__(self, *told: Any, **named: Any) -> None:
        super().__init__(*told, **named)
        self._unsaid = 0
        self._came = True  # anything, since the last look
        self._seen: object = self
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The connection begins."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ends."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._unsaid += len(data)
        self._came = True
        super().data_received(data)
        if self._unsaid > LARGEST_HEAD and not self.transport.is_closing():
            self.logger.warning("Too many bytes of a header received.")
            self._refuse(TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Address and headers have come."""
        if self._unsaid > LARGEST_HEAD:
            size = len(self.url) + sum(len(name) + len(value) + BETWEEN for name, value in self.headers)
            if size > LARGEST_HEAD:
                self._unsaid = size
                raise TooLargeHead  # the parser ends, and uvicorn refuses
        self._unsaid = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._unsaid = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request ends."""
        self._unsaid = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request."""
        self._refuse(TOO_LARGE if self._unsaid > LARGEST_HEAD else Problem("malformed", msg))

    def _look(self) -> None:
        """Give up a request that does not come."""
        if self.transport.is_closing():
            return
        self._timer = self.loop.call_later(SECONDS, self._look)
        silent, self._came = not self._came, self.flow.read_paused  # what we do not read cannot come
        cycle: Any = self.cycle
        scope: Any = self.scope  # None, as cycle is, until something came
        if scope is None:
            self.transport.close()  # it never asked for anything
        elif cycle is not None and cycle.scope is scope:
            self._seen = self
            if cycle.more_body and silent:
                self._give_up(cycle)
        elif self._seen is scope:
            self.logger.warning("A request did not come.")
            self._refuse(Problem("timeout", f"Address and headers did not come within {SECONDS:g} seconds"))
        elif cycle is None or cycle.response_complete:
            self._seen = scope

    def _give_up(self, cycle: Any) -> None:
        """Let whoever reads the body answer that it did not come; where nobody does any more, hang up."""
        if cycle.response_started:
            self.transport.close()
        else:
            cycle.scope[LATE] = SECONDS
            cycle.message_event.set()

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem document, where it would be taken as this request's answer; close the connection."""
        if self._is_its_turn():
            name = os.urandom(12).hex()
            answer = response(problem, name)
            headers = [*answer.raw_headers, (b"x-request-id", name.encode()), (b"connection", b"close")]
            head = b"".join(b"%b: %b\r\n" % header for header in headers)
            self.transport.write(STATUS_LINE[problem.kind.status] + head + b"\r\n" + bytes(answer.body))
        self.transport.close()

    def _is_its_turn(self) -> bool:
        """Whether every earlier request of the connection has been answered, and this one's answer has not begun."""
        cycle: Any = self.cycle
        if cycle is None or cycle.scope is not self.scope:
            return cycle is None or bool(cycle.response_complete)
        return not (self.pipeline or cycle.response_started)
