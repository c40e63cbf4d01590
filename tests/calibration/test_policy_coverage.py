"""Do 95% intervals of policy values, differences, slopes and group effects hold the truth 95% of the time?

Each run draws a fresh log from a world whose truth is known and judges one fixed ranking. The long version
(500 runs a world, marked ``calibration``) also writes calibration/POLICY.json when run as a command:

    python tests/calibration/test_policy_coverage.py --runs 500 --out calibration/POLICY.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from persuadable.engine import LocalEngine, Trees
from persuadable.policies import BudgetPolicy, RandomPolicy, RankPolicy
from persuadable.response import cross_fit_arms
from persuadable.spaces import Discrete
from persuadable.value.budget_values import budget_values
from persuadable.value.calibration import blp, gates
from persuadable.value.policy_value import arm_mean_outcomes, compare, policy_value
from persuadable.worlds import RandomisedTrial

SEED = 20_000
N = 5_000
N_MONEY = 20_000
SHARE = 0.3
UNITS = 200_000
WORLDS = {
    f"{outcome}, p = {p}": RandomisedTrial(surface="nonlinear", outcome=outcome, treated_share=p, base_rate=0.15)
    for outcome in ("binary", "money")
    for p in (0.5, 0.85)
}
MANY_ARMS = "binary, three arms, best treatment"
CROSS_FITTED = {f"{name}, cross-fitted": name for name in ("binary, p = 0.85", "money, p = 0.5")}
NAMES = [*WORLDS, MANY_ARMS, *CROSS_FITTED]


def rows_of(name):
    """Rows per log. Money is skewed: a fifth of 5,000 rows has 22 paying controls at p = 0.85, too few to be normal."""
    return N_MONEY if name.startswith("money") else N


def seed_of(name, run):
    """Every run of every world has draws of its own."""
    return [SEED, NAMES.index(name), run]


def score(features):
    """A ranking that knows something: a linear stand-in for the nonlinear effects, and some noise of its own."""
    x = np.asarray(features, dtype=np.float64)
    return x[:, :6] @ WEIGHTS


WEIGHTS = np.array([0.6, -0.3, 0.5, 0.4, -0.5, 0.2])


@lru_cache(maxsize=1)
def truth(name):
    """Exact conditional means of many units, and the fixed ranking on them."""
    world = WORLDS[name]
    log = world.sample(UNITS, random_state=SEED - 1)
    response = world.response(log.features)
    s = score(log.features)
    order = np.argsort(s)
    tau = response[:, 1] - response[:, 0]
    fixed = RankPolicy(score, SHARE, name="ranking").calibrate(log)
    treated = s > np.quantile(s, 1 - SHARE)
    ate = tau.mean()
    return {
        "policy": fixed,
        "value": response[:, 0].mean() + (tau * treated).mean(),
        "gain": (tau * treated).mean() - SHARE * ate,
        "ate": ate,
        "slope": np.cov(tau, s)[0, 1] / s.var(),
        "sorted": s[order],
        "running": np.concatenate([[0.0], np.cumsum(tau[order])]),
    }


def mean_effect_between(known, lower, upper):
    """Mean true effect of the units whose score lies in [lower, upper]."""
    low = int(np.searchsorted(known["sorted"], lower, side="left"))
    high = int(np.searchsorted(known["sorted"], upper, side="right"))
    return (known["running"][high] - known["running"][low]) / (high - low)


def one_run(name, seed, n=None):
    """(estimate, truth) of everything that has an interval, from one log."""
    world, known, n = WORLDS[name], truth(name), rows_of(name) if n is None else n
    log = world.sample(n, random_state=np.random.default_rng(seed))
    mu, fixed = arm_mean_outcomes(log), known["policy"]
    here = RankPolicy(score, SHARE, name="ranking").calibrate(log)
    lot = RandomPolicy(SHARE)
    unstored = world.sample(n, random_state=np.random.default_rng(seed), known_propensity=False)
    fixed_dr = compare(log, fixed, lot, mu=mu)
    drawn = compare(log, here, lot, mu=mu)
    row = budget_values(log, score(log.features), [SHARE], mu=mu).rows[0]
    groups = gates(log, score(log.features), bins=5)
    line = blp(log, score(log.features))
    bounds = [(-np.inf, groups.bins[0].upper), *[(g.lower, g.upper) for g in groups.bins[1:-1]]]
    bounds.append((groups.bins[-1].lower, np.inf))
    true_groups = [mean_effect_between(known, *b) for b in bounds]
    return {
        "value, dr": [(fixed_dr.policy.estimate, known["value"])],
        "value, ips": [(policy_value(log, fixed, method="ips").estimate, known["value"])],
        "value, snips": [(policy_value(log, fixed, method="snips").estimate, known["value"])],
        "value, ips, shares estimated": [(policy_value(unstored, fixed, method="ips").estimate, known["value"])],
        "value, dr, threshold drawn here": [(drawn.policy.estimate, known["value"])],
        "difference from random, dr": [(fixed_dr.difference, known["gain"])],
        "difference from random, dr, threshold drawn here": [(drawn.difference, known["gain"])],
        "difference from random, dr, by budget": [(row.difference, known["gain"])],
        "difference from random, ips": [(compare(log, fixed, lot, method="ips").difference, known["gain"])],
        "average effect": [(line.intercept, known["ate"])],
        "slope": [(line.slope, known["slope"])],
        "group effects": list(zip((g.effect for g in groups.bins), true_groups, strict=True)),
        "top − bottom": [(groups.top_minus_bottom, true_groups[-1] - true_groups[0])],
    }


class Stand:
    """A fixed ranking for each of two treatments."""

    actions_ = Discrete(("control", "treatment 1", "treatment 2"))
    fitted_on = None

    def __init__(self, log):
        self.fitted_on = log.fingerprint

    def effect(self, X, outcome=None):
        x = np.asarray(X, dtype=np.float64)
        return np.column_stack([np.zeros(len(x)), score(x) + 0.5, x[:, 1:7] @ WEIGHTS])


@lru_cache(maxsize=1)
def many_arms():
    """Two treatments, the better one for each: the policy and the value of its share of the population."""
    world = RandomisedTrial(surface="nonlinear", n_actions=3, treated_share=0.6, base_rate=0.15)
    learner = Stand(world.sample(100, random_state=SEED - 2))
    log = world.sample(UNITS, random_state=SEED - 1)
    response = world.response(log.features)
    policy = BudgetPolicy(learner, SHARE).calibrate(log)
    p = policy.probabilities(log.features, 3)
    random = np.array([1 - SHARE, SHARE / 2, SHARE / 2])
    value = (p * response).sum(axis=1).mean()
    return world, learner, policy, value, value - (response @ random).mean()


def one_run_of_many_arms(seed):
    world, learner, fixed, value, gain = many_arms()
    log = world.sample(N, random_state=np.random.default_rng(seed))
    mu, lot = arm_mean_outcomes(log), RandomPolicy(SHARE)
    elsewhere = compare(log, fixed, lot, mu=mu)
    here = compare(log, BudgetPolicy(learner, SHARE).calibrate(log), lot, mu=mu)
    return {
        "value, dr": [(elsewhere.policy.estimate, value)],
        "value, dr, threshold drawn here": [(here.policy.estimate, value)],
        "difference from random, dr": [(elsewhere.difference, gain)],
        "difference from random, dr, threshold drawn here": [(here.difference, gain)],
        "value, snips": [(policy_value(log, fixed, method="snips").estimate, value)],
    }


def one_run_cross_fitted(name, seed, n):
    """The same with nuisances fitted out of fold on the log itself, as the defaults of ``policy_value`` have them."""
    known = truth(name)
    log = WORLDS[name].sample(n, random_state=np.random.default_rng(seed))
    mu = cross_fit_arms(log, trees=Trees(n_trees=20, max_depth=3), n_folds=3, engine=LocalEngine(threads=1))
    found = compare(log, known["policy"], RandomPolicy(SHARE), mu=mu)
    line = blp(log, score(log.features), method="dr", mu=mu)
    return {
        "value, dr": [(found.policy.estimate, known["value"])],
        "difference from random, dr": [(found.difference, known["gain"])],
        "average effect": [(line.intercept, known["ate"])],
        "slope": [(line.slope, known["slope"])],
    }


def coverage(name, runs, n=None):
    """For each interval: how often it held the truth, mean standard error over actual spread, mean error in them."""
    found = defaultdict(list)
    for run in range(runs):
        seed = seed_of(name, run)
        if name == MANY_ARMS:
            result = one_run_of_many_arms(seed)
        elif name in CROSS_FITTED:
            result = one_run_cross_fitted(CROSS_FITTED[name], seed, rows_of(name) if n is None else n)
        else:
            result = one_run(name, seed, n)
        for what, pairs in result.items():
            found[what].append([(e.value - t, e.stderr, float(e.interval[0] <= t <= e.interval[1])) for e, t in pairs])
    return {what: summary(np.array(rows)) for what, rows in found.items()}


def summary(rows):
    """Figures of (runs, quantities, (error, stderr, covered))."""
    error, stderr, covered = np.moveaxis(rows, 2, 0)
    spread = error.std(axis=0, ddof=1)
    return {
        "coverage": round(float(covered.mean()), 4),
        "stderr over spread": round(float((stderr.mean(axis=0) / spread).mean()), 3),
        "bias in standard errors": round(float((error.mean(axis=0) / spread).mean()), 3),
    }


@pytest.mark.parametrize("name", ["binary, p = 0.85", "money, p = 0.5", MANY_ARMS])
def test_intervals_cover_in_a_few_runs(name):
    """Too few runs to see a percent, enough to see a wrong formula; a true 95% passes 9,999 times in 10,000."""
    runs = 25
    least = int(binom.ppf(1e-4, runs, 0.95)) / runs
    for what, figures in coverage(name, runs, N).items():
        assert figures["coverage"] >= least, (what, figures)
        assert 0.6 < figures["stderr over spread"] < 1.6, (what, figures)


@pytest.mark.calibration
@pytest.mark.parametrize("name", NAMES)
def test_intervals_cover_93_to_97_percent_of_500_runs(name):
    """Group effects are five intervals a run. Limits widened by chance: 500 runs of a true 95% spread by 1 point."""
    for what, figures in coverage(name, 500).items():
        assert 0.925 <= figures["coverage"] <= 0.975, (what, figures)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("calibration/POLICY.json"))
    told = parser.parse_args()
    import persuadable

    results = {}
    for name in NAMES:
        results[f"{name}, n = {rows_of(name)}"] = coverage(name, told.runs)
    few = "money, p = 0.85"
    results[f"{few}, n = {N}"] = coverage(few, told.runs, N)
    for name in results:
        print(name, json.dumps(results[name], ensure_ascii=False, indent=1), file=sys.stderr)
    report = {
        "what": "how often nominal 95% intervals held the known truth, one fixed ranking, a fresh log each run",
        "runs": told.runs,
        "share": SHARE,
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
