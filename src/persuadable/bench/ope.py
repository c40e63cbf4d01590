"""``persuadable bench ope``: the speed of six off-policy estimators, beside obp's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.bench.race import Race, Run, race
from persuadable.bench.speed import entrants
from persuadable.errors import ParameterError, PersuadableError

__all__ = ["OPE", "ope", "rounds", "write"]

FILE = Path(__file__).with_name("ope_contestants.py")
OPE = ("ours with errors", "obp points", "ours with 100 draws", "obp with 100 draws")
STREAMED = "ours streamed"
TOLERANCE = 1e-8


def ope(
    n: int = 1_000_000,
    n_actions: int = 10,
    threads: int = 1,
    repeats: int = 3,
    peers: Sequence[str] = ("obp",),
    *,
    streamed: int = 100_000_000,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Race:
    """CPU and elapsed seconds and memory of DM, IPS, SNIPS, DR, SWITCH-DR and DRos of one candidate policy.

    All contestants get the same rounds, predictions and probabilities. Ours check them and come with standard errors,
    intervals and effective sample sizes, or with 100 bootstrap replicates; obp's are point estimates, or its
    bootstrap of 100 replicates. The point estimates of both have to agree to 1e-8. The streamed contestant reads
    these rounds from a Parquet file, again and again.

    Args:
        n: rounds.
        n_actions: actions A.
        threads: of every process.
        repeats: rounds of the race; the streamed contestant runs once.
        peers: ("obp",) or ().
        streamed: rounds to stream from Parquet; 0 for none.
        out: where to write the result as JSON.
        say: called with a line of progress.

    Raises:
        ParameterError: an unknown peer, or a number below 1.
        MissingDependency: obp's environment cannot be made.
        PersuadableError: obp's point estimates differ from ours.
    """
    for name, value in {"n": n, "n_actions": n_actions - 1, "threads": threads, "repeats": repeats}.items():
        if value < 1:
            raise ParameterError(f"{name} is too small", remedy="Pass at least one round and two actions.")
    arrays = rounds(n, n_actions)
    settings = {"n": n, "n_actions": n_actions, "streamed": streamed}
    found, results = race(
        "Six off-policy estimators",
        FILE,
        entrants(OPE, peers, say),
        arrays,
        settings,
        threads=threads,
        repeats=repeats,
        floor=OPE[0],
        say=say,
    )
    found = replace(found, settings={**found.settings, **_agreement(results)})
    if streamed:
        found = replace(found, runs=(*found.runs, *_streamed(arrays, settings, threads, say)))
    if out is not None:
        found.save(out)
    return found


def _streamed(
    arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], threads: int, say: Callable[[str], None] | None
) -> tuple[Run, ...]:
    """The streamed contestant's run, in a process that holds none of the arrays."""
    with tempfile.TemporaryDirectory(prefix="persuadable-") as folder:
        file = write(Path(folder, "rounds.parquet"), arrays)
        told = {**settings, "parquet": str(file), "file_rows": len(arrays["y"])}
        alone, _ = race("Streamed", FILE, [STREAMED], {}, told, threads=threads, repeats=1, say=say)
    return alone.runs


def write(file: Path, arrays: Mapping[str, NDArray[Any]]) -> Path:
    """The rounds as a Parquet file: action, y, and a column for each action of p, e and q."""
    import polars as pl

    columns: dict[str, Any] = {"action": arrays["action"], "y": arrays["y"]}
    for name in ("p", "e", "q"):
        columns |= {f"{name}{k}": arrays[name][:, k] for k in range(arrays[name].shape[1])}
    pl.DataFrame(columns).write_parquet(file)
    return file


def rounds(n: int, n_actions: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Rounds of a made-up world: action and y (n,), propensities e, a candidate p and predictions q (n, A)."""
    rng = np.random.default_rng(seed)
    e = 0.9 * rng.dirichlet(np.full(n_actions, 3.0), size=n) + 0.1 / n_actions
    action = (rng.random(n)[:, None] > e.cumsum(axis=1)[:, :-1]).sum(axis=1).astype(np.int16)
    mean = rng.uniform(0.05, 0.3, size=(n, n_actions))
    y = (rng.random(n) < np.take_along_axis(mean, action[:, None].astype(np.intp), axis=1)[:, 0]).astype(np.float64)
    q = np.clip(mean + rng.normal(scale=0.05, size=mean.shape), 0.0, 1.0)
    return {"action": action, "y": y, "e": e, "p": rng.dirichlet(np.ones(n_actions), size=n), "q": q}


def _agreement(results: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """The largest difference between our point estimates and obp's, where obp ran."""
    if OPE[0] not in results or OPE[1] not in results:
        return {}
    apart = float(np.abs(results[OPE[0]] - results[OPE[1]]).max())
    if apart > TOLERANCE:
        raise PersuadableError(
            f"Our point estimates and obp's differ by {apart:.2g}",
            where="bench ope",
            remedy="Run tests/peers, which says which estimator differs.",
        )
    return {"largest difference from obp": apart}
