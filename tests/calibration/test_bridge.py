"""Do 95% intervals of what is carried from a proxy to a long outcome hold the truth?

The long version (500 runs a world, fewer with surrogates, marked ``calibration``) also writes calibration/BRIDGE.json
when run as a command:

    python -m tests.calibration.test_bridge --runs 500 --out calibration/BRIDGE.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import warnings
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, chi2

from persuadable.log import DecisionLog
from persuadable.value import ThinLabelWarning, reconcile

SEED = 80_000
UNITS = 2_000_000
PAST, SLOPE = np.array([0.0, 0.3, -0.2]), 2.0  # what lasts of a treatment besides its effect on the proxy
CHANCE = np.array([0.5, 0.3, 0.2])
NAMES = ["one row a unit", "three rows a unit", "weighted rows", "money", "surrogates"]
ROWS = dict.fromkeys(NAMES, 3000) | {"money": 6_000}
SLOWER = 4
SMALL = 1e-4  # chance at which a right interval may fail the short test


def features(n, rng, tilted=False):
    """(n, 3) standard normal; tilted: the first is drawn around ½, and weights undo it."""
    x = rng.normal(size=(n, 3))
    if not tilted:
        return x, None
    x[:, 0] += 0.5
    return x, np.exp(0.125 - 0.5 * x[:, 0])


def effects(name, x):
    """(n, 3) effects on the proxy and on the long outcome."""
    proxy = np.column_stack([np.zeros(len(x)), 0.5 * x[:, 0], 0.2 + 0.5 * x[:, 1]])
    lasting = SLOPE * proxy + (0.0 if name == "surrogates" else PAST)
    return proxy, lasting


def believed(x):
    """(n, 3) effects as a learner might predict them: shrunk, and with a fault of its own."""
    return np.column_stack([np.zeros(len(x)), 0.3 * x[:, 0] + 0.1 * x[:, 2], 0.1 + 0.3 * x[:, 1]])


def policy(x):
    """(n, 3) probabilities of giving what is believed best, nine times out of ten."""
    chosen = np.eye(3)[believed(x).argmax(axis=1)]
    return 0.9 * chosen + 0.1 / 3


@lru_cache(maxsize=len(NAMES))
def truth(name):
    """Gains in the proxy and in the long outcome, the value, among many units."""
    x, _ = features(UNITS, np.random.default_rng(SEED - 1))
    proxy, lasting = effects(name, x)
    pi = policy(x)
    gain = (pi * lasting).sum(axis=1).mean()
    return (pi * proxy).sum(axis=1).mean(), gain


def sample(name, n, seed):
    """A log, half of it mature, and its features."""
    rng = np.random.default_rng(seed)
    size = 3 if name == "three rows a unit" else 1
    x, weight = features(-(-n // size), rng, tilted=name == "weighted rows")
    own = rng.normal(size=len(x))  # what rows of a unit share
    x, own = np.repeat(x, size, axis=0)[:n], np.repeat(own, size)[:n]
    action = rng.choice(3, size=n, p=CHANCE)
    proxy, lasting = (table[np.arange(n), action] for table in effects(name, x))
    own = own + rng.normal(size=n)
    s = 1.0 + x[:, 2] + proxy + own
    if name == "surrogates":
        y = 3.0 + SLOPE * s + x[:, 0] + 2.0 * rng.normal(size=n)
    elif name == "money":  # skewed: now and then a large sum, whose mean is what it should be
        y = 3.0 + x[:, 2] + lasting + 0.5 * own + 6.0 * (rng.exponential(size=n) - 1.0)
    else:
        y = 3.0 + x[:, 2] + lasting - own + 3.0 * rng.normal(size=n)
    log = DecisionLog.from_arrays(
        x, action, {"proxy": s, "long": y}, action_names=["none", "a", "b"],
        propensity=np.broadcast_to(CHANCE, (n, 3)), weight=weight, time=rng.uniform(0, 2, n),
        unit=np.arange(n) // size if size > 1 else None,
    )  # fmt: skip
    return log, x


def one_run(name, seed):
    """(estimate, truth) of every interval, from one log."""
    log, x = sample(name, ROWS[name], seed)
    in_proxy, gain = truth(name)
    mu = {"proxy": np.array([1.0, 1.0, 1.2]), "long": np.array([3.0, 3.3, 3.2])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ThinLabelWarning)
        found = reconcile(
            log, policy(x), proxy="proxy", long="long", effect=believed(x), horizon=1.0, as_of=2.0, mu=mu,
            surrogates=["proxy"] if name == "surrogates" else [],
        )  # fmt: skip
    baseline = 5.0 if name == "surrogates" else 3.0  # the mean long outcome of those left alone
    told = {
        "gain in the proxy": (found.proxy_gain, in_proxy),
        "value": (found.value, baseline + gain),
        "direct": (found.direct, gain),
        "bridged": (found.bridged, gain),
        "bridged − direct": (found.disagreement, 0.0),
        "slope": (found.bridge.slope, SLOPE),
        "first intercept": (found.bridge.intercepts[0], 0.0 if name == "surrogates" else PAST[1]),
        "mature − young": (found.drift, 0.0),
    }
    if name == "surrogates":
        told |= {"indexed": (found.indexed, gain), "indexed − direct": (found.index_disagreement, 0.0)}
    return told


def coverage(name, runs):
    """For each interval: how often it held the truth, mean standard error over actual spread."""
    found = defaultdict(list)
    for run in range(runs):
        for what, (e, t) in one_run(name, [SEED, NAMES.index(name), run]).items():
            found[what].append((e.value - t, e.stderr, e.interval[0] <= t <= e.interval[1]))
    return {what: summary(np.array(rows, dtype=float)) for what, rows in found.items()}


def summary(rows):
    """Figures of (runs, (error, stderr, covered))."""
    error, stderr, covered = rows.T
    return {
        "coverage": round(float(covered.mean()), 4),
        "stderr over spread": round(float(stderr.mean() / error.std(ddof=1)), 3),
        "bias over stderr": round(float(error.mean() / stderr.mean()), 3),
        "stderr": round(float(stderr.mean()), 4),
    }


def runs_of(name, runs):
    """Fewer of those that fit ensembles."""
    return runs // SLOWER if name == "surrogates" else runs


def limits(runs, chance):
    """Least and greatest coverage of a true 95%, each missed with this chance."""
    return binom.ppf(chance, runs, 0.95) / runs, binom.isf(chance, runs, 0.95) / runs


@pytest.mark.parametrize("name", NAMES)
def test_intervals_cover_in_a_few_runs(name):
    """Too few runs to see a percent, enough to see a wrong formula. Limits are what chance does once in 10,000 times.

    Spread: √(χ²/(runs − 1)) of normal errors. Bias: 3.7 standard errors of a mean over the runs.
    """
    runs = 8 if name == "surrogates" else 60
    least, _ = limits(runs, SMALL)
    spread = np.sqrt(chi2.ppf([SMALL, 1 - SMALL], runs - 1) / (runs - 1))
    for what, figures in coverage(name, runs).items():
        assert figures["coverage"] >= least, (what, figures)
        assert 1 / spread[1] <= figures["stderr over spread"] <= 1 / spread[0], (what, figures)
        assert abs(figures["bias over stderr"]) <= 3.72 / runs**0.5, (what, figures)


@pytest.mark.calibration
@pytest.mark.parametrize("name", NAMES)
def test_intervals_cover_95_percent_of_500_runs(name):
    """Within what chance does once in 100 times, and a point more for limits that are reached only in large samples."""
    runs = runs_of(name, 500)
    least, most = limits(runs, 0.005)
    for what, figures in coverage(name, runs).items():
        assert least - 0.01 <= figures["coverage"] <= most + 0.01, (what, figures)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("calibration/BRIDGE.json"))
    told = parser.parse_args()
    import persuadable

    results = {f"{name}, n = {ROWS[name]}": coverage(name, runs_of(name, told.runs)) for name in NAMES}
    print(json.dumps(results, ensure_ascii=False, indent=1), file=sys.stderr)
    report = {
        "what": "how often nominal 95% intervals of a policy's gain in a long outcome, carried over from a proxy, and "
        "of the bridge itself held the known truth",
        "runs": told.runs,
        "runs with surrogates, which fit 25 ensembles each": told.runs // SLOWER,
        "seed": SEED,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__},
        "persuadable": persuadable.__version__,
        "results": results,
    }
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
