"""HTTP as uvicorn reads it, with a bound on what comes before a body."""

from __future__ import annotations

import os
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from persuadable.service.problems import Problem, response

__all__ = ["Protocol"]

LARGEST_HEAD = 2**16  # bytes
BETWEEN = 4  # ": " and the line's end, of each header


class TooLargeHead(Exception):
    """Address and headers have too many bytes."""


class Protocol(HttpToolsProtocol):
    """A connection whose requests have at most 64 KiB of address and headers.

    What the parser hands over is counted as it comes, trailers too. It gathers a header until it is whole, and says
    nothing meanwhile; so what came since it last said something is counted as well.
    """

    def __init__(self, *told: Any, **named: Any) -> None:
        super().__init__(*told, **named)
        self._head = self._silent = 0

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._silent += len(data)
        super().data_received(data)
        if self._silent > LARGEST_HEAD and not self.transport.is_closing():
            self.logger.warning("Too many bytes of a header received.")
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head = self._silent = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or trailer."""
        self._count(len(name) + len(value) + BETWEEN)
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._silent = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request ends."""
        self._silent = 0
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._head, self._silent = self._head + size, 0
        if self._head > LARGEST_HEAD:
            raise TooLargeHead  # the parser ends, and uvicorn answers

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, as a problem document, and close the connection."""
        if max(self._head, self._silent) > LARGEST_HEAD:
            problem = Problem("headers-too-large", f"Address and headers have more than {LARGEST_HEAD:,} bytes")
        else:
            problem = Problem("malformed", msg)
        name = os.urandom(12).hex()
        answer = response(problem, name)
        headers = [*answer.raw_headers, (b"x-request-id", name.encode()), (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[problem.kind.status] + head + b"\r\n" + bytes(answer.body))
        self.transport.close()
