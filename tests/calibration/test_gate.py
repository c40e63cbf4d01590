"""Does the gate let good policies through, stop bad ones, and refuse logs that cannot tell?

Each run draws a fresh log from a world whose truth is known, and a fresh candidate whose true difference from the
baseline is hidden from the gate. On healthy logs half of the candidates are better by at least 0.03 per head and half
worse by as much; on broken logs all are worse, by 0.003 or more, so that every GO is a false one. Beside the gate
stands what is often done instead: GO where the interval of the difference by IPS lies above 0.

    python -m tests.calibration.test_gate --runs 200 --out calibration/GATE.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binom

from persuadable.engine import LocalEngine, Trees
from persuadable.log import DecisionLog
from persuadable.response import cross_fit_arms
from persuadable.value.gating import gate
from persuadable.worlds import RandomisedTrial

SEED = 40_000
N = 6_000
UNITS = 30_000
CLEAR = 0.03  # a difference per head of about five standard errors
WORSE = 0.003
LAMBDA = 2.0  # strength of the confounding nobody logs
STIR = 1.0  # what the unlogged cause does to the log-odds of the outcome
WORLDS = {
    arms: RandomisedTrial("nonlinear", "binary", n_actions=arms, base_rate=0.3, effect_scale=1.0, n_features=7)
    for arms in (2, 3)
}


class Units:
    """Units of a world: features, true mean outcomes (n, A), and how likely the outcome is if nothing is done.

    ``risk`` is the latter on the log-odds scale, standardised over the population: what operators go by.
    """

    def __init__(self, world, x):
        self.x, self.n = np.asarray(x.values, dtype=np.float64), len(x)
        self.features, self.mu = x, world.response(x)
        self.risk = logit(self.mu[:, 0])


@lru_cache(maxsize=2)
def population(arms):
    units = Units(WORLDS[arms], WORLDS[arms].features(UNITS, SEED - 1))
    units.scale = units.risk.mean(), units.risk.std()
    units.risk = (units.risk - units.scale[0]) / units.scale[1]
    return units


def fresh_units(arms, rng):
    units = Units(WORLDS[arms], WORLDS[arms].features(N, rng))
    mean, spread = population(arms).scale
    units.risk = (units.risk - mean) / spread
    return units


def two(treat):
    return np.column_stack([1 - treat, treat])


def even(units, rng):
    e = np.full(units.mu.shape, 1 / units.mu.shape[1])
    return e, e


def by_features(units, rng):
    """An exploring policy: softmax over two features, mixed with a lottery."""
    arms = units.mu.shape[1]
    tilt = np.exp(units.x[:, :arms] * np.linspace(-0.8, 0.8, arms))
    e = 0.8 * tilt / tilt.sum(axis=1, keepdims=True) + 0.2 / arms
    return e, e


def averaged(units, rng):
    """Operators treated those they feared to lose; the log holds the share treated."""
    treat = expit(-1.2 * units.risk)
    return two(treat), two(np.full(units.n, treat.mean()))


def half_by_a_new_version(units, rng):
    """Half of the rows are a new version's, which goes by risk; the log holds the old version's lottery."""
    new = rng.random(units.n) < 0.5
    return two(np.where(new, expit(-2.5 * units.risk), 0.5)), two(np.full(units.n, 0.5))


def flattened(units, rng):
    """The log holds the probabilities before they were sharpened."""
    return two(expit(-1.6 * units.risk)), two(expit(-0.4 * units.risk))


def weakly_averaged(units, rng):
    """As ``averaged``, but so weakly that the tests see it hardly better than the estimates are moved by it."""
    return two(expit(-0.15 * units.risk)), two(np.full(units.n, 0.5))


def of_one_kind(units):
    """Users of a kind that a business rule always treats."""
    return units.x[:, 5] > 0.5


def always(units, rng):
    """They were always treated, and the log says so."""
    treat = np.where(of_one_kind(units), 1.0, 0.5)
    return two(treat), two(treat)


def always_with_a_floor(units, rng):
    """They were always treated, but the log claims a chance of 5% of leaving them alone."""
    return two(np.where(of_one_kind(units), 1.0, 0.5)), two(np.where(of_one_kind(units), 0.95, 0.5))


@dataclass(frozen=True)
class Regime:
    """How logs come about, and whether candidates are judged on sound ones.

    ``draw`` gives the true and the logged propensities. ``confounded``: those whom something nobody logged makes
    likelier to respond were held back, the odds of their treatment changed by LAMBDA, and the logged propensity is
    right on average given the features; candidates are those that treat few. ``keeps_the_rule``: candidates treat
    whom the business rule treats.
    """

    draw: Callable
    healthy: bool
    arms: int = 2
    confounded: bool = False
    keeps_the_rule: bool = False


REGIMES = {
    "healthy, even": Regime(even, True),
    "healthy, by features": Regime(by_features, True),
    "healthy, three arms": Regime(by_features, True, arms=3),
    "misrecorded: averaged": Regime(averaged, False),
    "misrecorded: new version": Regime(half_by_a_new_version, False),
    "misrecorded: flattened": Regime(flattened, False),
    "misrecorded: weakly": Regime(weakly_averaged, False),
    "missing support, logged": Regime(always, False, keeps_the_rule=True),
    "missing support, hidden": Regime(always_with_a_floor, False, keeps_the_rule=True),
    "unseen confounding": Regime(even, False, confounded=True),
}


class Candidate:
    """Takes the action of the highest linear score, and any other with probability 0.1 in all."""

    def __init__(self, regime, rng):
        self.weights = rng.normal(size=(regime.arms - 1, 6))
        self.weights /= np.linalg.norm(self.weights, axis=1, keepdims=True)
        self.shift = rng.normal(-1.0 if regime.confounded else 0.0, 0.5, regime.arms - 1)
        self.keeps_the_rule = regime.keeps_the_rule

    def probabilities(self, units):
        arms = units.mu.shape[1]
        scores = units.x[:, :6] @ self.weights.T + self.shift
        best = np.column_stack([np.zeros(units.n), scores]).argmax(axis=1)
        if self.keeps_the_rule:
            best = np.where(of_one_kind(units), 1, best)
        p = np.full((units.n, arms), 0.1 / (arms - 1))
        p[np.arange(units.n), best] = 0.9
        return p


def hidden_truth(candidate, regime):
    """True difference from deciding by lot; an unlogged cause of ±1 is averaged out."""
    units = population(regime.arms)
    mu = units.mu
    if regime.confounded:
        mu = (expit(logit(mu) + STIR) + expit(logit(mu) - STIR)) / 2
    return float(((candidate.probabilities(units) - 1 / regime.arms) * mu).sum(axis=1).mean())


def drawn_candidate(regime, rng, good):
    """A candidate of the kind asked for, and its true difference from deciding by lot."""
    while True:
        candidate = Candidate(regime, rng)
        truth = hidden_truth(candidate, regime)
        if not regime.healthy:
            if truth <= -WORSE:
                return candidate, truth
        elif (truth >= CLEAR) if good else (truth <= -CLEAR):
            return candidate, truth


def drawn_log(regime, rng):
    """A log, and its units as the world knows them."""
    units = fresh_units(regime.arms, rng)
    true, logged = regime.draw(units, rng)
    mu = units.mu
    if regime.confounded:
        side = rng.choice([-1.0, 1.0], N)
        true = two(expit(logit(true[:, 1]) - side * np.log(LAMBDA)))
        mu = expit(logit(mu) + STIR * side[:, None])
    action = (rng.random(N)[:, None] >= true.cumsum(axis=1)[:, :-1]).sum(axis=1)
    y = (rng.random(N) < mu[np.arange(N), action]).astype(float)
    names = WORLDS[regime.arms].action_names
    return DecisionLog.from_arrays(units.features, action, y, action_names=names, propensity=logged), units


def naive(log, p, baseline):
    """What is often done instead: GO where the 95% interval of the difference by IPS lies above 0, NO_GO below."""
    at = np.arange(log.n), log.action
    psi = (p[at] - baseline[at]) / log.taken_propensity() * log.outcome()
    half = 1.96 * psi.std() / np.sqrt(log.n)
    return "GO" if psi.mean() > half else "NO_GO" if psi.mean() < -half else "EXPERIMENT"


def one_run(name, run):
    """What the gate and the naive rule say of one candidate on one log, the truth, Λ*, and which checks failed."""
    regime = REGIMES[name]
    rng = np.random.default_rng([SEED, list(REGIMES).index(name), run])
    good = regime.healthy and run % 2 == 0
    candidate, truth = drawn_candidate(regime, rng, good)
    log, units = drawn_log(regime, rng)
    p = candidate.probabilities(units)
    baseline = np.full(p.shape, 1 / regime.arms)
    q_hat = cross_fit_arms(log, trees=Trees(n_trees=30, max_depth=3), n_folds=2, engine=LocalEngine(threads=1))
    verdict = gate(log, p, baseline, q_hat=q_hat, random_state=run)
    return {
        "good": good,
        "truth": truth,
        "gate": verdict.decision,
        "naive": naive(log, p, baseline),
        "tipping": verdict.sensitivity.tipping,
        "failed": [one.code for one in verdict.checks if one.blocks],
    }


def figures(name, runs):
    """Shares of decisions, by the gate and by naive IPS."""
    found = [one_run(name, run) for run in range(runs)]
    told = {}
    kinds = (("good", True), ("bad", False)) if REGIMES[name].healthy else (("bad", False),)
    for kind, good in kinds:
        rows = [one for one in found if one["good"] == good]
        told[kind] = {
            "candidates": len(rows),
            "mean true difference": round(float(np.mean([one["truth"] for one in rows])), 4),
            **{who: shares(one[who] for one in rows) for who in ("gate", "naive")},
        }
    told["checks that failed"] = dict(sorted(Counter(code for one in found for code in one["failed"]).items()))
    if REGIMES[name].confounded:
        tipping = [one["tipping"] for one in found if one["gate"] == "GO"]
        told["lambda star of GO"] = {
            "true lambda": LAMBDA,
            "median": round(float(np.median(tipping)), 2) if tipping else None,
            "largest": round(float(np.max(tipping)), 2) if tipping else None,
            "above the true lambda": sum(one > LAMBDA for one in tipping),
        }
    return told


def shares(decisions):
    counts = Counter(decisions)
    return {one: round(counts[one] / counts.total(), 4) for one in ("GO", "NO_GO", "EXPERIMENT")}


RUNS = 16


@pytest.mark.parametrize("name", [name for name, regime in REGIMES.items() if regime.healthy])
def test_healthy_logs_let_good_through_and_stop_bad_in_a_few_runs(name):
    """A gate right 9 times in 10 passes 9,999 times in 10,000."""
    told = figures(name, RUNS)
    least = binom.ppf(1e-4, RUNS // 2, 0.9) / (RUNS // 2)
    assert told["good"]["gate"]["GO"] >= least
    assert told["bad"]["gate"]["NO_GO"] >= least


@pytest.mark.parametrize("name", [name for name, one in REGIMES.items() if not (one.healthy or one.confounded)])
def test_broken_logs_let_nothing_bad_through_in_a_few_runs(name):
    """A false-GO rate of 1% passes 9,999 times in 10,000."""
    told = figures(name, RUNS)
    assert told["bad"]["gate"]["GO"] <= binom.ppf(1 - 1e-4, RUNS, 0.01) / RUNS


def test_confounding_nobody_logged_is_not_seen_but_is_told():
    """Λ* of a false GO lies below the Λ that made it, but for the 2.5% in which the interval is too high."""
    told = figures("unseen confounding", RUNS)
    assert told["checks that failed"] == {} or sum(told["checks that failed"].values()) <= binom.ppf(
        1 - 1e-4, RUNS, 0.01
    )
    assert told["bad"]["gate"]["GO"] > 0
    assert told["lambda star of GO"]["above the true lambda"] <= binom.ppf(1 - 1e-4, RUNS, 0.025)


@pytest.mark.calibration
@pytest.mark.parametrize("name", list(REGIMES))
def test_the_gate_on_200_candidates(name):
    """Limits are the issue's, widened by what 100 or 200 runs of them scatter (one in a thousand)."""
    told = figures(name, 200)
    if REGIMES[name].healthy:
        least = binom.ppf(1e-3, 100, 0.9) / 100
        assert told["good"]["gate"]["GO"] >= least
        assert told["bad"]["gate"]["NO_GO"] >= least
    elif REGIMES[name].confounded:
        assert told["lambda star of GO"]["above the true lambda"] <= binom.ppf(0.999, 200, 0.025)
    else:
        assert told["bad"]["gate"]["GO"] <= binom.ppf(0.999, 200, 0.01) / 200


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("calibration/GATE.json"))
    parser.add_argument("--regimes", nargs="*", default=list(REGIMES))
    told = parser.parse_args()
    import persuadable

    results = {}
    for name in told.regimes:
        results[name] = figures(name, told.runs)
        print(name, json.dumps(results[name], ensure_ascii=False), file=sys.stderr, flush=True)
    report = {
        "what": "what the gate, and a naive interval by IPS, decided about candidates whose true difference is known; "
        "a fresh log and a fresh candidate each run",
        "runs": told.runs,
        "rows": N,
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
