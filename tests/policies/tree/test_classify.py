"""The classification policy: contests by hand, known truth, the budget, keeping, refusals."""

from __future__ import annotations

import base64
import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable.engine import Trees
from persuadable.errors import (
    ActionError,
    BundleError,
    DataError,
    LeakageError,
    NotFittedError,
    ParameterError,
)
from persuadable.log import DecisionLog
from persuadable.policies import ClassificationPolicy, Policy
from persuadable.policies.explore import EpsilonFloor
from persuadable.policies.tree.classify import _best_of
from persuadable.value import policy_value
from persuadable.worlds import RandomisedTrial

SMALL = Trees(n_trees=20, max_depth=2)


def world_of(n, seed=0, arms=3):
    """Features, true gains over doing nothing, and a log with noisy scores of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    mean = np.column_stack([np.zeros(n), np.sign(x[:, 0]), np.where(x[:, 1] > 0.5, 1.5, -1.0)])[:, :arms]
    log = DecisionLog.from_arrays(x, np.arange(n) % arms, rng.normal(size=n))
    return log, mean, mean + rng.normal(size=mean.shape)


@given(st.lists(st.lists(st.integers(-9, 9), min_size=4, max_size=4, unique=True), min_size=1, max_size=5))
def test_the_best_treatment_wins_its_contests(means):
    """Where chances exceed a half just where the mean is larger, the winner is the one with the largest mean."""
    m = np.array(means, dtype=float)
    chance = {(a, b): 1 / (1 + np.exp(m[:, a] - m[:, b])) for a, b in combinations(range(4), 2)}
    found = _best_of(chance, 4, None)
    assert (found.action == m[:, 1:].argmax(axis=1) + 1).all()
    assert (np.sign(found.score) == np.sign(m[:, 1:].max(axis=1) - m[:, 0])).all()


def test_contests_by_hand():
    chance = {(0, 1): [0.75, 0.2], (0, 2): [0.6, 0.9], (1, 2): [0.4, 0.7]}
    told = {pair: np.array(p) for pair, p in chance.items()}
    found = _best_of(told, 3, None)
    assert found.action.tolist() == [1, 2]
    assert found.score == pytest.approx([0.5, 0.8])
    only = _best_of(told, 3, np.array([[True, False, True], [True, False, False]]))
    assert only.action[0] == 2
    assert only.score == pytest.approx([0.2, -np.inf])


def test_three_that_beat_one_another_in_a_ring_are_parted_by_their_chances():
    chance = {(0, a): np.array([0.6]) for a in (1, 2, 3)} | {
        (1, 2): np.array([0.3]),
        (2, 3): np.array([0.4]),
        (1, 3): np.array([0.9]),
    }
    assert _best_of(chance, 4, None).action.tolist() == [3]  # 0.4 + 0.9, against 0.7 + 0.1 and 0.3 + 0.6


def test_truth_is_found():
    log, _, scores = world_of(4_000)
    fresh, mean, _ = world_of(4_000, seed=1)
    policy = ClassificationPolicy(trees=SMALL, n_folds=2).fit(log, scores=scores)
    assert isinstance(policy, Policy)
    p = policy.probabilities(fresh.features, 3)
    best = mean.max(axis=1).mean()
    assert (p * mean).sum(axis=1).mean() > 0.95 * best
    assert policy.price_ == 0
    assert policy.expected_share == pytest.approx((mean[:, 1:].max(axis=1) > 0).mean(), abs=0.03)


def test_mistakes_count_by_what_they_cost():
    """Treating helps 70% a little and harms 30% a lot, and nothing tells them apart."""
    rng = np.random.default_rng(0)
    n = 500
    gain = np.where(rng.random(n) < 0.7, 1.0, -10.0)
    log = DecisionLog.from_arrays(np.zeros((n, 1)), np.arange(n) % 2, rng.normal(size=n))
    for scale, treated in ((gain, 0.0), (np.sign(gain), 1.0)):
        scores = np.column_stack([np.zeros(n), scale])
        policy = ClassificationPolicy(trees=SMALL, n_folds=2).fit(log, scores=scores)
        assert policy.probabilities(log.features, 2)[:, 1].mean() == treated
        margin = policy.scored(log.features, 2).score[0]
        assert margin == pytest.approx(scale.sum() / np.abs(scale).sum(), abs=0.02)  # 2p − 1, shrunk a little


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_budget_goes_to_those_who_gain_most(share):
    world = RandomisedTrial("nonlinear", "real", n_actions=3, n_features=6, n_categorical=0)
    log = world.sample(4_000, random_state=0)
    fresh = world.sample(4_000, random_state=1)
    scores = world.response(log.features) + np.random.default_rng(0).normal(size=(4_000, 3))
    policy = ClassificationPolicy(share=share, trees=Trees(n_trees=40, max_depth=3), n_folds=3).fit(log, scores=scores)
    p = policy.probabilities(fresh.features, 3)
    assert policy.expected_share == pytest.approx(share)
    assert 1 - p[:, 0].mean() == pytest.approx(share, abs=0.03)
    effect = world.effect(fresh.features)
    gains = np.sort(effect[:, 1:].max(axis=1))[::-1]
    possible = gains[: round(share * len(gains))].sum() / len(gains)
    assert (p * effect).sum(axis=1).mean() > 0.8 * possible
    # The price is what the marginal person gains.
    assert policy.price_ == pytest.approx(gains[round(share * len(gains))], rel=0.3)


def test_under_a_budget_the_larger_gain_counts_and_not_the_surer_one():
    """Half gain 0.5 for certain, half gain 2 on average amid noise; without a price the certain ones come first."""
    rng = np.random.default_rng(0)
    large = np.arange(4_000) % 2
    gain = np.where(large, 2.0 + 4.0 * rng.normal(size=4_000), 0.5)
    log = DecisionLog.from_arrays(large[:, None] * 1.0, (np.arange(4_000) // 2) % 2, rng.normal(size=4_000))
    policy = ClassificationPolicy(share=0.4, trees=SMALL, n_folds=2)
    policy.fit(log, scores=np.column_stack([np.zeros(4_000), gain]))
    p = policy.probabilities(log.features, 2)[:, 1]
    # Two values of a feature leave three or four margins to cut between, so the share itself is rough here.
    assert p[large == 1].mean() > 0.5
    assert p[large == 0].mean() == 0.0
    assert 0.5 < policy.price_ < 2.1


def test_a_price_that_came_out_high_does_not_leave_the_budget_unspent():
    log, _, scores = world_of(1_000)
    policy = ClassificationPolicy(share=0.5, trees=SMALL, n_folds=2).fit(log, scores=scores)
    assert policy.expected_share == pytest.approx(0.5)
    # Beyond the share it was fitted for, only who gains at that share's price.
    gains = float((policy.distribution_.values > 0) @ policy.distribution_.mass) / 1_000
    assert policy.at(0.9).expected_share == pytest.approx(max(gains, 0.5))
    assert policy.at(0.2).expected_share == pytest.approx(0.2)


def test_no_budget_treats_nobody():
    log, _, scores = world_of(300)
    policy = ClassificationPolicy(share=0.0, trees=SMALL, n_folds=2).fit(log, scores=scores)
    assert policy.probabilities(log.features, 3)[:, 0].tolist() == [1.0] * 300


def test_nobody_gets_what_they_may_not_get():
    rng = np.random.default_rng(0)
    log, _, scores = world_of(600)
    eligible = np.column_stack([np.ones(600, bool), rng.random((600, 2)) < 0.6])
    action = np.where(eligible[np.arange(600), log.action], log.action, 0)
    told = DecisionLog.from_arrays(log.features, action, log.outcome(), eligible=eligible)
    spoiled = np.where(eligible, scores, 1e6)
    for share in (1.0, 0.2):
        policy = ClassificationPolicy(share=share, trees=SMALL, n_folds=2).fit(told, scores=spoiled)
        p = policy.probabilities(told.features, 3, eligible)
        assert (p[~eligible] == 0).all()
        assert p.sum(axis=1) == pytest.approx(np.ones(600))
        assert policy.price_ < 10
    back = ClassificationPolicy.from_dict(json.loads(json.dumps(policy.to_dict(), allow_nan=False)))
    assert (back.distribution_.values == policy.distribution_.values).all()
    assert back.distribution_.values[0] == -np.inf


def test_it_makes_its_own_scores():
    world = RandomisedTrial("linear", "real", costs=[0.3], n_features=6, n_categorical=0, effect_scale=1.0)
    train, test = world.sample(3_000, random_state=0).split(0.5, random_state=0)
    policy = ClassificationPolicy(cost="cost", trees=SMALL, n_folds=2).fit(train)
    with pytest.raises(LeakageError, match="classification policy"):
        policy_value(train, policy, mu=[0, 0])
    assert 0 < policy_value(test, policy, mu=[0, 0]).share < 1
    truth = world.value(policy, n=20_000)
    none = world.value(0, n=20_000)
    assert truth.value - truth.cost > none.value + 0.1


def test_it_comes_back_the_same_from_json():
    log, _, scores = world_of(400)
    policy = ClassificationPolicy(share=0.3, trees=SMALL, n_folds=2).fit(log, scores=scores)
    text = json.dumps(policy.to_dict(), allow_nan=False)
    back = ClassificationPolicy.from_dict(json.loads(text))
    assert json.dumps(back.to_dict()) == text
    assert (back.probabilities(log.features, 3) == policy.probabilities(log.features, 3)).all()
    assert back.fitted_on.same_rows(policy.fitted_on)
    with pytest.raises(BundleError, match="stands on no other model"):
        ClassificationPolicy.from_state(None, policy.state())


@pytest.mark.parametrize("what", ["contests", "ensemble", "values", "mass", "kind", "share", "floor"])
def test_what_no_policy_says_is_refused(what):
    log, _, scores = world_of(100, arms=2)
    told = ClassificationPolicy(trees=Trees(n_trees=2), n_folds=2).fit(log, scores=scores).to_dict()
    ClassificationPolicy.from_dict(told)
    if what == "contests":
        told["models"][0][:2] = [1, 0]
    elif what == "ensemble":
        raw = base64.b64decode(told["models"][0][2]).replace(b"split_indices", b"split_indicez")
        told["models"][0][2] = base64.b64encode(raw).decode()
    elif what == "values":
        told["distribution"]["values"] = told["distribution"]["values"][::-1]
    elif what == "mass":
        told["distribution"]["mass"] = told["distribution"]["mass"][:-1]
    elif what == "share":
        told["parameters"]["share"] = -1
    else:
        told[what] = None
    with pytest.raises(BundleError, match="damaged or incomplete"):
        ClassificationPolicy.from_dict(told)


def test_it_can_be_calibrated_on_others_but_not_on_its_own_rows():
    log, _, scores = world_of(600)
    fresh, *_ = world_of(600, seed=1)
    policy = ClassificationPolicy(share=0.25, trees=SMALL, n_folds=2).fit(log, scores=scores)
    with pytest.raises(LeakageError, match="fitted on rows it is to be calibrated on"):
        policy.calibrate(log)
    policy.calibrate(fresh)
    assert 1 - policy.probabilities(fresh.features, 3)[:, 0].mean() == pytest.approx(0.25)


def test_refusals():
    log, _, scores = world_of(60)
    policy = ClassificationPolicy(trees=SMALL, n_folds=2)
    with pytest.raises(NotFittedError):
        policy.probabilities(log.features, 3)
    with pytest.raises(NotFittedError):
        policy.to_dict()
    with pytest.raises(NotFittedError):
        EpsilonFloor(policy).probabilities(log.features, 3)
    with pytest.raises(ParameterError, match="share"):
        ClassificationPolicy(share=2).fit(log, scores=scores)
    with pytest.raises(ParameterError, match="cost or a break-even"):
        ClassificationPolicy(break_even=1).fit(log, scores=scores)
    with pytest.raises(DataError, match="actions 0 and 1 are the same in every row"):
        policy.fit(log, scores=np.zeros((60, 3)))
    policy.fit(log, scores=scores)
    with pytest.raises(ActionError, match="chooses among 3 actions, the log has 2"):
        policy.probabilities(log.features, 2)
    assert policy.name == "classification policy"
    assert ClassificationPolicy(share=0.25).name == "classification policy, budget 25%"
