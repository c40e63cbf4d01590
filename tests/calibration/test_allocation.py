"""What are allocations worth in truth: against the oracle, against rules of thumb, and where nothing has an effect?

In ``worlds.Offers`` five offers cost what is redeemed, also by those who would have bought anyway. Two heads are fitted
on a randomised log, the path of prices is drawn on a second, smaller one, and every policy is then judged on units of
its own by the exact conditional means, so that the only error left is that of a paired mean over units. The rules of
thumb are favoured: each spends the budget to the cent, in truth, with the offer that in truth serves it best. The long
version is a command:

    python -m tests.calibration.test_allocation --out calibration/ALLOCATION.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from persuadable.effects import SLearner, fit_heads
from persuadable.engine import LocalEngine, Trees
from persuadable.policies import AllocationPolicy, PricePath
from persuadable.policies.choosing import allowed_pairs, choose, placed
from persuadable.response import ResponseModel
from persuadable.worlds import Offers

SEED = 51_000  # of campaigns; learners' settings were chosen on logs and units of other seeds, of another world seed
WORLD = Offers(shares=(0.3, 0.14, 0.14, 0.14, 0.14, 0.14))
WEAK = replace(WORLD, occasions=1)
NOTHING = replace(WORLD, surface="none")
BUDGETS = tuple(float(b) for b in range(1, 11))
N = 200_000
UNITS = 200_000
SMALL_RUNS = 60
VALUE = Trees(n_trees=400, max_depth=5, learning_rate=0.06, min_child_weight=300, subsample=0.5)
COST = Trees(n_trees=600, max_depth=5, learning_rate=0.15, min_child_weight=10, subsample=0.7)
SMALL = Trees(n_trees=60, max_depth=4, learning_rate=0.15, min_child_weight=20)


def trained(world, n, seed, value_trees=VALUE, cost_trees=COST):
    """The policy, and a model of who buys, from n rows; the price from a quarter as many others."""
    engine = LocalEngine(threads=1)
    log = world.sample(n, [seed, 0])
    # Margins and costs are products of rates and amounts, never below 0, so both heads fit the log of the mean.
    value = SLearner(trees=value_trees, loss="poisson", engine=engine)
    cost = SLearner(trees=cost_trees, loss="poisson", engine=engine)
    fit_heads(value, cost, log)
    policy = AllocationPolicy(value, cost, budget=BUDGETS[0]).calibrate(world.sample(n // 4, [seed, 1]))
    buys = ResponseModel(SMALL, engine=engine).fit(log, "purchase")
    return policy, buys


def rules(policy, buys, units, value, cost):
    """Name → budget → (n, A) what a rule of thumb does, and what the policy does, from one prediction.

    ``value`` and ``cost`` are the truth, to favour the rules by.
    """
    predicted, dear = policy.economics(units)
    n, n_actions = value.shape
    likely, best = buys.predict(units), predicted.argmax(axis=1)
    passing = np.where((predicted - dear).max(axis=1) > 0.0, (predicted - dear).argmax(axis=1), 0)

    def until_spent(order, action, budget):
        """Give the actions in this order until the budget is spent, the last one by lot."""
        spent = np.cumsum(cost[order, action[order]]) / n
        share = np.zeros(n)
        share[order] = np.clip((budget - spent) * n / np.maximum(cost[order, action[order]], 1e-12) + 1.0, 0.0, 1.0)
        p = np.zeros((n, n_actions))
        p[np.arange(n), action] = share
        p[:, 0] += 1.0 - p.sum(axis=1)
        return p

    def propensity(budget):
        order = np.argsort(-likely)
        made = [until_spent(order, np.full(n, a), budget) for a in range(1, n_actions)]
        return max(made, key=lambda p: (p * value).sum())

    def lots(budget):
        """Everybody predicted to bring more than to cost, as far as the budget goes, whoever comes first."""
        spent = cost[np.arange(n), passing].mean()
        share = min(1.0, budget / spent)
        p = np.zeros((n, n_actions))
        p[np.arange(n), passing] = share
        p[:, 0] += 1.0 - p.sum(axis=1)
        return p

    def by_price(budget):
        rule = policy.price_at(budget)
        return placed(choose(predicted, dear, rule), rule)

    return by_price, {
        "conversion propensity": propensity,
        "value only": lambda budget: until_spent(np.argsort(-predicted.max(axis=1)), best, budget),
        "fixed threshold": lots,
    }


def judged(world, n, seed, units=UNITS, budgets=BUDGETS, **trees):
    """Figures of one run, by budget."""
    started = time.perf_counter()
    policy, buys = trained(world, n, seed, **trees)
    fitted = time.perf_counter() - started
    X = world.features(units, [seed, 2])
    value, cost = world.effect(X), world.cost_effect(X)
    oracle = PricePath.of(value, cost, allowed_pairs(value, cost))
    decide, thumb = rules(policy, buys, X, value, cost)
    found = {"evidence": str(policy.evidence_), "seconds to fit": round(fitted, 1), "budgets": {}}
    for budget in budgets:
        p = decide(budget)
        gain = (p * value).sum(axis=1)
        best = oracle.cut(budget)
        figure = {
            "share of the oracle's value": float(gain.mean() / best.value),
            "spend over budget": float((p * cost).sum() / units / budget),
            "value": float(gain.mean()),
            "the oracle's": best.value,
            "price": policy.price_at(budget).price,
            "the oracle's price": best.price,
            "offered": float(1.0 - p[:, 0].mean()),
        }
        for name, rule in thumb.items():
            gap = gain - (rule(budget) * value).sum(axis=1)
            half = 1.96 * gap.std(ddof=1) / math.sqrt(units)
            figure[f"more than by {name}"] = [float(gap.mean()), float(gap.mean() - half), float(gap.mean() + half)]
        found["budgets"][f"{budget:g}"] = figure
    return found


def without_effects(n, runs, seed, **trees):
    """Where nothing has an effect: (runs, 3) shares of units without an offer, at two budgets and at none."""
    shares = []
    for run in range(runs):
        policy, buys = trained(NOTHING, n, seed + run, **trees)
        X = NOTHING.features(20_000, [seed + run, 2])
        decide, _ = rules(policy, buys, X, NOTHING.effect(X), NOTHING.cost_effect(X))
        shares.append([float(decide(b)[:, 0].mean()) for b in (BUDGETS[0], BUDGETS[-1], None)])
    return np.array(shares)


def least(found, what):
    return min(figure[what] for figure in found["budgets"].values())


def worst_spend(found):
    return max(abs(figure["spend over budget"] - 1.0) for figure in found["budgets"].values())


def beaten(found):
    """The lowest lower end of the intervals of the differences from each rule."""
    names = [k for k in next(iter(found["budgets"].values())) if k.startswith("more than by")]
    return {name: min(figure[name][1] for figure in found["budgets"].values()) for name in names}


# -- the short version -------------------------------------------------------------------------------------------------


def test_an_allocation_from_few_rows_is_worth_most_of_the_oracles():
    """A tenth of the rows and small ensembles: less is asked, and everything that could be wrong would show."""
    found = judged(WORLD, 20_000, SEED - 1, units=40_000, value_trees=SMALL, cost_trees=SMALL)
    assert least(found, "share of the oracle's value") > 0.75
    assert worst_spend(found) < 0.1
    for rule, margin in beaten(found).items():
        assert margin > 0.0, rule


def test_without_effects_nothing_is_offered():
    """Each run makes no offer with probability 0.99, so three in ten failing is one in ten thousand."""
    shares = without_effects(4_000, 10, SEED - 100, value_trees=SMALL, cost_trees=SMALL)
    assert (shares.min(axis=1) == 1.0).sum() >= 8


# -- the long version --------------------------------------------------------------------------------------------------


@pytest.mark.calibration
def test_the_campaign():
    found = judged(WORLD, N, SEED)
    assert least(found, "share of the oracle's value") >= 0.95
    assert worst_spend(found) <= 0.02
    for rule, margin in beaten(found).items():
        assert margin > 0.0, rule
    assert without_effects(N, 1, SEED + 500).min() >= 0.99


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("calibration/ALLOCATION.json"))
    given = parser.parse_args()
    import persuadable

    runs = [judged(WORLD, N, SEED + run) for run in range(given.runs)]
    print(json.dumps(runs), file=sys.stderr, flush=True)
    weak = judged(WEAK, N, SEED + 900, budgets=tuple(b / 8 for b in BUDGETS))
    full = without_effects(N, 1, SEED + 500)
    small = without_effects(10_000, SMALL_RUNS, SEED + 1000, value_trees=SMALL, cost_trees=SMALL)
    report = {
        "what": "true value of allocations against the oracle's, and against rules of thumb, by budget per head",
        "world": repr(WORLD),
        "training rows": N,
        "rows the price was drawn from": N // 4,
        "units judged on": UNITS,
        "seed": SEED,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__},
        "persuadable": persuadable.__version__,
        "in short": [
            {
                "least share of the oracle's value": least(found, "share of the oracle's value"),
                "largest deviation of the spend": worst_spend(found),
                "lowest end of the intervals of the differences": beaten(found),
            }
            for found in runs
        ],
        "runs": runs,
        "one occasion to buy instead of eight, an eighth of the budgets": weak,
        "without effects": {
            "least share without an offer, at full size": float(full.min()),
            "runs on 10,000 rows": SMALL_RUNS,
            "of these offered anything": int((small.min(axis=1) < 1.0).sum()),
            "mean share without an offer in these": float(small.min(axis=1).mean()),
        },
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(rounded(report), indent=1, ensure_ascii=False) + "\n")


def rounded(told):
    """The same with numbers to five digits."""
    if isinstance(told, dict):
        return {k: rounded(v) for k, v in told.items()}
    if isinstance(told, list):
        return [rounded(v) for v in told]
    return float(f"{told:.5g}") if isinstance(told, float) else told


if __name__ == "__main__":
    main()
