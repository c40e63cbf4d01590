"""A client that never gives up, in nothing but the standard library: racers start many of them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any

HOST = "127.0.0.1"
PATIENCE = 60.0  # seconds in which a client must have its answer, faults and all
AGAIN = {429, 503, 507}
WARNED = "application/problem+json"


def ask(
    port: int, verb: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout: float = 20.0
) -> tuple[int, Mapping[str, str], Any]:
    """Status, headers and parsed body of one request on a connection of its own."""
    connection = HTTPConnection(HOST, port, timeout=timeout)
    try:
        return ask_on(connection, verb, path, body, headers)
    finally:
        connection.close()


def ask_on(
    connection: HTTPConnection, verb: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], Any]:
    """The same on a connection that is kept."""
    raw = None if body is None else json.dumps(body).encode()
    connection.request(verb, path, raw, {"Content-Type": "application/json", **(headers or {})})
    answer = connection.getresponse()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, json.loads(answer.read() or b"null")


def insist(port: int, path: str, body: Any, key: str | None = None) -> tuple[Any, Mapping[str, str], int]:
    """POST until it is acknowledged: answer, headers, and how often it had to be asked.

    A refusal with 429, 503 or 507, and a connection that breaks, is asked again with the same key; anything else
    is the service's error.
    """
    deadline, asked = time.monotonic() + PATIENCE, 0
    headers = {} if key is None else {"Idempotency-Key": key}
    while True:
        asked += 1
        try:
            status, told, answer = ask(port, "POST", path, body, headers)
        except (OSError, HTTPException, json.JSONDecodeError) as error:
            status, told, answer = 0, {}, repr(error)
        if status == 200:
            return answer, told, asked
        assert status == 0 or status in AGAIN, (status, answer)
        assert status == 0 or told["content-type"].startswith(WARNED), (status, told)
        assert time.monotonic() < deadline, f"not acknowledged in {PATIENCE:.0f} s; at last: {status} {answer}"
        time.sleep(0.05)
