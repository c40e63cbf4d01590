"""Review: who is queued and why, against Bayes by hand; support; state; and learning without what people decided."""

from __future__ import annotations

import io
import json
import math
import time
from importlib import import_module

import numpy as np
import pytest
from scipy.stats import norm

from persuadable.effects import DRLearner, TLearner
from persuadable.engine import LocalEngine, Trees
from persuadable.errors import (
    BundleError,
    DataError,
    FeatureError,
    LeakageError,
    NotFittedError,
    ParameterError,
    PropensityError,
)
from persuadable.features import Column, Features
from persuadable.log import DecisionLog
from persuadable.policies import AllocationPolicy, BudgetPolicy, RandomPolicy, Review, review, without_people
from persuadable.policies.review import ARRAYS, CODES, REASONS
from persuadable.policies.review.beliefs import Beliefs, learned_beliefs
from persuadable.policies.review.familiar import RIDGE, learned_familiar
from persuadable.policies.review.predicted import predicted
from persuadable.worlds import RandomisedTrial

N = 20_000
T = 0.05


def plain(n, seed=0, d=4):
    rng = np.random.default_rng(seed)
    return Features(rng.normal(size=(n, d)).astype(np.float32), tuple(Column(f"x{j}") for j in range(d)))


def drawn(n, seed):
    """True effects N(0, .05²), and estimates whose standard errors are as told."""
    rng = np.random.default_rng(seed)
    true, stderr = 0.05 * rng.normal(size=n), np.full(n, 0.03)
    return true, true + stderr * rng.normal(size=n), stderr


@pytest.fixture(scope="module")
def made():
    """A review of 20,000 held-out units."""
    _, effect, stderr = drawn(N, 1)
    return Review.of(effect, stderr, plain(N, 1), T, 0.1)


@pytest.fixture(scope="module")
def fitted():
    world = RandomisedTrial(n_features=7, n_categorical=1)
    train, held_out = world.sample(2_000, 0), world.sample(2_000, 1)
    trees = Trees(n_trees=10, max_depth=2)
    learner = TLearner(trees=trees, n_resamples=4, engine=LocalEngine(threads=1)).fit(train)
    return world, train, held_out, BudgetPolicy(learner, 0.3).calibrate(held_out)


# -- what is believed ------------------------------------------------------------------------------------------------


def believed(posterior):
    """Mean and variance of what is believed, (n,) each: of the grid, and of Laplace noise of variance 2·blur²."""
    p, grid, mean, middle, scale, blur = posterior
    variance = (p * (grid - mean[:, None]) ** 2).sum(axis=1) + 2 * blur**2
    return middle + scale * mean, scale**2 * variance


def test_beliefs_of_normal_effects_are_those_of_the_normal_formula():
    """Of estimates' variance W a share s²/(W + s²) is noise v: the posterior is N(τ̂·(1 − v/W), v·(1 − v/W))."""
    _, effect, stderr = drawn(N, 1)
    beliefs = learned_beliefs(effect, stderr, missed=0.0)
    at = np.array([-0.05, 0.0, 0.04, 0.09])
    posterior = beliefs.posterior(at, np.full(4, 0.03))
    w = 0.05**2 + 0.03**2
    noise = w * 0.03**2 / (w + 0.03**2)
    keep = 1 - noise / w
    np.testing.assert_allclose(posterior.p.sum(axis=1), 1.0)
    mean, variance = believed(posterior)
    np.testing.assert_allclose(mean, keep * at, atol=0.006)
    np.testing.assert_allclose(np.sqrt(variance), math.sqrt(noise * keep), rtol=0.15)
    below, short, over = (part[:, 0] for part in posterior.beyond(np.array([[T]])))
    z = (T - keep * at) / math.sqrt(noise * keep)
    np.testing.assert_allclose(below, norm.cdf(z), atol=0.06)
    np.testing.assert_allclose(short, math.sqrt(noise * keep) * (z * norm.cdf(z) + norm.pdf(z)), rtol=0.1, atol=0.002)
    np.testing.assert_allclose(short - over, T - mean, atol=1e-12)


def test_what_all_refits_miss_is_as_much_again():
    """By default the variance of what is believed is twice that of the errors, and it is ``missed`` + 1 times that."""
    _, effect, stderr = drawn(N, 1)
    at, error = np.array([0.0, 0.05]), np.full(2, 0.03)
    plain_, twice, four = (
        believed(learned_beliefs(effect, stderr, missed=missed).posterior(at, error)) for missed in (0.0, 1.0, 3.0)
    )
    np.testing.assert_allclose(twice[0], plain_[0])
    np.testing.assert_allclose(twice[1] / plain_[1], 2.0, rtol=0.15)
    np.testing.assert_allclose(four[1] / plain_[1], 4.0, rtol=0.15)


def test_units_that_are_known_badly_may_be_those_that_are_moved_most():
    """Effects N(.02, .02²) known within .02 and N(0, .1²) within .06: each is drawn to its own kind's mean."""
    rng = np.random.default_rng(0)
    wide = rng.random(N) < 0.4
    true = np.where(wide, 0.1 * rng.normal(size=N), 0.02 + 0.02 * rng.normal(size=N))
    stderr = np.where(wide, 0.06, 0.02)
    beliefs = learned_beliefs(true + stderr * rng.normal(size=N), stderr, missed=0.0)
    mean, _ = believed(beliefs.posterior(np.array([0.1, 0.1]), np.array([0.02, 0.06])))
    common = 0.4 * 0.06**2 + 0.6 * 0.02**2
    for told, own, spread, centre in ((mean[0], 0.02, 0.02, 0.02), (mean[1], 0.06, 0.1, 0.0)):
        w, noise = own**2 + spread**2, (own**2 + common) / 2
        assert told == pytest.approx(centre + w / (w + noise) * (0.1 - centre), abs=0.012)
    assert mean[1] > 1.5 * mean[0]


def test_a_crowd_that_is_not_moved_makes_a_wide_estimate_above_the_threshold_unlikely():
    """Of nine unmoved units and one moved by .1, an estimate of .06 ± .05 is more likely one of the nine."""
    rng = np.random.default_rng(0)
    true = np.where(rng.random(N) < 0.1, 0.1, 0.0)
    stderr = np.full(N, 0.05)
    beliefs = learned_beliefs(true + stderr * rng.normal(size=N), stderr, missed=0.0)
    told = float(beliefs.posterior(np.array([0.06]), np.array([0.05])).beyond(np.array([[T]]))[0][0, 0])
    moved, unmoved = 0.1 * norm.pdf(0.06, 0.1, 0.05), 0.9 * norm.pdf(0.06, 0.0, 0.05)
    assert told == pytest.approx(unmoved / (moved + unmoved), abs=0.15)
    assert told > 0.7


def test_an_estimate_far_beyond_the_grid_is_believed_something_of():
    at = np.array([1.0])
    beliefs = Beliefs(np.linspace(-1, 1, 5), np.full(5, 0.2), at, np.zeros(1), at, 1e-4, 0.0)
    p = beliefs.posterior(np.array([1e6, -1e6, 1e99]), np.array([0.0, 0.0, 1e99])).p
    np.testing.assert_allclose(p[:2, [-1, 0]].diagonal(), 1.0)
    assert np.isfinite(p).all()


# -- judging ---------------------------------------------------------------------------------------------------------


def test_priorities_are_what_decisions_truly_cost_and_chances_how_often_they_are_wrong(made):
    """Where standard errors are all there is: of W = .05² + .03² a share .03²/W is noise, and s²/(W + s²) is too."""
    true, effect, _ = drawn(N, 2)
    _, before, _ = drawn(N, 1)
    stderr = np.full(N, 0.03 * math.hypot(0.05, 0.03) / 0.05)
    sure = Review.of(before, stderr, plain(N, 1), T, 0.1, missed=0.0)
    told = sure.judge(plain(N, 2), effect, stderr)
    wrong = (effect > T) != (true > T)
    cost = np.where(wrong, np.abs(true - T), 0.0)
    for group in (told.queued, ~told.queued):
        own = group & ~told.marks[:, [1, 3]].any(axis=1)  # those whose estimate itself is not doubted
        error = wrong[own].std() / math.sqrt(own.sum())
        assert told.wrong[own].mean() == pytest.approx(wrong[own].mean(), abs=4 * error + 0.02)
        assert told.priority[own].mean() == pytest.approx(cost[own].mean(), rel=0.15)
    assert wrong[told.queued].mean() > 3 * wrong.mean()


def test_the_queue_is_the_load_and_every_case_in_it_has_a_reason(made):
    _, effect, stderr = drawn(N, 1)
    told = made.judge(plain(N, 1), effect, stderr)
    assert told.queued.mean() == pytest.approx(0.1, abs=2 / N)
    assert [bool(codes) for codes in told.codes] == told.queued.tolist()
    assert {code for codes in told.codes for code in codes} <= set(CODES) == set(REASONS)
    assert (np.diff(told.priority[told.order]) <= 0).all()
    assert told.frame().height == told.queued.sum() == sum(bool(codes) for codes in told.codes)
    assert told.frame()["row"].to_list() == told.order.tolist()
    half = made.at(0.05).judge(plain(N, 1), effect, stderr)
    assert half.queued.mean() == pytest.approx(0.05, abs=2 / N)
    assert (told.queued | ~half.queued).all(), "a smaller load is a part of a larger one"


def test_the_load_is_kept_when_a_budget_moves_the_threshold(made):
    """Fresh units, budgets from a twentieth to six tenths, and one that pays for all that is worth it.

    The cut is the quantile of 5,000 rows at two levels, which lie close together: 5 standard errors and a tenth of it.
    """
    n = 8_000
    _, effect, stderr = drawn(n, 6)
    features = plain(n, 6)
    for load in (0.02, 0.1, 0.3):
        asked = made.at(load)
        for share in (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6):
            t = float(norm.isf(share, 0.0, math.hypot(0.05, 0.03)))
            told = asked.judge(features, effect, stderr, threshold=t)
            error = math.sqrt(load * (1 - load) * (1 / 5_000 + 1 / n))
            assert told.share == pytest.approx(load, abs=0.1 * load + 5 * error), (load, share)
            assert [bool(codes) for codes in told.codes] == told.queued.tolist()


def test_the_queue_fades_and_does_not_fall_off_a_cliff(made):
    """From threshold to threshold the share that is queued moves by a fifth of the load at most, at its own as well."""
    _, effect, stderr = drawn(5_000, 6)
    features = plain(5_000, 6)
    told = [
        made.judge(features, effect, stderr, threshold=t).share
        for t in (*np.linspace(-0.02, T, 10), np.nextafter(T, 1.0), *np.linspace(T, 0.12, 10))
    ]
    assert np.abs(np.diff(told)).max() < 0.02


def test_a_small_model_keeps_its_load_at_any_share():
    """The service's: 2,000 rows, three arms, a thousand held-out rows; their quantile is known within .0126."""
    world = RandomisedTrial(n_features=7, n_actions=3)
    train, test, held_out = world.sample(2_000, 0), world.sample(1_000, 1), world.sample(1_000, 2)
    learner = DRLearner(trees=Trees(n_trees=20, max_depth=3), n_resamples=8, engine=LocalEngine(threads=1)).fit(train)
    policy = BudgetPolicy(learner, 0.3).calibrate(test)
    made = review(policy, held_out, 0.2)
    seen, features = predicted(policy, fresh := world.features(4_000, 3)), fresh
    for share in (0.05, 0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.6):
        told = made.judge(features, *seen[::2], seen.net, policy.threshold_at(share).threshold)
        assert 0.2 / 1.5 < told.share < 0.2 * 1.5, share
    told = made.assess(fresh)
    assert told.wrong[told.queued].mean() < 0.8, "about half of them are"


def test_ties_are_drawn_by_lot_so_that_the_load_is_kept():
    n = 4_000
    effect, stderr = np.where(np.arange(n) % 2 == 0, 0.04, 0.2), np.full(n, 0.03)
    made = Review.of(effect, stderr, plain(n), T, 0.1, extreme=0.0, always=())
    lots = np.random.default_rng(0).random(n)
    everybody = made.judge(plain(n), effect, stderr)
    drawn_ = made.judge(plain(n), effect, stderr, lots=lots)
    assert everybody.share == pytest.approx(0.5)
    assert drawn_.share == pytest.approx(0.1, abs=4 * math.sqrt(0.5 * 0.2 * 0.8 / n))


def test_weights_are_units(made):
    _, effect, stderr = drawn(2_000, 3)
    features, weight = plain(2_000, 3), np.where(effect > T, 3.0, 1.0)
    told = Review.of(effect, stderr, features, T, 0.1, weight=weight).judge(features, effect, stderr)
    assert np.average(told.queued, weights=weight) == pytest.approx(0.1, abs=3 / weight.sum())
    assert abs(told.share - 0.1) > 0.005


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_unit_that_weighs_nothing_is_refused(bad):
    _, effect, stderr = drawn(100, 3)
    with pytest.raises(DataError, match="row 7"):
        Review.of(effect, stderr, plain(100, 3), T, 0.1, weight=np.where(np.arange(100) == 7, bad, 1.0))


def one(made, effect, stderr=0.005, row=(0.0, 0.0, 0.0, 0.0), **more):
    features = Features(np.array([row], dtype=np.float32), tuple(Column(name) for name in made.columns))
    lists = {name: [value] if name in ("net", "chance", "flagged") else value for name, value in more.items()}
    return made.judge(features, [effect], [stderr], **lists)


def test_each_reason_is_given_where_it_holds(made):
    assert one(made, 0.15).codes == [()]
    assert one(made, T + 0.001).codes == [("borderline",)]
    assert "too-good" in one(made, 0.5).codes[0]
    assert "outside-support" in one(made, 0.15, row=(9.0, -9.0, 9.0, -9.0)).codes[0]
    assert one(made, 0.15, flagged=True).codes == [("contract-flag",)]
    assert "possible-do-not-disturb" in one(made, T + 0.01, stderr=0.2).codes[0]
    assert "possible-do-not-disturb" not in one(made, T - 0.01, stderr=0.2).codes[0], "nobody is to disturb it"


def test_of_those_to_be_treated_the_likeliest_to_be_harmed_are_marked(made):
    """Marked are the twentieth of the treated who would be harmed most often, a posteriori."""
    true, effect, _ = drawn(N, 5)
    stderr = np.random.default_rng(5).uniform(0.01, 0.06, N)
    effect = true + (effect - true) * stderr / 0.03
    told = Review.of(effect, stderr, plain(N, 5), T, 0.1).judge(plain(N, 5), effect, stderr)
    marked, treated = told.marks[:, CODES.index("possible-do-not-disturb")], effect > T
    assert marked.sum() == pytest.approx(0.05 * treated.sum(), abs=2)
    assert not (marked & ~treated).any()
    assert (true[marked] < 0).mean() > 3 * (true[treated] < 0).mean()


def test_harm_is_a_fall_of_the_effect_and_not_of_what_is_left_after_costs(made):
    """A net effect that is surely negative means only that the treatment does not pay."""
    sure = one(made, 0.12, stderr=0.001, net=-0.2, threshold=-0.3)
    assert not sure.marks[0, CODES.index("possible-do-not-disturb")]


def test_doubt_raises_the_priority_the_more_the_farther_off(made):
    """What is known of a stranger is the population: treating it is wrong as often as treating anybody would be."""
    usual, near, far = (one(made, 0.15, row=(x, -x, x, -x)) for x in (0.0, 4.0, 40.0))
    assert usual.priority[0] < near.priority[0] < far.priority[0]
    assert (one(made, 0.3).priority < one(made, 3.0).priority).all()
    anybody = float(norm.cdf(T, 0.0, 0.05))
    assert one(made, 0.15, row=(1e30, 0, 0, 0)).wrong[0] == pytest.approx(anybody, abs=0.1)
    flagged = one(made, 0.15, flagged=True).wrong[0]
    assert flagged == pytest.approx(made.doubt * anybody, abs=0.05)


def test_the_decision_that_is_weighed_is_the_one_that_is_made(made):
    """A unit of effect .15 that is nevertheless left alone is a decision that is surely wrong."""
    kept, lottery = one(made, 0.15, chance=0.0), one(made, 0.15, chance=0.5)
    assert kept.wrong[0] > 0.99
    assert kept.codes == [("borderline",)]
    assert lottery.wrong[0] == pytest.approx(0.5, abs=0.01)
    assert lottery.priority[0] == pytest.approx((kept.priority[0] + one(made, 0.15).priority[0]) / 2)


def test_where_there_is_nothing_to_decide_nobody_looks(made):
    barred = one(made, 0.15, net=-math.inf, flagged=True, chance=0.0)
    assert barred.codes == [()]
    assert barred.priority[0] == barred.wrong[0] == 0.0
    spent = one(made, T, threshold=None)
    assert spent.codes == [()]
    assert spent.priority[0] == 0.0


def test_one_by_one_is_the_same_as_together_and_takes_no_time(made):
    _, effect, stderr = drawn(200, 4)
    features, flagged = plain(200, 4), np.arange(200) % 50 == 0
    told = made.judge(features, effect, stderr, flagged=flagged)
    began = time.perf_counter()
    for i in range(200):
        alone = made.judge(features.take(slice(i, i + 1)), effect[i : i + 1], stderr[i : i + 1], flagged=[flagged[i]])
        assert alone.codes == [told.codes[i]]
        assert alone.priority[0] == pytest.approx(told.priority[i], rel=1e-9)
    assert (time.perf_counter() - began) / 200 < 0.005, "a busy machine has ten times the 0.1 ms that it takes"


def test_a_budget_that_pays_for_nobody_leaves_nothing_to_decide(made):
    for threshold in (None, math.inf):
        told = one(made, 0.5, threshold=threshold)
        assert told.codes == [()]
        assert told.priority.tolist() == [0.0]


def test_where_no_feature_varies_nobody_is_out_of_support():
    _, effect, stderr = drawn(2_000, 3)
    same = Features(np.ones((2_000, 1), dtype=np.float32), (Column("x0"),))
    told = Review.of(effect, stderr, same, T, 0.1).judge(same, effect, stderr)
    assert told.reasons["too-good"] > 0 == told.reasons["outside-support"]
    assert np.isfinite(told.priority).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": plain(3, d=3)}, FeatureError, "3 features, expected 4"),
        ({"effect": [0.1, math.nan, 0.1]}, DataError, "effect is nan"),
        ({"effect": [0.1, 0.1]}, DataError, "shape"),
        ({"net": [0.1, math.inf, 0.1]}, DataError, "net is inf"),
        ({"stderr": [0.1, -0.1, 0.1]}, DataError, "stderr is -0.1"),
        ({"stderr": None}, ParameterError, "Standard errors are missing"),
        ({"flagged": [True]}, DataError, "flagged has shape"),
        ({"flagged": [0.0, math.nan, 0.0]}, DataError, "flagged is nan"),
        ({"chance": [0.0, 1.5, 0.0]}, DataError, "chance is 1.5"),
        ({"chance": [0.0, math.nan, 0.0]}, DataError, "chance is nan"),
        ({"lots": [0.0, -0.5, 0.0]}, DataError, "lots is -0.5"),
        ({"threshold": -math.inf}, ParameterError, "threshold is -inf"),
        ({"threshold": "0.1"}, ParameterError, "threshold is '0.1'"),
    ],
)
def test_what_cannot_be_judged_is_refused(made, change, error, message):
    arguments = {"features": plain(3), "effect": [0.1] * 3, "stderr": [0.1] * 3} | change
    with pytest.raises(error, match=message):
        made.judge(**arguments)


# -- support ---------------------------------------------------------------------------------------------------------


def test_the_distance_is_mahalanobis_of_the_tamed_numbers():
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 5_000).astype(np.float32)
    features = Features(x, (Column("a"), Column("b")))
    u = np.empty((5_000, 2))
    for j in range(2):
        low, middle, high = np.quantile(x[:, j].astype(float), [0.25, 0.5, 0.75])
        u[:, j] = np.arcsinh((x[:, j] - middle) / ((high - low) / 1.349))
    z = (u - u.mean(axis=0)) / u.std(axis=0)
    r = (1 - RIDGE) * np.corrcoef(u.T) + RIDGE * np.eye(2)
    expected = np.sqrt(np.einsum("ij,jk,ik->i", z, np.linalg.inv(r), z) / 2)
    np.testing.assert_allclose(learned_familiar(features).distance(x), expected, rtol=1e-6)


def test_distances_of_many_are_those_of_some_at_a_time(monkeypatch):
    x = np.random.default_rng(5).normal(size=(1_000, 3)).astype(np.float32)
    told = learned_familiar(Features(x, (Column("a"), Column("b"), Column("c"))))
    together = told.distance(x)
    monkeypatch.setattr(import_module("persuadable.policies.review.familiar"), "CHUNK", 300)
    np.testing.assert_allclose(told.distance(x), together, rtol=1e-12)


def test_an_unusual_combination_of_usual_values_is_far():
    rng = np.random.default_rng(0)
    a = rng.normal(size=5_000)
    x = np.column_stack([a, a + 0.1 * rng.normal(size=5_000)]).astype(np.float32)
    told = learned_familiar(Features(x, (Column("a"), Column("b"))))
    usual, odd = told.distance(np.array([[1.5, 1.5], [1.5, -1.5]], dtype=np.float32))
    assert usual < 2 < 10 < odd


def test_rare_levels_unknown_ones_and_missing_values_are_the_farther_the_rarer():
    rng = np.random.default_rng(0)
    level = rng.choice(3, p=[0.9, 0.099, 0.001], size=5_000).astype(np.float32)
    number = np.where(rng.random(5_000) < 0.01, np.nan, rng.normal(size=5_000)).astype(np.float32)
    constant = np.full(5_000, 7, dtype=np.float32)
    columns = (Column("c", "category", ("p", "q", "r")), Column("x"), Column("same"))
    told = learned_familiar(Features(np.column_stack([level, number, constant]), columns))
    nan = math.nan
    rows = [[0, 0, 7], [1, 0, 7], [2, 0, 7], [nan, 0, 7], [0, nan, 7]]
    common, some, rare, missing, gap = told.distance(np.array(rows, dtype=np.float32)).tolist()
    assert common < some < rare < missing
    assert gap > 2 * common


def test_features_that_repeat_one_another_or_never_vary_are_no_obstacle():
    x = np.random.default_rng(0).normal(size=(500, 1)).astype(np.float32)
    twice = Features(np.hstack([x, x, np.ones_like(x)]), (Column("a"), Column("b"), Column("c")))
    assert np.isfinite(learned_familiar(twice).distance(twice.values)).all()
    same = Features(np.ones((5, 1), dtype=np.float32), (Column("a"),))
    assert (learned_familiar(same).distance(same.values) == 0).all()


# -- of a policy -----------------------------------------------------------------------------------------------------


def test_a_policy_is_reviewed_on_rows_it_has_not_seen(fitted):
    world, train, held_out, policy = fitted
    made = review(policy, held_out, 0.1, train=train)
    assert made.threshold == policy.threshold
    assert made.assess(held_out).share == pytest.approx(0.1, abs=2 / held_out.n)
    fresh = world.sample(4_000, 2)
    told = made.assess(fresh)
    assert told.share == pytest.approx(0.1, abs=5 * math.sqrt(0.09 / 2_000 + 0.09 / 4_000))
    lower, upper = policy.learner.effect_interval(fresh)
    again = made.judge(
        fresh.features, policy.learner.effect(fresh)[:, 1], ((upper - lower) / (2 * norm.ppf(0.975)))[:, 1]
    )
    assert again.codes == told.codes
    np.testing.assert_allclose(again.priority, told.priority, rtol=1e-9)
    assert "10.0%" in str(made)
    assert "go to people" in str(told)


def test_costs_and_break_even_are_in_the_net_effect_and_its_error():
    """The refits of effect and cost come from the same half-samples, so their errors partly cancel."""
    rng = np.random.default_rng(0)
    x, a = rng.normal(size=(3_000, 2)), rng.integers(0, 2, 3_000)
    spend = 2 * a * x[:, 0] + rng.normal(size=3_000)
    logs = [
        DecisionLog.from_arrays(x[half], a[half], {"spend": spend[half], "cost": 0.5 * spend[half]}, propensity=0.5)
        for half in (slice(0, 2_000), slice(2_000, 3_000))
    ]
    learner = TLearner(trees=Trees(n_trees=10, max_depth=2), n_resamples=4, engine=LocalEngine(threads=1))
    learner.fit(logs[0], outcomes=["spend", "cost"])
    policy = BudgetPolicy(learner, 1.0, outcome="spend", cost="cost", break_even=0.2).calibrate(logs[1])
    plain_ = BudgetPolicy(learner, 1.0, outcome="spend").calibrate(logs[1])
    of_net, of_effect = predicted(policy, logs[1]), predicted(plain_, logs[1])
    np.testing.assert_allclose(of_net.effect, of_effect.effect)
    np.testing.assert_allclose(of_net.net, 0.5 * of_effect.effect - 0.2, atol=1e-5)
    np.testing.assert_allclose(of_net.stderr, 0.5 * of_effect.stderr, rtol=1e-3, atol=1e-6)


def test_the_ineligible_are_not_reviewed(fitted):
    _, _, held_out, policy = fitted
    eligible = np.ones((held_out.n, 2), dtype=np.bool_)
    eligible[held_out.action == 0, 1] = np.arange(int((held_out.action == 0).sum())) % 2 == 0
    barred = DecisionLog.from_arrays(
        held_out.features, held_out.action, held_out.outcome(), action_names=held_out.actions.names, eligible=eligible
    )
    told = review(policy, barred, 0.1).assess(barred)
    assert not told.queued[~eligible[:, 1]].any()
    assert told.share == pytest.approx(0.1, abs=0.005)  # ten small trees make ties


@pytest.fixture(scope="module")
def offers():
    """Three offers with stated costs, and an allocation of them."""
    world = RandomisedTrial(n_features=7, n_actions=4, base_rate=0.2)
    train, held_out = world.sample(6_000, 0), world.sample(3_000, 1)
    learner = TLearner(trees=Trees(n_trees=20, max_depth=3), n_resamples=6, engine=LocalEngine(threads=1)).fit(train)
    costs = (0.0, 0.02, 0.03, 0.06)
    policy = AllocationPolicy(learner, costs, budget=0.02, evidence=None).calibrate(held_out)
    return world, held_out, policy, np.array(costs)


def test_an_allocation_is_weighed_against_the_next_best_action(offers):
    _, held_out, policy, costs = offers
    value = policy.value_learner.effect(held_out.features).astype(float)
    net = value - policy.price_ * costs
    net[:, 1:][value[:, 1:] <= 0] = -math.inf
    ranked = np.sort(net, axis=1)
    given, seen = net.argmax(axis=1), predicted(policy, held_out)
    some = given > 0
    np.testing.assert_allclose(seen.net[some], (ranked[:, -1] - ranked[:, -2])[some], atol=1e-12)
    short = (value - np.maximum(policy.price_ * costs, 0.0))[:, 1:].max(axis=1)
    np.testing.assert_allclose(seen.net[~some], short[~some], atol=1e-12)
    assert (seen.net[some] >= 0).all()
    assert (seen.net[~some] <= 0).all()
    rows = np.flatnonzero(some)[:200]
    refits = np.array(list(policy.value_learner.effect_refits(held_out.features)))
    rival = np.argsort(net, axis=1)[:, -2]
    spread = (refits[:, rows, given[rows]] - refits[:, rows, rival[rows]]).std(axis=0, ddof=1)
    np.testing.assert_allclose(seen.stderr[rows], spread, rtol=1e-5)


def test_the_queue_of_an_allocation_holds_its_load_and_more_than_its_share_of_the_wrong_choices(offers):
    world, held_out, policy, costs = offers
    made = review(policy, held_out, 0.1)
    assert made.threshold == 0.0
    assert made.assess(held_out).share == pytest.approx(0.1, abs=2 / held_out.n)
    units = world.features(20_000, 2)
    told = made.assess(units)
    assert told.share == pytest.approx(0.1, abs=5 * math.sqrt(0.09 / 3_000 + 0.09 / 20_000))
    best = (world.effect(units) - policy.price_ * costs).argmax(axis=1)
    wrong = policy.probabilities(units, 4).argmax(axis=1) != best
    # More than a random tenth would by chance: 5 standard errors of the share in the queue.
    assert wrong[told.queued].mean() > wrong.mean() + 5 * math.sqrt(0.25 / told.queued.sum())


def test_an_allocation_bars_what_is_not_eligible_or_not_worth_its_floor(offers):
    _, held_out, policy, costs = offers
    eligible = np.ones((held_out.n, 4), dtype=np.bool_)
    eligible[::2, 1:] = False
    eligible[np.arange(held_out.n), held_out.action] = True
    barred = DecisionLog.from_arrays(
        held_out.features, held_out.action, held_out.outcome(), action_names=held_out.actions.names, eligible=eligible
    )
    seen = predicted(policy, barred)
    nothing = ~eligible[:, 1:].any(axis=1)
    assert nothing.any()
    assert (seen.net[nothing] == -math.inf).all()
    assert np.isfinite(seen.net[~nothing]).all()
    dear = AllocationPolicy(policy.value_learner, tuple(costs), budget=0.02, efficiency_floor=5.0, evidence=None)
    dear.calibrate(held_out)
    given, net = dear.chosen(held_out.features, 4).low, predicted(dear, held_out).net
    assert (net[given > 0] >= 0).all()
    assert (net[given == 0] <= 0).all()
    assert 0 < (given > 0).sum() < (predicted(policy, held_out).net > 0).sum()


def choices(rng, n, treatments, mean=0.1, sd=0.05, se=0.05):
    """Leads of whichever action looks best, with errors exactly known: (effect, stderr, net, between, wrong)."""
    true = np.column_stack([np.zeros(n), mean + sd * rng.normal(size=(n, treatments))])
    told = true + np.column_stack([np.zeros(n), se * rng.normal(size=(n, treatments))])
    rows, given = np.arange(n), told.argmax(axis=1)
    others = told.copy()
    others[rows, given] = -math.inf
    rival = others.argmax(axis=1)
    top = told[:, 1:].argmax(axis=1) + 1
    nothing = given == 0
    net = np.where(nothing, told[rows, top], told[rows, given] - others[rows, rival])
    between = ~nothing & (rival > 0)
    shown = np.where(nothing, top, given)
    stderr = np.where(between, se * math.sqrt(2.0), se)
    return told[rows, shown], stderr, net, between, given != true.argmax(axis=1)


@pytest.mark.parametrize("treatments", [1, 2, 3])
def test_what_is_said_of_choices_among_treatments_is_about_true(treatments):
    """Taken for signed effects, leads would make .7% of 26% wrong choices believed to be wrong, with two treatments."""
    rng, n = np.random.default_rng(treatments), 8_000
    features = Features.of(rng.normal(size=(n, 2)))
    effect, stderr, net, between, _ = choices(rng, n, treatments)
    made = Review.of(effect, stderr, features, 0.0, 0.1, net=net, between=between, always=(), missed=0.0)
    effect, stderr, net, _, wrong = choices(rng, n, treatments)
    told = made.judge(features, effect, stderr, net)
    assert abs(math.log(told.wrong.mean() / wrong.mean())) < math.log(1.6)
    assert wrong[told.queued].mean() > 1.5 * wrong.mean()


def test_whoever_is_given_something_just_above_its_floor_is_in_doubt(offers):
    _, held_out, policy, costs = offers
    dear = AllocationPolicy(policy.value_learner, tuple(costs), budget=None, efficiency_floor=5.0, evidence=None)
    dear.calibrate(held_out)
    seen, given = predicted(dear, held_out), dear.chosen(held_out.features, 4).low
    value, rows = policy.value_learner.effect(held_out.features).astype(float), np.arange(held_out.n)
    spare = (value - 5.0 * costs)[rows, given]
    some = given > 0
    assert some.sum() > 100
    assert (seen.net[some] <= spare[some] + 1e-9).all()
    assert (seen.net[some] < spare[some] - 1e-9).any(), "else no rival is closer than the floor"
    assert not seen.between[some & (seen.net > spare - 1e-9)].any()


def test_the_end_of_support_cannot_hold_everybody(fitted):
    _, _, held_out, policy = fitted
    with pytest.raises(ParameterError, match=r"extreme is 1\.0"):
        review(policy, held_out, extreme=1.0)


def test_an_allocation_that_buys_nothing_is_refused(offers):
    _, held_out, policy, _ = offers
    with pytest.raises(ParameterError, match="treats nobody"):
        review(policy.at(0.0), held_out)


def test_a_policy_that_cannot_be_reviewed_is_refused(fitted):
    _, train, held_out, policy = fitted
    with pytest.raises(LeakageError, match="also fitted the model"):
        review(policy, train)
    with pytest.raises(NotFittedError, match="no threshold yet"):
        review(BudgetPolicy(policy.learner), held_out)
    with pytest.raises(ParameterError, match="treats nobody"):
        review(policy.at(0.0), held_out)
    with pytest.raises(ParameterError, match="RandomPolicy cannot be reviewed"):
        review(RandomPolicy(0.3), held_out)
    sure = TLearner(trees=Trees(n_trees=2, max_depth=2), engine=LocalEngine(threads=1)).fit(train)
    with pytest.raises(NotFittedError, match="no half-samples"):
        review(BudgetPolicy(sure).calibrate(held_out), held_out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"load": 1.5}, "load is 1.5"),
        ({"load": 0.0001}, "always reviewed"),
        ({"extreme": -0.1}, "extreme"),
        ({"doubt": math.nan}, "doubt"),
        ({"harm": -1.0}, "harm is -1.0"),
        ({"missed": -1.0}, "missed is -1.0"),
        ({"suspects": True}, "suspects"),
        ({"threshold": math.inf}, "threshold is inf"),
        ({"always": ("borderline",)}, "no code that queues by itself"),
    ],
)
def test_arguments_out_of_range_are_refused(change, message):
    _, effect, stderr = drawn(2_000, 1)
    arguments = {"threshold": T, "load": 0.1} | change
    with pytest.raises(ParameterError, match=message):
        Review.of(effect, stderr, plain(2_000, 1), arguments.pop("threshold"), **arguments)


def test_without_errors_or_units_there_is_nothing_to_calibrate():
    with pytest.raises(DataError, match="All standard errors are 0"):
        Review.of(np.ones(5), np.zeros(5), plain(5), T)
    with pytest.raises(DataError, match="No unit is eligible"):
        Review.of(np.ones(5), np.ones(5), plain(5), T, net=np.full(5, -math.inf))


# -- state -----------------------------------------------------------------------------------------------------------


def through_files(state):
    """The state as a bundle keeps it: JSON text and an npz of one-dimensional arrays of declared types."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.asarray(state["arrays"][name], dtype=kind) for name, kind in ARRAYS.items()})
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as arrays:
        assert all(array.ndim == 1 for array in arrays.values())
        return {"json": json.loads(json.dumps(state["json"], allow_nan=False)), "arrays": dict(arrays)}


def test_state_survives_json_and_npz(fitted):
    world, train, held_out, policy = fitted
    made = review(policy, held_out, 0.1, train=train)
    state = made.state()
    assert set(state["arrays"]) == set(ARRAYS)
    again = Review.from_state(through_files(state), policy)
    fresh = world.sample(1_000, 3)
    told, then = made.assess(fresh), again.assess(fresh)
    assert then.codes == told.codes
    assert (then.priority == told.priority).all()
    assert again.columns == tuple(column.name for column in policy.learner.columns_)
    with pytest.raises(NotFittedError, match="knows no policy"):
        Review.from_state(state).assess(fresh)


HOSTILE = {
    "another kind": lambda told, arrays: told.update(kind="BudgetPolicy"),
    "no load": lambda told, arrays: told.pop("load"),
    "a load below what is always reviewed": lambda told, arrays: told.update(load=0.0),
    "a load of text": lambda told, arrays: told.update(load="0.1"),
    "everybody always": lambda told, arrays: told.update(always_share=1.0),
    "a threshold too large": lambda told, arrays: told.update(threshold=1e200),
    "a threshold of NaN": lambda told, arrays: told.update(threshold=math.nan),
    "a negative distance": lambda told, arrays: told.update(farthest=-1.0),
    "an unknown code": lambda told, arrays: told.update(always=["anything"]),
    "no variance": lambda told, arrays: told.update(variance=0.0),
    "a whole variance": lambda told, arrays: told.update(variance=10**400),
    "another n": lambda told, arrays: told.update(n=True),
    "columns that are none": lambda told, arrays: told.update(columns=[]),
    "too many columns": lambda told, arrays: told["columns"].update(names=["x"] * 9_999, levels=[0] * 9_999),
    "levels by the billion": lambda told, arrays: told["columns"]["levels"].__setitem__(0, 10**12),
    "a part that is not there": lambda told, arrays: told["columns"]["parts"].__setitem__(0, 10**6),
    "a grid that is uneven": lambda told, arrays: arrays["grid"].__setitem__(1, arrays["grid"][0]),
    "a grid of another world": lambda told, arrays: arrays.update(grid=arrays["grid"] * 1e200),
    "a variance of nothing": lambda told, arrays: told.update(variance=5e-324),
    "a number as missed that is none": lambda told, arrays: told.update(missed="1"),
    "less than nothing missed": lambda told, arrays: told.update(missed=-1.0),
    "a certain harm of two": lambda told, arrays: told.update(harm_chance=2.0),
    "errors that fall": lambda told, arrays: arrays.update(error=arrays["error"][::-1] - 1.0),
    "no width": lambda told, arrays: arrays["width"].fill(0.0),
    "a middle of NaN": lambda told, arrays: arrays["middle"].fill(math.nan),
    "a middle too few": lambda told, arrays: arrays.update(middle=arrays["middle"][:0]),
    "levels that fall": lambda told, arrays: arrays.update(level=arrays["level"][::-1].copy()),
    "levels of NaN": lambda told, arrays: arrays["level"].__setitem__(3, math.nan),
    "a level too few": lambda told, arrays: arrays.update(level=arrays["level"][:-1]),
    "more than all always": lambda told, arrays: arrays["forced"].__setitem__(0, 1.5),
    "a harm of two at a level": lambda told, arrays: arrays["harmed"].__setitem__(0, 2.0),
    "priorities that rise": lambda told, arrays: arrays["risks"].__setitem__(1, arrays["risks"][0] + 1.0),
    "priorities without end": lambda told, arrays: arrays["risks"].__setitem__(0, math.inf),
    "levels without end": lambda told, arrays: arrays.update(
        level=np.arange(5e3), forced=np.zeros(5_000), harmed=np.zeros(5_000), risks=np.zeros(5_000 * 65)
    ),
    "a table in two dimensions": lambda told, arrays: arrays.update(risks=arrays["risks"].reshape(-1, 65)),
    "a prior of zeros": lambda told, arrays: arrays["prior"].fill(0.0),
    "a prior of NaN": lambda told, arrays: arrays["prior"].__setitem__(0, math.nan),
    "a grid without end": lambda told, arrays: arrays.update(grid=np.arange(5e4), prior=np.full(50_000, 2e-5)),
    "risks that fall": lambda told, arrays: arrays.update(risk=arrays["risk"][::-1].copy()),
    "negative risks": lambda told, arrays: arrays["risk"].__setitem__(0, -1.0),
    "no mass": lambda told, arrays: arrays["mass"].fill(0.0),
    "no spread": lambda told, arrays: arrays["spread"].fill(0.0),
    "a distance of infinity": lambda told, arrays: arrays["whiten"].__setitem__(0, math.inf),
    "a table that is cut": lambda told, arrays: arrays.update(whiten=arrays["whiten"][:-1]),
    "an array of another type": lambda told, arrays: arrays.update(mean=arrays["mean"].astype(np.float32)),
    "an array missing": lambda told, arrays: arrays.pop("centre"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_state_that_no_review_has_is_refused(made, what):
    state = through_files(made.state())
    HOSTILE[what](state["json"], state["arrays"])
    with pytest.raises(BundleError):
        Review.from_state(state)


# -- learning without what people decided ----------------------------------------------------------------------------


def reviewed(n=60_000, seed=0, pick=False):
    """A log in which people who know u had a hand, and its truth.

    Three in ten units are queued, by a feature. Effects are 1 + queued + u, outcomes rise with u, and people treat
    where u > −0.5. They get to six in ten of the queue by chance; or they pick those with u > −0.25, which are as many.
    """
    rng = np.random.default_rng(seed)
    queued, u = rng.random(n) < 0.3, rng.normal(size=n)
    proposed = (rng.random(n) < 0.5).astype(np.int16)
    people = queued & ((u > -0.25) if pick else (rng.random(n) < 0.6))
    action = np.where(people, u > -0.5, proposed).astype(np.int16)
    y = 2.0 + u + action * (1.0 + queued + u) + rng.normal(size=n)
    log = DecisionLog.from_arrays(queued[:, None].astype(float), action, y, propensity=0.5)
    return log, queued, people, proposed, 1.0 + queued + u


def effect_in(log, rows=None):
    """(estimate, standard error) of the average effect by inverse propensities."""
    rows = np.ones(log.n, dtype=np.bool_) if rows is None else rows
    w = (np.ones(log.n) if log.weight is None else log.weight)[rows]
    e = log.propensity()[rows]
    taken = np.take_along_axis(e, log.action[rows, None].astype(int), axis=1)[:, 0]
    score = np.where(log.action[rows] == 1, 1.0, -1.0) / taken * log.outcome()[rows]
    mean = np.average(score, weights=w)
    return mean, math.sqrt(((w * (score - mean)) ** 2).sum()) / w.sum()


def off(estimate, truth):
    """How many standard errors an estimate is from the truth."""
    return abs(estimate[0] - truth) / estimate[1]


def test_counting_peoples_decisions_as_the_policys_is_biased_and_keeping_them_out_is_not():
    log, queued, people, proposed, _ = reviewed()
    assert off(effect_in(log, queued), 2.0) > 10, "with the policy's propensities"
    approved = people & (log.action == proposed)
    without_overridden = log.take(~people | approved)
    assert off(effect_in(without_overridden, without_overridden.features.values[:, 0] > 0), 2.0) > 10, "approved kept"
    certain = log.with_propensities(np.where(people[:, None], np.eye(2)[log.action], 0.5))
    assert off(effect_in(certain, queued), 2.0) > 10, "with a propensity of 1"
    kept = without_people(log, people)
    in_queue = kept.features.values[:, 0] > 0
    assert kept.n == (~people).sum()
    assert off(effect_in(kept, in_queue), 2.0) < 4
    assert off(effect_in(kept, ~in_queue), 1.0) < 4


def test_averages_over_everybody_need_the_weights():
    log, queued, people, _, _ = reviewed(n=120_000)
    assert off(effect_in(without_people(log, people)), 1.3) > 5
    again = without_people(log, people, "reweight", chance=0.6 * queued)
    assert off(effect_in(again), 1.3) < 4
    assert np.average(again.features.values[:, 0], weights=again.weight) == pytest.approx(0.3, abs=0.01)


def test_of_cases_that_people_picked_only_the_proposals_are_left_to_chance():
    """The effect of proposing is the action's own where nobody looks and 0 where somebody decides anyway."""
    log, queued, people, proposed, effect = reviewed(pick=True)
    kept = without_people(log, people)
    assert off(effect_in(kept, kept.features.values[:, 0] > 0), 2.0) > 10
    of_proposing = float(np.where(people, 0.0, effect)[queued].mean())
    assert off(effect_in(without_people(log, people, "as-proposed", proposed=proposed), queued), of_proposing) < 4


def test_effect_learners_refuse_rows_that_nothing_was_left_to_chance_in():
    log, _, people, _, _ = reviewed(n=2_000)
    certain = log.with_propensities(np.where(people[:, None], np.eye(2)[log.action], 0.5))
    learner = TLearner(trees=Trees(n_trees=2, max_depth=2), engine=LocalEngine(threads=1))
    with pytest.raises(PropensityError, match="nothing was left to chance"):
        learner.fit(certain)
    learner.fit(without_people(certain, people))


def test_labels_and_other_propensities_may_be_told():
    log, _, people, proposed, _ = reviewed(n=2_000)
    again = without_people(
        log,
        people.astype(int),
        "as-proposed",
        proposed=np.array(log.actions.names)[proposed],
        propensities=np.tile([0.25, 0.75], (log.n, 1)),
    )
    assert (again.action == proposed).all()
    assert (again.propensity()[:, 1] == 0.75).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"how": "trust"}, ParameterError, "not a choice"),
        ({"how": "reweight"}, ParameterError, "chance= is missing"),
        ({"chance": 0.5}, ParameterError, "chance= is given"),
        ({"how": "as-proposed"}, ParameterError, "proposed= is missing"),
        ({"how": "reweight", "chance": np.ones(100)}, PropensityError, "for certain"),
        ({"how": "reweight", "chance": np.zeros(100)}, PropensityError, "and yet they did"),
        ({"how": "reweight", "chance": np.full(100, 2.0)}, DataError, "probabilities"),
        ({"how": "as-proposed", "proposed": [1]}, DataError, "proposed has shape"),
        ({"by_people": [True]}, DataError, "by_people has shape"),
        ({"by_people": np.full(100, 2)}, DataError, "booleans"),
        ({"by_people": np.ones(100, dtype=bool)}, DataError, "People made every decision"),
    ],
)
def test_what_cannot_be_made_up_for_is_refused(arguments, error, message):
    log, _, people, _, _ = reviewed(n=100)
    with pytest.raises(error, match=message):
        without_people(log, **({"by_people": people} | arguments))


def test_propensities_of_what_was_done_say_nothing_of_what_was_proposed():
    log, _, people, proposed, _ = reviewed(n=100)
    taken = DecisionLog.from_arrays(log.features, log.action, log.outcome(), taken_propensity=np.full(100, 0.5))
    with pytest.raises(PropensityError, match="not of what was proposed"):
        without_people(taken, people, "as-proposed", proposed=proposed)
