"""The service as a process: how it begins, what it refuses to begin with, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bundles import users
from click.testing import Result
from clients import client
from typer.testing import CliRunner

from persuadable.cli import app
from persuadable.errors import ParameterError
from persuadable.service import workers
from persuadable.service.serve import _listen, prepare
from persuadable.service.settings import Settings
from persuadable.service.store import Problem, Store, StoreError, StoreUnavailable

PEOPLE = users(5)
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PERSUADABLE_")}


class Served:
    """A running service."""

    def __init__(self, process: subprocess.Popen[str], port: int, banner: str) -> None:
        self.process, self.port, self.banner = process, port, banner

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            told = None if body is None else json.dumps(body)
            connection.request(method, path, told, {"Content-Type": "application/json"} if told else {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def is_ready(self) -> bool:
        """Whether it says so."""
        try:
            return self.ask("GET", "/health/ready")[0] == 200
        except OSError:
            return False


def command(*told: str | Path) -> list[str]:
    return [sys.executable, "-m", "persuadable.cli", *map(str, told)]


def run(*told: str | Path, **environment: str) -> Result:
    """The command line in this process, for what ends before anything is served."""
    clean: dict[str, str | None] = {name: None for name in os.environ if name.startswith("PERSUADABLE_")}
    return CliRunner().invoke(app, [*map(str, told)], env=clean | environment)


@contextmanager
def served(folder: Path, *told: str | Path, **environment: str) -> Iterator[Served]:
    """A service on a free port, ready; killed at the end if it still runs."""
    log = (folder / "log").open("w+")
    process = subprocess.Popen(
        command("serve", *told, "--port", "0", "--store", f"sqlite:///{folder}/store.db"),
        stdout=log,
        stderr=subprocess.PIPE,
        text=True,
        env=CLEAN | {"TMPDIR": str(folder)} | environment,
    )
    assert process.stderr is not None
    banner = ""
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", banner)):
            line = process.stderr.readline()
            assert line, banner
            banner += line
        while "keys" not in banner:
            banner += process.stderr.readline()
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        service = Served(process, int(found[1]), banner)
        deadline = time.monotonic() + 60
        while not service.is_ready():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield service
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        drain.join(10)
        process.stderr.close()
        log.close()


def test_it_says_where_it_is_and_drains_before_it_ends(bundle_folder: Path, tmp_path: Path) -> None:
    """A request whose body is still on its way when SIGTERM comes is answered, and what it decided is kept."""
    with served(tmp_path, bundle_folder, "--insecure") as service:
        for part in ("/docs", "bundle", "sqlite:///", "--insecure"):
            assert part in service.banner
        body = json.dumps({"units": PEOPLE}).encode()
        head = f"POST /v1/decide HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as slow:
            slow.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body[:20])
            time.sleep(0.3)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.7)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", service.port), timeout=5).close()
            slow.sendall(body[20:])
            answer = b""
            while piece := slow.recv(65536):
                answer += piece
        assert service.process.wait(30) == 0
    assert answer.startswith(b"HTTP/1.1 200")
    decided = json.loads(answer.split(b"\r\n\r\n", 1)[1])["decisions"]
    store = Store.open(f"sqlite:///{tmp_path}/store.db")
    for decision in decided:
        assert store.decision(decision["decision_id"])[0].unit == decision["unit"]
    store.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in lines][-1] == "stopped"
    assert {"deployed", "request"} <= {line["event"] for line in lines}


def test_a_known_bundle_does_not_undo_what_was_deployed(
    bundle_folder: Path, other_folder: Path, tmp_path: Path
) -> None:
    settings = Settings(store=f"sqlite:///{tmp_path}/store.db", insecure=True)
    store = Store.open(settings.store)
    store.upgrade()
    first, other, known = (prepare(store, settings, folder) for folder in (bundle_folder, other_folder, bundle_folder))
    assert (other.champion, other.previous) == (prepare(store, settings, None).champion, first.champion)
    assert other.champion != first.champion, "a bundle the store has never seen becomes the champion"
    assert known == other, "one it knows leaves the deployment as it is"
    store.close()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_two_workers_share_a_store_and_a_dead_one_is_replaced(bundle_folder: Path, tmp_path: Path) -> None:
    with served(tmp_path, bundle_folder, "--insecure", "--workers", "2") as service:
        children = workers_of(service.process.pid)
        assert len(children) == 2
        treated = 0
        for i in range(8):
            body = {"units": users(20, seed=i), "budget_units": 9, "population": 20}
            told = service.ask("POST", "/v1/decide", body)[1]["decisions"]
            treated += sum(decision["action"] == "treatment" for decision in told)
        assert treated == 9
        os.kill(children[0], signal.SIGKILL)
        deadline = time.monotonic() + 30
        while not (len(now := workers_of(service.process.pid)) == 2 and children[0] not in now):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert service.is_ready()
        now = workers_of(service.process.pid)
        time.sleep(1.0)  # until the new one looks whose child it is
        service.process.kill()
        service.process.wait()
        deadline = time.monotonic() + 30
        while any(b"spawn_main" in cmdline(worker) for worker in now):
            assert time.monotonic() < deadline, "workers do not outlive a supervisor that was killed"
            time.sleep(0.1)


@pytest.mark.parametrize(("beat", "lived", "pauses"), [(0.0, 60.0, True), (1.0, 2.0, True), (1.0, 60.0, False)])
def test_a_worker_that_hardly_lived_is_replaced_after_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beat: float, lived: float, pauses: bool
) -> None:
    """Whatever killed it; one that was well is replaced at once."""
    monkeypatch.setenv(workers.COUNTS, str(tmp_path))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    supervisor = workers._Workers(None, 1, None)  # type: ignore[arg-type]
    process = SimpleNamespace(pid=1, exitcode=-signal.SIGKILL)
    supervisor._bury(
        workers._Worker(process, SimpleNamespace(value=beat), time.monotonic() - lived)  # type: ignore[arg-type]
    )
    assert (supervisor._not_before > time.monotonic()) == pauses
    assert not supervisor.failed


def workers_of(pid: int) -> list[int]:
    """Worker processes of a supervisor; the one that tracks shared memory is none."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1]) if entry.name.isdigit() else 0
            if parent == pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return sorted(found)


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


# --- what went wrong is kept ------------------------------------------------------------------------------------------


def note(title: str) -> Problem:
    return Problem(datetime.now(UTC), 500, title, "Something.", "/v1/score")


def test_it_stops_though_the_store_is_away(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []
    with client(bundle_folder, tmp_path, poll_seconds=5.0) as api:
        store = api.service.store
        close = store.close
        monkeypatch.setattr(store, "note_problems", away)
        monkeypatch.setattr(store, "close", lambda: closed.append(True) or close())
        api.service.notes.append(note("Something went wrong"))
    assert closed == [True]
    log = api.log.getvalue().decode()
    assert '"event":"stopped"' in log
    assert "away" in log


def test_what_went_wrong_is_noted_once_the_store_is_back(bundle_folder: Path, tmp_path: Path) -> None:
    with client(bundle_folder, tmp_path, poll_seconds=5.0) as api:
        service = api.service
        service.notes.extend([note("first"), note("second")])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(service.store, "note_problems", away)
            with pytest.raises(StoreUnavailable):
                service._note()
        assert [one.title for one in service.notes] == ["first", "second"]
        service._note()
        assert [one.title for one in service.store.live().errors] == ["second", "first"]
        assert not service.notes


def test_a_note_the_database_refuses_takes_no_other_along(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client(bundle_folder, tmp_path, poll_seconds=5.0) as api:
        service = api.service
        real = service.store.note_problems

        def choosy(notes: list[Problem]) -> None:
            if any(one.title == "bad" for one in notes):
                raise StoreError("refused")
            real(notes)

        monkeypatch.setattr(service.store, "note_problems", choosy)
        service.notes.extend(note(title) for title in ("first", "bad", "last"))
        service._note()
        assert [one.title for one in service.store.live().errors] == ["last", "first"]
        assert api.logged().count('"event":"not noted"') == 1


def away(*_: Any) -> None:
    raise StoreUnavailable("The store is away")


# --- what it refuses to begin with ------------------------------------------------------------------------------------


def refused(told: Result, *said: str) -> None:
    assert told.exit_code == 2, told.output
    assert "Traceback" not in told.stderr
    for part in said:
        assert part in " ".join(told.stderr.split())


def test_without_keys_it_does_not_start(bundle_folder: Path, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    refused(run("serve", bundle_folder, "--store", store), "no API keys", "persuadable keys create NAME --role admin")
    refused(run("serve", bundle_folder, "--store", store, "--host", "0.0.0.0", "--insecure"), "keys create")


def test_without_a_bundle_it_does_not_start(tmp_path: Path, bundle_folder: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    refused(run("serve", tmp_path / "absent", "--store", store, "--insecure"), "no bundle")
    refused(run("serve", bundle_folder, "--store", "mysql://x/y", "--insecure"), "sqlite:///FILE")
    refused(run("serve", bundle_folder, "--store", f"sqlite:///{tmp_path}/no/such/folder.db", "--insecure"), "folder")
    refused(run("serve", bundle_folder, "--port", "99999", "--insecure"), "'port' is 99999")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused(run("serve", bundle_folder, "--store", store, "--port", port, "--insecure"), "--port")


def test_a_champion_that_cannot_be_loaded_is_told_in_one_sentence(bundle_folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store = Store.open(url)
    store.upgrade()
    prepare(store, Settings(store=url, insecure=True), bundle_folder)
    store.bundles.put("broken", b"no zip", {})
    store.deployment.activate("broken")
    store.close()
    told = subprocess.run(
        command("serve", bundle_folder, "--store", url, "--insecure", "--port", "0"),
        capture_output=True, text=True, env=CLEAN, timeout=60, check=False,
    )  # fmt: skip
    assert told.returncode == 2
    assert told.stderr.count("This is no zip file") == 1
    assert "Traceback" not in told.stderr
    assert told.stdout == ""


def test_a_host_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ParameterError, match="--host"):
        _listen("192.0.2.1", 0)


def test_check_shows_every_setting_and_changes_nothing(bundle_folder: Path, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    told = run("serve", bundle_folder, "--store", store, "--insecure", "--check", PERSUADABLE_WORKERS="2")
    assert told.exit_code == 0, told.output
    lines = {line.split()[0]: line for line in told.stdout.splitlines() if line}
    assert lines["workers"].endswith("environment")
    assert lines["insecure"].endswith("flag")
    assert lines["port"].endswith("default")
    assert "no tables of this version yet" in told.stdout
    assert list(tmp_path.iterdir()) == []
    refused(run("serve", bundle_folder, "--store", store, "--check"), "no API keys")
    refused(run("serve", tmp_path, "--store", store, "--insecure", "--check"), "no bundle")
    opened = Store.open(store)
    opened.upgrade()
    opened.close()
    assert "can be reached" in run("serve", bundle_folder, "--store", store, "--insecure", "--check").stdout


def test_check_needs_a_store_that_can_be_reached(bundle_folder: Path) -> None:
    url = "postgresql://ada:lovelace1815@127.0.0.1:1/x"
    told = run("serve", bundle_folder, "--store", url, "--insecure", "--check")
    refused(told, "cannot be reached")
    assert "lovelace1815" not in told.stdout + told.stderr
