"""Bounds under unlogged confounding: linear programs, a world with such confounding, and what must not change."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.special import expit, logit
from scipy.stats import norm

from persuadable.errors import ParameterError
from persuadable.log import DecisionLog
from persuadable.value.gating.evidence import gather
from persuadable.value.gating.sensitivity import Confounded, sensitivity
from persuadable.value.policy_value import compare
from persuadable.worlds import RandomisedTrial


def extreme(y, lam, sign):
    """Smallest (sign 1) or largest (−1) mean of y under weights in [1/Λ, Λ] with mean 1, by a linear program."""
    n = y.size
    solved = linprog(sign * y / n, A_eq=np.full((1, n), 1 / n), b_eq=[1.0], bounds=[(1 / lam, lam)] * n)
    return sign * solved.fun


@pytest.mark.parametrize("outcome", ["money", "binary"])
@pytest.mark.parametrize("lam", [1.0, 1.3, 2.0, 4.0])
def test_treating_all_against_none_is_two_linear_programs(outcome, lam):
    """Without features the sharp bounds are those of the likelihood ratio of those who did not take the action."""
    rng = np.random.default_rng(0)
    n = 150
    action = (np.arange(n) < 60).astype(int)
    y = rng.lognormal(size=n) if outcome == "money" else (rng.random(n) < 0.3).astype(float)
    log = DecisionLog.from_arrays(np.zeros((n, 1)), action, y)  # shares 0.6 and 0.4
    treat_all, treat_none = np.tile([0.0, 1.0], (n, 1)), np.tile([1.0, 0.0], (n, 1))
    rows = Confounded.of(gather(log, treat_all, treat_none, q_hat=[0.3, 0.7]), 1.0).rows(lam)[0]
    ones, zeros = y[action == 1], y[action == 0]
    least = 0.4 * ones.mean() + 0.6 * extreme(ones, lam, 1)
    most = 0.6 * zeros.mean() + 0.4 * extreme(zeros, lam, -1)
    assert rows.mean() == pytest.approx(least - most, rel=1e-6)


@pytest.mark.parametrize("lam", [1.5, 3.0])
def test_the_quantile_is_the_best_there_is_where_propensities_vary(lam):
    """Any ρ gives a bound that holds; the one taken is the highest of them, tried out one by one."""
    rng = np.random.default_rng(1)
    n = 90
    e = rng.uniform(0.1, 0.9, n)
    action = (rng.random(n) < e).astype(int)
    taken = np.where(action == 1, e, 1 - e)
    y = rng.lognormal(size=n)
    log = DecisionLog.from_arrays(np.zeros((n, 1)), action, y, taken_propensity=taken)
    p = rng.uniform(0.4, 1.0, n)
    evidence = gather(log, np.column_stack([1 - p, p]), np.tile([1.0, 0.0], (n, 1)), q_hat=[0.5, 2.0])
    v, sign = p / taken, np.where(action == 1, 1.0, -1.0)
    r = sign * (y - np.where(action == 1, 2.0, 0.5))

    def bound(rho):
        tail = rho[action] - (1 + lam) * np.maximum(rho[action] - r, 0)
        return np.mean(1.5 * p + v * (taken * r + (1 - taken) * (r / lam + (1 - 1 / lam) * tail)))

    best = np.zeros(2)
    for a in (0, 1):
        tried = [bound(np.where(np.arange(2) == a, one, best)) for one in r[action == a]]
        best[a] = r[action == a][int(np.argmax(tried))]
    assert Confounded.of(evidence, 1.0).rows(lam)[0].mean() == pytest.approx(bound(best))


def test_bounds_are_sharp_where_predictions_are_right_and_noise_grows_with_them():
    """Y = q(1 + ε/2) with normal ε: the mean of the lowest 1/(1 + Λ) is q(1 − φ(z)(1 + Λ)/2), for either action."""
    rng = np.random.default_rng(2)
    n, lam = 40_000, 3.0
    q = rng.uniform(0.2, 4.0, n)
    action = rng.integers(0, 2, n)
    log = DecisionLog.from_arrays(q[:, None], action, q * (1 + rng.normal(size=n) / 2), propensity=0.5)
    ours, theirs = np.tile([0.0, 1.0], (n, 1)), np.tile([1.0, 0.0], (n, 1))
    found = sensitivity(log, ours, theirs, q_hat=np.column_stack([q, q]))
    z = norm.ppf(1 / (1 + lam))
    worst = 0.5 * (1 - 1 / lam) * q.mean() * norm.pdf(z) * (1 + lam) / 2
    at = int(np.flatnonzero(found.grid == lam)[0])
    assert found.upper[at] - found.lower[at] == pytest.approx(4 * worst, rel=0.01)


def world_log(n, lam, seed, q_noise=0.0):
    """A log in which an unlogged cause of ±1 moves the odds of treating by Λ and the outcome by ±1, and its truth."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    side = rng.choice([-1.0, 1.0], n)
    e = expit(0.5 * x[:, 0])
    # P(A | x, side) with odds e/(1 − e)·c·Λ^side, c such that its mean given x is e: by bisection on log c.
    low, high = np.full(n, -5.0), np.full(n, 5.0)
    for _ in range(50):
        middle = (low + high) / 2
        mean = (expit(logit(e) + middle + np.log(lam)) + expit(logit(e) + middle - np.log(lam))) / 2
        low, high = np.where(mean < e, middle, low), np.where(mean < e, high, middle)
    action = (rng.random(n) < expit(logit(e) + low + side * np.log(lam))).astype(int)
    base = x[:, 1]
    y = base + 0.2 * action + side + rng.normal(scale=0.3, size=n)
    log = DecisionLog.from_arrays(x, action, y, propensity=np.column_stack([1 - e, e]))
    q = np.column_stack([base, base + 0.2]) + q_noise * rng.normal(size=(n, 2))
    treat = np.column_stack([x[:, 1] < 0, x[:, 1] >= 0]).astype(float)
    truth = 0.2 * treat[:, 1].mean()  # against treating nobody
    return log, treat, np.tile([1.0, 0.0], (n, 1)), q, truth


def test_the_truth_lies_between_the_bounds_at_the_true_strength_and_not_at_1():
    # log c shifts the odds by less than √Λ either way, so the odds ratio to the logged ones stays within Λ^1.5.
    log, ours, theirs, q, truth = world_log(20_000, 1.5, 1)
    found = sensitivity(log, ours, theirs, q_hat=q)
    at = {round(lam, 2): k for k, lam in enumerate(found.grid.tolist())}
    assert not found.surely_above[0] <= truth <= found.surely_below[0]
    assert found.surely_above[at[2.0]] <= truth <= found.surely_below[at[2.0]]
    assert found.verdict == "above"


def test_bounds_widen_with_lambda_and_start_at_the_doubly_robust_difference():
    log, ours, theirs, q, _ = world_log(3_000, 1.5, 2)
    found = sensitivity(log, ours, theirs, q_hat=q, alpha=0.1)
    plain = compare(log, ours, theirs, mu=q, alpha=0.1)
    assert (found.lower[0], found.upper[0]) == pytest.approx((plain.value, plain.value))
    assert (found.surely_above[0], found.surely_below[0]) == pytest.approx(plain.interval)
    bare = DecisionLog.from_arrays(log.features, log.action, log.outcome())  # judged by the arms' shares
    shared = sensitivity(bare, ours, theirs, q_hat=q)
    assert (shared.surely_above[0], shared.surely_below[0]) == pytest.approx(compare(bare, ours, theirs, mu=q).interval)
    assert (np.diff(found.lower) < 0).all()
    assert (np.diff(found.upper) > 0).all()


def test_bad_predictions_widen_the_bounds_and_do_not_move_them_the_wrong_way():
    good = world_log(20_000, 1.5, 3)
    bad = world_log(20_000, 1.5, 3, q_noise=2.0)
    sharp, loose = (sensitivity(log, ours, theirs, q_hat=q) for log, ours, theirs, q, _ in (good, bad))
    wide = sharp.grid >= 2.0
    assert (loose.lower[wide] < sharp.lower[wide]).all()
    assert (loose.upper[wide] > sharp.upper[wide]).all()


def test_the_tipping_point_is_where_the_interval_reaches_the_margin():
    log, ours, theirs, q, _ = world_log(8_000, 1.5, 4)
    for margin in (-0.1, 0.0, 0.5):
        found = sensitivity(log, ours, theirs, q_hat=q, margin=margin)
        grid = found.grid
        if found.verdict == "above":
            reached = np.interp(found.tipping, grid, found.surely_above)
        else:
            reached = np.interp(found.tipping, grid, found.surely_below)
        assert reached == pytest.approx(margin, abs=0.02)  # interpolated between grid points 0.05 to 0.5 apart
        assert found.tipping_estimate >= found.tipping
    assert found.verdict == "below"


def test_swapping_the_policies_mirrors_everything():
    log, ours, theirs, q, _ = world_log(2_000, 1.5, 5)
    one, other = sensitivity(log, ours, theirs, q_hat=q), sensitivity(log, theirs, ours, q_hat=q)
    assert one.lower == pytest.approx(-other.upper)
    assert one.tipping == pytest.approx(other.tipping)
    assert (one.verdict, other.verdict) == ("above", "below")


def test_without_a_verdict_there_is_nothing_to_tip():
    log, ours, theirs, q, _ = world_log(400, 1.0, 6)
    found = sensitivity(log, ours, theirs, q_hat=q, margin=0.1)
    assert (found.verdict, found.tipping) == (None, 1.0)
    assert "no verdict" in str(found)


def test_a_difference_no_confounding_undoes_has_an_infinite_tipping_point():
    """Outcomes of 1 under the one action and 0 under the other, with no residual for confounding to work on."""
    rng = np.random.default_rng(7)
    action = rng.integers(0, 2, 400)
    log = DecisionLog.from_arrays(rng.normal(size=(400, 1)), action, action.astype(float), propensity=0.5)
    found = sensitivity(log, np.tile([0.0, 1.0], (400, 1)), np.tile([1.0, 0.0], (400, 1)), q_hat=[0.0, 1.0])
    assert np.isinf(found.tipping)
    assert "more than 100" in str(found)


def test_knowing_only_the_propensities_of_the_actions_taken_gives_the_same_bounds_less_precisely():
    log, ours, theirs, q, _ = world_log(20_000, 1.5, 8)
    few = DecisionLog.from_arrays(log.features, log.action, log.outcome(), taken_propensity=log.taken_propensity())
    full, part = (sensitivity(one, ours, theirs, q_hat=q) for one in (log, few))
    assert part.lower == pytest.approx(full.lower, abs=0.05)
    assert (part.upper - part.lower)[0] == pytest.approx(0.0, abs=1e-12)


def test_row_order_does_not_matter():
    log, ours, theirs, q, _ = world_log(1_000, 1.5, 9)
    rows = np.random.default_rng(0).permutation(1_000)
    one = sensitivity(log, ours, theirs, q_hat=q)
    other = sensitivity(log.take(rows), ours[rows], theirs[rows], q_hat=q[rows])
    assert one.surely_above == pytest.approx(other.surely_above)


def test_many_actions_and_what_was_never_tried():
    """Three actions, one of them impossible in some rows: at Λ = 1 the bounds are as far apart as Manski's."""
    world = RandomisedTrial("nonlinear", "binary", n_actions=3, n_features=7)
    log = world.sample(1_500, random_state=0)
    e = log.propensity().copy()
    never = (log.features.values[:, 0] > 0) & (log.action != 2)
    e[never] = [0.6, 0.4, 0.0]
    log = log.with_propensities(e, source="logged")
    ours, theirs = np.tile([0.2, 0.2, 0.6], (1_500, 1)), np.tile([0.6, 0.2, 0.2], (1_500, 1))
    evidence = gather(log, ours, theirs, q_hat=np.full(3, 0.2))
    found = sensitivity(log, ours, theirs, q_hat=np.full(3, 0.2))
    gap = evidence.unsupported
    assert gap.share == pytest.approx(0.4 * never.mean())
    assert found.upper[0] - found.lower[0] == pytest.approx(gap.upper - gap.lower)


def test_a_margin_must_be_finite():
    log, ours, theirs, q, _ = world_log(100, 1.0, 10)
    with pytest.raises(ParameterError, match="margin is nan"):
        sensitivity(log, ours, theirs, q_hat=q, margin=float("nan"))


def test_the_frame_has_a_row_per_lambda():
    log, ours, theirs, q, _ = world_log(300, 1.0, 11)
    frame = sensitivity(log, ours, theirs, q_hat=q).frame()
    assert frame["lambda"][0] == 1.0
    assert frame.height == 14
