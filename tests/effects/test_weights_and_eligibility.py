"""Weights count by proportion, and rows that could not be treated teach no effect."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable.effects import DRLearner, Learner, RLearner, SLearner, TLearner, XLearner
from persuadable.engine import Trees
from persuadable.log import DecisionLog

SMALL = Trees(n_trees=30, max_depth=2)
LEARNERS = [
    SLearner(trees=SMALL),
    TLearner(trees=SMALL),
    XLearner(trees=SMALL),
    XLearner("two-model", trees=SMALL),
    RLearner(trees=SMALL),
    DRLearner(trees=SMALL),
]


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
def test_the_scale_of_the_weights_changes_nothing(learner: Learner) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(600, 2)), rng.integers(0, 2, 600)
    y, weight = x[:, 0] * w + rng.normal(size=600), rng.uniform(0.5, 2, 600)

    def effect(scale: float) -> np.ndarray:
        log = DecisionLog.from_arrays(x, w, y, propensity=0.5, weight=weight * scale)
        return np.asarray(learner.fit(log).effect(x))

    np.testing.assert_array_equal(effect(2.0**-14), effect(1.0))


@pytest.mark.parametrize("learner", LEARNERS[1:], ids=repr)
def test_controls_that_could_not_be_treated_teach_nothing(learner: Learner) -> None:
    """Half are not eligible, for a reason not among the features, and have a baseline 2 higher; the effect is 0.3."""
    rng = np.random.default_rng(0)
    n = 6000
    x, eligible = rng.normal(size=(n, 2)), rng.random(n) < 0.5
    w = np.where(eligible, rng.integers(0, 2, n), 0)
    y = 0.3 * w + 2.0 * ~eligible + rng.normal(scale=0.5, size=n)
    e = np.stack([np.where(eligible, 0.5, 1.0), np.where(eligible, 0.5, 0.0)], axis=1)
    allowed = np.stack([np.ones(n, dtype=bool), eligible], axis=1)
    log = DecisionLog.from_arrays(x, w, y, propensity=e, eligible=allowed)
    average = np.asarray(learner.fit(log).effect(x))[eligible, 1].mean()
    assert abs(average - 0.3) < 4 * 2 * 0.5 / np.sqrt(n / 2)
