"""The faults at length: ``python -m tests.faults.campaign`` writes benchmarks/FAULTS.json (some fifteen minutes)."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.faults import reviews, scenarios
from tests.faults.rig import scratch

OUT = Path(__file__).parents[2] / "benchmarks" / "FAULTS.json"


def main() -> None:
    """Run every fault and write its figures; a broken promise ends it with an AssertionError and writes nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of each database")
    parser.add_argument("--reviews", type=int, default=20, help="kills while people decide, of each database")
    parser.add_argument("--stops", type=int, default=10, help="of the database, every second one a crash")
    parser.add_argument("--fills", type=int, default=3, help="of the disk")
    parser.add_argument("--races", type=int, default=10, help="for a budget, on each database")
    parser.add_argument("--budget", type=int, default=500, help="places in each of them")
    parser.add_argument("--seed", type=int, default=20_261_122)
    parser.add_argument("--out", type=Path, default=OUT)
    told = parser.parse_args()
    with scratch() as folder:
        (folder / "reviewed").mkdir()
        results = _all(scenarios.small_bundle(folder), reviews.reviewed_bundle(folder / "reviewed"), told)
    machine = {
        "cpus": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    head = {
        "command": "python -m tests.faults.campaign",
        "seed": told.seed,
        "date": datetime.now(UTC).date().isoformat(),
    }
    told.out.write_text(json.dumps({**head, "machine": machine, **results}, indent=1) + "\n", encoding="utf-8")


def _all(bundle: Path, reviewed: Path, told: argparse.Namespace) -> dict[str, Any]:
    databases = ("sqlite", "postgresql")
    return {
        "kills": [_timed(lambda k=k: scenarios.kills(k, bundle, times=told.kills, seed=told.seed)) for k in databases],
        "reviews": [
            _timed(lambda k=k: reviews.queue(k, reviewed, times=told.reviews, seed=told.seed)) for k in databases
        ],
        "stopped_database": [_timed(lambda: scenarios.stopped_database(bundle, times=told.stops, seed=told.seed))],
        "full_disk": [_timed(lambda i=i: scenarios.full_disk(bundle, seed=told.seed + i)) for i in range(told.fills)],
        "exact_budget": [
            _timed(lambda k=k: scenarios.exact_budget(k, bundle, budget=told.budget, rounds=told.races, seed=told.seed))
            for k in databases
        ],
    }


def _timed(fault: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    start = time.monotonic()
    figures = fault()
    figures["seconds"] = round(time.monotonic() - start)
    print(json.dumps(figures), flush=True)
    return figures


if __name__ == "__main__":
    main()
