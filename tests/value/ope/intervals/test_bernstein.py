"""Empirical Bernstein intervals, against the formula written out, a grid of candidates, and very small logs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from persuadable.errors import DataError
from persuadable.value.ope.intervals import Bounds, Ratios, interval_of
from persuadable.value.ope.terms import Terms


def draw(n, seed=3, largest=4.0):
    rng = np.random.default_rng(seed)
    w = rng.choice([0.0, 0.5, largest], n, p=[0.3, 0.5, 0.2])
    y = (rng.random(n) < 0.4).astype(float)
    q, d = rng.random(n), rng.random(n)
    return w, y, q, d


def by_hand(x, width, alpha):
    n, log_term = x.size, math.log(2 / (alpha / 2))
    half = math.sqrt(2 * x.var(ddof=1) * log_term / n) + 7 * width * log_term / (3 * (n - 1))
    return x.mean() - half, x.mean() + half


def test_means_have_the_interval_of_maurer_and_pontil():
    w, y, q, d = draw(200)
    bounds = Bounds(outcome=(0.0, 1.0), weight=4.0)
    ips = interval_of(Terms(w * y), "bernstein", bounds=bounds)
    assert ips.interval == pytest.approx(by_hand(w * y, 4.0, 0.05))
    dr = interval_of(Terms(w * (y - q), d), "bernstein", bounds=bounds, alpha=0.1)
    assert dr.interval == pytest.approx(by_hand(d + w * (y - q), 9.0, 0.1))
    dm = interval_of(Terms(np.zeros(200), d), "bernstein", bounds=bounds)
    assert dm.interval == pytest.approx(by_hand(d, 1.0, 0.05))


def test_losses_and_shifted_outcomes_have_the_width_of_their_range():
    w, y, _, _ = draw(200)
    below = interval_of(Terms(w * (y - 3)), "bernstein", bounds=Bounds((-3.0, -2.0), 4.0))
    assert below.interval == pytest.approx(by_hand(w * (y - 3), 12.0, 0.05))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_ratio_is_all_candidates_that_bernstein_does_not_refuse(weighted):
    """A grid of θ, each tested with the formula for the mean of w(y − θ), by unit where there are row weights."""
    w, y, _, _ = draw(400)
    r = np.random.default_rng(1).integers(1, 4, 400).astype(float) if weighted else np.ones(400)
    bounds = Bounds(outcome=(0.0, 1.0), weight=4.0)
    terms = Terms(w * y, None, w)
    found = interval_of(terms, "bernstein", bounds=bounds, weight=r if weighted else None)
    grid = np.linspace(-2, 3, 20_001)
    kept = []
    for theta in grid:
        lower, upper = by_hand(r * w * (y - theta), 4.0 * r.max(), 0.05)
        if lower <= 0 <= upper:
            kept.append(theta)
    assert found.interval == pytest.approx((kept[0], kept[-1]), abs=3e-4)


def test_a_sum_of_parts_adds_their_intervals_at_half_the_error_each():
    w, y, q, d = draw(2_000)
    bounds = Bounds(outcome=(0.0, 1.0), weight=4.0)
    found = interval_of(Terms(w * (y - q), d, w), "bernstein", bounds=bounds)
    direct = by_hand(d, 1.0, 0.025)
    # The ratio alone, with the width of residuals in ±1: that of an outcome in [-1, 1].
    ratio = interval_of(Terms(w * (y - q), None, w), "bernstein", bounds=Bounds((-1.0, 1.0), 4.0), alpha=0.025).interval
    assert found.interval == pytest.approx((direct[0] + ratio[0], direct[1] + ratio[1]))


def test_a_difference_has_the_width_of_both():
    w, y, _, _ = draw(300)
    v = w[::-1].copy()
    bounds = Bounds(outcome=(0.0, 1.0), weight=4.0)
    paired = Ratios.of(Terms(w * y), bounds) - Ratios.of(Terms(v * y), bounds)
    assert interval_of(paired, "bernstein").interval == pytest.approx(by_hand((w - v) * y, 8.0, 0.05))
    twice = Ratios.of(Terms(w * y), bounds) * -2.0
    assert interval_of(twice, "bernstein").interval == pytest.approx(by_hand(-2 * w * y, 8.0, 0.05))


def test_clusters_are_units_as_wide_as_the_largest():
    w, y, _, _ = draw(300)
    clusters = np.sort(np.arange(300) % 100)
    found = interval_of(Terms(w * y), "bernstein", bounds=Bounds((0.0, 1.0), 4.0), clusters=clusters)
    totals = (w * y).reshape(100, 3).sum(axis=1)
    lower, upper = by_hand(totals, 12.0, 0.05)
    assert found.interval == pytest.approx((lower / 3, upper / 3))


def test_it_holds_where_the_normal_interval_fails():
    """Weights of 0 or 40, 60 rows: 22% of the logs have no row that counts, where the normal interval is a point at 0.

    1,000 logs; at most 5% may miss, and Bernstein's slack makes it none.
    """
    rng = np.random.default_rng(9)
    truth, missed = 0.5, {"normal": 0, "bernstein": 0}
    for _ in range(1_000):
        w = 40.0 * (rng.random(60) < 1 / 40)
        y = rng.random(60)
        for kind in missed:
            bounds = Bounds((0.0, 1.0), 40.0) if kind == "bernstein" else None
            lower, upper = interval_of(Terms(w * y), kind, bounds=bounds).interval
            missed[kind] += not lower <= truth <= upper
    assert missed["normal"] > 150
    assert missed["bernstein"] == 0


def test_few_rows_of_a_ratio_leave_it_unbounded():
    w, y, _, _ = draw(6)
    lower, upper = interval_of(Terms(w * y, None, w), "bernstein", bounds=Bounds((0.0, 1.0), 4.0)).interval
    assert (lower, upper) == (-math.inf, math.inf)


def test_no_bounds_no_interval():
    with pytest.raises(ValueError, match=r"without bounds.*Bounds\(outcome="):
        interval_of(Terms(np.arange(3.0)), "bernstein")


def test_one_unit_has_no_variance():
    with pytest.raises(DataError, match="one unit"):
        interval_of(Terms(np.ones(4)), "bernstein", bounds=Bounds((0.0, 1.0), 1.0), clusters=np.zeros(4, dtype=int))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (Terms(np.array([0.0, 2.0, 5.0])), r"Weight times outcome is 5, outside \[0, 4\].*row 2"),
        (Terms(np.zeros(2), np.array([0.5, 1.5])), r"A predicted outcome is 1\.5, outside \[0, 1\].*row 1"),
        (Terms(np.array([-4.5, 0.0]), np.zeros(2)), r"Weight times residual is -4\.5, outside \[-4, 4\].*row 0"),
        (Terms(np.zeros(2), None, np.array([1.0, 4.5])), r"A weight is 4\.5, outside \[0, 4\].*row 1"),
    ],
)
def test_rows_outside_the_bounds_are_refused(terms, message):
    with pytest.raises(DataError, match=message):
        interval_of(terms, "bernstein", bounds=Bounds((0.0, 1.0), 4.0))


@pytest.mark.parametrize(
    ("outcome", "weight", "message"),
    [
        ((1.0, 1.0), 2.0, "outcome's range"),
        ((0.0, math.inf), 2.0, "outcome's range"),
        ((0.0, 1.0), 0.0, "largest weight"),
        ((0.0, 1.0), math.inf, "largest weight"),
    ],
)
def test_bounds_that_bound_nothing_are_refused(outcome, weight, message):
    with pytest.raises(ValueError, match=message):
        Bounds(outcome, weight)
