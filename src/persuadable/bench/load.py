"""Puts one HTTP server on this machine under load: ``python -I load.py < plan.json > tally.json``.

A process of its own that needs nothing but the standard library (uvloop where it is installed), so that it shares
neither interpreter nor lock with what it measures, and is cheap beside it: requests are bytes made beforehand, of an
answer only the status line and the length are read.

The *closed* loop keeps a number of connections busy, each sending when its last request was answered; it finds the
highest load. The *open* loop sends at a fixed rate however long answers take, and counts each latency from the moment
the request was due, so a server that stalls cannot hide the requests it kept from being sent (Tene's coordinated
omission). Requests fall due on a grid of milliseconds, for timers are no finer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, cast

SERIAL = b"@" * 12  # stands in a request for the request's own number, so that its length stays the same
TICK = 0.001
DRAIN = 10.0  # seconds the last answers may take


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.held = b""
        self.since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop has a class of its own

    def send(self, request: bytes, since: float) -> None:
        """Send a request whose latency counts from ``since``."""
        self.since = since
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Wait until the answer is whole, then tell its status."""
        held = self.held + data if self.held else data
        head = held.find(b"\r\n\r\n")
        if head >= 0 and len(held) >= head + 4 + content_length(held[:head]):
            self.held = b""
            self.load.answered(self, int(held[9:12]))
        else:
            self.held = held

    def connection_lost(self, error: Exception | None) -> None:
        self.load.lost(self)


class Load:
    """What is to be sent, and what came back.

    Args:
        plan: ``requests`` (whole HTTP requests as text, sent in turn), ``connections``, ``seconds``, ``most`` (requests
            at most), ``rate`` (requests per second; 0 is the closed loop) and ``first`` (number of the first request).
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.requests = [text.encode() for text in plan["requests"]]
        self.seconds, self.rate = float(plan["seconds"]), float(plan["rate"])
        self.most, self.number = int(plan["most"]), int(plan["first"])
        self.last = self.number + self.most
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.lateness: list[float] = []
        self.idle: deque[Connection] = deque()
        self.waiting: deque[float] = deque()
        self.busy = self.dropped = self.in_time = 0
        self.sending = True
        self.end = float("inf")
        self.done = asyncio.Event()

    async def run(self, connections: list[Connection]) -> dict[str, Any]:
        """Send for as long as the plan says, wait for what is still on its way, and tell."""
        self.idle.extend(connections)
        begin = time.perf_counter()
        self.end = begin + self.seconds
        if self.rate:
            await self._open(begin)
        else:
            self._closed(begin)
            await self._finished(self.seconds)
        took = min(time.perf_counter(), self.end) - begin
        self.sending = False
        self._settled()
        await self._finished(DRAIN)
        self.dropped += self.busy + len(self.waiting)
        return {
            "seconds": round(took, 4),
            "per_second": round(self.in_time / took, 2),
            "answered": len(self.latencies),
            "unanswered": self.dropped,
            "statuses": {str(status): n for status, n in sorted(self.statuses.items())},
            "latency_ms": summary(self.latencies),
            "client_late_ms": summary(self.lateness),
            "cpu": round(time.process_time(), 4),
        }

    async def _finished(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.done.wait(), seconds)

    def _closed(self, begin: float) -> None:
        for _ in range(min(len(self.idle), self.most)):
            self._send(self.idle.popleft(), begin)

    async def _open(self, begin: float) -> None:
        """Let requests fall due at the rate, each on the first millisecond at or after its time."""
        tick = due = 0
        total = min(self.most, int(self.rate * self.seconds))
        while due < total:
            await asyncio.sleep(max(0.0, begin + tick * TICK - time.perf_counter()))
            now = time.perf_counter()
            while due < total and begin + tick * TICK <= now:
                falling = min(total, int(tick * TICK * self.rate) + 1)
                for _ in range(falling - due):
                    self._due(begin + tick * TICK)
                due = falling
                tick += 1

    def _due(self, moment: float) -> None:
        self.lateness.append(time.perf_counter() - moment)
        if self.idle:
            self._send(self.idle.popleft(), moment)
        else:
            self.waiting.append(moment)

    def _send(self, connection: Connection, since: float) -> None:
        request = self.requests[self.number % len(self.requests)].replace(SERIAL, b"%012d" % self.number)
        self.number += 1
        self.busy += 1
        connection.send(request, since)

    def answered(self, connection: Connection, status: int) -> None:
        """A whole answer came: the connection is free for the next request."""
        now = time.perf_counter()
        self.busy -= 1
        self.statuses[status] += 1
        self.latencies.append(now - connection.since)
        self.in_time += now <= self.end
        connection.since = 0.0
        if self.waiting:
            self._send(connection, self.waiting.popleft())
        elif not self.rate and self.sending and now < self.end and self.number < self.last:
            self._send(connection, now)
        else:
            self.idle.append(connection)
            self._settled()

    def lost(self, connection: Connection) -> None:
        """The server closed a connection; what was on its way on it stays unanswered."""
        if connection.since:
            self.busy -= 1
            self.dropped += 1
        elif connection in self.idle:
            self.idle.remove(connection)
        self._settled()

    def _settled(self) -> None:
        over = not self.sending or (not self.rate and self.number >= self.last)
        if over and not self.busy and not self.waiting:
            self.done.set()


def content_length(head: bytes) -> int:
    """Bytes of the body that follows a head.

    Raises:
        ValueError: the head does not say.
    """
    lower = head.lower()
    start = lower.find(b"\r\ncontent-length:")
    if start < 0:
        raise ValueError(f"an answer without Content-Length: {head[:80]!r}")
    return int(lower[start + 17 :].split(b"\r\n", 1)[0])


def summary(seconds: list[float]) -> dict[str, float]:
    """Quantiles in milliseconds; empty where there is nothing."""
    if not seconds:
        return {}
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(1_000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)

    return {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "most": at(1.0)}


async def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Connect, load, disconnect.

    Raises:
        SystemExit: the host is not this machine's loopback.
    """
    if not ipaddress.ip_address(plan["host"]).is_loopback:
        raise SystemExit(f"{plan['host']} is not a loopback address: load is put on this machine only")
    loop, load = asyncio.get_running_loop(), Load(plan)
    made = [
        (await loop.create_connection(lambda: Connection(load), plan["host"], plan["port"]))[1]
        for _ in range(plan["connections"])
    ]
    try:
        return await load.run(made)
    finally:
        for connection in made:
            connection.transport.abort()


def runner() -> Callable[[Any], dict[str, Any]]:
    """``asyncio.run``, or uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


if __name__ == "__main__":
    json.dump(runner()(main(json.load(sys.stdin))), sys.stdout)
