"""The load client and the server's meter, tried on a server of a few lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from socketserver import StreamRequestHandler, ThreadingTCPServer

import numpy as np
import pytest

from persuadable.bench import load, servers
from persuadable.bench.soak import drift, soak
from persuadable.errors import ParameterError, PersuadableError

REQUEST = "GET /@@@@@@@@@@@@ HTTP/1.1\r\nHost: x\r\n\r\n"
BUSY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "sum(i * i for i in range(4_000_000)); import time; time.sleep(60)"])
time.sleep(60)
"""


class Handler(StreamRequestHandler):
    """Answers every request, after waiting where the server says so."""

    def handle(self):
        while line := self.rfile.readline():
            if line.startswith(b"GET"):
                self.server.seen.append(int(re.search(rb"\d{12}", line)[0]))
            elif line == b"\r\n":
                if len(self.server.seen) == self.server.stalls_at:
                    time.sleep(0.4)
                self.wfile.write(self.server.answer)


@pytest.fixture
def server():
    class Server(ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True
        seen: list[int]
        stalls_at = -1
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    made = Server(("127.0.0.1", 0), Handler)
    made.seen = []
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def put(server, **told):
    plan = {"host": "127.0.0.1", "port": server.server_address[1], "requests": [REQUEST], "connections": 4}
    plan |= {"seconds": 0.4, "most": 10**6, "rate": 0, "first": 7}
    run = subprocess.run(
        [sys.executable, "-I", str(servers.LOAD)], input=json.dumps(plan | told), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_closed_loop_sends_each_number_once_and_counts_every_answer(server):
    found = put(server)
    assert found["answered"] == found["statuses"]["200"] == len(server.seen) > 100
    assert sorted(server.seen) == list(range(7, 7 + len(server.seen)))
    assert found["unanswered"] == 0
    assert found["per_second"] == pytest.approx(found["answered"] / 0.4, rel=0.1)


def test_the_number_of_requests_is_bounded(server):
    found = put(server, most=25, seconds=30)
    assert found["answered"] == len(server.seen) == 25
    assert found["seconds"] < 5


def test_the_open_loop_keeps_its_rate(server):
    found = put(server, rate=200, seconds=1)
    assert found["answered"] == 200
    assert found["latency_ms"]["p50"] < 50


def test_requests_held_up_by_a_stall_count_from_when_they_were_due(server):
    # One connection, 200 requests a second for a second, one answer that takes 0.4 s: about 80 requests fall due
    # meanwhile. A client that counts from when it could send them would report one slow request out of 200.
    server.stalls_at = 50
    found = put(server, rate=200, seconds=1, connections=1)
    assert found["answered"] == 200
    assert found["latency_ms"]["p90"] > 150


def test_another_status_and_a_server_that_hangs_up_are_told(server):
    server.answer = b"HTTP/1.1 503 Away\r\ncontent-length: 0\r\n\r\n"
    assert put(server, most=5)["statuses"] == {"503": 5}
    with pytest.raises(PersuadableError, match=r"answered \{'503'"):
        servers.load(
            servers.Server(os.getpid(), server.server_address[1]), [REQUEST], connections=1, seconds=0.1, first=0
        )


def test_load_is_put_on_this_machine_only():
    plan = {"host": "192.0.2.1", "port": 80, "requests": [REQUEST], "connections": 1}
    plan |= {"seconds": 1, "most": 1, "rate": 0, "first": 0}
    run = subprocess.run(
        [sys.executable, "-I", str(servers.LOAD)], input=json.dumps(plan), capture_output=True, text=True
    )
    assert run.returncode != 0
    assert "192.0.2.1 is not a loopback address" in run.stderr


def test_an_answer_must_say_how_long_it_is():
    assert load.content_length(b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 17\r\nB: c") == 17
    with pytest.raises(ValueError, match="without Content-Length"):
        load.content_length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")


def test_quantiles_are_in_milliseconds():
    found = load.summary([i / 1_000 for i in range(100)])
    assert (found["p50"], found["p99"], found["most"]) == (50, 99, 99)
    assert load.summary([]) == {}


def test_a_servers_cpu_time_and_memory_include_its_workers():
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        server = servers.Server(process.pid, 0)
        try:
            deadline = time.monotonic() + 20
            while server.cpu() < 0.15 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert len(server.family()) == 2
            assert server.cpu() >= 0.15
            assert server.resident() > 10
        finally:
            for pid in reversed(server.family()):
                subprocess.run(["kill", "-9", str(pid)], check=True)


def test_a_server_that_does_not_start_is_told_in_its_own_words(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('there is no bundle here')"]
    with (
        pytest.raises(PersuadableError, match="there is no bundle here"),
        servers.served(command, servers.free_port(), "/", tmp_path / "log"),
    ):
        pass


def test_drift_is_the_slope_of_the_line():
    slope, low, high = drift(np.arange(100), 3 + 2 * np.arange(100))
    assert slope == pytest.approx(2)
    assert high - low == pytest.approx(0, abs=1e-9)


def test_the_interval_of_the_drift_covers_under_noise_that_lasts():
    # An AR(1) with coefficient 0.8: its samples resemble their neighbours for a dozen seconds.
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        noise = np.zeros(400)
        for t in range(1, 400):
            noise[t] = 0.8 * noise[t - 1] + rng.standard_normal()
        _, low, high = drift(np.arange(400), 0.01 * np.arange(400) + noise)
        covered += low <= 0.01 <= high
    assert covered / 200 > 0.9  # an interval that takes the samples for independent covers in 0.5 of the runs


def test_memory_needs_time():
    with pytest.raises(ParameterError, match="at least 20 s"):
        soak(servers.Server(0, 0), [], rate=1, seconds=5, connections=1)
