"""A race: contestants in processes of their own, turn by turn, and the medians of what they used."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable import peers
from persuadable.errors import PersuadableError

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Race", "Run", "race"]

METER = Path(__file__).with_name("meter.py")

Results = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Run:
    """What one contestant used.

    Attributes:
        name: the contestant; its first word is the package.
        version: of that package.
        cpu: median CPU seconds, user and system, of the work alone.
        wall: median elapsed seconds of it.
        imported: MB held once its libraries were imported.
        peak: MB held at most, imports included.
        ratio: ``cpu`` over the floor's; None where the race has no floor.
        cpus: CPU seconds of every repeat.
        failed: why it has no numbers, else empty.
    """

    name: str
    version: str
    cpu: float
    wall: float
    imported: float
    peak: float
    ratio: float | None
    cpus: tuple[float, ...]
    failed: str = ""

    @property
    def used(self) -> float:
        """MB held at most, less its imports."""
        return self.peak - self.imported


@dataclass(frozen=True, slots=True)
class Race:
    """The outcome of a race.

    Attributes:
        title: what was raced.
        settings: rows, trees, folds, threads and the rest.
        runs: a row per contestant, in the order they were entered.
        floor: the contestant whose CPU seconds are the unit of ``ratio``, or empty.
        machine: processor, system and Python.
    """

    title: str
    settings: Mapping[str, Any]
    runs: tuple[Run, ...]
    floor: str = ""
    machine: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Run:
        return next(run for run in self.runs if run.name == name)

    def table(self) -> Table:
        """The runs as a table for the terminal."""
        from rich.table import Table

        table = Table(title=f"{self.title}\n{described(self.settings)}", title_justify="left")
        table.add_column("contestant")
        for heading in ("CPU s", f"× {self.floor}" if self.floor else "×", "elapsed s", "peak MB", "less imports"):
            table.add_column(heading, justify="right")
        for run in self.runs:
            if run.failed:
                table.add_row(run.name, f"[dim]{run.failed}[/dim]")
                continue
            ratio = "" if run.ratio is None else f"{run.ratio:.2f}"
            table.add_row(run.name, f"{run.cpu:.2f}", ratio, f"{run.wall:.2f}", f"{run.peak:.0f}", f"{run.used:.0f}")
        return table

    def __str__(self) -> str:
        return as_text(self.table())

    def save(self, path: str | Path) -> Path:
        """Write the race as JSON."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        return target


def race(
    title: str,
    contestants: Path,
    names: Sequence[str],
    arrays: Mapping[str, NDArray[Any]],
    settings: Mapping[str, Any],
    *,
    threads: int,
    repeats: int,
    floor: str = "",
    say: Callable[[str], None] | None = None,
    shown: Sequence[str] | None = None,
) -> tuple[Race, Results]:
    """Let contestants run turn by turn, ``repeats`` rounds of all of them, so that a slow spell hits each alike.

    Args:
        contestants: file with ``CONTESTANTS`` (see ``meter.py``).
        names: who runs.
        arrays: the data, sent to each process; ``X_test`` asks for predictions.
        settings: sent along with them.
        threads: of each process.
        floor: the contestant that is the unit.
        say: called with a line after each run.
        shown: which settings the result keeps; all by default.

    Returns:
        the race, and each contestant's result where it gives one.
    """
    measured: dict[str, list[dict[str, NDArray[Any]]]] = {name: [] for name in names}
    failed: dict[str, str] = {}
    for turn in range(repeats):
        for name in names:
            if name in failed:
                continue
            try:
                found = one(contestants, name, arrays, settings, threads=threads)
            except PersuadableError as error:  # a peer that breaks is reported in the table, and the race goes on
                failed[name] = str(error)
                continue
            measured[name].append(found)
            if say is not None:
                say(f"round {turn + 1}/{repeats}  {name}: {float(found['cpu']):.2f} CPU s")
    unit = median(float(m["cpu"]) for m in measured[floor]) if measured.get(floor) else None
    runs = tuple(_summary(name, measured[name], unit, failed.get(name, "")) for name in names)
    results = {name: m[-1]["result"] for name, m in measured.items() if m and "result" in m[-1]}
    kept = {key: settings[key] for key in (settings if shown is None else shown)}
    machine = {"processor": processor(), "system": platform.system(), "python": platform.python_version()}
    return Race(title, {**kept, "threads": threads, "repeats": repeats}, runs, floor, machine), results


def one(
    contestants: Path, name: str, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], *, threads: int
) -> dict[str, NDArray[Any]]:
    """One run of one contestant in its own environment: ours and the bare fit in this one."""
    package = name.split()[0]
    told = {**settings, "file": str(contestants), "name": name, "threads": threads}
    if package in peers.PEERS:
        return peers.call(package, METER, arrays, told, threads=threads)
    told["path"] = [str(Path(__file__).parents[2])]
    return peers.run(Path(sys.executable), METER, arrays, told, threads=threads)


def described(settings: Mapping[str, Any]) -> str:
    """Settings as a line of text."""
    return ", ".join(
        f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}" for key, value in settings.items()
    )


def as_text(table: Table) -> str:
    """A table as text, as wide as it needs to be."""
    from io import StringIO

    from rich.console import Console

    page = StringIO()
    Console(file=page, width=140).print(table)
    return page.getvalue().rstrip()


def _summary(name: str, measured: list[dict[str, NDArray[Any]]], unit: float | None, failed: str) -> Run:
    cpus = tuple(round(float(m["cpu"]), 4) for m in measured)
    cpu, wall, imported, peak = (
        median(float(m[what]) for m in measured) if measured else float("nan")
        for what in ("cpu", "wall", "imported", "peak")
    )
    ratio = cpu / unit if unit and measured else None
    return Run(name, _version(name.split()[0]), cpu, wall, imported, peak, ratio, cpus, failed)


def _version(package: str) -> str:
    if package in peers.PEERS:
        return peers.version(package)
    if package == "ours":
        from persuadable import __version__

        return __version__
    return ""


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
