"""The service holds to its own OpenAPI document: schemathesis asks it thousands of things, well and badly formed.

``python -m tests.service.test_openapi`` asks more than 2,000 (some minutes); the test asks fewer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.faults.client import ask
from tests.faults.rig import Service, scratch, serve
from tests.faults.scenarios import small_bundle

CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
# Which features there are the document cannot say: so that whatever it allows is answered, none is refused.
LENIENT = {
    "PERSUADABLE_ANSWERS__MISSING_COLUMN": "flag",
    "PERSUADABLE_ANSWERS__WRONG_TYPE": "fallback",
    "PERSUADABLE_ANSWERS__OUT_OF_RANGE": "clip",
    "PERSUADABLE_ANSWERS__UNSEEN_CATEGORY": "fallback",
}
# What can be held against an answer without a key: all but whether the request should have been accepted.
WITHOUT_KEY = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


@contextmanager
def guarded() -> Iterator[tuple[Service, str, Path]]:
    """A service that asks for keys, the key of an administrator, and a folder to write in."""
    with scratch() as folder:
        url = f"sqlite:///{folder / 'store.db'}"
        command = [sys.executable, "-m", "persuadable.cli", "keys", "create", "tester", "--role", "admin"]
        key = subprocess.run([*command, "--store", url], check=True, capture_output=True, text=True).stdout.strip()
        with serve(small_bundle(folder), url, folder, workers=1, insecure=False, environment=LENIENT) as service:
            yield service, key, folder


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[Service, str, Path]]:
    with guarded() as told:
        yield told


def examine(service: Service, folder: Path, *, examples: int, seed: int, key: str | None) -> dict[str, Any]:
    """Let schemathesis ask: so many cases of each operation, made from its schema, bent away from it, and in sequence.

    Raises:
        AssertionError: a check failed; with what was asked and answered.
    """
    report = folder / f"report-{key is None}.json"
    command = [
        str(SCHEMATHESIS),
        "--config-file",
        str(CONFIG),
        "--no-color",
        "run",
        f"http://127.0.0.1:{service.port}/openapi.json",
    ]
    command += ["--max-examples", str(examples), "--seed", str(seed)]
    command += ["--report-json-path", str(report), "--continue-on-failure"]
    if key is None:
        command += ["--checks", ",".join(WITHOUT_KEY)]
    else:
        command += ["--checks", "all", "--header", f"Authorization: Bearer {key}"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": str(HOOKS)}
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:]
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    assert found["operations"]["tested"] == found["operations"]["total"] > 15
    assert not found["warnings"]["unresolvable_reference"], "parts of the document point nowhere, and go unchecked"
    return found


def test_with_a_key_every_answer_is_as_documented(service: tuple[Service, str, Path]) -> None:
    running, key, folder = service
    found = examine(running, folder, examples=10, seed=1, key=key)
    assert found["test_cases"]["generated"] >= 600


def test_without_a_key_every_answer_is_as_documented_too(service: tuple[Service, str, Path]) -> None:
    running, _, folder = service
    found = examine(running, folder, examples=3, seed=2, key=None)
    assert found["test_cases"]["generated"] >= 300


def test_without_a_key_only_health_is_answered(service: tuple[Service, str, Path]) -> None:
    running, _, _ = service
    document = ask(running.port, "GET", "/openapi.json")[2]
    answered = {
        path: ask(running.port, verb.upper(), path.replace("{decision_id}", "x"))[0]
        for path, verbs in document["paths"].items()
        for verb in verbs
    }
    assert {path for path, status in answered.items() if status != 401} == {"/health/live", "/health/ready"}


def main() -> None:
    """Ask at length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="cases of each operation and phase")
    parser.add_argument("--seed", type=int, default=20_261_122)
    told = parser.parse_args()
    with guarded() as (running, key, folder):
        for who in (key, None):
            found = examine(running, folder, examples=told.examples, seed=told.seed, key=who)
            cases = found["test_cases"]["generated"]
            print(
                f"{'with' if who else 'without'} a key: {cases} cases, none of them answered otherwise than documented"
            )


if __name__ == "__main__":
    main()
