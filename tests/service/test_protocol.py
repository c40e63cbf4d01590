"""What comes before a body is bounded, however it comes; every refusal is a problem document."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from unittest.mock import Mock

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from persuadable.service import protocol
from persuadable.service.observe import LATE
from persuadable.service.protocol import LARGEST_HEAD, Protocol


async def whole(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers how long the body was, or that it is late; begins to answer at once, or to read late, where asked to."""
    size, more = 0, True
    if scope["path"] == "/begun":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    while more and LATE not in scope:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = b"late" if LATE in scope else str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(whole, http=Protocol, lifespan="off", ws="none", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join()


def told(port: int, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to bytes that are sent piece by piece."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break  # it has been refused
            time.sleep(0.02)
        answered = answer(connection)
    head, _, body = answered.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


def answer(connection: socket.socket) -> bytes:
    """One whole answer, in however many pieces it comes."""
    answered = b""
    while b"\r\n\r\n" not in answered or len(answered.partition(b"\r\n\r\n")[2]) < length(answered):
        piece = connection.recv(2**16)
        assert piece, answered
        answered += piece
    return answered


def length(answered: bytes) -> int:
    return int(answered.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


BEGIN = b"GET / HTTP/1.1\r\nHost: x\r\n"
TRAILED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
HALF = b"a" * (LARGEST_HEAD // 2)
TOO_MUCH = {
    "one header": (BEGIN, b"A: ", HALF, HALF, HALF, b"\r\n\r\n"),
    "one header that never ends": (BEGIN, b"A: ", HALF, HALF, HALF),
    "a name that never ends": (BEGIN, HALF, HALF, HALF, HALF),
    "many headers": (BEGIN + b"A: b\r\n" * LARGEST_HEAD,),
    "empty headers": (BEGIN + b"A:\r\n" * (LARGEST_HEAD // 4), b"\r\n"),
    "the address": (b"GET /", HALF, HALF, HALF, b" HTTP/1.1\r\n\r\n"),
}


@pytest.mark.parametrize("pieces", TOO_MUCH.values(), ids=TOO_MUCH)
def test_too_large_a_head_is_refused(port: int, pieces: tuple[bytes, ...]) -> None:
    status, headers, body = told(port, *pieces)
    problem = json.loads(body)
    assert (status, headers["connection"]) == (431, "close")
    assert headers["content-type"] == "application/problem+json"
    assert (problem["type"], problem["status"]) == ("/problems/headers-too-large", 431)
    assert problem["instance"] == headers["x-request-id"]


@pytest.mark.parametrize(
    "pieces",
    [(b"A: b\r\n" * LARGEST_HEAD,), (b"A: ", HALF, HALF, HALF)],
    ids=["many", "one that never ends"],
)
def test_trailers_count_as_headers_do(port: int, pieces: tuple[bytes, ...]) -> None:
    assert told(port, TRAILED, b"0\r\n", *pieces)[0] == 431


def test_what_is_no_request_is_a_problem_too(port: int) -> None:
    status, headers, body = told(port, b"hello\r\n\r\n")
    assert (status, headers["connection"], json.loads(body)["type"]) == (400, "close", "/problems/malformed")


def test_a_large_head_and_a_larger_body_are_taken(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * (LARGEST_HEAD - 100) + b"\r\n"
    body = b"b" * 3_000_000
    assert told(port, head + b"Content-Length: 3000000\r\n\r\n", body)[::2] == (200, b"3000000")
    chunked = b"".join(b"10\r\n" + b"c" * 16 + b"\r\n" for _ in range(50_000)) + b"0\r\n\r\n"
    assert told(port, head + b"Transfer-Encoding: chunked\r\n\r\n", chunked)[::2] == (200, b"800000")


def test_each_request_of_a_connection_has_its_own_bound(port: int) -> None:
    one = BEGIN + b"A: " + HALF + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for _ in range(4):
            connection.sendall(one)
            assert answer(connection).startswith(b"HTTP/1.1 200")


@pytest.fixture
def hasty(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A connection to a server that waits for a tenth of a second."""
    monkeypatch.setattr(protocol, "SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield connection


@pytest.mark.parametrize("head", [b"G", BEGIN, b"POST / HTTP/1.1\r\nContent-Length: 5"])
def test_a_head_that_does_not_come_is_not_waited_for(hasty: socket.socket, head: bytes) -> None:
    hasty.sendall(head)
    answered = hasty.makefile("rb").read()
    assert answered.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answered.partition(b"\r\n\r\n")[2])["type"] == "/problems/timeout"


def test_a_head_that_drips_is_not_waited_for(hasty: socket.socket) -> None:
    hasty.sendall(BEGIN + b"A: ")
    answered = b""
    hasty.settimeout(0.01)
    for _ in range(500):
        try:
            hasty.sendall(b"a")
            answered = hasty.recv(2**16)
        except TimeoutError:
            continue
        except OSError:
            break
        if answered:
            break
    assert answered.startswith(b"HTTP/1.1 408 ")


def test_whoever_reads_the_body_learns_that_it_does_not_come(hasty: socket.socket) -> None:
    hasty.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
    assert answer(hasty).endswith(b"late")


def test_a_body_that_comes_slowly_is_waited_for(hasty: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SECONDS", 0.3)
    hasty.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n")
    for _ in range(30):
        time.sleep(0.02)
        hasty.sendall(b"a")
    assert answer(hasty).endswith(b"30")


def test_a_connection_that_asks_for_nothing_is_closed(hasty: socket.socket) -> None:
    assert hasty.recv(2**16) == b""


def test_a_connection_is_kept_between_requests(hasty: socket.socket) -> None:
    for _ in range(3):
        hasty.sendall(BEGIN + b"\r\n")
        assert answer(hasty).startswith(b"HTTP/1.1 200")
        time.sleep(0.25)


SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"


def test_while_a_request_is_answered_the_next_head_is_waited_for(hasty: socket.socket) -> None:
    hasty.sendall(SLOW + BEGIN)
    answers = hasty.makefile("rb").read().split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"408"], "each in its turn"


def test_a_refusal_is_not_taken_for_an_earlier_request_s_answer(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(SLOW + b"hello\r\n\r\n")
        assert connection.recv(2**16) == b"", "what became of the first is not known: the connection closes on it"


def test_no_refusal_comes_in_the_middle_of_an_answer(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST /begun HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        answered = b""
        while not answered.endswith(b"begun"):
            piece = connection.recv(2**16)
            assert piece, answered
            answered += piece
        connection.sendall(b"no length\r\n")
        assert connection.recv(2**16) == b""


def test_what_is_no_request_is_refused_after_answered_ones(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(BEGIN + b"\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(b"hello\r\n\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 400")


def test_a_large_body_waits_for_whoever_reads_late(hasty: socket.socket) -> None:
    hasty.sendall(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n" + bytes(8_000_000))
    assert answer(hasty).endswith(b"8000000")


def looked_at(*received: bytes) -> Protocol:
    """A connection whose timer is in the hands of the test."""
    transport = Mock()
    transport.get_extra_info.return_value = None
    transport.is_closing.side_effect = lambda: transport.close.called
    connection = Protocol(uvicorn.Config(whole, lifespan="off", ws="none", log_config=None), ServerState(), {})
    connection.connection_made(transport)
    for data in received:
        connection.data_received(data)
    return connection


def test_what_is_not_read_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SECONDS", 0.0)

    async def test() -> None:
        connection = looked_at(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n", bytes(2**16 + 1))
        assert connection.flow.read_paused
        connection._look()
        connection.flow.resume_reading()  # somebody reads on; the next piece has had no time to come
        connection._look()
        assert LATE not in connection.scope
        connection._look()
        assert LATE in connection.scope

    asyncio.run(test())


def test_who_does_not_read_a_refusal_is_refused_once() -> None:
    async def test() -> None:
        connection = looked_at(BEGIN)
        for _ in range(5):
            connection._look()
        assert connection.transport.write.call_count == 1

    asyncio.run(test())
