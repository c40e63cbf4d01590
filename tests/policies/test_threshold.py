"""The arithmetic of budgets: exact shares, ties, floors, monotonicity."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable.errors import DataError
from persuadable.policies.threshold import ScoreDistribution, treat_probability

tied_scores = st.lists(st.integers(-3, 6), min_size=1, max_size=60).map(lambda v: np.array(v) / 2.0)
shares = st.floats(0.0, 1.0)


def worst_case_share(scores, share, floor):
    """The share a budget treats, by brute force: walk down the distinct scores."""
    worth = float(np.mean(scores > floor))
    return min(share, worth)


@given(tied_scores, shares, st.sampled_from([-math.inf, 0.0, 1.0]))
def test_the_expected_share_is_exact_with_ties(scores, share, floor):
    cut = ScoreDistribution.of(scores).cut(share, floor)
    realised = treat_probability(scores, cut).mean()
    assert realised == pytest.approx(worst_case_share(scores, share, floor), abs=1e-12)
    assert cut.expected_share == pytest.approx(realised, abs=1e-12)
    assert 0.0 <= cut.tie_probability <= 1.0


@given(tied_scores, shares, st.data())
def test_the_expected_share_is_exact_with_weights(scores, share, data):
    weight = np.array(data.draw(st.lists(st.floats(0.1, 9.0), min_size=len(scores), max_size=len(scores))))
    cut = ScoreDistribution.of(scores, weight).cut(share)
    assert np.average(treat_probability(scores, cut), weights=weight) == pytest.approx(share, abs=1e-9)


@given(tied_scores, shares, shares, st.sampled_from([-math.inf, 0.0]))
def test_a_larger_budget_never_drops_anybody(scores, one, other, floor):
    distribution = ScoreDistribution.of(scores)
    less, more = (treat_probability(scores, distribution.cut(s, floor)) for s in sorted((one, other)))
    assert (more >= less - 1e-12).all()


@given(tied_scores, shares)
def test_nobody_at_or_below_the_floor_is_treated(scores, share):
    p = treat_probability(scores, ScoreDistribution.of(scores).cut(share, 0.0))
    assert (p[scores <= 0.0] == 0.0).all()


@given(tied_scores, shares)
def test_higher_scores_come_first(scores, share):
    p = treat_probability(scores, ScoreDistribution.of(scores).cut(share))
    order = np.argsort(scores)
    assert (np.diff(p[order]) >= 0).all()
    assert ((p > 0) & (p < 1)).sum() <= max(np.unique(scores, return_counts=True)[1])


@given(tied_scores, shares, st.randoms())
def test_the_order_of_the_scores_does_not_matter(scores, share, random):
    mixed = scores.copy()
    random.shuffle(mixed)
    assert ScoreDistribution.of(scores).cut(share) == ScoreDistribution.of(mixed).cut(share)


def test_a_tie_at_the_threshold_by_hand():
    # One above, four at the threshold, five below: 30% of ten users are the one above and half of the four.
    cut = ScoreDistribution.of([9.0, 5, 5, 5, 5, 1, 1, 2, 3, 4]).cut(0.3)
    assert (cut.threshold, cut.tie_probability, cut.expected_share) == (5.0, 0.5, pytest.approx(0.3))
    assert cut.binds == "budget"


def test_the_floor_binds_before_the_budget():
    cut = ScoreDistribution.of([-1.0, -0.5, 0.0, 0.2, 0.4]).cut(0.9, floor=0.0)
    assert (cut.threshold, cut.tie_probability, cut.expected_share) == (0.0, 0.0, pytest.approx(0.4))
    assert cut.binds == "break-even"


def test_no_budget_treats_nobody_even_above_the_largest_score_seen():
    cut = ScoreDistribution.of([1.0, 2.0]).cut(0.0)
    assert cut.threshold == math.inf
    assert treat_probability([1e9], cut)[0] == 0.0


def test_minus_infinity_marks_units_that_may_not_be_treated():
    cut = ScoreDistribution.of([-math.inf, -math.inf, 1.0, 2.0]).cut(1.0)
    assert cut.expected_share == 0.5
    assert treat_probability([-math.inf, 1.0], cut).tolist() == [0.0, 1.0]


def test_many_scores_are_joined_without_moving_shares():
    rng = np.random.default_rng(3)
    scores = np.concatenate([rng.normal(size=6000), np.zeros(3000), np.full(1000, 0.7)])
    full, joined = ScoreDistribution.of(scores), ScoreDistribution.of(scores, limit=400)
    assert joined.values.size <= 400
    assert joined.total == full.total
    for value in (0.0, 0.7):
        assert joined.mass[joined.values == value] == full.mass[full.values == value]
    for share in np.linspace(0.01, 0.99, 50):
        realised = treat_probability(scores, joined.cut(share)).mean()
        assert realised == pytest.approx(share, abs=8 / 400)


def test_joining_only_heavy_ties_keeps_them_all():
    scores = np.repeat([1.0, 2.0, 3.0], 10)
    joined = ScoreDistribution.of(np.concatenate([scores, [4.0, 5.0, 6.0]]), limit=5)
    assert joined.total == 33


def test_the_curve_adds_up():
    scores = np.array([4.0, 3.0, 2.0, 2.0, -1.0])
    curve = ScoreDistribution.of(scores).curve([0.0, 0.2, 0.5, 0.8, 1.0], floor=0.0)
    assert curve.gain_per_head == pytest.approx([0.0, 4 / 5, (4 + 3 + 0.5 * 2) / 5, 11 / 5, 11 / 5])
    assert curve.expected_share == pytest.approx([0.0, 0.2, 0.5, 0.8, 0.8])
    assert math.isnan(curve.mean_of_treated[0])
    assert curve.mean_of_treated[1:] == pytest.approx([4.0, 3.2, 2.75, 2.75])
    assert curve.frame().columns[:2] == ["share", "threshold"]


def test_share_above_counts_ties_on_demand():
    distribution = ScoreDistribution.of([1.0, 1.0, 2.0, 3.0])
    assert distribution.share_above(1.0) == 0.5
    assert distribution.share_above(1.0, or_equal=True) == 1.0


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf]])
def test_scores_that_are_no_distribution_are_refused(bad):
    with pytest.raises(DataError):
        ScoreDistribution.of(bad)
