"""``persuadable bench allocation``: allocating offers under budgets, beside solvers of linear programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from persuadable.bench.race import Race, race
from persuadable.bench.speed import entrants
from persuadable.errors import ParameterError, PersuadableError

__all__ = ["AllocationSpeed", "allocation"]

FILE = Path(__file__).with_name("allocation_contestants.py")
OURS = ("ours one budget", "ours six constraints")
SOLVERS = ("highspy interior point", "ortools PDLP", "clarabel interior point")
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
TOLERANCE = 1e-5  # PDLP promises 1e-6 on feasibility and gap each
INPUT_BYTES = 2 * 6 * 8 + 1  # of a unit: values and costs of six actions, and its segment


@dataclass(frozen=True, slots=True)
class AllocationSpeed:
    """What allocating takes.

    Attributes:
        against: one budget, ours and the solvers on the same units.
        growth: ours with one budget and with six constraints, a race per size.
    """

    against: Race
    growth: tuple[Race, ...]

    def __str__(self) -> str:
        return "\n\n".join(str(one) for one in (self.against, *self.growth))

    def save(self, path: str | Path) -> Path:
        """Write the races as JSON."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        return target


def allocation(
    n: int = 100_000,
    sizes: Sequence[int] = SIZES,
    threads: int = 2,
    repeats: int = 3,
    peers: Sequence[str] = ("highspy", "ortools", "clarabel"),
    *,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> AllocationSpeed:
    """CPU and elapsed seconds and memory of allocating five offers to n units.

    Everybody gets the same made-up offers. Ours check them and answer with a whole number of offers and a certificate;
    the solvers answer the linear program alone, whose optimum must equal the bound in our certificate.

    Args:
        n: units of the comparison with the solvers, under one budget.
        sizes: units of ours alone, under one budget and under six constraints.
        threads: of every process.
        repeats: rounds of each race.
        peers: of "highspy", "ortools", "clarabel".
        out: where to write the result as JSON.
        say: called with a line of progress.

    Raises:
        ParameterError: an unknown peer, or a number below 1.
        MissingDependency: a peer's environment cannot be made.
        PersuadableError: a solver's optimum differs from our bound.
    """
    for name, value in {"n": n, "threads": threads, "repeats": repeats, "sizes": min(sizes, default=1)}.items():
        if value < 1:
            raise ParameterError(f"{name} must be at least 1, got {value!r}")
    names = entrants((OURS[0], *SOLVERS), peers, say)
    against, results = _race("One budget", names, n, threads, repeats, say)
    against = replace(against, settings={**against.settings, **_agreement(results)})
    growth = []
    for size in sizes:
        found, results = _race("As the units grow", OURS, size, threads, repeats, say)
        gaps = {f"gap of {name}": _gap(result) for name, result in results.items()}
        inputs = round(size * INPUT_BYTES / 2**20)
        growth.append(replace(found, settings={**found.settings, "inputs MB": inputs, **gaps}))
    result = AllocationSpeed(against, tuple(growth))
    if out is not None:
        result.save(out)
    return result


def _race(
    title: str, names: Sequence[str], n: int, threads: int, repeats: int, say: Callable[[str], None] | None
) -> tuple[Race, dict[str, NDArray[np.float64]]]:
    if say is not None:
        say(f"{n:,} units")
    settings = {"n": n, "offers": 5}
    return race(title, FILE, names, {}, settings, threads=threads, repeats=repeats, floor=OURS[0], say=say)


def _gap(result: NDArray[np.float64]) -> str:
    """The certified gap of an allocation over its bound."""
    bound, value = result[:2]
    return f"{(bound - value) / bound:.1e}"


def _agreement(results: Mapping[str, NDArray[np.float64]]) -> dict[str, str]:
    """The largest relative difference between our bound and the solvers' optima."""
    others = {name: float(found[0]) for name, found in results.items() if name not in OURS}
    if OURS[0] not in results or not others:
        return {}
    bound = float(results[OURS[0]][0])
    apart = {name: abs(found / bound - 1.0) for name, found in others.items()}
    worst = max(apart, key=apart.__getitem__)
    if apart[worst] > TOLERANCE:
        raise PersuadableError(
            f"The optimum of {worst} differs from our bound by {apart[worst]:.2g} of it",
            where="bench allocation",
            remedy="Run tests/policies/allocation, which hold the bound against HiGHS.",
        )
    return {"largest difference from a solver": f"{apart[worst]:.1e}"}
