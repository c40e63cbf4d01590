"""Learners are at home in scikit-learn: clone, parameters, and a grid search over policy value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

from persuadable import DecisionLog
from persuadable.effects import DRLearner, Learner, RLearner, SLearner, TLearner, XLearner
from persuadable.engine import LocalEngine, Trees

LEARNERS: list[Learner] = [
    SLearner(),
    TLearner(clip=0.1),
    XLearner(form="two-model", trees=Trees(n_trees=3)),
    RLearner(nuisance_trees=Trees(n_trees=3), engine=LocalEngine(threads=1)),
    DRLearner(n_folds=3, random_state=4),
]


def sample(n: int = 600) -> DecisionLog:
    rng = np.random.default_rng(0)
    x, action = rng.normal(size=(n, 3)), rng.integers(0, 2, n)
    return DecisionLog.from_arrays(x, action, action * np.sign(x[:, 0]) + rng.normal(size=n), propensity=0.5)


def policy_value(learner: Learner, log: DecisionLog, y: Any = None) -> float:
    """Outcome per head of treating whom the learner expects to gain, by inverse propensity weighting."""
    treat = np.asarray(learner.effect(log))[:, 1] > 0
    agrees = treat == (log.action == 1)
    return float(np.mean(agrees * log.outcome() / log.propensity()[np.arange(log.n), log.action]))


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: type(learner).__name__)
def test_scikit_learns_clone(learner: Learner) -> None:
    copy = clone(learner)
    assert type(copy) is type(learner)
    assert repr(copy) == repr(learner)
    assert copy is not learner
    assert clone(learner.fit(sample())).get_params(deep=False).keys() == learner.get_params(deep=False).keys()
    assert not hasattr(clone(learner), "models_")


@pytest.mark.parametrize("trees", [None, Trees(n_trees=20)])
def test_a_grid_search_over_policy_value_on_a_log(trees: Trees | None) -> None:
    log = sample()
    grid = {"trees__max_depth": [1, 2], "trees__n_trees": [5]}
    search = GridSearchCV(RLearner(trees=trees), grid, scoring=policy_value, cv=2).fit(log)
    assert search.best_params_["trees__max_depth"] in (1, 2)
    assert search.best_estimator_.trees.max_depth == search.best_params_["trees__max_depth"]
    assert search.best_estimator_.trees.n_trees == 5
    assert search.cv_results_["mean_test_score"].shape == (2,)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    # The rule that treats where x₀ > 0 is worth 0.5; noise over 600 rows is about 0.06.
    assert search.best_score_ > 0.25
    assert search.best_estimator_.fitted_on.overlap(log.fingerprint) == log.n


def test_cross_validation_fits_and_scores_on_other_rows() -> None:
    log, seen = sample(), []

    def no_overlap(learner: Learner, part: DecisionLog, y: Any = None) -> float:
        seen.append((part.n, learner.fitted_on.overlap(part.fingerprint)))
        return 0.0

    cross_val_score(
        TLearner(trees=Trees(n_trees=2)), log, scoring=no_overlap, cv=KFold(3, shuffle=True, random_state=0)
    )
    assert seen == [(200, 0)] * 3
