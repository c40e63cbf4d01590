"""Estimates against loops written out, closed forms, exact expectations and known truth; invariances; every refusal."""

from __future__ import annotations

import itertools
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

import persuadable as ps
from persuadable.errors import DataError, LeakageError, OutcomeError, ParameterError, PropensityError
from persuadable.log import DecisionLog
from persuadable.policies import BudgetPolicy, RandomPolicy, TreatAll
from persuadable.spaces import Discrete
from persuadable.value import Estimate, estimate, estimate_difference, estimate_outcomes
from persuadable.value.ope import (
    DM,
    DR,
    IPS,
    SNDR,
    SNIPS,
    DRos,
    SwitchDR,
)
from persuadable.value.ope.estimating import terms
from persuadable.value.policy_value import compare, policy_value
from persuadable.worlds import RandomisedTrial

# Estimators that need nothing fitted, with parameters that bind.
FIXED = (DM(), IPS(), SNIPS(), DR(), SNDR(), IPS(2.0), SNIPS(2.0), DR(2.0), SNDR(2.0), SwitchDR(1.5), DRos(3.0))
LABELS = [str(one) for one in FIXED]


def make(n=400, arms=3, seed=0, **roles):
    """A log with varying propensities, a candidate and predictions that are not quite right."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)).astype(np.float32)
    e = rng.dirichlet(np.full(arms, 2.0), size=n) * 0.9 + 0.1 / arms
    action = (rng.random(n)[:, None] > e.cumsum(axis=1)[:, :-1]).sum(axis=1)
    action[:arms] = np.arange(arms)
    y = 1.0 + action + x[:, 0] + rng.normal(size=n)
    log = DecisionLog.from_arrays(
        x,
        action,
        {"spend": y, "visits": rng.poisson(2.0, n)},
        propensity=e,
        action_names=[f"a{i}" for i in range(arms)],
        control="a0",
        **roles,
    )
    return log, rng.dirichlet(np.ones(arms), size=n), 1.0 + np.arange(arms) + rng.normal(size=(n, arms))


def by_hand(estimator, log, p, q, weight=None):
    """Value and influence of one estimator, a round at a time from the formulas of the papers."""
    n = log.n
    r = np.ones(n) if weight is None else weight / weight.mean()
    direct, weighted, below = [], [], []
    for i in range(n):
        a = int(log.action[i])
        w = p[i, a] / log.propensities[i, a]
        kind = type(estimator).__name__
        clip = getattr(estimator, "clip", None)
        rho = {
            "DM": lambda w: 0.0,
            "SwitchDR": lambda w: w if w <= estimator.tau else 0.0,
            "DRos": lambda w: estimator.lam * w / (w * w + estimator.lam),
        }.get(kind, lambda w, clip=clip: w if clip is None else min(w, clip))(w)
        modelled = kind in ("DM", "DR", "SNDR", "SwitchDR", "DRos")
        direct.append(sum(p[i, b] * q[i, b] for b in range(p.shape[1])) if modelled else 0.0)
        weighted.append(rho * (log.outcome()[i] - (q[i, a] if modelled else 0.0)))
        below.append(rho if kind in ("SNIPS", "SNDR") else 1.0)
    d, b, c = (np.array(v) for v in (direct, weighted, below))

    def mean(v):
        return float((r * v).sum() / r.sum())

    value = mean(d) + mean(b) / mean(c)
    return value, r * ((d - mean(d)) + (b - mean(b) / mean(c) * c) / mean(c))


@pytest.mark.parametrize("estimator", FIXED, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_stderr_are_those_of_the_formulas_written_out(estimator, weighted):
    weight = np.random.default_rng(5).uniform(0.5, 2.0, 400) if weighted else None
    log, p, q = make(weight=weight)
    given_q = q if estimator.model else None
    found = estimate(log, p, estimators=estimator, q_hat=given_q)[str(estimator)]
    value, psi = by_hand(estimator, log, p, q, weight)
    assert found.value == pytest.approx(value, rel=1e-12)
    assert found.stderr == pytest.approx(math.sqrt((psi**2).sum() / (400 * 399)), rel=1e-10)
    assert found.interval == pytest.approx(tuple(value + norm.ppf([0.025, 0.975]) * found.stderr), rel=1e-10)


def test_a_round_by_hand():
    """Two rounds with numbers one can do in the head: w = 2 and 0.5, y = 1 and 3, q̂ = 0.5 everywhere."""
    log = DecisionLog.from_arrays(
        np.zeros((2, 1)), [0, 1], {"y": [1.0, 3.0]}, propensity=np.array([[0.25, 0.75], [0.2, 0.8]])
    )
    p = np.array([[0.5, 0.5], [0.6, 0.4]])
    found = estimate(
        log, p, estimators=("dm", "ips", "snips", "dr", "sndr", SwitchDR(1.0), DRos(4.0)), q_hat=(0.5, 0.5)
    )
    assert found["dm"].value == pytest.approx(0.5)
    assert found["ips"].value == pytest.approx((2 * 1 + 0.5 * 3) / 2)
    assert found["snips"].value == pytest.approx((2 * 1 + 0.5 * 3) / 2.5)
    assert found["dr"].value == pytest.approx(0.5 + (2 * 0.5 + 0.5 * 2.5) / 2)
    assert found["sndr"].value == pytest.approx(0.5 + (2 * 0.5 + 0.5 * 2.5) / 2.5)
    assert found["switch-dr(tau=1)"].value == pytest.approx(0.5 + (0.5 * 2.5) / 2)
    assert found["dros(lam=4)"].value == pytest.approx(0.5 + (4 * 2 / 8 * 0.5 + 4 * 0.5 / 4.25 * 2.5) / 2)
    assert found["ips"].ess == pytest.approx(2.5**2 / 4.25)
    assert found.mean_weight == pytest.approx(1.25)


@pytest.mark.parametrize("kind", ["ips", "dr"])
def test_the_expectation_over_all_assignments_is_the_policys_value(kind):
    """Exact unbiasedness: every assignment of five rounds among three actions, weighted by its probability."""
    rng = np.random.default_rng(0)
    n, arms = 5, 3
    potential, q = rng.normal(size=(n, arms)), rng.normal(size=(n, arms))
    e, p = rng.dirichlet(np.ones(arms) * 3, size=n), rng.dirichlet(np.ones(arms), size=n)
    expectation = total = 0.0
    for assignment in itertools.product(range(arms), repeat=n):
        a = np.array(assignment)
        if len(set(assignment)) < arms:  # a log needs every arm: those without are counted through the formula
            w = p[np.arange(n), a] / e[np.arange(n), a]
            y = potential[np.arange(n), a]
            value = (w * y).mean()
            if kind == "dr":
                value = ((p * q).sum(axis=1) + w * (y - q[np.arange(n), a])).mean()
        else:
            log = DecisionLog.from_arrays(np.zeros((n, 1)), a, {"y": potential[np.arange(n), a]}, propensity=e)
            value = estimate(log, p, estimators=kind, q_hat=q if kind == "dr" else None)[kind].value
        probability = e[np.arange(n), a].prod()
        expectation, total = expectation + probability * value, total + probability
    assert total == pytest.approx(1.0)
    assert expectation == pytest.approx((p * potential).sum(axis=1).mean(), abs=1e-12)


def test_the_pass_in_blocks_and_the_stored_columns_agree():
    """Moments over many blocks against the influence functions of stored columns, which another path computes."""
    log, p, q = make(n=20_000)  # three blocks
    found = estimate(log, p, estimators=FIXED, q_hat=q)
    kept = terms(log, p, estimators=FIXED, q_hat=q)
    psis = np.stack([kept[label].influence() for label in LABELS])
    expected = psis @ psis.T / (20_000 * 19_999)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-9, atol=1e-20)
    for label in LABELS:
        assert found[label].value == pytest.approx(kept[label].value(), rel=1e-12)
        assert found[label].stderr == pytest.approx(math.sqrt(expected[LABELS.index(label)][LABELS.index(label)]))


def test_a_large_mean_does_not_eat_the_variance():
    """Outcomes around a billion with a standard deviation of 1: the sums of squares alone would have no digit left."""
    log, p, _ = make(n=20_000)
    shifted = DecisionLog.from_arrays(
        np.asarray(log.features), log.action, {"y": log.outcome() + 1e9}, propensity=log.propensities
    )
    ours, theirs = estimate(shifted, p, estimators="snips")["snips"], estimate(log, p, estimators="snips")["snips"]
    assert ours.value - 1e9 == pytest.approx(theirs.value, abs=1e-5)
    assert ours.stderr == pytest.approx(theirs.stderr, rel=1e-3)  # 1e9 · 2^-53 is a ten-millionth of the sd of one row


def test_policy_value_and_estimate_agree():
    """The same question asked through the older interface, with row weights and units of several rows."""
    unit = np.repeat(np.arange(200), 2)
    log, p, q = make(unit=unit, weight=np.random.default_rng(1).uniform(0.5, 2, 400))
    for name in ("ips", "snips", "dr"):
        old = policy_value(log, p, method=name, mu=q if name == "dr" else None)
        new = estimate(log, p, estimators=name, q_hat=q if name == "dr" else None)
        assert new[name].value == pytest.approx(old.value, rel=1e-12)
        assert new[name].stderr == pytest.approx(old.stderr, rel=1e-12)
        assert new[name].ess == pytest.approx(old.ess, rel=1e-12)
        assert new.mean_weight == pytest.approx(old.mean_weight, rel=1e-12)


@pytest.mark.parametrize("clusters", [False, True])
def test_shares_that_stand_in_for_propensities_have_their_sampling_taken_out(clusters):
    """A completely randomised experiment: the value of "treat all" is the treated's mean, and so is its error."""
    rng = np.random.default_rng(0)
    action = rng.permutation(np.arange(300) % 3) % 2
    y = 5 + 2 * action + rng.normal(size=300)
    roles = {"unit": np.arange(300) // 2} if clusters else {}
    log = DecisionLog.from_arrays(rng.normal(size=(300, 2)), action, {"y": y}, **roles)
    found = estimate(log, TreatAll(), estimators=("ips", "snips", IPS(clip=100.0)))
    treated = y[action == 1]
    for name in ("ips", "snips", "ips(clip=100)"):
        assert found[name].value == pytest.approx(treated.mean())
        if not clusters:
            expected = treated.std() / math.sqrt(treated.size) * math.sqrt(300 / 299)
            assert found[name].stderr == pytest.approx(expected, rel=1e-9)
        assert found[name].stderr == pytest.approx(policy_value(log, TreatAll(), method="ips").stderr, rel=1e-9)


@pytest.mark.parametrize("estimator", [IPS(), IPS(1.2), SNIPS(1.2), DR(1.2), SwitchDR(1.2), DRos(2.0)], ids=str)
def test_sampling_of_shares_by_the_jackknife(estimator):
    """Leaving out each round and reading the shares again is the oracle for what estimating them does to the error.

    Shares that differ between two groups of eligibility, so that π/p falls on both sides of the limits.
    """
    rng = np.random.default_rng(3)
    n = 240
    eligible = np.ones((n, 3), dtype=bool)
    eligible[::2, 2] = False
    action = np.array([rng.choice(3, p=[0.5, 0.3, 0.2]) if e[2] else rng.choice(2, p=[0.7, 0.3]) for e in eligible])
    y = 2 + action + rng.normal(size=n)
    x = rng.normal(size=(n, 1))
    p = np.where(eligible[:, [2]], [[0.5, 0.2, 0.3]], [[0.6, 0.4, 0.0]])
    q = (2.1, 2.9, 4.2)

    def value(rows):
        log = DecisionLog.from_arrays(x[rows], action[rows], {"y": y[rows]}, eligible=eligible[rows])
        return estimate(log, p[rows], estimators=estimator, q_hat=q if estimator.model else None)[str(estimator)]

    everybody = np.arange(n)
    left_out = np.array([value(np.delete(everybody, i)).value for i in range(n)])
    jackknife = math.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    assert value(everybody).stderr == pytest.approx(jackknife, rel=0.03)  # it is of one order higher in 1/n


def test_units_with_several_rounds_are_clusters():
    """Every round written down twice as another row of the same unit: the same estimates, the same errors."""
    log, p, q = make(n=300)
    twice = np.repeat(np.arange(300), 2)
    doubled = DecisionLog.from_arrays(
        np.asarray(log.features)[twice],
        log.action[twice],
        {"y": log.outcome()[twice]},
        propensity=log.propensities[twice],
        unit=twice,
    )
    once, again = (
        estimate(a, b, estimators=FIXED, q_hat=c) for a, b, c in ((log, p, q), (doubled, p[twice], q[twice]))
    )
    for label in LABELS:
        assert again[label].value == pytest.approx(once[label].value)
        assert again[label].stderr == pytest.approx(once[label].stderr)


# -- invariances -----------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.permutations([1, 2]), st.floats(0.1, 10), st.floats(-50, 50))
def test_relabelled_actions_scaled_and_shifted_outcomes_and_row_order(seed, others, scale, shift):
    log, p, q = make(n=60, seed=seed)
    base = estimate(log, p, estimators=FIXED, q_hat=q)
    order = np.array([0, *others])  # the control stays the control
    rows = np.random.default_rng(seed).permutation(60)
    place = np.argsort(order)
    moved = DecisionLog.from_arrays(
        np.asarray(log.features)[rows],
        place[log.action[rows]],
        {"y": scale * log.outcome()[rows] + shift},
        propensity=np.asarray(log.propensities)[rows][:, order],
        action_names=["x", "y", "z"],
        control="x",
    )
    found = estimate(moved, p[rows][:, order], estimators=FIXED, q_hat=scale * q[rows][:, order] + shift)
    for label in LABELS:
        if label.startswith("ips"):
            if shift == 0:
                assert found[label].value == pytest.approx(scale * base[label].value)
            continue
        # SNIPS follows a shift exactly; with a model the residuals do not change and q̂ carries it.
        assert found[label].value == pytest.approx(scale * base[label].value + shift, abs=1e-8)
        assert found[label].stderr == pytest.approx(scale * base[label].stderr, rel=1e-7, abs=1e-9)
        assert found[label].ess == pytest.approx(base[label].ess)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_every_round_several_times_changes_no_estimate(seed, times):
    log, p, q = make(n=50, seed=seed)
    rows = np.tile(np.arange(50), times)
    more = log.take(rows)
    few, many = estimate(log, p, estimators=FIXED, q_hat=q), estimate(more, p[rows], estimators=FIXED, q_hat=q[rows])
    for label in LABELS:
        assert many[label].value == pytest.approx(few[label].value)
        assert many[label].ess == pytest.approx(times * few[label].ess)
        ratio = math.sqrt((50 - 1) / (50 * times - 1))  # s²/n with the n − 1 of either
        assert many[label].stderr == pytest.approx(few[label].stderr * ratio)


def test_the_limits_of_the_parameters():
    log, p, q = make()
    limits = (SwitchDR(math.inf), DRos(math.inf), SwitchDR(0.0), DRos(0.0), DRos(1e14), DR(math.inf), "dr", "dm")
    found = estimate(log, p, estimators=limits, q_hat=q)
    for label in ("switch-dr(tau=inf)", "dros(lam=inf)", "dr(clip=inf)"):
        assert found[label].value == found["dr"].value
    for label in ("switch-dr(tau=0)", "dros(lam=0)"):
        assert found[label].value == found["dm"].value
        assert found[label].ess == log.n
    assert found["dros(lam=1e+14)"].value == pytest.approx(found["dr"].value, rel=1e-9)


def test_the_logging_policy_is_worth_the_mean():
    log, _, q = make()
    found = estimate(log, log.propensities, estimators=("ips", "snips", SNDR()), q_hat=q)
    assert found["ips"].value == pytest.approx(log.outcome().mean())
    assert found["ips"].stderr == pytest.approx(log.outcome().std(ddof=1) / 20)
    assert found["snips"].ess == pytest.approx(400)
    assert found.mean_weight == pytest.approx(1.0)


# -- known truth -----------------------------------------------------------------------------------------------------


def test_known_truth_is_recovered():
    """One large log of a confounded trial with its true propensities: every estimator that is consistent is near."""
    world = RandomisedTrial(outcome="real", n_actions=3, propensity="confounded")
    log = world.sample(30_000, random_state=1)

    class Skewed:
        name, fitted_on = "skewed", None

        def probabilities(self, features, n_actions, eligible=None):
            chance = np.exp(np.asarray(features, dtype=np.float64)[:, :n_actions])
            return chance / chance.sum(axis=1, keepdims=True)

    truth = world.value(Skewed(), n=400_000).value
    q = world.response(log.features)
    consistent = ("ips", "snips", "dr", "sndr")
    found = estimate(log, Skewed(), estimators=(*consistent, "dm"), q_hat=q)
    for name in (*consistent, "dm"):  # with the true q̂ the direct method is right too
        assert abs(found[name].value - truth) < 4 * found[name].stderr, name
    assert found["dr"].stderr < 0.9 * found["ips"].stderr
    wrong = estimate(log, Skewed(), estimators=(*consistent, "dm"), q_hat=q + 1.0)
    assert abs(wrong["dm"].value - truth) > 20 * wrong["dm"].stderr
    assert abs(wrong["dr"].value - truth) < 4 * wrong["dr"].stderr


def test_cross_fitted_estimators_are_near_the_truth():
    world = RandomisedTrial(outcome="real", propensity="confounded")
    log = world.sample(4_000, random_state=3)
    truth = world.value(TreatAll()).value
    names = ("dr", "cross-fitted-dr", "mrdr", "balanced-ips", "balanced-dr", "dros")
    found = estimate(log, TreatAll(), estimators=names)
    for name in ("dr", "cross-fitted-dr", "mrdr"):
        assert abs(found[name].value - truth) < 4 * found[name].stderr, name
    assert found["dr"].value == found["cross-fitted-dr"].value
    assert found["mrdr"].value != found["dr"].value
    assert abs(found["balanced-dr"].value - truth) < 0.15
    # given predictions are for the estimators that take them; the cross-fitted one fits its own
    both = estimate(log, TreatAll(), estimators=("dr", "cross-fitted-dr"), q_hat=(0.0, 0.0))
    assert both["cross-fitted-dr"].value == found["cross-fitted-dr"].value
    assert both["dr"].value == pytest.approx(estimate(log, TreatAll(), estimators="ips")["ips"].value)


def test_balanced_weights_survive_wrong_propensities():
    """The propensities in the log are 0.5 throughout, and false: SNIPS is far off, balanced weights are not."""
    world = RandomisedTrial(outcome="real", propensity="confounded", baseline_scale=2.0)
    log = world.sample(6_000, random_state=4)
    log = log.with_propensities(np.full((log.n, 2), 0.5))
    truth = world.value(TreatAll()).value
    found = estimate(log, TreatAll(), estimators=("snips", "balanced-ips"))
    assert abs(found["snips"].value - truth) > 0.4
    assert abs(found["balanced-ips"].value - truth) < 0.35 * abs(found["snips"].value - truth)


def test_learned_weights_need_no_propensities_at_all():
    """Shares of the arms stand in for propensities in one log, false ones in the other: neither is looked at."""
    log = RandomisedTrial(outcome="real").sample(1_000, random_state=0, known_propensity=False)
    other = log.with_propensities(np.tile([1.0, 0.0], (log.n, 1)) * 0.2 + 0.4)
    found, again = (estimate(one, TreatAll(), estimators="balanced-ips") for one in (log, other))
    assert found["balanced-ips"].value == pytest.approx(again["balanced-ips"].value, rel=1e-12)
    assert found["balanced-ips"].stderr == pytest.approx(again["balanced-ips"].stderr)
    assert found.mean_weight is None


# -- several outcomes, differences -----------------------------------------------------------------------------------


def test_several_outcomes_are_those_asked_for_one_by_one():
    log, p, q = make()
    at_once = estimate_outcomes(log, p, estimators=FIXED, q_hat={"spend": q, "visits": q / 2})
    assert list(at_once) == ["spend", "visits"]
    for outcome, table in (("spend", q), ("visits", q / 2)):
        alone = estimate(log, p, outcome=outcome, estimators=FIXED, q_hat=table)
        assert at_once[outcome].outcome == outcome
        for label in LABELS:
            assert at_once[outcome][label].value == pytest.approx(alone[label].value, rel=1e-12)
            assert at_once[outcome][label].stderr == pytest.approx(alone[label].stderr, rel=1e-10)
    only = estimate_outcomes(log, p, outcomes=["visits"], estimators="ips")
    assert only["visits"]["ips"].value == pytest.approx(at_once["visits"]["ips"].value)
    assert list(estimate_outcomes(log, p, outcomes="visits", estimators="ips")) == ["visits"]


@pytest.mark.parametrize("unit", [None, np.arange(400) // 2])
def test_a_difference_is_paired(unit):
    log, p, q = make(unit=unit)
    baseline = 0.9 * p + 0.1 * np.array([1.0, 0.0, 0.0])
    found = estimate_difference(log, p, baseline, estimators=FIXED, q_hat=q)
    ours, theirs = (terms(log, table, estimators=FIXED, q_hat=q) for table in (p, baseline))
    for label in LABELS:
        psi = ours[label].influence() - theirs[label].influence()
        psi = psi if unit is None else np.bincount(unit, weights=psi)
        assert found[label].value == pytest.approx(ours[label].value() - theirs[label].value(), abs=1e-12)
        expected = math.sqrt((psi**2).sum() * psi.size / (psi.size - 1)) / 400
        assert found[label].stderr == pytest.approx(expected, rel=1e-8)
        assert found[label].ess is None
    assert found.policy == "the candidate − the baseline"
    assert found["dr"].stderr == pytest.approx(compare(log, p, baseline, mu=q).stderr, rel=1e-10)
    nothing = estimate_difference(log, p, p, estimators=FIXED, q_hat=q)
    assert all(abs(one.value) < 1e-12 and one.stderr < 1e-9 for one in nothing.values())


@pytest.mark.parametrize("kind", ["bootstrap", "anytime", "bernstein"])
def test_other_intervals_surround_the_same_values(kind):
    from persuadable.value.ope.intervals import Bounds

    log, p, q = make()
    bounds = Bounds(outcome=(-10.0, 20.0), weight=30.0) if kind == "bernstein" else None
    normal, other = (
        estimate(log, p, estimators=("ips", "snips", "dr"), q_hat=q, interval=each, bounds=more)
        for each, more in (("normal", None), (kind, bounds))
    )
    for name in normal:
        assert other[name].value == pytest.approx(normal[name].value)
        assert other[name].stderr == pytest.approx(normal[name].stderr)
        assert other[name].ess == pytest.approx(normal[name].ess)
        assert other[name].interval != normal[name].interval
        assert other[name].interval[0] < other[name].value < other[name].interval[1]
    apart = estimate_difference(log, p, log.propensities, estimators="snips", interval=kind, bounds=bounds)["snips"]
    assert apart.value == pytest.approx(normal["snips"].value - log.outcome().mean())


# -- tuning ----------------------------------------------------------------------------------------------------------


def test_tuning_takes_the_model_where_it_is_right_and_leaves_it_where_it_is_wrong():
    """Twelve logs of a known world: with the true q̂ tuned DR errs less than DR, with a false one not much more."""
    world = RandomisedTrial(outcome="real", n_actions=3, propensity="confounded")
    truth = world.value(1).value
    errors = {"right": [], "wrong": []}
    for seed in range(12):
        log = world.sample(2_000, random_state=seed)
        p = np.tile([0.0, 1.0, 0.0], (log.n, 1))
        for kind, q in (("right", world.response(log.features)), ("wrong", (5.0, -5.0, 0.0))):
            found = estimate(log, p, estimators=("dros", "switch-dr", "dr"), q_hat=q)
            errors[kind].append([one.value - truth for one in found.values()])
            assert found.estimators["dros"].lam is not None
            assert found["switch-dr"].ess <= found["dr"].ess * 1.5
    right, wrong = (np.sqrt((np.array(errors[kind]) ** 2).mean(axis=0)) for kind in ("right", "wrong"))
    assert (right[:2] < 0.9 * right[2]).all(), right
    assert (wrong[:2] < 1.25 * wrong[2]).all(), wrong


@pytest.mark.parametrize("interval", ["normal", "bootstrap"])
def test_a_tuned_estimate_has_the_interval_of_the_untuned_one(interval):
    log, p, _ = make()
    q = (1.0, 2.0, 3.0)
    told = {"q_hat": q, "interval": interval, "estimators": ("dros", "switch-dr", IPS("slope"), "dr", "ips")}
    for found in (estimate(log, p, **told), estimate_difference(log, p, np.full(p.shape, 1 / 3), **told)):
        assert list(found) == list(found.estimators) == ["dros", "switch-dr", "ips(clip=slope)", "dr", "ips"]
        assert found.covariance.shape == (5, 5)
        for tuned, plain in (("dros", "dr"), ("switch-dr", "dr"), ("ips(clip=slope)", "ips")):
            assert found[tuned].interval == pytest.approx(found[plain].interval, rel=1e-12)
            assert found[tuned].stderr == pytest.approx(found[plain].stderr, rel=1e-12)
    assert estimate(log, p, **told)["ips(clip=slope)"].value != estimate(log, p, **told)["ips"].value


def test_a_clip_is_tuned_for_estimators_without_a_model():
    log, p, _ = make()
    clipped = estimate(log, p, estimators=("ips", "snips", "sndr"), clip="slope", q_hat=(1.0, 2.0, 3.0))
    assert list(clipped) == ["ips", "snips", "sndr"]
    w = p[np.arange(400), log.action] / np.asarray(log.propensities)[np.arange(400), log.action]
    for name, used in clipped.estimators.items():
        assert used.clip is None or np.median(w) * 0.99 < used.clip <= w.max()
        again = estimate(log, p, estimators=used, q_hat=(1.0, 2.0, 3.0) if used.model else None)
        assert clipped[name].value == again[str(used)].value


def test_clip_is_for_those_named():
    log, p, _ = make()
    found = estimate(log, p, estimators=("ips", IPS(3.0), "snips"), clip=1.5)
    assert found["ips"].value == estimate(log, p, estimators=IPS(1.5))["ips(clip=1.5)"].value
    assert found["ips(clip=3)"].value == estimate(log, p, estimators=IPS(3.0))["ips(clip=3)"].value
    assert str(found.estimators["ips"]) == "ips(clip=1.5)"


# -- what comes out --------------------------------------------------------------------------------------------------


def test_estimates_are_a_mapping_that_prints_and_frames():
    log, p, q = make()
    found = ps.value.estimate(log, p, q_hat=q)
    assert list(found) == ["ips", "snips", "dr"]
    assert len(found) == 3
    assert "dr" in found
    assert isinstance(found["dr"], Estimate)
    frame = found.frame()
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == ["estimator", "used", "value", "stderr", "lower", "upper", "ess"]
    assert frame["value"].to_list() == [one.value for one in found.values()]
    text = str(found)
    assert "spend per head of the candidate, from 400 rounds, mean weight" in text
    assert "snips" in text
    assert estimate_difference(log, p, p, estimators="ips").frame()["ess"].to_list() == [None]
    with pytest.raises(KeyError):
        found["dm"]


def test_policies_and_narrow_tables_are_taken():
    log, p, q = make()
    lottery = estimate(log, RandomPolicy(0.3), q_hat=q)
    assert lottery.policy == "random 30%"
    narrow = estimate(log, p.astype(np.float32), q_hat=q.astype(np.float32))
    wide = estimate(log, p, q_hat=q)
    assert narrow["dr"].value == pytest.approx(wide["dr"].value, rel=1e-6)
    fortran = estimate(log, np.asfortranarray(p), q_hat=np.asfortranarray(q))
    assert fortran["dr"].value == wide["dr"].value
    constants = estimate(log, p, q_hat=(1.0, 2.0, 3.0))
    assert constants["dr"].value == estimate(log, p, q_hat=np.tile([1.0, 2.0, 3.0], (400, 1)))["dr"].value


class _Learned:
    """A stand-in for a learner: the effect is the first feature."""

    def __init__(self):
        self.actions_ = Discrete(("a0", "a1"))

    def fit(self, log):
        self.fitted_on = log.fingerprint
        return self

    def effect(self, X, outcome=None):
        x = np.asarray(X, dtype=np.float64)[:, 0]
        return np.column_stack([np.zeros(len(x)), x])


def test_a_threshold_drawn_from_the_same_rounds_has_its_sampling_counted():
    log, _, q = make(arms=2)
    policy = BudgetPolicy(_Learned().fit(make(seed=9, arms=2)[0]), 0.3).calibrate(log)
    for name in ("ips", "dr"):
        given_q = q if name == "dr" else None
        found = estimate(log, policy, estimators=name, q_hat=given_q)[name]
        assert found.stderr == pytest.approx(policy_value(log, policy, method=name, mu=given_q).stderr, rel=1e-10)
    fixed = estimate(log, policy.probabilities(log.features, 2), estimators="ips")["ips"]
    assert fixed.value == estimate(log, policy, estimators="ips")["ips"].value
    assert fixed.stderr != pytest.approx(estimate(log, policy, estimators="ips")["ips"].stderr, rel=1e-6)


@pytest.mark.parametrize("kind", ["normal", "bootstrap", "anytime"])
def test_a_single_unit_has_an_infinite_error(kind):
    log, p, _ = make(n=50, unit=np.zeros(50, dtype=int))
    one = estimate(log, p, estimators=("ips", "snips"), interval=kind)
    two = estimate_difference(log, p, log.propensities, estimators=("ips", "snips"), interval=kind)
    for found in (*one.values(), *two.values()):
        assert found.stderr == math.inf
        assert found.interval == (-math.inf, math.inf)


def test_a_bootstrap_draws_as_many_replicates_as_alpha_needs():
    """999 have none beyond one end in two thousand; the interval has to hold the one of 95%."""
    log, p, _ = make()
    rare = estimate(log, p, estimators="snips", interval="bootstrap", alpha=0.001)["snips"].interval
    usual = estimate(log, p, estimators="snips", interval="bootstrap")["snips"].interval
    assert -math.inf < rare[0] < usual[0] < usual[1] < rare[1] < math.inf


# -- refusals --------------------------------------------------------------------------------------------------------


def spoiled(table, row, column, value):
    table = table.copy()
    table[row, column] = value
    return table


@pytest.mark.parametrize("row", [3, 9_000])  # in the first block of the pass, and in the second
@pytest.mark.parametrize("value", [math.nan, -0.2, 1.5, math.inf])
def test_what_is_no_distribution_is_refused_with_its_row(row, value):
    log, p, _ = make(n=10_000)
    with pytest.raises(DataError, match=rf"the candidate gives .* no probability distribution \(row {row}\)"):
        estimate(log, spoiled(p, row, 1, value), estimators="ips")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", [0, 1])  # where the candidate does nothing, and where it does all
def test_predictions_that_are_not_finite_are_refused_with_their_row(column, value):
    log, p, q = make(n=10_000)
    p[9_000] = [0.0, 1.0, 0.0]
    with pytest.raises(DataError, match=r"q_hat is not finite \(row 9000\)"):
        estimate(log, p, estimators="dr", q_hat=spoiled(q, 9_000, column, value))


def test_shapes_and_kinds_are_refused():
    log, p, q = make()
    with pytest.raises(DataError, match=r"the candidate gives probabilities of shape \(400, 2\), expected \(400, 3\)"):
        estimate(log, p[:, :2])
    with pytest.raises(DataError, match=r"the baseline gives probabilities of shape \(10, 3\)"):
        estimate_difference(log, p, p[:10])
    with pytest.raises(DataError, match=r"q_hat has shape \(400, 2\), expected \(400, 3\)"):
        estimate(log, p, q_hat=q[:, :2])
    with pytest.raises(DataError, match="q_hat does not hold numbers"):
        estimate(log, p, q_hat=np.full((400, 3), "much"))
    with pytest.raises(ParameterError, match="is not a policy"):
        estimate(log, "everybody")


def test_untried_actions_are_refused_and_counted_over_the_whole_log():
    log, p, _ = make(n=20_000)
    e = np.array(log.propensities)
    rows = np.flatnonzero(log.action != 2)[::1000]
    e[rows] = [0.5, 0.5, 0.0]
    known = log.with_propensities(e)
    count = f"{rows.size} of 20,000 rows the candidate takes an action whose logged propensity is 0"
    with pytest.raises(PropensityError, match=count):
        estimate(known, p, estimators="ips")
    spared = p.copy()
    spared[rows] = [0.5, 0.5, 0.0]
    assert math.isfinite(estimate(known, spared, estimators="ips")["ips"].value)
    assert math.isfinite(estimate(known, p, estimators="dm", q_hat=(1.0, 2.0, 3.0))["dm"].value)


def test_what_was_not_eligible_is_refused_where_only_the_propensities_taken_are_known():
    """Half of the rounds could not have the call: without a word their half of the value would be missing."""
    rng = np.random.default_rng(0)
    eligible = np.ones((200, 3), dtype=bool)
    eligible[::2, 2] = False
    action = np.where(eligible[:, 2], rng.integers(0, 3, 200), rng.integers(0, 2, 200))
    taken = np.where(eligible[:, 2], 1 / 3, 1 / 2)
    log = DecisionLog.from_arrays(
        np.zeros((200, 1)), action, {"y": np.ones(200)}, taken_propensity=taken, eligible=eligible
    )
    call = np.tile([0.0, 0.0, 1.0], (200, 1))
    with pytest.raises(PropensityError, match=r"In 100 of 200 rows the candidate takes .* not eligible .*row 0, '2'"):
        estimate(log, call, estimators="ips")
    with pytest.raises(PropensityError, match="the baseline takes an action that was not eligible"):
        estimate_difference(log, np.tile([1.0, 0.0, 0.0], (200, 1)), call, estimators="dros", q_hat=(1.0, 1.0, 1.0))
    assert estimate(log, call, estimators="dm", q_hat=(1.0, 2.0, 3.0))["dm"].value == 3.0
    allowed = np.where(eligible[:, [2]], call, [0.0, 1.0, 0.0])
    assert estimate(log, allowed, estimators="snips")["snips"].value == 1.0


@pytest.mark.parametrize("interval", ["normal", "bootstrap"])
@pytest.mark.parametrize("spoilt", ["outcome", "propensity"])
def test_squares_that_are_no_numbers_are_refused(interval, spoilt):
    e, y = np.full((40, 2), 0.5), np.ones(40)
    if spoilt == "outcome":
        y = y * 1e200
    else:
        e[1::2] = [1.0, 1e-200]
    y[0] = 0.0
    log = DecisionLog.from_arrays(np.zeros((40, 1)), np.arange(40) % 2, {"y": y}, propensity=e)
    with pytest.raises(DataError, match="so large that their squares are not finite"):
        estimate(log, TreatAll(), estimators=("ips", "snips"), interval=interval)


def test_bernstein_needs_bounds_and_weights_that_do_not_depend_on_the_rounds():
    from persuadable.value.ope.intervals import Bounds

    log, p, q = make(arms=2)
    bounds = Bounds(outcome=(-10.0, 20.0), weight=30.0)
    with pytest.raises(ParameterError, match="'bernstein' needs bounds="):
        estimate(log, p, estimators="cross-fitted-dr", interval="bernstein")  # said before anything is fitted
    shares = DecisionLog.from_arrays(np.asarray(log.features), log.action, {"y": log.outcome()})
    for name in ("ips", "snips", "dr"):
        given_q = q if name == "dr" else None
        with pytest.raises(ParameterError, match="the propensities are the shares of the arms"):
            estimate(shares, p, estimators=name, q_hat=given_q, interval="bernstein", bounds=bounds)
    assert estimate(shares, p, estimators="dm", q_hat=q, interval="bernstein", bounds=bounds)["dm"].n == 400
    policy = BudgetPolicy(_Learned().fit(make(seed=9, arms=2)[0]), 0.3).calibrate(log)
    with pytest.raises(ParameterError, match=r"the threshold of .* was drawn from this log"):
        estimate(log, policy, estimators="ips", interval="bernstein", bounds=bounds)


def test_a_threshold_drawn_from_a_log_of_taken_propensities_is_refused():
    log, _, _ = make(arms=2)
    taken = DecisionLog.from_arrays(
        np.asarray(log.features), log.action, {"y": log.outcome()}, taken_propensity=log.taken_propensity()
    )
    policy = BudgetPolicy(_Learned().fit(make(seed=9, arms=2)[0]), 0.3)
    with pytest.raises(PropensityError, match=r"The threshold of .* was drawn from this log, which knows"):
        estimate(taken, policy.calibrate(taken), estimators="ips")
    assert estimate(taken, policy.calibrate(make(seed=8, arms=2)[0]), estimators="ips")["ips"].n == 400


def test_nothing_to_normalise_is_refused():
    log = DecisionLog.from_arrays(
        np.zeros((4, 1)), [0, 1, 0, 1], {"y": [1.0, 2, 3, 4]}, propensity=np.full((4, 2), 0.5)
    )
    never = np.eye(2)[1 - np.asarray(log.action)]
    with pytest.raises(PropensityError, match="All weights are 0"):
        estimate(log, never, estimators="snips")
    assert estimate(log, never, estimators="ips")["ips"].ess == 0
    clustered = DecisionLog.from_arrays(
        np.zeros((4, 1)), [0, 1, 0, 1], {"y": [1.0, 2, 3, 4]}, propensity=np.full((4, 2), 0.5), unit=[0, 0, 1, 1]
    )
    with pytest.raises(PropensityError, match="All weights are 0"):
        estimate(clustered, never, estimators="snips")


def test_arguments_are_refused():
    log, p, q = make(n=60)
    with pytest.raises(ParameterError, match=r"There is no estimator 'drr'.*Name one of \['dm', 'ips'"):
        estimate(log, p, estimators="drr")
    for kind in (IPS, [IPS]):
        with pytest.raises(
            ParameterError, match=r"no estimator <class .*IPS'>.*pass an object such as DRos\(lam=100\)"
        ):
            estimate(log, p, estimators=kind)
    with pytest.raises(ParameterError, match="No estimator was named"):
        estimate(log, p, estimators=())
    with pytest.raises(ParameterError, match="'ips' was named twice"):
        estimate(log, p, estimators=("ips", IPS()))
    with pytest.raises(ParameterError, match=r"clip=5 was passed, and none of \['dm'\] uses it"):
        estimate(log, p, estimators="dm", q_hat=q, clip=5)
    with pytest.raises(ParameterError, match="q_hat was given for 'spend', and none of the estimators reads it"):
        estimate(log, p, estimators=("ips", "mrdr"), q_hat=q)
    with pytest.raises(ParameterError, match="interval is 'wald'"):
        estimate(log, p, interval="wald")
    with pytest.raises(ParameterError, match=r"alpha is 1\.5"):
        estimate(log, p, alpha=1.5)
    with pytest.raises(ParameterError, match=r"bounds= was passed with interval='normal', which ignores it"):
        estimate(log, p, bounds=object())
    for wrong in (IPS, SNIPS, DR, SNDR):
        with pytest.raises(ParameterError, match="not a number above 0"):
            wrong(clip=0.0)
    with pytest.raises(ParameterError, match="tau of switch-dr is -1"):
        SwitchDR(-1)
    with pytest.raises(ParameterError, match="lam of dros is nan"):
        DRos(math.nan)
    with pytest.raises(OutcomeError, match="There is no outcome 'profit'"):
        estimate(log, p, outcome="profit", estimators="ips")
    with pytest.raises(OutcomeError, match="No outcome was named"):
        estimate_outcomes(log, p, outcomes=[])
    with pytest.raises(OutcomeError, match="q_hat is given for 'profit', which is not estimated"):
        estimate_outcomes(log, p, q_hat={"profit": q})
    for unchosen in (SwitchDR(), DRos(), IPS("slope")):
        with pytest.raises(ParameterError, match="not chosen yet"):
            _ = unchosen.weighting


def test_rows_that_fitted_the_policy_are_refused():
    log, _, _ = make(arms=2)
    policy = BudgetPolicy(_Learned().fit(make(seed=9, arms=2)[0]), 0.3).calibrate(log)
    assert estimate(log, policy, estimators="ips")
    policy.learner.fitted_on = log.fingerprint
    with pytest.raises(LeakageError, match="rows offered for judging also fitted"):
        estimate(log, policy, estimators="ips")


def test_a_name_that_was_not_estimated_is_refused_with_those_that_were():
    log, p, _ = make(arms=2)
    found = estimate(log, p, estimators=["ips", "snips"])
    with pytest.raises(KeyError) as refused:
        found["DR"]
    assert str(refused.value) == "There is no estimate 'DR'. Estimated were ['ips', 'snips']."
    assert "dr" not in found
    assert found.get("dr") is None
    with pytest.raises(ParameterError, match=r"no outcome 'clicks'\. Estimated were \['spend', 'visits'\]"):
        estimate_outcomes(log, p, estimators="ips")["clicks"]


def test_several_outcomes_print_as_their_tables():
    log, p, _ = make(arms=2)
    found = estimate_outcomes(log, p, estimators=["ips", "snips"])
    assert str(found) == f"{found['spend']}\n\n{found['visits']}"


def test_only_a_normal_difference_prints_a_p_value():
    log, p, _ = make(arms=2)
    assert "p = " not in str(estimate(log, p, estimators="ips")["ips"])
    difference = estimate_difference(log, p, p[:, ::-1], estimators="ips")["ips"]
    assert f"p = {difference.p_value:.2g}" in str(difference)
    for kind in ("bootstrap", "anytime"):
        assert "p = " not in str(estimate_difference(log, p, p[:, ::-1], estimators="ips", interval=kind)["ips"])
    assert "p = " not in str(policy_value(log, p, method="ips").estimate)
    assert "p = " in str(compare(log, p, p[:, ::-1], method="ips").difference)


def test_shares_that_stood_in_for_propensities_are_told():
    log, p, _ = make(arms=2)
    bare = DecisionLog.from_arrays(log.features, log.action, log.outcome())
    told = "propensities: the arms' shares"
    assert told in str(estimate(bare, p, estimators="ips")).splitlines()[0]
    assert told in str(estimate_difference(bare, p, p[:, ::-1], estimators="ips")).splitlines()[0]
    assert told not in str(estimate(log, p, estimators="ips"))


def test_a_mean_weight_far_from_1_is_told():
    """Propensities that say 0.9 where it was 0.5: the weights of a policy that does the same have the mean 0.5/0.9."""
    rng = np.random.default_rng(0)
    action = rng.integers(0, 2, 2_000)
    wrong = np.tile([0.1, 0.9], (2_000, 1))
    log = DecisionLog.from_arrays(rng.normal(size=(2_000, 1)), action, rng.normal(size=2_000), propensity=wrong)
    always = np.tile([0.0, 1.0], (2_000, 1))
    off = estimate(log, always, estimators=["ips", "snips"])
    assert off.mean_weight == pytest.approx(0.5 / 0.9, abs=0.03)
    assert "The mean weight is far from 1" in str(off)
    right = log.with_propensities(np.full((2_000, 2), 0.5))
    assert "far from 1" not in str(estimate(right, always, estimators=["ips", "snips"]))
