"""A fitted learner as JSON values and bytes, and back without a difference."""

from __future__ import annotations

import json

import numpy as np
import pytest

from persuadable import DecisionLog
from persuadable.effects import DRLearner, Learner, RLearner, SLearner, TLearner, XLearner
from persuadable.effects.state import learner_from_state, learner_state
from persuadable.engine import LocalEngine, Trees
from persuadable.errors import BundleError, NotFittedError

TREES = Trees(n_trees=5, max_depth=2)


def sample() -> DecisionLog:
    rng = np.random.default_rng(0)
    x, action = rng.normal(size=(400, 3)), rng.integers(0, 3, 400)
    y = x[:, 0] * action + rng.normal(size=400)
    e = np.tile([0.3, 0.3, 0.4], (400, 1)) + 0.1 * np.sign(x[:, :1]) * [1, -1, 0]
    return DecisionLog.from_arrays(x, action, {"y": y, "b": (y > 0) * 1.0}, propensity=e, unit=np.arange(400))


@pytest.mark.parametrize(
    "learner",
    [
        SLearner(trees=TREES),
        TLearner(trees=TREES, n_resamples=2),
        XLearner(trees=TREES, n_resamples=2, engine=LocalEngine(threads=1)),
        XLearner(form="two-model", trees=TREES),
        XLearner(form="two-model", trees=TREES, propensity="constant"),
        RLearner(nuisance_trees=TREES, trees=TREES, clip=0.02),
        DRLearner(trees=TREES, n_folds=2, random_state=3),
    ],
    ids=repr,
)
def test_a_learner_survives_its_state(learner: Learner) -> None:
    log = sample()
    learner.fit(log, outcomes=["y", "b"])
    description, blobs = learner_state(learner)
    again = learner_from_state(json.loads(json.dumps(description)), blobs)
    for outcome in ("y", "b"):
        np.testing.assert_array_equal(again.effect(log, outcome), learner.effect(log, outcome))
    if learner.n_resamples:
        np.testing.assert_array_equal(again.effect_interval(log), learner.effect_interval(log))
    told = {k: repr(v) for k, v in learner.get_params().items() if not k.startswith("engine")}
    assert {k: repr(v) for k, v in again.get_params().items() if not k.startswith("engine")} == told
    assert again.actions_ == learner.actions_
    assert again.columns_ == learner.columns_
    assert again.effect(log).fitted_on.overlap(log.fingerprint) == log.n
    assert again.fitted_on.digest == learner.fitted_on.digest


def test_what_cannot_be_saved_or_read() -> None:
    with pytest.raises(NotFittedError, match="This RLearner is not fitted"):
        learner_state(RLearner())
    description, blobs = learner_state(TLearner(trees=TREES).fit(sample()))
    with pytest.raises(BundleError, match=r"There is no learner 'ZLearner'. Upgrade"):
        learner_from_state(description | {"kind": "ZLearner"}, blobs)
    with pytest.raises(BundleError, match=r"The learner's description is incomplete"):
        learner_from_state({k: v for k, v in description.items() if k != "columns"}, blobs)
    with pytest.raises(BundleError, match=r"description is incomplete: '0-response-1.ubj'"):
        learner_from_state(description, {k: v for k, v in blobs.items() if "response-1" not in k})
