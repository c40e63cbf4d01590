"""Do 95% intervals hold the truth where 0.3% convert, 85% are treated and a few dozen conversions are left alone?

Each run draws fresh held-out rows from ``worlds.Ads`` and judges one fixed ranking as a study does: a quarter is
treated, its threshold drawn from these rows. The long version (marked ``calibration``) also writes
calibration/RARE_COVERAGE.json when run as a command:

    nice python -m tests.calibration.test_rare_coverage --runs 500
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

import persuadable as ps
from persuadable.policies import RankPolicy
from persuadable.study.claim import factor_of
from persuadable.value.policy_value import random_like
from persuadable.worlds import Ads

SEED = 61_122
SHARE = 0.25
UNITS = 1_000_000
WORLD = Ads(seed=3)
MONEY = ps.policies.economics(20.0, 0.01)
#: Held-out rows; 100,000 is what half of the published sample of Criteo's data has. Some 11, 35 and 140 conversions
#: are among those left alone.
SIZES = (30_000, 100_000, 400_000)
FIGURES = Path(__file__).parents[2] / "calibration" / "RARE_COVERAGE.json"

Array = NDArray[np.float64]


def score(features: ps.Features) -> Array:
    """A ranking that knows a good deal of the effect, and believes something that is not so."""
    x = features.values.astype(np.float64)
    effect = WORLD.effect(features)[:, 1]
    return np.asarray(np.tanh(effect / 0.004) + 0.5 * np.tanh(x[:, 0]) + 0.25 * x[:, 1])


@lru_cache(maxsize=1)
def truth() -> dict[str, float]:
    """Exact figures of the ranking, from the conditional means of many units."""
    units = WORLD.features(UNITS, SEED)
    response, s = WORLD.response(units), score(units)
    tau = response[:, 1] - response[:, 0]
    order = np.argsort(-s, kind="stable")
    gain = np.cumsum(tau[order]) / UNITS
    best = order[: round(SHARE * UNITS)]
    quarter, everybody, cost = float(tau[best].sum() / UNITS), float(tau.mean()), MONEY.cost_per_contact
    above = gain - everybody * np.arange(1, UNITS + 1) / UNITS
    uplift_at = np.cumsum(tau[order]) / np.arange(1, UNITS + 1) - everybody
    return {
        "incremental conversions, all": everybody,
        "incremental conversions, quarter": quarter,
        "incremental ROAS, all": 20.0 * everybody / cost,
        "incremental ROAS, quarter": 20.0 * quarter / (SHARE * cost),
        "attributed ROAS, quarter": 20.0 * float(response[best, 1].sum() / UNITS) / (SHARE * cost),
        "profit, quarter": 20.0 * quarter - SHARE * cost,
        "profit over all": 20.0 * (quarter - everybody) + (1 - SHARE) * cost,
        "ROAS of what was cut": 20.0 * (everybody - quarter) / ((1 - SHARE) * cost),
        "factor of ROAS": quarter / everybody / SHARE,
        "gain over a lottery": quarter - SHARE * everybody,
        "Qini": float(above.mean()),
        "AUTOC": float(uplift_at.mean()),
        "slope": float(np.cov(tau, s)[0, 1] / s.var()),
    }


def one_run(n: int, run: int) -> Iterator[tuple[str, ps.value.Estimate | ps.value.Ratio]]:
    """Everything that has an interval, from one held-out log."""
    log = WORLD.sample(n, random_state=np.random.default_rng([SEED, n, run])).select(outcomes=["conversion"])
    s = score(log.features)
    # A response model that is off by a third and shrunk towards the mean, as fitted ones are.
    response = WORLD.response(log.features)
    mu = 1.3 * (0.5 * response + 0.5 * response.mean(axis=0))
    policy = RankPolicy(score, SHARE, name="ranking").calibrate(log)
    told = ps.value.returns(log, policy, MONEY, mu=mu, population=1)
    own, everybody, over = told.rows[0], told["treat all"], told.over("treat all")
    yield "incremental conversions, all", everybody.incremental_conversions
    yield "incremental conversions, quarter", own.incremental_conversions
    for name, found in {
        "incremental ROAS, all": everybody.incremental_roas,
        "incremental ROAS, quarter": own.incremental_roas,
        "attributed ROAS, quarter": own.attributed_roas,
        "ROAS of what was cut": over.marginal_roas,
    }.items():
        assert found is not None
        yield name, found
    yield "profit, quarter", own.profit
    yield "profit over all", over.profit
    yield "factor of ROAS", factor_of(told, 0.05)
    yield "gain over a lottery", ps.value.compare(log, policy, random_like(log, policy), mu=mu).difference
    ranking = ps.value.evaluate_ranking(log, s, method="dr", mu=mu)
    yield "Qini", ranking.qini.coefficient
    yield "AUTOC", ranking.autoc
    yield "slope", ps.value.blp(log, s, method="dr", mu=mu).slope


def coverage(n: int, runs: int) -> dict[str, dict[str, float]]:
    """Per figure: its truth, the median estimate, the share of runs whose set holds the truth, lies below, or above."""
    sides: dict[str, list[int]] = defaultdict(list)
    values: dict[str, list[float]] = defaultdict(list)
    known = truth()
    for run in range(runs):
        for name, found in one_run(n, run):
            sides[name].append(side(found, known[name]))
            values[name].append(found.value)
    return {
        name: {
            "truth": known[name],
            "median": float(np.median(values[name])),
            "held": sides[name].count(0) / runs,
            "below": sides[name].count(-1) / runs,
            "above": sides[name].count(1) / runs,
        }
        for name in known
    }


def side(found: ps.value.Estimate | ps.value.Ratio, known: float) -> int:
    """0 where a set holds a number, else −1 or 1: whether it lies below or above it."""
    low, high = found.interval
    holds = found.holds(known) if isinstance(found, ps.value.Ratio) else low <= known <= high
    return 0 if holds else -1 if found.value < known else 1


def within(found: dict[str, dict[str, float]], runs: int, low: float, high: float) -> dict[str, float]:
    """Figures whose coverage is not to be had (probability 1 in 2,000 each side) from one within [low, high]."""
    least, most = binom.ppf(0.0005, runs, low) / runs, binom.ppf(0.9995, runs, high) / runs
    return {name: told["held"] for name, told in found.items() if not least <= told["held"] <= most}


def test_intervals_hold_the_truth_in_sixty_runs() -> None:
    assert not within(coverage(100_000, 60), 60, 0.94, 0.97)


@pytest.mark.calibration
def test_intervals_hold_the_truth() -> None:
    assert not within(coverage(100_000, 500), 500, 0.94, 0.97)


def main() -> None:
    """Run every size and write the figures, one a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--out", type=Path, default=FIGURES)
    told = parser.parse_args()
    head = {
        "command": f"python -m tests.calibration.test_rare_coverage --runs {told.runs}",
        "seed": SEED,
        "runs": told.runs,
        "alpha": 0.05,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__},
    }
    blocks = [f'"{name}": {json.dumps(value)}' for name, value in head.items()]
    for n in SIZES:
        rows = [f'"{name}": {json.dumps(rounded(row))}' for name, row in coverage(n, told.runs).items()]
        print(f"{n:,} rows", *rows, sep="\n", flush=True)
        blocks.append(f'"{n}": {{\n  ' + ",\n  ".join(rows) + "\n }")
    told.out.write_text("{\n " + ",\n ".join(blocks) + "\n}\n")


def rounded(row: dict[str, float]) -> dict[str, float]:
    """Four significant digits of each."""
    return {name: float(f"{value:.4g}") for name, value in row.items()}


if __name__ == "__main__":
    main()
