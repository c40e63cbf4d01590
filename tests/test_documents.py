"""What the documents show is run: every ```python and ```sh block of a document, in order.

Python blocks share one namespace, shell blocks one folder. ```sh serve starts a service that the later blocks
talk to, on a port of its own. A block fenced as ```python no-run or ```sh no-run is shown and not run.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import persuadable as ps

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [path for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))) if path.exists()]
BLOCK = re.compile(r"^```(python|sh|sh serve)[ ]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHOWN = "127.0.0.1:8000"
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_examples_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = document.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__document__"}
    address = SHOWN
    with ExitStack() as services:
        for block in BLOCK.finditer(text):
            kind, code = block.group(1), block.group(2).replace(SHOWN, address)
            line = text.count("\n", 0, block.start(1)) + 1
            if kind == "sh serve":
                address = services.enter_context(served(code))
            elif kind == "sh":
                done = run_shell(code)
                assert done.returncode == 0, f"{document.name}, line {line}: {done.stdout}{done.stderr}"
            else:
                try:
                    # Blank lines in front, so that a traceback names the document's own line.
                    exec(compile("\n" * (line - 1) + code, str(document), "exec"), namespace)
                except ps.errors.DatasetUnavailable as absent:
                    pytest.skip(f"{document.name}: {absent}")


def run_shell(code: str) -> subprocess.CompletedProcess[str]:
    """The block as a person would type it, stopping at the first command that fails."""
    command = ["bash", "-euo", "pipefail", "-c", code]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120)


@contextmanager
def served(command: str) -> Iterator[str]:
    """The address of the service that a command starts, given a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    log = Path("service.log")
    with log.open("w", encoding="utf-8") as out:
        whole = f"exec {command.strip()} --port {address.rpartition(':')[2]}"
        process = subprocess.Popen(["bash", "-c", whole], env=ENVIRONMENT, stdout=out, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 60
        while not answers(f"http://{address}/health/ready"):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < until, f"not ready within a minute: {log.read_text(encoding='utf-8')}"
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def test_the_figures_are_those_measured() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "figures.py", "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
