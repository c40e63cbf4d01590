"""Planning an experiment between two policies from a log: worlds whose truth is known, and units drawn many times."""

from __future__ import annotations

import json

import numpy as np
import pytest
import statsmodels.api as sm

from persuadable import DecisionLog
from persuadable.design import TwoArms, disagreement, plan_experiment, two_arms_of_policies, variance_reduction
from persuadable.errors import DataError, ParameterError, PropensityError
from persuadable.worlds import RandomisedTrial

WORLD = RandomisedTrial("nonlinear", "binary", treated_share=0.4, base_rate=0.2)


def two_policies(features):
    """One treats by x0 with some chance, the other by x1 alone."""
    x = np.asarray(features, dtype=np.float64)
    ours, theirs = np.where(x[:, 0] > 0, 0.8, 0.1), (x[:, 1] > 0.5).astype(float)
    return np.stack([1 - ours, ours], axis=1), np.stack([1 - theirs, theirs], axis=1)


def test_disagreement_is_the_total_variation():
    ours, theirs = [[0.5, 0.3, 0.2], [1, 0, 0]], [[0.2, 0.3, 0.5], [0, 1, 0]]
    assert disagreement(ours, theirs) == pytest.approx([0.3, 1.0])


def test_the_arms_are_those_an_experiment_would_draw():
    log = WORLD.sample(40_000, random_state=0)
    ours, theirs = two_policies(log.features)
    arms = two_arms_of_policies(log, ours, theirs)
    # An experiment in the same world: both policies act on the same lots, and only units they part on are looked at.
    rng = np.random.default_rng(1)
    units = WORLD.features(400_000, random_state=2)
    lot, response = rng.random(400_000), WORLD.response(units)
    acts = [(lot < table[:, 1]).astype(int) for table in two_policies(units)]
    on = acts[0] != acts[1]
    y = [rng.random(400_000) < response[np.arange(400_000), a] for a in acts]
    assert arms.active == pytest.approx(on.mean(), abs=0.01)
    assert arms.rate == pytest.approx(y[1][on].mean(), abs=0.015)
    assert arms.candidate_sd == pytest.approx(y[0][on].std(), abs=0.015)
    assert arms.baseline_sd == pytest.approx(y[1][on].std(), abs=0.015)


def test_the_planned_standard_error_is_the_one_found():
    log = WORLD.sample(40_000, random_state=3)
    arms = two_arms_of_policies(log, *two_policies(log.features), share=0.3)
    effect = 0.01
    n, runs, rng = 4_000, 400, np.random.default_rng(4)
    found = []
    for _ in range(runs):
        units = WORLD.features(n, rng)
        lot, response = rng.random(n), WORLD.response(units)
        ours, theirs = ((lot < table[:, 1]).astype(int) for table in two_policies(units))
        candidate, on = rng.random(n) < 0.3, ours != theirs
        acted = np.where(candidate, ours, theirs)
        y = rng.random(n) < response[np.arange(n), acted]
        found.append(on.mean() * (y[on & candidate].mean() - y[on & ~candidate].mean()))
    # A standard deviation of 400 runs is known to 3.5%.
    assert np.std(found) == pytest.approx(arms.stderr(n, effect), rel=0.12)


def test_the_reduction_is_what_the_model_explains_in_the_arms():
    world = RandomisedTrial("nonlinear", "real", treated_share=0.5, noise=1.0, baseline_scale=2.0)
    log = world.sample(20_000, random_state=5)
    q = world.response(log.features)
    ours, theirs = np.eye(2)[np.ones(log.n, int)], np.eye(2)[np.zeros(log.n, int)]
    arms = two_arms_of_policies(log, ours, theirs, q_hat=q)
    assert arms.rate is None
    assert arms.active == 1.0
    # Treat all against treat none is the log's own trial.
    assert arms.reduction == pytest.approx(variance_reduction(log.outcome(), q, log.action), abs=0.01)
    left = world.noise_variance(log.features).mean() / log.outcome().var()
    assert arms.reduction == pytest.approx(1 - left, abs=0.02)
    # With uneven arms, here of uneven noise, each counts by its variance over its share.
    louder = log.outcome() + (log.action == 1) * np.random.default_rng(6).normal(0, 4, log.n)
    uneven = DecisionLog.from_arrays(log.features, log.action, louder, propensity=0.5)
    before, after = np.zeros(2), np.zeros(2)
    for k, share in enumerate((0.1, 0.9)):
        on = log.action == k
        fit = sm.OLS(louder[on], sm.add_constant(q[on])).fit()
        before[k], after[k] = louder[on].var() / share, louder[on].var() * (1 - fit.rsquared_adj) / share
    told = two_arms_of_policies(uneven, ours, theirs, q_hat=q, share=0.9)
    assert told.reduction == pytest.approx(1 - after.sum() / before.sum(), abs=1e-6)
    assert two_arms_of_policies(log, ours, theirs).reduction == 0.0
    assert two_arms_of_policies(log, ours, theirs, q_hat=np.ones_like(q)).reduction == 0.0


@pytest.mark.parametrize("by_unit", [True, False])
@pytest.mark.parametrize("active", [1.0, 0.5])
def test_rows_that_hang_together_make_the_design_effect(by_unit, active):
    rng, units, m, icc = np.random.default_rng(6), 20_000, 4, 0.3
    unit = np.repeat(np.arange(units), m)
    drawn = rng.random(units)[unit] if by_unit else rng.random(units * m)
    y = rng.normal(0, np.sqrt(icc), units)[unit] + rng.normal(0, np.sqrt(1 - icc), units * m)
    log = DecisionLog.from_arrays(
        np.zeros((units * m, 1)),
        (drawn < 0.4).astype(int),
        y,
        propensity=0.4,
        unit=unit,
        weight=np.full(units * m, 2.0),
    )
    on = rng.random(units * m) < active
    ours, theirs = np.eye(2)[on.astype(int)], np.eye(2)[np.zeros(units * m, int)]
    arms = two_arms_of_policies(log, ours, theirs)
    # Pairs of rows count where both are active: 1 + (m − 1)·s·ρ.
    assert arms.design_effect == pytest.approx(1 + 3 * active * icc, abs=0.08)
    assert arms.rows_per_unit == m


def test_three_actions_and_rows_weights():
    rng = np.random.default_rng(7)
    n = 30_000
    weight = rng.choice([1.0, 3.0], n)
    action = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    y = np.array([0.0, 1.0, 5.0])[action] + rng.normal(0, 1.0 + (action == 2), n) + (weight > 2)
    log = DecisionLog.from_arrays(rng.normal(size=(n, 1)), action, y, weight=weight,
                                  propensity=np.tile([0.5, 0.3, 0.2], (n, 1)))  # fmt: skip
    ours, theirs = np.tile([0.0, 0.5, 0.5], (n, 1)), np.tile([0.0, 1.0, 0.0], (n, 1))
    arms = two_arms_of_policies(log, ours, theirs)
    assert arms.active == pytest.approx(0.5)
    # They part between actions 2 and 1; three quarters of the weight lies on rows with an outcome higher by 1.
    mixed = 0.75 * 0.25
    assert arms.candidate_sd == pytest.approx(np.sqrt(4 + mixed), rel=0.05)
    assert arms.baseline_sd == pytest.approx(np.sqrt(1 + mixed), rel=0.05)


def test_a_plan_holds_together():
    arms = TwoArms.binary(0.2, active=0.4)
    plan = plan_experiment(arms, 0.01, power=0.9, looks=4)
    assert plan.units == arms.units(0.01, 0.9, plan.monitoring)
    assert sum(plan.units_by_arm) == plan.units
    assert plan.looks[-1] == plan.units
    assert plan.looks[0] == pytest.approx(plan.units / 4, abs=1)
    assert plan.expected_units < plan.units
    drift = 0.01 / arms.stderr(plan.units, 0.01)
    assert plan.monitoring.power(drift) == pytest.approx(0.9, abs=1e-4)
    assert plan.frame().columns == ["units", "fraction", "boundary", "alpha_spent"]
    assert json.loads(json.dumps(plan.as_dict()))["units"] == plan.units
    text = str(plan)
    assert f"{plan.units:,} units" in text
    assert "the arms differ on 40.0% of the units" in text
    assert "stops after" in text
    assert "stops after" not in str(plan_experiment(arms, 0.01, monitoring="fixed"))
    with pytest.raises(ParameterError, match="effect is 0"):
        plan_experiment(arms, 0)


@pytest.mark.parametrize(("effect", "margin"), [(0.03, 0.02), (-0.03, -0.02), (0.0, -0.01), (0.01, 0.02)])
def test_a_margin_is_taken_off_the_effect(effect, margin):
    arms = TwoArms.continuous(1.5, 2.0, share=0.4, active=0.5)
    plan = plan_experiment(arms, effect, margin=margin, monitoring="fixed")
    # σ² = s(σ_c²/q + σ_b²/(1 − q)) a unit, and 1% between effect and margin: ((1.96 + 0.84)/0.01)² of them.
    assert plan.units == pytest.approx(0.5 * (4 / 0.4 + 2.25 / 0.6) * (2.801585 / 0.01) ** 2, rel=1e-5)
    assert arms.power(effect, plan.units, margin=margin) == pytest.approx(0.8, abs=1e-4)
    assert plan.curve.effect == effect
    planned = int(np.argmin(np.abs(np.array(plan.curve.units) - plan.units)))
    room = 0.01 * np.sqrt(plan.units / plan.curve.units[planned])
    assert plan.curve.detectable[planned] == pytest.approx(margin + np.copysign(room, effect - margin), rel=1e-3)
    assert plan.as_dict()["margin"] == plan.margin == margin
    side = "above" if effect > margin else "below"
    assert f"a difference of {effect:.4g} per head to lie {side} the margin of {margin:.4g} with 80%" in str(plan)
    two = plan_experiment(arms, 0.01, monitoring="fixed")
    assert "margin" not in str(two)
    assert two.units == plan.units
    looked, bare = plan_experiment(arms, effect, margin=margin), plan_experiment(arms, 0.01)
    assert looked.expected_units == pytest.approx(bare.expected_units)


@pytest.mark.parametrize(("effect", "margin"), [(0.05, 0.02), (-0.05, -0.02), (0.0, -0.02)])
def test_what_a_rate_shows_beyond_a_margin(effect, margin):
    arms = TwoArms.binary(0.3)
    plan = plan_experiment(arms, effect, margin=margin, monitoring="fixed")
    after = 0.3 + effect
    noise = 2 * (0.3 * 0.7 + after * (1 - after))
    assert plan.units == pytest.approx(noise * (2.801585 / (effect - margin)) ** 2, abs=1.01)  # rounded up
    for units, found in zip(plan.curve.units, plan.curve.detectable, strict=True):
        assert arms.power(found, units, margin=margin) == pytest.approx(0.8, abs=1e-4)
        assert (found > margin) == (effect > margin)


def test_arguments_of_another_kind_are_named():
    arms = TwoArms.binary(0.2)
    with pytest.raises(ParameterError, match="The arms are a float, not TwoArms"):
        plan_experiment(0.01, arms)
    with pytest.raises(ParameterError, match=r"rate is '20%'.*divide by 100"):
        TwoArms.binary(rate="20%")
    with pytest.raises(ParameterError, match=r"rate is 20.*divide by 100"):
        TwoArms.binary(rate=20)
    with pytest.raises(ParameterError, match=r"effect is '0\.5'"):
        arms.units("0.5")
    with pytest.raises(ParameterError, match="margin is nan"):
        arms.detectable(1_000, margin=float("nan"))
    with pytest.raises(ParameterError, match="units is '100'"):
        arms.power(0.01, "100")
    with pytest.raises(ParameterError, match="baseline_sd is '3'"):
        TwoArms.continuous("3")
    with pytest.raises(ParameterError, match=r"effect is 0\.02, which is the margin of 0\.02"):
        plan_experiment(arms, 0.02, margin=0.02)
    with pytest.raises(ParameterError, match=r"alpha is 0\.95"):
        plan_experiment(arms, 0.02, alpha=0.95)
    log = WORLD.sample(200, random_state=8)
    with pytest.raises(ParameterError, match=r"not a DecisionLog .two_arms_of_policies"):
        two_arms_of_policies(np.ones((200, 2)) / 2, np.ones((200, 2)) / 2, log)


def test_what_cannot_be_planned_is_refused():
    log = WORLD.sample(200, random_state=8)
    one, none = np.eye(2)[np.ones(200, int)], np.eye(2)[np.zeros(200, int)]
    with pytest.raises(DataError, match="do the same to every unit"):
        two_arms_of_policies(log, one, one)
    with pytest.raises(DataError, match=r"candidate's probabilities have shape \(200, 3\)"):
        two_arms_of_policies(log, np.ones((200, 3)) / 3, none)
    with pytest.raises(DataError, match="no distribution"):
        two_arms_of_policies(log, one, none * 0.5)
    with pytest.raises(DataError, match="q_hat has shape"):
        two_arms_of_policies(log, one, none, q_hat=np.zeros(200))
    with pytest.raises(DataError, match="have shapes"):
        disagreement(one, np.ones((3, 2)))
    certain = np.tile([0.5, 0.5], (200, 1))
    certain[:3] = np.eye(2)[log.action[:3].astype(int)]
    with pytest.raises(PropensityError, match="what was never tried"):
        two_arms_of_policies(log.with_propensities(certain, "logged"), one, none)
    few = none.copy()
    few[np.flatnonzero(log.action == 0)[:2]] = [0, 1]
    with pytest.raises(PropensityError, match="0 took what the candidate does differently"):
        two_arms_of_policies(log, few, none)
    flat = DecisionLog.from_arrays(log.features, log.action, np.zeros(200), propensity=0.4)
    with pytest.raises(DataError, match="never varies where the policies differ"):
        two_arms_of_policies(flat, one, none)
