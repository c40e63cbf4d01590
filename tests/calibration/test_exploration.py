"""Does exploring pay, stay judgeable, and stay honest over rounds of log → fit → allocate → log?

In ``worlds.Pocket`` treating does harm wherever it was tried so far, and good where it was not. A greedy policy stays
there, round after round; exploring ones find out. All spend the same budget. The long version is a command:

    python -m tests.calibration.test_exploration --runs 50 --out calibration/EXPLORATION.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from persuadable.effects import TLearner
from persuadable.engine import LocalEngine, Trees
from persuadable.errors import PropensityError
from persuadable.policies import BudgetPolicy, TreatAll, TreatNone
from persuadable.policies.base import actions_at
from persuadable.policies.explore import EpsilonFloor, Softmax, Thompson, WarmStart, least_evaluable_share
from persuadable.value.off_policy import effective_sample_size
from persuadable.value.policy_value import arm_mean_outcomes, compare, policy_value
from persuadable.worlds import Pocket, RandomisedTrial, play

SEED = 40_000
WORLD = Pocket()
ROUNDS = 20
N = 500
SHARE = 0.4
FLOOR = 0.03
TEMPERATURE = 0.1
SMALL = Trees(n_trees=20, max_depth=3, learning_rate=0.2)


class Cells:
    """A learner that takes means by arm in eight cells of the first feature, and the arm's mean in empty cells.

    Where it has no data it continues what it saw elsewhere, sure of itself, as trees can. Its two refits lie one
    standard error apart in the sense of their standard deviation.
    """

    edges = np.array([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])

    def fit(self, log):
        self.fitted_on, self.actions_ = log.fingerprint, log.actions
        cell = self.cell(log.features)
        y, self.mean, self.variance = log.outcome(), np.zeros((8, 2)), np.zeros((8, 2))
        for a in (0, 1):
            taken = log.action == a
            rows = np.bincount(cell[taken], minlength=8)
            total = np.bincount(cell[taken], weights=y[taken], minlength=8)
            empty = rows == 0
            self.mean[:, a] = np.where(empty, y[taken].mean(), total / np.maximum(rows, 1))
            self.variance[:, a] = WORLD.noise**2 / np.where(empty, taken.sum(), rows)
        return self

    def cell(self, X):
        return np.searchsorted(self.edges, np.asarray(X, dtype=np.float64)[:, 0])

    def effect(self, X, outcome=None):
        means = self.mean[self.cell(X)]
        return means - means[:, :1]

    def effect_refits(self, X, outcome=None):
        half = np.sqrt(self.variance[self.cell(X)].sum(axis=1) / 2)[:, None] * [0.0, 1.0]
        return iter([self.effect(X) - half, self.effect(X) + half])


def cells(log, n_resamples=0):
    return Cells().fit(log)


def trees(log, n_resamples=0):
    """A learner of ours. It refuses rows without a choice, so those of a sure policy teach it nothing."""
    engine = LocalEngine(threads=1)
    learner = TLearner(trees=SMALL, n_folds=2, n_resamples=n_resamples, engine=engine)
    return learner.fit(log.overlapping())


#: Scheme → (how to fit, all logged so far, features to come) → policy; each keeps the budget on those to come.
SCHEMES = {
    "greedy": lambda fit, log, x: EpsilonFloor(BudgetPolicy(fit(log)), 0.0, SHARE).calibrate(x, 2),
    "floor": lambda fit, log, x: EpsilonFloor(BudgetPolicy(fit(log)), FLOOR, SHARE).calibrate(x, 2),
    "softmax": lambda fit, log, x: Softmax(fit(log), TEMPERATURE, FLOOR, SHARE).calibrate(x, 2),
    "Thompson": lambda fit, log, x: Thompson(fit(log, n_resamples=10), FLOOR, SHARE).calibrate(x, 2),
}
EXPLORING = [name for name in SCHEMES if name != "greedy"]


@cache
def played(scheme, fit, run=0):
    return play(
        WORLD,
        WORLD,
        lambda log, x: SCHEMES[scheme](fit, log, x),
        rounds=ROUNDS,
        n=N,
        share=SHARE,
        random_state=np.random.default_rng([SEED, run]),
    )


def explored(rounds):
    """All rows but those of the first round, which was not explored."""
    return rounds.log.take(slice(N, None))


class Oracle:
    """Treats exactly those whom treating helps."""

    name, fitted_on = "oracle", None

    def probabilities(self, features, n_actions, eligible=None):
        left = (np.asarray(features)[:, 0] < 0).astype(float)
        return np.column_stack([1 - left, left])


CANDIDATES = {"treat all": TreatAll(), "treat none": TreatNone(), "oracle": Oracle()}


def candidate_figures(log):
    """For each candidate: estimate, standard error and effective sample size by IPS, and the truth on these units."""
    response = WORLD.response(log.features)
    found = {}
    for name, candidate in CANDIDATES.items():
        value = policy_value(log, candidate, method="ips")
        truth = (candidate.probabilities(log.features, 2) * response).sum(axis=1).mean()
        found[name] = (value, float(truth))
    return found


def effects_of_treating(log):
    """(naive, IPS, DR, truth) of the mean effect on a log's units."""
    y, treated = log.outcome(), log.action == 1
    naive = y[treated].mean() - y[~treated].mean()
    ips = compare(log, TreatAll(), TreatNone(), method="ips").value
    dr = compare(log, TreatAll(), TreatNone(), mu=arm_mean_outcomes(log)).value
    return naive, ips, dr


# -- short ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", [cells, trees], ids=lambda fit: fit.__name__)
def test_the_greedy_policy_stays_where_it_is(fit):
    regret = played("greedy", fit).regret
    # It forgoes the pocket: 0.6 for the 0.4 of the units that the budget would treat there, 0.24 a head, or nearly.
    assert regret[-5:].mean() > 0.15
    assert abs(regret[-5:].mean() - regret[1:6].mean()) < 0.05, "and nothing it sees changes that"


@pytest.mark.parametrize("scheme", EXPLORING)
def test_an_exploring_policys_regret_falls(scheme):
    regret = played(scheme, cells).regret
    assert regret[-5:].mean() < 0.3 * regret[1:3].mean()
    # What is left is what exploring costs. A floor of 0.03 treats 0.015 of all on the right, who lose 0.3 each and take
    # the place of 0.015 on the left, who would have gained 0.6: 0.0135 a head.
    assert regret[-5:].mean() == pytest.approx(0.0135, abs=0.002)


def test_with_trees_too():
    assert played("floor", trees).regret[-5:].mean() < 0.3 * played("greedy", trees).regret[-5:].mean()


def test_thompson_without_a_floor_trusts_what_its_learner_made_up():
    rounds = play(
        WORLD,
        WORLD,
        lambda log, x: Thompson(cells(log), 0.0, SHARE).calibrate(x, 2),
        n=N,
        share=SHARE,
        random_state=np.random.default_rng([SEED, 0]),
    )
    assert rounds.regret[-5:].mean() > 0.15


@pytest.mark.parametrize("scheme", EXPLORING)
def test_every_round_spends_the_budget_and_leaves_every_candidate_evaluable(scheme):
    for one in played(scheme, cells).rounds[1:]:
        p = one.log.propensity()
        price = one.policy.price_
        spent = SHARE if price.binds == "budget" else price.expected_share
        assert (1 - p[:, 0]).mean() == pytest.approx(spent, abs=1e-9)
        assert spent <= SHARE, "early on few seem worth it"
        assert p.min() >= FLOOR - 1e-12
        assert least_evaluable_share(p) >= FLOOR - 1e-12
    assert one.policy.price_.binds == "budget", "by the last round enough are"
    log = explored(played(scheme, cells))
    for name, (value, truth) in candidate_figures(log).items():
        # The guarantee is on the mean; the weights of 9,500 rows stay within a third of it.
        assert value.ess >= 0.67 * FLOOR * log.n, name
        assert abs(value.value - truth) < 4 * value.stderr, name


def test_the_greedy_log_can_judge_nothing_new():
    log = played("greedy", cells).rounds[-1].log
    for candidate in (TreatAll(), Oracle()):
        with pytest.raises(PropensityError, match="logged propensity is 0"):
            policy_value(log, candidate, method="ips")
    assert least_evaluable_share(log.propensity()) == 0.0


def warm_start_errors(runs, n=1_500):
    """(runs, 3) errors of the naive, IPS and DR effect in experiments skewed to those likely to respond anyway."""
    world = RandomisedTrial(n_features=7)

    def prior(features):
        return world.response(features)[:, 0]

    errors = []
    for run in range(runs):
        rng = np.random.default_rng([SEED, 1, run])
        x = world.features(n, rng)
        p = WarmStart(prior, share=0.3, odds=30.0).calibrate(x, 2).probabilities(x, 2)
        action = actions_at(p, rng.random(n))
        y = world.outcomes(x, action, rng)
        from persuadable.log import DecisionLog

        log = DecisionLog.from_arrays(x, action, y, propensity=p, action_names=world.action_names)
        truth = world.effect(x)[:, 1].mean()
        errors.append(np.array(effects_of_treating(log)) - truth)
    return np.array(errors)


def test_naive_means_are_biased_by_skewed_exploration_and_weighted_ones_are_not():
    errors = warm_start_errors(60)
    z = errors.mean(axis=0) / (errors.std(axis=0, ddof=1) / np.sqrt(len(errors)))
    naive, ips, dr = z
    assert naive > 10
    assert abs(ips) < 3.5, "an unbiased mean is further off once in 2,000 times"
    assert abs(dr) < 3.5
    assert errors[:, 0].mean() > 0.02, "of a response rate of a tenth"


@pytest.mark.parametrize("scheme", EXPLORING)
def test_nor_by_the_skew_that_learning_brings(scheme):
    log = explored(played(scheme, cells))
    naive, ips, dr = effects_of_treating(log)
    truth = np.diff(WORLD.response(log.features), axis=1).mean()
    stderr = compare(log, TreatAll(), TreatNone(), method="ips").stderr
    assert abs(naive - truth) > 0.3
    assert abs(ips - truth) < 4 * stderr
    assert abs(dr - truth) < 4 * stderr


# -- long -----------------------------------------------------------------------------------------------------------


def figures(runs, fit=trees):
    """Mean regret by round, least evaluable share, and coverage of the candidates' values, by scheme."""
    found = {}
    for scheme in SCHEMES:
        regret, least, ess, covered, skew = [], [], [], defaultdict(list), []
        for run in range(runs):
            rounds = played.__wrapped__(scheme, fit, run)
            regret.append(rounds.regret)
            if scheme == "greedy":
                continue
            log = explored(rounds)
            least.append(min(least_evaluable_share(one.log.propensity()) for one in rounds.rounds[1:]))
            for name, (value, truth) in candidate_figures(log).items():
                covered[name].append(value.interval[0] <= truth <= value.interval[1])
            last = rounds.rounds[-1].log
            for candidate in CANDIDATES.values():
                p = candidate.probabilities(last.features, 2)
                w = (p / last.propensity())[np.arange(last.n), last.action]
                ess.append(effective_sample_size(w) / last.n)
            truth = np.diff(WORLD.response(log.features), axis=1).mean()
            skew.append(np.array(effects_of_treating(log)) - truth)
        found[scheme] = told(np.array(regret), least, ess, covered, np.array(skew))
    return found


def told(regret, least, ess, covered, skew):
    spread = regret.std(axis=0, ddof=1) / np.sqrt(len(regret))
    figure = {
        "regret by round": np.round(regret.mean(axis=0), 4).tolist(),
        "regret in the last five rounds": round(float(regret[:, -5:].mean()), 4),
        "its standard error": round(float(spread[-5:].max()), 4),
        "runs whose regret fell by half": round(float((regret[:, -5:].mean(1) < 0.5 * regret[:, 1]).mean()), 3),
    }
    if not least:
        return figure
    return figure | {
        "least evaluable share in any round": round(float(min(least)), 4),
        "least effective sample size of a candidate in the last round, share of rows": round(float(min(ess)), 4),
        "coverage of a candidate's 95% interval (IPS)": {k: round(float(np.mean(v)), 3) for k, v in covered.items()},
        "bias of the mean effect": dict(
            zip(("naive", "ips", "dr"), np.round(skew.mean(axis=0), 4).tolist(), strict=True)
        ),
        "spread of the mean effect": dict(
            zip(("naive", "ips", "dr"), np.round(skew.std(axis=0, ddof=1), 4).tolist(), strict=True)
        ),
    }


@pytest.mark.calibration
def test_over_many_runs():
    runs = 50
    found = figures(runs)
    stuck = found["greedy"]["regret in the last five rounds"]
    low, high = binom.ppf(1e-3, runs, 0.95) / runs, 1.0
    for scheme in EXPLORING:
        assert found[scheme]["regret in the last five rounds"] < 0.4 * stuck
        assert found[scheme]["least evaluable share in any round"] >= FLOOR - 1e-9
        for covered in found[scheme]["coverage of a candidate's 95% interval (IPS)"].values():
            assert low <= covered <= high
        bias, spread = found[scheme]["bias of the mean effect"], found[scheme]["spread of the mean effect"]
        for unbiased in ("ips", "dr"):
            assert abs(bias[unbiased]) < 3.5 * spread[unbiased] / np.sqrt(runs)
        assert abs(bias["naive"]) > 10 * spread["naive"] / np.sqrt(runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("calibration/EXPLORATION.json"))
    given = parser.parse_args()
    import persuadable

    errors = warm_start_errors(max(given.runs, 2))
    report = {
        "what": "log, fit, allocate, log again in a world that traps the greedy; and the bias of skewed exploration",
        "runs": given.runs,
        "rounds": ROUNDS,
        "units a round": N,
        "share": SHARE,
        "floor": FLOOR,
        "seed": SEED,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__},
        "persuadable": persuadable.__version__,
        "loop": figures(given.runs),
        "warm start": {
            name: {"bias": round(float(e.mean()), 5), "standard error": round(float(e.std(ddof=1) / len(e) ** 0.5), 5)}
            for name, e in zip(("naive", "ips", "dr"), errors.T, strict=True)
        },
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
