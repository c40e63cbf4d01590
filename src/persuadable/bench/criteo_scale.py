"""What the Criteo study costs at full size: run on a synthetic stand-in of as many rows as the published file has."""

from __future__ import annotations

import gzip
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from persuadable.bench.race import processor
from persuadable.errors import ParameterError, PersuadableError
from persuadable.log import DecisionLog

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CriteoScale", "criteo_scale", "stand_in"]

FILE: Final = "criteo-uplift-v2.1.csv.gz"
NOTE: Final = "STAND-IN.txt"
LABEL: Final = (
    "A synthetic stand-in of the size and columns of Criteo's file, made from a sample of it. "
    "What is measured on it is time and memory; its effects are made up."
)
TREATED: Final = 0.85
EXPOSED: Final = 0.036  # of the treated, about as published
EVERY: Final = 0.5  # seconds between two looks at the memory
_CHUNK: Final = 250_000
_CONTINUOUS: Final = 0.5  # share of distinct values beside the most frequent from which a feature counts as continuous

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CriteoScale:
    """One run of ``persuadable demo criteo`` on a stand-in.

    Attributes:
        about: what was measured, and on what.
        rows: of the stand-in.
        megabytes: size of its file.
        threads: threads of the run.
        elapsed, cpu: seconds of the whole command, reading the file and writing the pages included.
        peak: MB held in memory at most.
        memory: MB held after each twentieth of the time.
        claim: ``claim.json`` as the run wrote it.
        truth: outcome → mean effect that the stand-in was drawn with.
        machine: processor, system and Python.
    """

    about: str
    rows: int
    megabytes: float
    threads: int
    elapsed: float
    cpu: float
    peak: float
    memory: tuple[float, ...]
    claim: list[dict[str, Any]]
    truth: Mapping[str, float]
    machine: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"persuadable demo criteo on {self.rows:,} rows (a synthetic stand-in), {self.threads} threads: "
            f"{self.elapsed / 60:.1f} min, {self.cpu / 60:.1f} CPU min, {self.peak / 1024:.2f} GiB at most"
        )

    def save(self, path: str | Path) -> Path:
        """Write the run as JSON."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        return target


def criteo_scale(
    rows: int | None = None,
    threads: int = 2,
    folder: str | Path | None = None,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> CriteoScale:
    """Time and memory of ``persuadable demo criteo`` on a stand-in of so many rows, in a process of its own.

    The stand-in is drawn from the sample, or the file, that ``datasets.load("criteo")`` finds.

    Args:
        rows: of the stand-in; None for as many as the published file has, 13,979,592.
        threads: of the run.
        folder: where the stand-in and the pages go and stay; None for a temporary one. A stand-in that is there
            already is taken if it has as many rows and the same seed.
        seed: of the stand-in.
        out: where to write the result as JSON.
        say: called with a line of progress.

    Raises:
        DatasetUnavailable: no sample to draw from.
        ParameterError: fewer than 10,000 rows, or a system without ``/proc``.
        PersuadableError: the run failed, with the end of what it said.
    """
    from persuadable import datasets
    from persuadable.study.criteo import CRITEO_ROWS

    n = CRITEO_ROWS if rows is None else rows
    if n < 10_000:
        raise ParameterError(f"rows is {n!r}, too few for the study", remedy="Ask for 10,000 or more.")
    if not Path("/proc/self/status").exists():
        raise ParameterError("Memory of another process is read from /proc, which this system has not")
    tell = say or (lambda line: None)
    with TemporaryDirectory() as temporary:
        home = Path(temporary if folder is None else folder)
        file = home / "criteo" / FILE
        note = file.with_name(NOTE)
        truth = _made_before(note, n, seed)
        if truth is None:
            sample = datasets.load("criteo", outcome=["visit", "conversion"], rows=None)
            tell(f"drawing {n:,} rows like those of {sample.name}")
            truth = stand_in(sample, n, file, seed)
            note.write_text(json.dumps({"about": LABEL, "rows": n, "seed": seed, "truth": truth}, indent=1) + "\n")
        used = _run(home, threads, tell)
        claim = json.loads((home / "out" / "claim.json").read_text(encoding="utf-8"))
        found = CriteoScale(
            about=LABEL,
            rows=n,
            megabytes=round(file.stat().st_size / 2**20, 1),
            threads=threads,
            elapsed=round(used.elapsed, 1),
            cpu=round(used.cpu, 1),
            peak=round(used.peak, 1),
            memory=tuple(round(used.held[int(share * (len(used.held) - 1))], 1) for share in np.linspace(0.05, 1, 20)),
            claim=claim,
            truth=truth,
            machine={"processor": processor(), "system": platform.system(), "python": platform.python_version()},
        )
    if out is not None:
        found.save(out)
    return found


# -- the stand-in ----------------------------------------------------------------------------------------------------


def stand_in(sample: DecisionLog, rows: int, path: Path, seed: int = 0) -> dict[str, float]:
    """Write a file of Criteo's columns with rows drawn like those of a sample, and tell its true mean effects.

    Rows of the sample are drawn with replacement. A feature that is continuous beside one frequent value is moved to
    anywhere between its value and the next, so that the file has as many distinct values as one of its size would; the
    others keep the sample's values. Who visits is drawn with the chances that models of the sample's two arms give,
    who of the visitors converts with chances that the arm does not change, so that conversions are a funnel's.

    Args:
        sample: with the outcomes "visit" and "conversion".
        rows: how many to write.
        path: of the gzipped CSV; its folder is made.
        seed: of all draws.
    """
    chances = _chances(sample)
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    drawn = np.zeros(2)
    partial = path.with_name(path.name + ".part")
    with gzip.open(partial, "wb", compresslevel=1) as file:
        for start in range(0, rows, _CHUNK):
            chosen = rng.integers(sample.n, size=min(_CHUNK, rows - start))
            frame = _rows(sample, chosen, chances, rng)
            file.write(frame.write_csv(include_header=start == 0).encode("ascii"))
            effect = chances["visit"][chosen] @ np.array([-1.0, 1.0])
            drawn += effect.sum(), (effect * chances["conversion"][chosen]).sum()
    partial.replace(path)
    return {"visit": float(drawn[0] / rows), "conversion": float(drawn[1] / rows)}


def _chances(sample: DecisionLog) -> dict[str, Floats]:
    """ "visit" (n, 2) by arm, "conversion" (n,) of those who visit, "exposure" (n,) of the treated."""
    from persuadable.engine import Trees
    from persuadable.response import ResponseModel

    trees = Trees(n_trees=60, max_depth=3, min_child_weight=20)
    model = ResponseModel(trees=trees, treated_only=False)
    visit = np.column_stack([model.fit(sample.arm(a), "visit").predict(sample) for a in range(2)])
    visitors = sample.take(sample.outcome("visit") > 0)
    conversion = model.fit(visitors, "conversion").predict(sample)
    shown = np.sqrt(visit[:, 1])  # the active see more
    return {"visit": visit, "conversion": conversion, "exposure": np.minimum(shown * EXPOSED / shown.mean(), 1.0)}


def _rows(
    sample: DecisionLog, chosen: NDArray[np.int64], chances: Mapping[str, Floats], rng: np.random.Generator
) -> pl.DataFrame:
    """The chosen rows of the sample with outcomes drawn anew, in the file's columns."""
    import polars as pl

    n = chosen.size
    columns: dict[str, Any] = {
        name: _moved(sample.features.values[:, i], chosen, rng).astype(np.float64)
        for i, name in enumerate(sample.features.names)
    }
    treated = rng.random(n) < TREATED
    visit = rng.random(n) < chances["visit"][chosen, treated.astype(np.intp)]
    conversion = visit & (rng.random(n) < chances["conversion"][chosen])
    exposure = treated & (rng.random(n) < chances["exposure"][chosen])
    flags = {"treatment": treated, "conversion": conversion, "visit": visit, "exposure": exposure}
    return pl.DataFrame(columns | {name: flag.astype(np.uint8) for name, flag in flags.items()})


def _moved(column: NDArray[np.float32], chosen: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
    """The chosen values of a column; where it is continuous each moved towards the next larger one by a share drawn."""
    distinct, place, counts = np.unique(column, return_inverse=True, return_counts=True)
    often = int(np.argmax(counts))
    others = int(counts.sum() - counts[often])
    if distinct.size < 3 or distinct.size < _CONTINUOUS * others:
        return column[chosen]
    at = place[chosen]
    # Neither the frequent value nor the largest has anywhere to go, and nothing is moved up to the frequent one.
    ahead = np.minimum(at + 1, distinct.size - 1)
    stays = (at == often) | (ahead == often)
    share = np.where(stays, 0.0, rng.random(chosen.size))
    return np.asarray(distinct[at] + share * (distinct[ahead] - distinct[at]), dtype=np.float32)


def _made_before(note: Path, rows: int, seed: int) -> dict[str, float] | None:
    """The true effects of the stand-in that is there, if it is the one wanted."""
    if not (note.exists() and note.with_name(FILE).exists()):
        return None
    told = json.loads(note.read_text(encoding="utf-8"))
    return told["truth"] if (told["rows"], told["seed"]) == (rows, seed) else None


# -- the run ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Used:
    """What a run used: seconds, MB held at most, and MB at every look."""

    elapsed: float
    cpu: float
    peak: float
    held: list[float]


def _run(home: Path, threads: int, tell: Callable[[str], None]) -> _Used:
    """The study of the stand-in, in a process of its own."""
    command = [sys.executable, "-m", "persuadable.cli", "demo", "criteo", "--threads", str(threads)]
    environment = {**os.environ, "PERSUADABLE_DATA": str(home), "OMP_NUM_THREADS": str(threads)}
    said = home / "run.log"
    tell(f"running persuadable {' '.join(command[3:])}; what it says goes to {said}")
    held: list[float] = []
    start, before, peak = time.perf_counter(), _children(), 0.0
    with said.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--out", str(home / "out")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            while process.poll() is None:
                memory = _memory(process.pid)
                if memory:
                    peak = max(peak, memory["VmHWM"])
                    held.append(memory["VmRSS"])
                time.sleep(EVERY)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    if process.returncode != 0:
        end = said.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise PersuadableError(f"The study ended with status {process.returncode}:\n{end}", where=str(said))
    return _Used(time.perf_counter() - start, _children() - before, peak, held)


def _children() -> float:
    """CPU seconds of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory(pid: int) -> dict[str, float]:
    """MB a process holds now and held at most; empty once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith(("VmHWM", "VmRSS"))}
