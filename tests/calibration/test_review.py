"""Does the queue hold the wrong decisions? On known truth, against as many decisions drawn at random.

A decision is wrong where the policy treats a unit whose true net effect is below its threshold, or leaves alone one
whose true net effect is above. Policy and review are made on two logs; the queue is that of units that neither saw.
The long version, with the rare outcomes of ``worlds.Ads`` as they are, is a command:

    python -m tests.calibration.test_review --out calibration/REVIEW.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persuadable.effects import TLearner, XLearner
from persuadable.engine import LocalEngine, Trees
from persuadable.policies import BudgetPolicy, review
from persuadable.policies.review import CODES
from persuadable.worlds import Ads, RandomisedTrial

SEED = 60_000
LOAD = 0.1
UNITS = 100_000
PLAIN = Trees(n_trees=100, max_depth=4, learning_rate=0.08, min_child_weight=20)
RARE = Trees(n_trees=70, max_depth=3, reg_lambda=100, min_child_weight=300, scale_pos_weight=30.0, keep_negatives=0.1)
RARE_EFFECT = Trees(n_trees=40, max_depth=4, min_child_weight=2_500)


@dataclass(frozen=True)
class Case:
    """A world, a learner, and from which effect its policy treats: a budget's threshold, or a break-even."""

    world: Any
    learner: Any
    n: int
    policy: dict[str, float]
    settings: dict[str, Any] = field(default_factory=lambda: {"trees": PLAIN, "n_folds": 2})


TRIAL = RandomisedTrial(surface="nonlinear", base_rate=0.15)
FREQUENT = Ads(conversion_rate=0.02)
CASES = {
    "trial, X": Case(TRIAL, XLearner, 50_000, {"share": 0.3}),
    "trial, T": Case(TRIAL, TLearner, 50_000, {"share": 0.3}),
    "ads at 2%, X": Case(FREQUENT, XLearner, 100_000, {"share": 1.0, "break_even": 0.01}),
    "ads at 2%, a tenth treated": Case(FREQUENT, XLearner, 100_000, {"share": 0.1}),
    "ads at 0.294%, X": Case(
        Ads(),
        XLearner,
        1_000_000,
        {"share": 1.0, "break_even": 0.0015},
        {"trees": RARE_EFFECT, "nuisance_trees": RARE, "n_folds": 2, "weighting": "rows"},
    ),
}
SHORT = {
    "trial, X": Case(TRIAL, XLearner, 20_000, {"share": 0.3}),
    "ads at 2%, X": Case(FREQUENT, XLearner, 100_000, {"share": 1.0, "break_even": 0.01}),
}


def one_run(case, seed, n_resamples=20, units=UNITS):
    """Figures of one run."""
    train, held_out = case.world.sample(case.n, [seed, 0]), case.world.sample(20_000, [seed, 1])
    learner = case.learner(n_resamples=n_resamples, engine=LocalEngine(threads=1), random_state=seed, **case.settings)
    policy = BudgetPolicy(learner.fit(train), **case.policy).calibrate(held_out)
    people = review(policy, held_out, LOAD, train=train)
    X = case.world.features(units, [seed, 2])
    judged = people.assess(X)
    net = case.world.effect(X)[:, 1] - case.policy.get("break_even", 0.0)
    treated = policy.probabilities(X, 2)[:, 1] > 0.5
    wrong = treated != (net > policy.threshold)
    cost = np.where(wrong, np.abs(net - policy.threshold), 0.0)
    queued = judged.queued
    return {
        "treated": float(treated.mean()),
        "wrong": float(wrong.mean()),
        "queue": float(queued.mean()),
        "wrong in the queue": float(wrong[queued].mean()),
        "times a random tenth": float(wrong[queued].mean() / wrong.mean()),
        "share of the wrong decisions in the queue": float(wrong[queued].sum() / wrong.sum()),
        "share of their cost in the queue": float(cost[queued].sum() / cost.sum()),
        "said to be wrong": float(judged.wrong.mean()),
        "said to be wrong in the queue": float(judged.wrong[queued].mean()),
        "codes": {
            code: {"queued": int(mine.sum()), "wrong": float(wrong[mine].mean()) if mine.any() else None}
            for code, mine in ((code, queued & judged.marks[:, i]) for i, code in enumerate(CODES))
        },
    }


@pytest.mark.parametrize("name", list(SHORT))
def test_the_queue_holds_three_times_as_many_wrong_decisions_as_a_random_tenth(name):
    found = one_run(SHORT[name], SEED, n_resamples=10, units=40_000)
    # The cut is the quantile of 20,000 held-out rows, the queue's share that of 40,000 others: 5 standard errors.
    assert abs(found["queue"] - LOAD) < 5 * np.sqrt(LOAD * (1 - LOAD) * (1 / 20_000 + 1 / 40_000))
    assert found["times a random tenth"] >= 3.0
    assert found["share of their cost in the queue"] >= 3.0 * found["queue"]


@pytest.mark.calibration
@pytest.mark.parametrize("name", list(CASES))
def test_the_queue_on_large_logs(name):
    assert one_run(CASES[name], SEED + 1)["times a random tenth"] >= 3.0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("calibration/REVIEW.json"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    told = parser.parse_args()
    import persuadable

    results = {}
    for name in told.cases:
        runs = []
        for run in range(told.runs):
            started = time.perf_counter()
            runs.append(one_run(CASES[name], SEED + 1 + run))
            print(name, json.dumps(runs[-1]), f"{time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        results[name] = {"rows": CASES[name].n, "policy": CASES[name].policy, "runs": runs}
    report = {
        "what": "how many truly wrong decisions the review queue holds, at a load of a tenth of the decisions",
        "load": LOAD,
        "units": UNITS,
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
