"""Every learner recovers a known truth.

Limits: ranks by Spearman with the true effect, about 0.06 under what was measured on this seed, so that a
wrong sign or weight fails and a new XGBoost does not. Averages: within 4 standard errors of the efficient
estimator, √E[V₁/e₁ + V₀/e₀]/√n, the noise no learner can avoid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from persuadable import DecisionLog
from persuadable.effects import DRLearner, Learner, RLearner, SLearner, TLearner, XLearner, fit_many
from persuadable.engine import Case, Trees
from persuadable.worlds import RandomisedTrial

TREES = Trees(n_trees=60, max_depth=3)
NAMES = ("S", "T", "X", "X two-model", "R", "DR")


def learners(**parameters: Any) -> list[Learner]:
    shared = {"trees": TREES} | parameters
    return [
        SLearner(**shared),
        TLearner(**shared),
        XLearner(**shared),
        XLearner(form="two-model", **shared),
        RLearner(**shared),
        DRLearner(**shared),
    ]


def recovered(world: RandomisedTrial, n: int, **parameters: Any) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Learner → per treatment: Spearman with the truth on fresh units, and the average's error in standard errors."""
    log, fresh = world.sample(n, random_state=0), world.features(8_000, random_state=1)
    truth, e, noise = world.effect(log.features), world.propensities(log.features), world.noise_variance(log.features)
    error = np.sqrt((noise[:, 1:] / e[:, 1:] + noise[:, :1] / e[:, :1]).mean(axis=0) / n)
    found = {}
    for name, learner in zip(NAMES, fit_many(learners(**parameters), log), strict=True):
        effect, on_fresh = np.asarray(learner.effect(log)), np.asarray(learner.effect(fresh))
        assert effect.shape == (n, world.n_actions)
        assert (effect[:, 0] == 0).all()
        ranks = [spearmanr(on_fresh[:, a], world.effect(fresh)[:, a])[0] for a in range(1, world.n_actions)]
        found[name] = (np.array(ranks), (effect[:, 1:] - truth[:, 1:]).mean(axis=0) / error)
    return found


#: world, rows, least Spearman: of S, of T, of the rest
WORLDS = {
    "real": (RandomisedTrial(outcome="real"), 12_000, (0.76, 0.77, 0.85)),
    "real, 85% treated": (RandomisedTrial(outcome="real", treated_share=0.85), 12_000, (0.74, 0.74, 0.75)),
    "binary": (RandomisedTrial(base_rate=0.3, effect_scale=1.0), 20_000, (0.76, 0.80, 0.83)),
    "count": (RandomisedTrial(outcome="count", effect_scale=0.6), 12_000, (0.70, 0.70, 0.72)),
    "money": (RandomisedTrial(outcome="money", base_rate=0.3, effect_scale=1.0), 20_000, (0.68, 0.69, 0.75)),
    "three actions": (RandomisedTrial(outcome="real", n_actions=3, effect_scale=1.0), 12_000, (0.81, 0.87, 0.89)),
}


@pytest.mark.parametrize("name", WORLDS)
def test_ranks_and_averages(name: str) -> None:
    world, n, (least_s, least_t, least) = WORLDS[name]
    for learner, (ranks, errors) in recovered(world, n).items():
        assert (ranks > {"S": least_s, "T": least_t}.get(learner, least)).all(), (learner, ranks)
        # One model of both arms shrinks the action's part; where the effect is large against the noise
        # (the count world) that bias exceeds the noise. It is the S-learner's known failing, not an error.
        if not (learner == "S" and name == "count"):
            assert (np.abs(errors) < 4).all(), (learner, errors)


def test_no_effect_is_found_where_there_is_none() -> None:
    world = RandomisedTrial(surface="none", outcome="real")
    log = world.sample(12_000, random_state=0)
    error = np.sqrt(4 * np.var(log.outcome()) / log.n)
    for learner in fit_many(learners(), log):
        assert abs(float(np.asarray(learner.effect(log))[:, 1].mean())) < 4 * error


def confounded(n: int, seed: int = 0) -> tuple[DecisionLog, NDArray[Any], NDArray[Any], float]:
    """x₀ drives both the action and the outcome; a log without propensities, the truth, e, and an efficient error."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(n, 3))
    e = 0.5 + 0.4 * np.tanh(3 * x[:, 0])
    action = (rng.random(n) < e).astype(int)
    effect = 1 + x[:, 1]
    y = 3 * x[:, 0] + action * effect + rng.normal(size=n)
    error = float(np.sqrt((1 / e + 1 / (1 - e)).mean() / n))
    return DecisionLog.from_arrays(x, action, y), effect, e, error


def average_error(learner: Learner, log: DecisionLog, truth: NDArray[Any]) -> float:
    return float(np.asarray(learner.effect(log))[:, 1].mean() - truth.mean())


WEAK = Trees(n_trees=8, max_depth=2)  # responses too poor to remove the confounding on their own


@pytest.mark.parametrize("learner", [RLearner, DRLearner])
def test_confounding_is_removed_by_estimated_propensities_and_not_by_constant_ones(learner: type[Learner]) -> None:
    log, truth, e, error = confounded(12_000)
    known = log.with_propensities(np.stack([1 - e, e], axis=1), "logged")
    fitted = {
        how: learner(trees=TREES, nuisance_trees=WEAK, propensity=how).fit(known if how == "known" else log)  # type: ignore[arg-type]
        for how in ("known", "estimated", "constant")
    }
    errors = {how: abs(average_error(fit, log, truth)) / error for how, fit in fitted.items()}
    ranks = {how: spearmanr(np.asarray(fit.effect(log))[:, 1], truth)[0] for how, fit in fitted.items()}
    # Over three seeds: 42 with constant propensities; with the others at most 2.3 (DR) and 6.3 (R, whose smoothing
    # is weighted by overlap, so that its plain average is not what it estimates best).
    allowed = 4 if learner is DRLearner else 10
    assert errors["constant"] > 30
    assert max(errors["known"], errors["estimated"]) < allowed, errors
    assert ranks["constant"] < 0.65
    assert min(ranks["known"], ranks["estimated"]) > 0.8, ranks
    assert fitted["estimated"].propensity_.source == "estimated"


def test_auto_uses_the_propensities_of_the_log_and_takes_a_bare_log_as_randomised() -> None:
    log, _, e, _ = confounded(2_000)
    known = log.with_propensities(np.stack([1 - e, e], axis=1), "logged")
    few = Trees(n_trees=3)
    assert DRLearner(trees=few).fit(known).propensity_.source == "known"
    assert DRLearner(trees=few).fit(log).propensity_.source == "constant"
    np.testing.assert_array_equal(DRLearner(trees=few).fit(known).propensity_.values[:, 1], e)


def test_the_s_learner_sees_the_action() -> None:
    rng = np.random.default_rng(0)
    action = rng.integers(0, 3, size=3_000)
    log = DecisionLog.from_arrays(np.zeros((3_000, 1)), action, np.array([0.0, 5.0, -3.0])[action])
    effect = np.asarray(SLearner(trees=Trees(n_trees=100)).fit(log).effect(np.zeros((1, 1))))
    np.testing.assert_allclose(effect, [[0, 5, -3]], atol=0.01)  # no noise; the shrinkage left after 100 trees is 2e-4


def test_missing_values_and_categories_carry_effects() -> None:
    rng = np.random.default_rng(1)
    n = 8_000
    town, x = rng.integers(0, 6, n), rng.normal(size=n)
    missing = rng.random(n) < 0.3
    action = rng.integers(0, 2, n)
    effect = np.array([0.0, 2.0, -1.0, 0.0, 2.0, -1.0])[town] + 1.5 * missing
    y = action * effect + rng.normal(size=n)
    frame = pl.DataFrame(
        {"town": [f"t{t}" for t in town], "x": np.where(missing, np.nan, x), "a": action, "y": y}
    ).with_columns(pl.col("x").fill_nan(None))
    log = DecisionLog.from_frame(frame, action="a", control=0, outcomes="y", propensity=0.5)
    for learner in fit_many(learners(), log):
        found = np.asarray(learner.effect(frame.select("x", "town")))[:, 1]
        # The effect takes six values with standard deviation 1.4; noise 1 and 8,000 rows leave it well known.
        assert np.sqrt(np.mean((found - effect) ** 2)) < 0.4, learner


def with_ineligible_rows(n: int = 6_000) -> tuple[DecisionLog, NDArray[Any]]:
    """Half of the rows could not be treated, and are of a kind whose outcome is 50 higher."""
    rng = np.random.default_rng(2)
    may = rng.random(n) < 0.5
    x = np.column_stack([rng.normal(size=(n, 2)), may])
    action = np.where(may, rng.integers(0, 2, n), 0)
    y = action * (1 + (x[:, 0] > 0)) + rng.normal(size=n) + np.where(may, 0.0, 50.0)
    return DecisionLog.from_arrays(x, action, y, eligible=np.stack([np.ones(n, dtype=bool), may], axis=1)), may


def test_ineligible_rows_do_not_disturb_the_effect_on_the_eligible() -> None:
    log, may = with_ineligible_rows()
    # The average over 3,000 eligible rows has a standard error of 0.037.
    for learner in fit_many(learners(), log):
        assert np.asarray(learner.effect(log))[may, 1].mean() == pytest.approx(1.5, abs=0.15), learner


@pytest.mark.parametrize("propensity", ["auto", "estimated"])
@pytest.mark.parametrize("learner", [XLearner, RLearner, DRLearner])
def test_no_stage_reads_a_row_where_the_treatment_was_impossible(learner: type[Learner], propensity: Any) -> None:
    log, may = with_ineligible_rows(1_000)
    fitted = learner(trees=Trees(n_trees=2), propensity=propensity).fit(log)
    e = fitted.propensity_.values
    np.testing.assert_array_equal(e[~may], [[1, 0]] * int((~may).sum()))
    assert e[may, 1].mean() == pytest.approx(0.5, abs=0.09)  # 500 eligible rows: 4 standard errors
    case = Case(log.outcome(), log.action, e, np.zeros((log.n, 2)), "squared")
    for stage in fitted.recipe(2, None).stages:
        np.testing.assert_array_equal(stage.rows(case), may)
