from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from driving import PATIENCE, free_port, wait_for

from persuadable.app import launching
from persuadable.service.loopback import is_loopback

SECRET = "psk_1_a-secret-nobody-should-read"


def start(log: Path, port: int, service: str = "http://127.0.0.1:9") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "persuadable.cli", "app", "--service", service, "--port", str(port)]
    with log.open("wb") as written:
        return subprocess.Popen(
            command, stdout=written, stderr=written, env=os.environ | {"PERSUADABLE_API_KEY": SECRET}
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_the_app_ends_when_told_and_keeps_its_key_to_itself(number: signal.Signals, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "app.log"
    started = start(log, port)
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health")
        family = [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]
        assert len(family) > 1
        assert not any(SECRET in " ".join(process.cmdline()) for process in family)
        started.send_signal(number)
        assert started.wait(PATIENCE) == 0
        psutil.wait_procs(family, PATIENCE)
        assert not any(process.is_running() for process in family)
    finally:
        started.kill()
        started.wait()
    told = log.read_text()
    assert f"http://127.0.0.1:{port}" in told
    assert SECRET not in told
    assert "Traceback" not in told
    assert "External URL" not in told  # found out by asking a server elsewhere


def test_a_port_in_use_ends_it_with_words(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        assert start(log, port).wait(PATIENCE) != 0
    assert str(port) in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_wrong_address_ends_it_with_a_sentence(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    assert start(log, free_port(), service="127.0.0.1:8000").wait(PATIENCE) != 0
    assert "'127.0.0.1:8000' is not the address of a service." in " ".join(log.read_text().split())


@pytest.mark.parametrize(
    ("host", "key", "warned"),
    [("0.0.0.0", SECRET, True), ("::", SECRET, True), ("0.0.0.0", None, False), ("127.0.0.1", SECRET, False)],
)
def test_a_key_lent_to_other_machines_is_warned_of(
    host: str, key: str | None, warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launching, "_command", lambda *_: [sys.executable, "-c", ""])
    monkeypatch.delenv(launching.KEY, raising=False)
    if key is not None:
        monkeypatch.setenv(launching.KEY, key)
    assert launching.launch("http://127.0.0.1:9", host, 8501) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert [line.partition(",")[0] for line in told.err.splitlines()] == [
        f"Warning: the app listens on {host}"
    ] * warned
    assert SECRET not in told.err


def test_hosts_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.8.8", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.1.5", "example.org", ""]))


def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port, log = taken.getsockname()[1], tmp_path / "app.log"
        assert start(log, port).wait(PATIENCE) == 2
    said = " ".join(log.read_text(encoding="utf-8").split())
    assert said == (
        f"Error: The app cannot listen on 127.0.0.1:{port}: address already in use. "
        "Pass another --port, or end what uses this one."
    )
