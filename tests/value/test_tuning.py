"""Learners are tuned by the value of their policies."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable.effects import DRLearner
from persuadable.engine import Trees
from persuadable.errors import LeakageError
from persuadable.policies import BudgetPolicy
from persuadable.value import BudgetScore, policy_value
from persuadable.value.policy_value import arm_mean_outcomes
from persuadable.worlds import RandomisedTrial


@pytest.fixture(scope="module")
def log():
    return RandomisedTrial(surface="linear", outcome="real", effect_scale=1.0, effect_mean=0.0).sample(1500, 0)


def test_a_grid_search_finds_the_learner_that_learns(log):
    from sklearn.model_selection import GridSearchCV

    learner = DRLearner(trees=Trees(n_trees=15, max_depth=3), n_folds=2)
    search = GridSearchCV(learner, {"trees__learning_rate": [1e-6, 0.2]}, scoring=BudgetScore(0.4), cv=2)
    search.fit(log)
    assert search.best_params_ == {"trees__learning_rate": 0.2}
    assert search.best_estimator_.fitted_on.digest == log.fingerprint.digest
    worse, better = search.cv_results_["mean_test_score"]
    assert better > worse + 0.1


def test_the_score_is_the_policys_value(log):
    train, test = log.split(0.5, random_state=0)
    learner = DRLearner(trees=Trees(n_trees=5), n_folds=2).fit(train)
    policy = BudgetPolicy(learner, 0.2).calibrate(test)
    assert BudgetScore(0.2)(learner, test) == policy_value(test, policy, mu=arm_mean_outcomes(test)).value
    with pytest.raises(LeakageError):
        BudgetScore(0.2)(learner, train)
    assert np.isfinite(BudgetScore(0.2, outcome="outcome")(learner, test))
