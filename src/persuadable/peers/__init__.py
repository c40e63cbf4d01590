"""Other packages that do the same work, each in an environment of its own.

Comparisons with peers are only worth something when the peer itself runs, in the version it names and with
the libraries it asks for. None of them is a dependency: each lives in a virtual environment under a cache
folder, made on request from a list of exact versions that ships with the package, and is spoken to through
files by a separate process.

The folder is ``PERSUADABLE_PEERS`` where that is set, else ``peers`` in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import MissingDependency, ParameterError, PersuadableError

__all__ = [
    "PEERS",
    "build",
    "call",
    "environment",
    "folder",
    "is_built",
    "python",
    "requirements",
    "run",
    "version",
    "versions",
]

PEERS = (
    "econml",
    "causalml",
    "metalearners",
    "scikit-uplift",
    "pylift",
    "obp",
    "highspy",
    "ortools",
    "clarabel",
)

_IMPORTED_AS = {"scikit-uplift": "sklift"}
_DISTRIBUTED_AS = {"obp": "sb-obp"}
_READY = "persuadable-ready.json"


def folder() -> Path:
    """Where the peers' environments live; nothing is created."""
    chosen = os.environ.get("PERSUADABLE_PEERS")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("persuadable", appauthor=False) / "peers"


def requirements(peer: str) -> Path:
    """The file of exact versions a peer's environment is made from.

    Raises:
        ParameterError: no such peer.
    """
    if peer not in PEERS:
        raise ParameterError(f"unknown peer {peer!r}", remedy=f"The peers are {', '.join(PEERS)}.")
    return Path(__file__).with_name(f"{peer}.txt")


def versions(peer: str) -> dict[str, str]:
    """The pinned versions of a peer and of everything it needs, by distribution name."""
    lines = requirements(peer).read_text(encoding="utf-8").split()
    return dict(line.split("==", 1) for line in lines)


def version(peer: str) -> str:
    """The version of the peer itself, whose distribution may be called otherwise ("obp" is "sb-obp")."""
    return versions(peer)[_DISTRIBUTED_AS.get(peer, peer)]


def is_built(peer: str) -> bool:
    """Whether the peer's environment is there and was made from today's list of versions."""
    try:
        ready = json.loads((folder() / peer / _READY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(ready.get("requirements") == _digest(peer))


def build(peer: str) -> Path:
    """Make a peer's environment with ``python -m venv`` and pip, or bring it up to date; its interpreter.

    Takes a minute or two and several hundred megabytes. The list is complete, so pip resolves nothing
    (``--no-deps``), which also lets a peer run on the CPU-only build of XGBoost.

    Raises:
        MissingDependency: pip could not install the list; its last words are in the message.
    """
    home = folder() / peer
    needs = requirements(peer)
    if not _interpreter(home).exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        _checked([sys.executable, "-m", "venv", str(home)], peer)
    pip = [str(_interpreter(home)), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    _checked([*pip, "--no-deps", "--requirement", str(needs)], peer)
    (home / _READY).write_text(json.dumps({"requirements": _digest(peer)}), encoding="utf-8")
    return _interpreter(home)


def python(peer: str, *, may_build: bool = False) -> Path:
    """The interpreter of a peer's environment; this one, where it has the peer and there is no environment of its own.

    Args:
        peer: one of ``PEERS``.
        may_build: make the environment where it is missing.

    Raises:
        MissingDependency: the environment is not there.
    """
    requirements(peer)
    if is_built(peer):
        return _interpreter(folder() / peer)
    if find_spec(_IMPORTED_AS.get(peer, peer)) is not None:
        return Path(sys.executable)
    if may_build:
        return build(peer)
    raise MissingDependency(
        f"{peer} {version(peer)} has no environment of its own yet",
        where=str(folder() / peer),
        remedy=f"Make it once with `python -m persuadable.peers {peer}`, or set PERSUADABLE_PEERS.",
    )


def environment(threads: int = 2) -> dict[str, str]:
    """The environment variables of a child process that may use ``threads`` threads and must not spin.

    Idle OpenMP workers that spin cost CPU seconds that nobody worked for, so waiting is passive.
    """
    few = str(threads)
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(limits, few), "OMP_WAIT_POLICY": "passive", "PYTHONHASHSEED": "0"}


def call(
    peer: str,
    script: Path,
    arrays: Mapping[str, NDArray[Any]],
    settings: Mapping[str, object] | None = None,
    *,
    threads: int = 2,
    may_build: bool = False,
) -> dict[str, NDArray[Any]]:
    """Run a script in a peer's environment: arrays in, arrays out (see :func:`run`).

    Raises:
        MissingDependency: the peer's environment is not there.
        PersuadableError: the script failed.
    """
    return run(python(peer, may_build=may_build), script, arrays, settings, threads=threads)


def run(
    interpreter: Path,
    script: Path,
    arrays: Mapping[str, NDArray[Any]],
    settings: Mapping[str, object] | None = None,
    *,
    threads: int = 2,
) -> dict[str, NDArray[Any]]:
    """Run a script by any interpreter: arrays in, arrays out.

    The script is called as ``python -I script given.npz answer.npz`` (isolated: neither the working folder nor
    PYTHONPATH reaches it). Settings travel as JSON in the array ``settings``.

    Raises:
        PersuadableError: the script failed; its last words are in the message.
    """
    with tempfile.TemporaryDirectory(prefix="persuadable-") as scratch:
        given, answer = Path(scratch, "given.npz"), Path(scratch, "answer.npz")
        told: dict[str, Any] = {**arrays, "settings": np.array(json.dumps(dict(settings or {})))}
        np.savez(given, **told)
        command = [str(interpreter), "-I", str(script), str(given), str(answer)]
        done = subprocess.run(
            command, env=environment(threads), cwd=scratch, capture_output=True, text=True, check=False
        )
        if done.returncode or not answer.exists():
            raise PersuadableError(f"{script.name} failed: {_last_words(done.stderr)}", where=str(interpreter))
        with np.load(answer) as result:
            return {name: result[name] for name in result.files}


def _interpreter(home: Path) -> Path:
    return home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _digest(peer: str) -> str:
    return hashlib.sha256(requirements(peer).read_bytes()).hexdigest()


def _checked(command: list[str], peer: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingDependency(
            f"the environment of {peer} could not be made: {_last_words(done.stderr or done.stdout)}",
            where=str(requirements(peer)),
            remedy="Check that a package index can be reached and that this Python can install the listed versions.",
        )


def _last_words(text: str, lines: int = 3) -> str:
    return " / ".join(text.strip().splitlines()[-lines:]) or "no message"
