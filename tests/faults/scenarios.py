"""The faults themselves. Each returns its figures, and raises AssertionError where the service's word was broken."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tests.faults.client import WARNED, ask, insist
from tests.faults.rig import Crew, Service, audit, count, database, scratch, serve, spent, treatments, until

from persuadable.bench import workload

Figures = dict[str, Any]
RACER = Path(__file__).with_name("racer.py")


def small_bundle(folder: Path) -> Path:
    """A bundle that loads and scores fast; what it predicts does not matter here."""
    workload.bundle(folder / "bundle", trees=10, depth=3, rows=4_000, resamples=0, threads=1)
    return folder / "bundle"


def kills(kind: str, bundle: Path, *, times: int, clients: int = 8, seed: int = 0) -> Figures:
    """Kill serving workers with SIGKILL while clients decide and report; every fifth time all of them at once.

    Holds: nothing acknowledged is lost or changed, nothing is there twice, the budgets' ledger equals the treatments.
    """
    rng = random.Random(seed)
    with scratch() as folder, database(kind, folder) as (url, _), serve(bundle, url, folder) as service:
        killed, pauses = 0, []
        start = time.monotonic()
        with Crew(service, clients, seed) as crew:
            while killed < times and not crew.enough.is_set():
                seen = len(crew.ledger.decisions)
                until(lambda seen=seen: len(crew.ledger.decisions) > seen + clients or crew.enough.is_set(), 60, "load")
                time.sleep(rng.random() / 2)
                serving = service.workers()
                for worker in serving if killed % 5 == 4 else serving[:1]:
                    worker.kill()
                    killed += 1
                pauses.append(until(lambda: len(service.workers()) > 0 or crew.enough.is_set(), 60, "a worker serves"))
        lasted = time.monotonic() - start
        found = audit(url, service, crew.ledger)
        ledger = crew.ledger
        return {
            "database": kind,
            "kills": killed,
            "clients": clients,
            "decisions": found["decisions"],
            "outcomes": found["outcomes"],
            "keys": found["keys"],
            "requests repeated after a fault": ledger.retries,
            "requests repeated on purpose": ledger.replayed,
            "charged to budgets": sum(ledger.charged.values()),
            "lost": 0,
            "doubled": 0,
            "longest seconds without a worker": round(max(pauses), 1),
            "seconds under load": round(lasted),
        }


def stopped_database(bundle: Path, *, times: int, clients: int = 4, seed: int = 0) -> Figures:
    """Stop PostgreSQL under load and start it again; every second time it is a crash.

    Holds: while it is away every request is refused with a 503 problem document within seconds, and readiness says so;
    afterwards the service works again by itself; nothing acknowledged is lost or doubled.
    """
    refused: Counter[int] = Counter()
    slowest, recoveries = 0.0, []
    with scratch() as folder, database("postgresql", folder) as (url, postgres):
        assert postgres is not None
        with serve(bundle, url, folder) as service:
            with Crew(service, clients, seed) as crew:
                for turn in range(times):
                    seen = len(crew.ledger.decisions)
                    until(lambda seen=seen: len(crew.ledger.decisions) > seen or crew.enough.is_set(), 60, "load")
                    postgres.stop("immediate" if turn % 2 else "fast")
                    for i in range(10):
                        start = time.monotonic()
                        status, headers, answer = _decide(service.port, f"away-{turn}-{i}", seed)
                        slowest = max(slowest, time.monotonic() - start)
                        refused[status] += 1
                        assert status == 503, (status, answer)
                        assert headers["content-type"].startswith(WARNED)
                        assert answer["status"] == 503
                        assert "retry-after" in headers
                        assert answer["detail"]
                    until(lambda: service.ready() == 503, 10, "readiness tells")
                    assert ask(service.port, "GET", "/health/live")[0] == 200
                    assert ask(service.port, "POST", "/v1/score", _request("scored", seed))[0] == 200, "needs no store"
                    postgres.start()
                    recoveries.append(
                        until(lambda t=turn: _decide(service.port, f"back-{t}", seed)[0] == 200, 15, "it decides again")
                    )
                    until(lambda: service.ready() == 200, 15, "readiness tells")
                    _note(crew, f"back-{turn}", seed)
            found = audit(url, service, crew.ledger)
    return {
        "database": "postgresql",
        "stops": times,
        "of which crashes": times // 2,
        "requests refused with 503": refused[503],
        "requests answered otherwise while away": sum(refused.values()) - refused[503],
        "slowest refusal, seconds": round(slowest, 2),
        "slowest recovery, seconds": round(max(recoveries), 2),
        "decisions": found["decisions"],
        "outcomes": found["outcomes"],
        "lost": 0,
        "doubled": 0,
    }


def full_disk(bundle: Path, *, seed: int = 0) -> Figures:
    """Let the store's disk run full, look, free some space.

    Holds: a full disk is a 507 problem document that says so, readiness tells, scoring goes on; the database is
    sound and holds all that was acknowledged; with space again it decides without being restarted.
    """
    with scratch() as folder, small_disk(folder) as disk:
        url = f"sqlite:///{disk.folder / 'store.db'}"
        with serve(bundle, url, folder, workers=1, environment=disk.environment) as service:
            with Crew(service, 2, seed) as crew:
                until(lambda: len(crew.ledger.decisions) > 20 or crew.enough.is_set(), 60, "load")
                crew.enough.set()
            disk.fill()
            acknowledged = _until_full(crew, service.port, seed)
            status, headers, answer = _decide(service.port, "full", seed)
            assert status == 507, (status, answer)
            assert headers["content-type"].startswith(WARNED)
            assert answer["type"] == "/problems/store-full"
            assert answer["detail"]
            assert answer["remedy"]
            until(lambda: service.ready() != 200, 10, "readiness tells")
            health = ask(service.port, "GET", "/health/ready")[2]
            assert ask(service.port, "POST", "/v1/score", _request("scored", seed))[0] == 200
            sound_when_full = _integrity(disk.folder / "store.db")
            disk.free()
            recovery = until(lambda: _decide(service.port, "freed", seed)[0] == 200, 15, "it decides again")
            until(lambda: service.ready() == 200, 15, "readiness tells")
            _note(crew, "freed", seed)
            found = audit(url, service, crew.ledger)
        return {
            "disk": disk.what,
            "decisions acknowledged before it was full": acknowledged,
            "status when full": 507,
            "readiness when full": str(health.get("detail", health)),
            "integrity when full": sound_when_full,
            "integrity afterwards": _integrity(disk.folder / "store.db"),
            "seconds until it decided again": round(recovery, 2),
            "decisions": found["decisions"],
            "outcomes": found["outcomes"],
            "lost": 0,
            "doubled": 0,
        }


def exact_budget(kind: str, bundle: Path, *, budget: int, rounds: int, clients: int = 8, seed: int = 0) -> Figures:
    """Clients that are processes of their own race for the last places of a budget, at two workers; in every second
    round one of the workers is killed while they do.

    Holds in every round: never more treated than the budget, and in the end exactly as many, for there are more users
    worth treating than places; the ledger says the same.
    """
    refused = killed = 0
    with scratch() as folder, database(kind, folder) as (url, _), serve(bundle, url, folder) as service:
        pool = folder / "users.json"
        pool.write_text(json.dumps(workload.rows(workload.users(200, seed=seed))), encoding="utf-8")
        for turn in range(rounds):
            campaign = f"race-{turn}"
            command = [sys.executable, str(RACER), str(service.port), campaign, str(budget)]
            racers = [
                subprocess.Popen([*command, str(seed * 1_000 + i), str(pool)], stdout=subprocess.PIPE, text=True)
                for i in range(clients)
            ]
            seen: list[int] = []
            over = threading.Event()

            def watch(campaign: str = campaign, seen: list[int] = seen, over: threading.Event = over) -> None:
                while not over.wait(0.05):
                    seen.append(spent(url).get(campaign, 0))

            watcher = threading.Thread(target=watch)
            watcher.start()
            if turn % 2:
                until(lambda seen=seen: bool(seen) and seen[-1] > budget // 10, 60, "places are taken")
                killed += _kill_one(service)
            told = [racer.communicate(timeout=120)[0] for racer in racers]
            over.set()
            watcher.join()
            assert all(racer.returncode == 0 for racer in racers), told
            treated = [int(line.split()[0]) for line in told]
            spares = sum(int(line.split()[1]) for line in told)
            assert spares > 0, "no user was left without a place: the race was none"
            assert max(seen, default=0) <= budget
            assert sum(treated) == budget, (sum(treated), budget)
            assert spent(url)[campaign] == budget
            assert treatments(url, campaign) == budget
            refused += spares
        found = count(url)
    return {
        "database": kind,
        "budget": budget,
        "rounds": rounds,
        "clients": clients,
        "workers": 2,
        "workers killed meanwhile": killed,
        "treated": budget * rounds,
        "worth treating but without a place": refused,
        "decisions": found["decisions"],
        "exceeded by": 0,
    }


def _kill_one(service: Service) -> int:
    """Kill a worker that serves just now; how many that were, for none may be left in the end of a race."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if serving := service.workers():
            serving[0].kill()
            return 1
    return 0


def _request(unit: str, seed: int) -> dict[str, Any]:
    return {"units": [{"unit": unit, "features": workload.rows(workload.users(1, seed=seed))[0]}], "budget_share": 0.5}


def _decide(port: int, key: str, seed: int) -> tuple[int, Any, Any]:
    """One attempt; a broken connection is status 0."""
    try:
        return ask(port, "POST", "/v1/decide", _request(key, seed), {"Idempotency-Key": key}, timeout=15)
    except (OSError, HTTPException) as error:
        return 0, {}, repr(error)


def _note(crew: Crew, key: str, seed: int) -> None:
    """Enter a decision made outside the crew into what was acknowledged; asking again answers the same."""
    told, _, asked = insist(crew.service.port, "/v1/decide", _request(key, seed), key)
    crew.ledger.acknowledge(key, None, told, crew.control, asked)


def _until_full(crew: Crew, port: int, seed: int) -> int:
    """Decide until the store says it is full; how many decisions had been acknowledged then."""
    for i in range(20_000):
        status, _, answer = _decide(port, f"filling-{i}", seed)
        if status == 507:
            return len(crew.ledger.decisions)
        assert status == 200, (status, answer)
        crew.ledger.acknowledge(f"filling-{i}", None, answer, crew.control, 1)
    raise AssertionError("the disk never ran full")


def _integrity(file: Path) -> str:
    """What SQLite itself says about a copy of the database and its log."""
    with scratch() as place:
        for part in file.parent.glob(f"{file.name}*"):
            if not part.name.endswith("-shm"):
                shutil.copy(part, place / part.name)
        connection = sqlite3.connect(place / file.name)
        try:
            (answer,) = connection.execute("PRAGMA integrity_check").fetchone()
        finally:
            connection.close()
    assert answer == "ok", answer
    return str(answer)


class Tmpfs:
    """A file system of 16 MiB in memory."""

    what = "a tmpfs of 16 MiB"

    def __init__(self, folder: Path) -> None:
        self.folder, self.ballast = folder, folder / "ballast"
        self.environment: dict[str, str] = {}

    def fill(self) -> None:
        """Take all but some 300 KiB."""
        left = os.statvfs(self.folder)
        self.ballast.write_bytes(bytes(max(0, left.f_bavail * left.f_frsize - 300 * 1024)))

    def free(self) -> None:
        """Give it back."""
        self.ballast.unlink()


class Rationed:
    """Where mounting is not allowed: SQLite itself is told how many pages a database may have, and says it is full."""

    what = "SQLite's max_page_count, for mounting a small disk was not allowed"

    def __init__(self, folder: Path) -> None:
        self.folder, self.ration = folder, folder / "pages"
        self.free()
        hook = str(Path(__file__).with_name("rationed"))
        self.environment = {"FAULTS_PAGES": str(self.ration), "PYTHONPATH": hook}

    def fill(self) -> None:
        """Allow 75 pages more than there are."""
        connection = sqlite3.connect(self.folder / "store.db")
        try:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
        finally:
            connection.close()
        self.ration.write_text(str(pages + 75))

    def free(self) -> None:
        """Allow as many as SQLite does."""
        self.ration.write_text(str(2**30))


@contextmanager
def small_disk(folder: Path) -> Iterator[Tmpfs | Rationed]:
    """A small tmpfs, or what comes nearest where we may not mount one."""
    place = folder / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if (
        mount
        and not subprocess.run([mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", place], capture_output=True).returncode
    ):
        try:
            yield Tmpfs(place)
        finally:
            subprocess.run(["umount", "-l", place], check=True)
    else:
        yield Rationed(place)
