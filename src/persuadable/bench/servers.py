"""Server processes under measurement: started, found ready, metered through ``/proc``, loaded, stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from persuadable.errors import ParameterError, PersuadableError

__all__ = ["HOST", "Server", "load", "served", "serving"]

HOST = "127.0.0.1"
LOAD = Path(__file__).with_name("load.py")
TRIVIAL = Path(__file__).with_name("trivial.py")
START = 120.0  # seconds a server may take to be ready
STOP = 40.0
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and its worker processes.

    Attributes:
        pid: of the process that was started.
        port: on the loopback address.
    """

    pid: int
    port: int

    def family(self) -> list[int]:
        """The process and all that descend from it."""
        parents = {int(p.name): _parent(p) for p in PROC.iterdir() if p.name.isdigit()}
        found = [self.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def cpu(self) -> float:
        """User and system seconds of the family so far."""
        return sum(sum(map(int, _stat(PROC / str(pid))[11:13])) for pid in self.family()) / TICKS

    def resident(self) -> float:
        """MB the family holds in memory."""
        pages = sum(int((PROC / str(pid) / "statm").read_text().split()[1]) for pid in self.family())
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def ask(self, path: str, body: bytes | None = None, kind: str = "application/json") -> tuple[int, bytes]:
        """Status and body of a GET, or of a POST where a body is given."""
        connection = HTTPConnection(HOST, self.port, timeout=600)
        try:
            connection.request("GET" if body is None else "POST", path, body, {"Content-Type": kind} if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextmanager
def served(command: Sequence[str], port: int, ready: str, log: Path) -> Iterator[Server]:
    """A server process, from the moment it is ready until it was stopped.

    Args:
        command: what starts it.
        port: where it listens.
        ready: path that answers 200 once it is.
        log: where its output goes.

    Raises:
        ParameterError: a system without ``/proc``.
        PersuadableError: it ended, or was not ready in time; with the end of its log.
    """
    if not (PROC / "self" / "stat").exists():
        raise ParameterError("CPU time and memory of a server are read from /proc, which this system has not")
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    server = Server(process.pid, port)
    try:
        _wait(process, server, ready, log)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serving(bundle: Path, store: str, log: Path) -> Any:
    """``persuadable serve`` with one worker and no keys, as a context; the server is ready inside it."""
    port = free_port()
    command = [sys.executable, "-m", "persuadable.cli", "serve", str(bundle), "--host", HOST, "--port", str(port)]
    return served([*command, "--store", store, "--workers", "1", "--insecure"], port, "/health/ready", log)


def trivial(log: Path) -> Any:
    """The trivial handlers, as a context."""
    port = free_port()
    return served([sys.executable, str(TRIVIAL), str(port)], port, "/", log)


def load(
    server: Server,
    requests: Sequence[str],
    *,
    connections: int,
    seconds: float,
    first: int,
    rate: float = 0.0,
    most: int = 5_000_000,
) -> Mapping[str, Any]:
    """Put a server under load (see ``load.py``); what came back, and the ``server_cpu`` seconds it took.

    Raises:
        PersuadableError: the load could not be put, or an answer was not 200.
    """
    plan = {"host": HOST, "port": server.port, "requests": list(requests), "connections": connections}
    plan |= {"seconds": seconds, "rate": rate, "most": most, "first": first}
    before = server.cpu()
    run = subprocess.run(
        [sys.executable, "-I", str(LOAD)], input=json.dumps(plan), capture_output=True, text=True, timeout=seconds + 60
    )
    if run.returncode:
        raise PersuadableError(f"No load could be put on the server: {run.stderr.strip()[-500:]}")
    told: dict[str, Any] = json.loads(run.stdout)
    if set(told["statuses"]) != {"200"} or told["unanswered"]:
        raise PersuadableError(
            f"Under load the server answered {told['statuses']} and left {told['unanswered']} requests unanswered",
            where=requests[0].split("\r\n", 1)[0],
        )
    return told | {"server_cpu": server.cpu() - before}


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], server: Server, ready: str, log: Path) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if server.ask(ready)[0] == 200:
                return
        except (OSError, HTTPException):
            pass  # not listening yet
        time.sleep(0.05)
    said = log.read_text(encoding="utf-8", errors="replace")[-2_000:]
    what = "was not ready in time" if process.poll() is None else f"ended with status {process.returncode}"
    raise PersuadableError(f"The server {what}. It said: {said}", where=str(log))


def _stat(folder: Path) -> list[str]:
    """The fields of ``/proc/PID/stat`` after the name of the program, which may hold anything."""
    return (folder / "stat").read_text().rpartition(")")[2].split()


def _parent(folder: Path) -> int:
    try:
        return int(_stat(folder)[1])
    except OSError:  # ended while we looked
        return 0
