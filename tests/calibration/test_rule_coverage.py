"""Do 95% intervals of a policy tree's rules hold the truth, and does the tree's regret fall with rows?

The tree is grown once on a log of its own; each run judges its rules on a fresh one. The long version (500 runs a
world, marked ``calibration``) also writes calibration/RULES.json when run as a command:

    python -m tests.calibration.test_rule_coverage --runs 500 --out calibration/RULES.json
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
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from persuadable.effects.scores import action_scores
from persuadable.policies import PolicyTree
from persuadable.value.policy_value import arm_mean_outcomes
from persuadable.value.rule_values import rule_values
from persuadable.worlds import RandomisedTrial

SEED = 70_000
N = 5_000
N_MONEY = 20_000  # a leaf of a fifth of 5,000 rows has few who pay, too few to be normal
UNITS = 200_000
WORLDS = {
    "binary, p = 0.5": RandomisedTrial("nonlinear", "binary", treated_share=0.5, base_rate=0.15),
    "binary, three arms": RandomisedTrial("nonlinear", "binary", n_actions=3, treated_share=0.6, base_rate=0.15),
    "money, p = 0.5": RandomisedTrial("nonlinear", "money", treated_share=0.5, base_rate=0.15),
    "real, confounded": RandomisedTrial("nonlinear", "real", n_actions=3, propensity="confounded"),
}
BUDGETS = {name: 0.3 if name == "binary, three arms" else 1.0 for name in WORLDS}
NAMES = list(WORLDS)
ROWS = (500, 2_000, 8_000, 32_000)


def rows_of(name):
    """Rows per log."""
    return N_MONEY if name.startswith("money") else N


@lru_cache(maxsize=1)
def truth(name):
    """A tree grown once, and what its rules are worth among many units."""
    world = WORLDS[name]
    grown_on = world.sample(20_000, random_state=SEED - 1)
    scores = world.response(grown_on.features)
    tree = PolicyTree(share=BUDGETS[name], grid=32).fit(grown_on, scores=scores)
    units = world.features(UNITS, SEED - 2)
    response, leaf = world.response(units), tree.leaves(units)
    worth = (tree.probabilities(units, world.n_actions) * response).sum(axis=1)
    by_rule = [(worth[leaf == i].mean(), (worth - response[:, 0])[leaf == i].mean()) for i in range(len(tree.rules()))]
    return tree, by_rule, (worth.mean(), (worth - response[:, 0]).mean())


def one_run(name, seed, n):
    """(estimate, truth) of every interval, from one log."""
    tree, by_rule, everybody = truth(name)
    log = WORLDS[name].sample(n, random_state=np.random.default_rng(seed))
    found = rule_values(log, tree, mu=arm_mean_outcomes(log))
    treating = [(row, t) for row, t in zip(found, by_rule, strict=True) if row.rule.probabilities[0] < 1]
    return {
        "value of a rule": [(row.value, t[0]) for row, t in zip(found, by_rule, strict=True)],
        "gain of a rule": [(row.gain, t[1]) for row, t in treating],
        "value of the tree": [(found.value, everybody[0])],
        "gain of the tree": [(found.gain, everybody[1])],
    }


def coverage(name, runs, n=None):
    """For each interval: how often it held the truth, mean standard error over actual spread."""
    found = defaultdict(list)
    for run in range(runs):
        for what, pairs in one_run(name, [SEED, NAMES.index(name), run], n or rows_of(name)).items():
            found[what].append([(e.value - t, e.stderr, float(e.interval[0] <= t <= e.interval[1])) for e, t in pairs])
    return {what: summary(np.array(rows)) for what, rows in found.items()}


def summary(rows):
    """Figures of (runs, quantities, (error, stderr, covered))."""
    error, stderr, covered = np.moveaxis(rows, 2, 0)
    spread = error.std(axis=0, ddof=1)
    return {
        "coverage": round(float(covered.mean()), 4),
        "stderr over spread": round(float((stderr.mean(axis=0) / spread).mean()), 3),
        "intervals": int(rows.shape[1]),
    }


@lru_cache(maxsize=1)
def best_tree():
    """The best tree of two levels by the truth itself, the units it is measured on, and its worth."""
    world = WORLDS["real, confounded"]
    many = world.sample(50_000, random_state=SEED - 3)
    units = world.features(UNITS, SEED - 4)
    tree = PolicyTree(grid=64).fit(many, scores=world.response(many.features))
    response = world.response(units)
    return world, units, response, (tree.probabilities(units, world.n_actions) * response).sum(axis=1).mean()


def regret(n, runs):
    """Mean worth missed against the best tree, from scores whose predictions are the arms' means."""
    world, units, response, best = best_tree()
    missed = []
    for run in range(runs):
        log = world.sample(n, random_state=np.random.default_rng([SEED, n, run]))
        mu = np.broadcast_to(arm_mean_outcomes(log), (n, world.n_actions))
        scores = action_scores(log.outcome(), log.action, log.propensity(), mu)
        p = PolicyTree(min_leaf=20, grid=64).fit(log, scores=scores).probabilities(units, world.n_actions)
        missed.append(best - (p * response).sum(axis=1).mean())
    return {"regret": round(float(np.mean(missed)), 5), "stderr": round(float(np.std(missed) / runs**0.5), 5)}


@pytest.mark.parametrize("name", ["binary, three arms", "real, confounded"])
def test_intervals_cover_in_a_few_runs(name):
    """Too few runs to see a percent, enough to see a wrong formula; a true 95% passes 9,999 times in 10,000."""
    runs = 25
    least = int(binom.ppf(1e-4, runs, 0.95)) / runs
    for what, figures in coverage(name, runs).items():
        assert figures["coverage"] >= least, (what, figures)
        assert 0.6 < figures["stderr over spread"] < 1.6, (what, figures)


@pytest.mark.calibration
@pytest.mark.parametrize("name", NAMES)
def test_intervals_cover_93_to_97_percent_of_500_runs(name):
    """Limits widened by chance: 500 runs of a true 95% spread by 1 point; a rule is one of up to four."""
    for what, figures in coverage(name, 500).items():
        assert 0.925 <= figures["coverage"] <= 0.975, (what, figures)


@pytest.mark.calibration
def test_regret_falls_with_rows():
    """Like 1/√n or faster (Athey and Wager 2021): four times the rows halve it, and 30 runs see a quarter less."""
    found = [regret(n, 30)["regret"] for n in ROWS]
    assert all(later < 0.75 * earlier for earlier, later in pairwise(found)), found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("calibration/RULES.json"))
    told = parser.parse_args()
    import persuadable

    results = {f"{name}, n = {rows_of(name)}": coverage(name, told.runs) for name in NAMES}
    regrets = {str(n): regret(n, max(told.runs // 10, 2)) for n in ROWS}
    print(json.dumps([results, regrets], ensure_ascii=False, indent=1), file=sys.stderr)
    report = {
        "what": "how often nominal 95% intervals of a tree's rules held the known truth, and regret by rows",
        "runs": told.runs,
        "seed": SEED,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__},
        "persuadable": persuadable.__version__,
        "results": results,
        "regret against the best tree of two levels": regrets,
    }
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
