"""Policies and their values on real learners: from a trial to a decision."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable.effects import DRLearner
from persuadable.engine import Trees
from persuadable.errors import LeakageError
from persuadable.policies import BudgetPolicy, RandomPolicy, RankPolicy
from persuadable.response import ResponseModel
from persuadable.value import blp, clan, compare_many, gates, policy_value
from persuadable.worlds import RandomisedTrial

SMALL = Trees(n_trees=10, max_depth=3)


@pytest.fixture(scope="module")
def trial():
    world = RandomisedTrial(surface="linear", outcome="real", effect_scale=1.0, costs=0.1)
    train, test = world.sample(4000, random_state=0).split(0.5, random_state=0)
    learner = DRLearner(trees=SMALL, n_folds=2).fit(train, outcomes=["outcome", "cost"])
    return world, train, test, learner


def test_from_a_trial_to_a_decision(trial):
    world, train, test, learner = trial
    policy = BudgetPolicy(learner, 0.3, cost="cost").calibrate(train)
    assert policy.probabilities(test.features, 2)[:, 1].mean() == pytest.approx(0.3, abs=0.06)
    response = RankPolicy(ResponseModel(trees=SMALL).fit(train), 0.3).calibrate(test)
    found = compare_many(test, policy, {"random": RandomPolicy(0.3), "response": response})
    assert found["random"].difference.interval[0] > 0
    truth = world.value(policy, n=20_000)
    assert found.policy.value == pytest.approx(truth.value, abs=4 * found.policy.stderr)
    assert found.policy.cost.value == pytest.approx(truth.cost, abs=0.01)
    tau = learner.effect(test.features)
    assert blp(test, tau).slope.interval[0] > 0
    assert gates(test, tau).top_minus_bottom.interval[0] > 0
    assert len(clan(test, tau).rows) >= 12


def test_training_rows_are_refused_and_calibrated_out_of_fold(trial):
    _, train, _, learner = trial
    policy = BudgetPolicy(learner, 0.3).calibrate(train)
    with pytest.raises(LeakageError):
        policy_value(train, policy)
    in_sample = np.quantile(learner.effect(train.features)[:, 1], 0.7)
    out_of_fold = np.quantile(learner.out_of_fold_effect(train)[:, 1], 0.7)
    assert policy.threshold == pytest.approx(out_of_fold, abs=1e-3)
    assert policy.threshold != pytest.approx(in_sample, abs=1e-4)
    with pytest.raises(LeakageError, match="scorer"):
        RankPolicy(ResponseModel(trees=SMALL).fit(train)).calibrate(train)
    with pytest.raises(LeakageError, match="calibrate"):
        BudgetPolicy(learner).calibrate(train.take(np.arange(1000)))


def test_saved_states_decide_the_same(trial):
    _, train, test, learner = trial
    policy = BudgetPolicy(learner, 0.2).calibrate(train)
    again = BudgetPolicy.from_state(learner, policy.state())
    one, two = (p.decide(test.features, 3) for p in (policy, again))
    assert (one == two).all()
