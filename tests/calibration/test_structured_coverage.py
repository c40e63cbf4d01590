"""Do 95% intervals for slates, stages and doses hold the truth 95% of the time?

Each run draws a fresh log from a world whose truth is known exactly. The long version (500 runs a world, marked
``calibration``) also writes calibration/STRUCTURED.json when run as a command:

    python -m tests.calibration.test_structured_coverage --runs 500 --out calibration/STRUCTURED.json

An estimator whose assumption a world breaks is reported too, under "assumption broken", and nothing is asked of it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from persuadable.engine import LocalEngine, Trees
from persuadable.response import cross_fit_stages
from persuadable.value.ope.continuous import Kernel, choose_bandwidth, kernel_dr, kernel_ips, kernel_snips
from persuadable.value.ope.intervals import interval_of
from persuadable.value.ope.slate import cascade_dr, independent_ips, interaction_ips, standard_ips
from persuadable.value.ope.staged import per_decision_is, sequential_dr, trajectory_is
from persuadable.worlds import Doses, Slates, Stages

SEED = 30_000
N = 6_000
BROKEN = ", assumption broken"
SLATES = {f"slates, {b}": Slates(b, seed=3) for b in ("independent", "cascade", "whole")}
HOLDS = {
    "slates, independent": ("standard", "independent", "interaction", "cascade-dr"),
    "slates, cascade": ("standard", "interaction", "cascade-dr"),
    "slates, whole": ("standard",),
}
STAGES = {
    "stages, 4 of them": Stages(n_stages=4, leaving=0.0, seed=5),
    "stages, with people leaving": Stages(n_stages=5, n_actions=3, leaving=0.3, seed=6),
}
DISCOUNT = 0.9
SMALL = Trees(n_trees=8, max_depth=3, learning_rate=0.5)
DOSES = Doses(curvature=4.0)
BANDWIDTH = 0.5
QUICK = ["slates, cascade", "stages, with people leaving", "doses, inside", "doses, at a bound"]
FITTED = "stages, q̂ cross-fitted"
NAMES = [*SLATES, *STAGES, "doses, inside", "doses, at a bound", "doses, bandwidth chosen", FITTED]


def wrong(q):
    """A model that has learned something and is off: DR has to mend it."""
    return 0.6 * q + 0.1


def slates(name, rng):
    """(terms, truth) of every estimator on one log."""
    world = SLATES[name]
    candidate, log = world.softmax(1.2), world.sample(N, rng)
    conditional = candidate.conditional(log.context, log.slates)
    marginal = candidate.marginal(log.context, log.slates)
    q = wrong(world.remaining(candidate, log.context, log.slates))
    table = candidate.table(log.context, log.slates)
    found = {}
    for normalise in (False, True):
        more, label = {"self_normalised": normalise}, ", normalised" if normalise else ""
        found["standard" + label] = standard_ips(log.rewards, conditional, log.propensity, **more)
        found["independent" + label] = independent_ips(log.rewards, marginal, log.marginal, **more)
        found["interaction" + label] = interaction_ips(log.rewards, conditional, log.propensity, **more)
        found["cascade-dr" + label] = cascade_dr(log.rewards, log.slates, table, log.propensity, q, **more)
    truth = world.value(candidate)
    holds = HOLDS[name]
    return {what if what.partition(",")[0] in holds else what + BROKEN: (terms, truth) for what, terms in found.items()}


def stages(name, rng):
    world = STAGES[name]
    candidate = world.best(explore=0.4)
    log, truth = world.sample(N, rng), world.value(candidate, DISCOUNT)
    policy, q = world.at(candidate, log), wrong(world.at(world.q(candidate, DISCOUNT), log))
    taken = np.take_along_axis(policy, np.maximum(log.actions, 0)[:, :, None], axis=2)[:, :, 0]
    found = {}
    for normalise in (False, True):
        more = {"self_normalised": normalise, "discount": DISCOUNT, "length": log.length}
        label = ", normalised" if normalise else ""
        found["trajectory" + label] = trajectory_is(log.rewards, taken, log.propensity, **more)
        found["per-decision" + label] = per_decision_is(log.rewards, taken, log.propensity, **more)
        found["sequential-dr" + label] = sequential_dr(log.rewards, log.actions, policy, log.propensity, q, **more)
    return {what: (terms, truth) for what, terms in found.items()}


def fitted_stages(rng):
    """q̂ learned from the rounds that are judged, each round's from the others."""
    world = STAGES["stages, 4 of them"]
    candidate = world.best(explore=0.4)
    log, truth = world.sample(N, rng), world.value(candidate, DISCOUNT)
    known = [log.states[:, [t]].astype(float) for t in range(world.n_stages)]
    args = log.actions, log.rewards, world.at(candidate, log)
    q = cross_fit_stages(known, *args, discount=DISCOUNT, trees=SMALL, n_folds=3, engine=LocalEngine(threads=1))
    dr = sequential_dr(log.rewards, log.actions, args[2], log.propensity, q, discount=DISCOUNT)
    return {"sequential-dr": (dr, truth)}


def jittered(inside):
    """(candidate, its value, its value once jittered by an Epanechnikov kernel of half-width BANDWIDTH).

    Inside, ∫ u² K = 1/5. At the bound 0 half a kernel is left, scaled up: E u = 3/8, E u² = 1/5.
    """
    upper, c, h = DOSES.upper, DOSES.curvature, BANDWIDTH
    if inside:
        value = DOSES.value(lambda x: 0.8 * DOSES.best(x))
        return (lambda x: 0.8 * DOSES.best(x)), value, value - c * h**2 / 5 / upper**2
    value = DOSES.value(np.zeros_like)
    return np.zeros_like, value, value - c * (h**2 / 5 - 2 * (3 / 8 * h) * upper / 2) / upper**2


def doses(inside, rng):
    """A model q̂ = wrong(μ) leaves 0.4 μ to be smoothed."""
    policy, value, smooth = jittered(inside)
    log = DOSES.sample(N, rng)
    tau = policy(log.x)
    args = log.outcome, log.dose, tau, log.density, Kernel(BANDWIDTH, "epanechnikov", DOSES.space)
    q = {"q_logged": wrong(DOSES.mean(log.x, log.dose)), "q_candidate": wrong(DOSES.mean(log.x, tau))}
    target = 0.6 * value + 0.4 * smooth
    return {
        "kernel ips": (kernel_ips(*args), smooth),
        "kernel snips": (kernel_snips(*args), smooth),
        "kernel dr": (kernel_dr(*args, **q), target),
        "kernel dr, normalised": (kernel_dr(*args, **q, self_normalised=True), target),
    }


def tuned_doses(rng):
    """About the candidate itself, which a kernel estimate misses by its bias: nothing is promised."""
    policy, value, _ = jittered(True)
    log = DOSES.sample(N, rng)
    args = log.outcome, log.dose, policy(log.x), log.density
    found = {}
    for part in (1.0, 0.5, 0.25):
        choice = choose_bandwidth(
            lambda k: kernel_snips(*args, k), np.geomspace(0.1, 6.4, 7), space=DOSES.space, undersmooth=part
        )
        found[f"kernel snips, {part:g} of what was accepted" + BROKEN] = kernel_snips(*args, choice.kernel), value
    return found


def one_run(name, rng):
    if name == FITTED:
        return fitted_stages(rng)
    if name in SLATES:
        return slates(name, rng)
    if name in STAGES:
        return stages(name, rng)
    return tuned_doses(rng) if name.endswith("chosen") else doses(name == "doses, inside", rng)


def coverage(name, runs):
    """Of each estimator: how often its interval held the truth, mean standard error over spread, bias, RMSE."""
    found = defaultdict(list)
    for run in range(runs):
        for what, (terms, truth) in one_run(name, np.random.default_rng([SEED, NAMES.index(name), run])).items():
            e = interval_of(terms)
            found[what].append((e.value - truth, e.stderr, e.interval[0] <= truth <= e.interval[1]))
    return {what: summary(*np.array(rows, dtype=float).T) for what, rows in found.items()}


def summary(error, stderr, covered):
    spread = error.std(ddof=1)
    return {
        "coverage": round(float(covered.mean()), 4),
        "stderr over spread": round(float(stderr.mean() / spread), 3),
        "bias in standard errors": round(float(error.mean() / spread), 3),
        "rmse": float(f"{np.sqrt((error**2).mean()):.4g}"),
    }


def promised(figures):
    return {what: row for what, row in figures.items() if not what.endswith(BROKEN)}


@pytest.mark.parametrize(
    "name", ["slates, cascade", "stages, with people leaving", "doses, inside", "doses, at a bound"]
)
def test_intervals_cover_in_a_few_runs(name) -> None:
    """Too few runs to see a percent, enough to see a wrong formula; a true 95% passes 9,999 times in 10,000."""
    runs = 30
    least = int(binom.ppf(1e-4, runs, 0.95)) / runs
    for what, figures in promised(coverage(name, runs)).items():
        assert figures["coverage"] >= least, (what, figures)
        assert 0.6 < figures["stderr over spread"] < 1.6, (what, figures)


@pytest.mark.calibration
@pytest.mark.parametrize("name", NAMES)
def test_intervals_cover_93_to_97_percent_of_500_runs(name) -> None:
    """Limits widened by chance: 500 runs of a true 95% spread by 1 point."""
    for what, figures in promised(coverage(name, 500)).items():
        assert 0.925 <= figures["coverage"] <= 0.975, (what, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("calibration/STRUCTURED.json"))
    told = parser.parse_args()
    import persuadable

    results = {}
    for name in NAMES:
        results[name] = coverage(name, told.runs)
        print(name, json.dumps(results[name], ensure_ascii=False, indent=1), file=sys.stderr)
    report = {
        "what": "how often nominal 95% intervals held the known truth: slates, stages and doses, a fresh log each run",
        "runs": told.runs,
        "n": N,
        "seed": SEED,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__},
        "persuadable": persuadable.__version__,
        "results": results,
    }
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
