"""Do the tests of logged propensities see what is wrong, and only that?"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, binomtest, norm

from persuadable.log import DecisionLog
from persuadable.value.gating.propensities import (
    centred,
    conditional_test,
    frame_of,
    frequencies,
    holm,
    learned,
    summed,
)


def log_of(e, rng, *, true=None, x=None, **more):
    """A log whose actions are drawn by ``true`` (n, A) and whose propensities say ``e``."""
    n, arms = e.shape
    drawn = e if true is None else true
    action = (rng.random(n)[:, None] >= drawn.cumsum(axis=1)[:, :-1]).sum(axis=1)
    features = rng.normal(size=(n, 3)) if x is None else x
    names = [f"a{k}" for k in range(arms)]
    return DecisionLog.from_arrays(features, action, rng.normal(size=n), action_names=names, propensity=e, **more)


def two(treat):
    return np.column_stack([1 - treat, treat])


def test_holm_by_hand():
    # Sorted .01, .02, .03, .5 times 4, 3, 2, 1, never falling: .04, .06, .06, .5.
    assert holm(np.array([0.03, 0.5, 0.01, 0.02])) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm(np.array([0.9, 0.6])) == pytest.approx([1.0, 1.0])


def test_a_constant_propensity_is_one_binomial_test():
    rng = np.random.default_rng(0)
    log = log_of(two(np.full(500, 0.3)), rng, true=two(np.full(500, 0.36)))
    (one,) = frequencies(log)
    count = int((log.action == 1).sum())
    assert (one.action, one.rows, one.predicted) == ("a1", 500, pytest.approx(0.3))
    assert one.observed == pytest.approx(count / 500)
    assert one.z == pytest.approx((count - 150) / np.sqrt(500 * 0.3 * 0.7))
    assert one.p_value == pytest.approx(min(1, 2 * min(binom.cdf(count, 500, 0.3), binom.sf(count - 1, 500, 0.3))))
    assert one.p_value == pytest.approx(binomtest(count, 500, 0.3).pvalue, rel=0.2)  # another two-sided convention


def test_bins_part_the_rows_with_a_chance_and_keep_ties_together():
    rng = np.random.default_rng(1)
    treat = rng.choice([0.0, 0.1, 0.2, 0.7], 4_000, p=[0.1, 0.4, 0.1, 0.4])
    found = frequencies(log_of(two(treat), rng))
    assert [one.lowest for one in found] == pytest.approx([0.1, 0.2, 0.7])
    assert [one.highest for one in found] == pytest.approx([0.1, 0.2, 0.7])
    assert sum(one.rows for one in found) == np.count_nonzero(treat)


def test_bins_expect_the_action_ten_times():
    rng = np.random.default_rng(2)
    e = np.full((2_000, 3), 0.0)
    e[:, 1] = rng.uniform(0.001, 0.02, 2_000)
    e[:, 2] = 0.5
    e[:, 0] = 1 - e[:, 1:].sum(axis=1)
    found = frequencies(log_of(e, rng))
    rare = [one for one in found if one.action == "a1"]
    assert sum(one.rows for one in rare) == 2_000
    assert len(rare) > 1
    assert all(one.rows * one.predicted >= 10 for one in rare)


def test_row_weights_and_repeated_units_change_the_standard_error_as_a_loop_has_it():
    rng = np.random.default_rng(3)
    n = 600
    unit, weight = rng.integers(0, 150, n), rng.uniform(0.5, 2.0, n)
    log = log_of(two(np.full(n, 0.4)), rng, unit=unit, weight=weight)
    (one,) = frequencies(log)
    residual = weight * ((log.action == 1) - 0.4)
    variance = sum(residual[unit == u].sum() ** 2 for u in np.unique(unit))
    assert one.z == pytest.approx(residual.sum() / np.sqrt(variance))
    assert one.p_value == pytest.approx(2 * norm.sf(abs(one.z)))
    assert one.observed == pytest.approx(np.average(log.action == 1, weights=weight))


def test_frequencies_reject_as_often_as_they_should():
    """Binomial p-values of wider bins are a little too large, never too small: at most 5% of 400 logs, and some."""
    rejected = 0
    for seed in range(400):
        rng = np.random.default_rng([4, seed])
        e = rng.uniform(0.05, 0.95, 400)
        rejected += min(one.p_value for one in frequencies(log_of(two(e), rng))) < 0.05
    assert 0 < rejected <= binom.ppf(0.9999, 400, 0.05)


def test_frequencies_see_a_floor_that_was_not_kept():
    rng = np.random.default_rng(5)
    treat = np.where(rng.random(3_000) < 0.2, 0.95, 0.5)
    log = log_of(two(treat), rng, true=two(np.where(treat == 0.95, 1.0, 0.5)))
    worst = min(frequencies(log), key=lambda one: one.p_value)
    assert worst.p_value < 1e-6
    assert (worst.predicted, worst.observed) == (pytest.approx(0.95), 1.0)


def test_the_conditional_test_is_standard_normal_where_propensities_are_right():
    """Mean and deviation of z over 200 logs with three arms and propensities that depend on a feature."""
    z = []
    for seed in range(200):
        rng = np.random.default_rng([6, seed])
        x = rng.normal(size=(600, 3))
        e = np.exp(x[:, :1] * np.array([-0.6, 0.0, 0.6]))
        z.append(conditional_test(log_of(e / e.sum(axis=1, keepdims=True), rng, x=x), seed).z)
    assert abs(np.mean(z)) < 4 / np.sqrt(200)
    assert 0.8 < np.std(z) < 1.2
    assert np.mean(np.array(z) > 1.645) <= binom.ppf(0.9999, 200, 0.05) / 200


def test_rows_only_test_what_earlier_ones_taught():
    """What is learned for the second stage does not change with the actions of the third."""
    rng = np.random.default_rng(20)
    log = log_of(two(np.full(900, 0.5)), rng)
    stage = np.arange(900) % 3
    residual = rng.normal(size=(900, 2))
    other = residual.copy()
    other[stage == 2] += 5.0
    guesses = [
        [guess for _, guess in learned(log, one, np.full((900, 2), 0.25), stage, 0)] for one in (residual, other)
    ]
    assert (guesses[0][0] == guesses[1][0]).all()
    assert guesses[0][0].any()
    earlier = residual.copy()
    earlier[stage == 1] += 5.0
    (_, _), (_, moved) = learned(log, earlier, np.full((900, 2), 0.25), stage, 0)
    assert (moved != guesses[0][1]).any()


def test_the_direction_is_centred_among_the_equally_eligible():
    rng = np.random.default_rng(21)
    shares = np.array([[0.5, 0.5], [0.2, 0.8]])[rng.integers(0, 2, 50)]
    h = centred(rng.normal(size=(50, 2)), shares)
    for group in (0.5, 0.2):
        assert h[shares[:, 0] == group].mean(axis=0) == pytest.approx([0.0, 0.0])


def test_without_logged_propensities_the_score_is_taken_with_the_centred_direction():
    """By hand, from what was learned: Σ h R over √Σ Var(h R), a stage each, and the stages alike."""
    rng = np.random.default_rng(22)
    x = rng.normal(size=(900, 3))
    log = DecisionLog.from_arrays(x, (rng.random(900) < 0.3).astype(int), rng.normal(size=900))
    share = (log.action == 1).mean()
    residual = np.column_stack([share - log.action, log.action - share])
    stage = np.random.default_rng(5).permutation(900) % 3
    parts = []
    for late, guess in learned(log, residual, np.full((900, 2), share * (1 - share)), stage, 5):
        h = guess[:, 1] - guess[:, 1].mean()
        parts.append((h * residual[late, 1]).sum() / np.sqrt(share * (1 - share) * (h**2).sum()))
    assert conditional_test(log, 5).z == pytest.approx(sum(parts) / np.sqrt(2), rel=1e-6)


def test_the_score_is_summed_by_units():
    score, unit = np.array([1.0, 2.0, -4.0, 0.5]), np.array([0, 0, 1, 2])
    assert summed(score, np.full(4, 9.0), None) == pytest.approx((-0.5, 36.0))
    assert summed(score, np.full(4, 9.0), unit) == pytest.approx((-0.5, 3.0**2 + 4.0**2 + 0.5**2))


def test_the_conditional_test_sees_an_average_in_the_place_of_a_propensity():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(3_000, 3))
    true = two(1 / (1 + np.exp(-x[:, 0])))
    log = log_of(two(np.full(3_000, 0.5)), rng, true=true, x=x)
    assert min(one.p_value for one in frequencies(log)) > 0.001  # right on average, so the bins see nothing
    assert conditional_test(log).p_value < 1e-6


def test_the_conditional_test_sees_another_version_by_the_time():
    rng = np.random.default_rng(8)
    n = 4_000
    late = np.arange(n) >= n // 2
    true = two(np.where(late, 0.35, 0.65))
    blind = log_of(two(np.full(n, 0.5)), np.random.default_rng(8), true=true, x=rng.normal(size=(n, 3)))
    days = np.datetime64("2026-01-01") + np.arange(n) // 40
    seeing = DecisionLog.from_arrays(blind.features, blind.action, blind.outcome(), propensity=0.5, time=days)
    assert conditional_test(blind).p_value > 0.001
    assert conditional_test(seeing).p_value < 1e-6


def test_observed_shares_are_not_held_against_themselves():
    """Without logged propensities a randomised log passes, and one assigned by a feature does not."""
    rng = np.random.default_rng(9)
    x = rng.normal(size=(2_000, 3))
    for treat, fair in ((np.full(2_000, 0.3), True), (0.3 + 0.2 * (x[:, 1] > 0), False)):
        action = (rng.random(2_000) < treat).astype(int)
        log = DecisionLog.from_arrays(x, action, rng.normal(size=2_000))
        assert (conditional_test(log).p_value > 0.001) == fair


def test_units_that_keep_their_action_are_clusters():
    """Whole units drawn by lot: by rows the score would be far too sure of itself."""
    rng = np.random.default_rng(10)
    unit = np.repeat(np.arange(300), 20)
    x = rng.normal(size=(300, 3))[unit]
    action = rng.integers(0, 2, 300)[unit]
    log = DecisionLog.from_arrays(x, action, rng.normal(size=6_000), propensity=0.5, unit=unit)
    assert conditional_test(log).z < 3
    (one,) = frequencies(log)
    assert abs(one.z) < 3


def test_too_short_or_certain_logs_are_not_tested():
    rng = np.random.default_rng(11)
    assert conditional_test(log_of(two(np.full(200, 0.5)), rng)) is None
    action = rng.integers(0, 2, 400)
    sure = DecisionLog.from_arrays(rng.normal(size=(400, 2)), action, action, propensity=np.eye(2)[action])
    assert conditional_test(sure) is None


def test_the_frame_has_a_row_per_bin():
    found = frequencies(log_of(two(np.full(100, 0.5)), np.random.default_rng(12)))
    assert isinstance(frame_of(found), pl.DataFrame)
    assert frame_of(found)["rows"].to_list() == [100]
