"""The faults at length: ``python -m tests.faults.campaign`` writes benchmarks/FAULTS.json (some twenty minutes).

``--only reviews claims`` runs those and keeps what the file has of the others; every result has its own date.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults import reviews, scenarios
from tests.faults.rig import scratch

Fault = Callable[[], dict[str, Any]]
FAULTS = ("kills", "reviews", "claims", "stopped_database", "full_disk", "exact_budget")
OUT = Path(__file__).parents[2] / "benchmarks" / "FAULTS.json"


def main() -> None:
    """Run every fault and write its figures; a broken promise ends it with an AssertionError and writes nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of each database")
    parser.add_argument("--reviews", type=int, default=20, help="kills while people decide, of each database")
    parser.add_argument("--claims", type=int, default=100, help="cases that several people claim at once, likewise")
    parser.add_argument("--stops", type=int, default=10, help="of the database, every second one a crash")
    parser.add_argument("--fills", type=int, default=3, help="of the disk")
    parser.add_argument("--races", type=int, default=10, help="for a budget, on each database")
    parser.add_argument("--budget", type=int, default=500, help="places in each of them")
    parser.add_argument("--seed", type=int, default=20_261_122)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=FAULTS, help="which faults; all without it")
    parser.add_argument("--out", type=Path, default=OUT)
    told = parser.parse_args()
    kept = json.loads(told.out.read_text(encoding="utf-8")) if told.out.exists() else {}
    with scratch() as folder:
        (folder / "reviewed").mkdir()
        faults = _faults(scenarios.small_bundle(folder), reviews.reviewed_bundle(folder / "reviewed"), told)
        results = {
            name: [_timed(one) for one in faults[name]] if name in told.only else kept[name]
            for name in FAULTS
            if name in told.only or name in kept
        }
    machine = {
        "cpus": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    head = {"command": "python -m tests.faults.campaign", "seed": told.seed}
    told.out.write_text(json.dumps({**head, "machine": machine, **results}, indent=1) + "\n", encoding="utf-8")


def _faults(bundle: Path, reviewed: Path, told: argparse.Namespace) -> dict[str, list[Fault]]:
    databases, seed = ("sqlite", "postgresql"), told.seed
    return {
        "kills": [partial(scenarios.kills, kind, bundle, times=told.kills, seed=seed) for kind in databases],
        "reviews": [partial(reviews.queue, kind, reviewed, times=told.reviews, seed=seed) for kind in databases],
        "claims": [partial(reviews.claims, kind, reviewed, rounds=told.claims, seed=seed) for kind in databases],
        "stopped_database": [partial(scenarios.stopped_database, bundle, times=told.stops, seed=seed)],
        "full_disk": [partial(scenarios.full_disk, bundle, seed=seed + i) for i in range(told.fills)],
        "exact_budget": [
            partial(scenarios.exact_budget, kind, bundle, budget=told.budget, rounds=told.races, seed=seed)
            for kind in databases
        ],
    }


def _timed(fault: Fault) -> dict[str, Any]:
    start = time.monotonic()
    figures = {"date": datetime.now(UTC).date().isoformat(), **fault()}
    figures["seconds"] = round(time.monotonic() - start)
    print(json.dumps(figures), flush=True)
    return figures


if __name__ == "__main__":
    main()
