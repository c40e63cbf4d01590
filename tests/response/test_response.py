"""Response models: out of fold per arm, and what a team without causal models ranks by."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable import DecisionLog
from persuadable.effects import TLearner
from persuadable.engine import LocalEngine, Trees
from persuadable.errors import FeatureError, NotFittedError
from persuadable.response import ResponseModel, cross_fit_arms

TREES = Trees(n_trees=30, max_depth=3)


def sample(n: int = 3_000, arms: int = 3, **roles: object) -> DecisionLog:
    rng = np.random.default_rng(0)
    x, action = rng.normal(size=(n, 3)), rng.integers(0, arms, n)
    y = x[:, 0] + action + 0.5 * rng.normal(size=n)
    outcomes = {"spend": y, "bought": (y > 1).astype(float)}
    return DecisionLog.from_arrays(x, action, outcomes, **roles)  # type: ignore[arg-type]


def test_arms_are_predicted_out_of_fold() -> None:
    log = sample()
    mu = cross_fit_arms(log, trees=TREES)
    assert mu.shape == (3_000, 3)
    truth = log.features.values[:, :1] + np.arange(3)
    assert np.sqrt(np.mean((mu - truth) ** 2)) < 0.35
    np.testing.assert_array_equal(mu, cross_fit_arms(log, trees=TREES))
    assert not np.array_equal(mu, cross_fit_arms(log, trees=TREES, random_state=1))


def test_a_binary_outcome_gives_probabilities() -> None:
    mu = cross_fit_arms(sample(), "bought", trees=TREES, n_folds=2)
    assert (mu > 0).all()
    assert (mu < 1).all()


def test_noise_is_not_remembered() -> None:
    rng = np.random.default_rng(1)
    n = 4_000
    y, action = rng.normal(size=n), rng.integers(0, 2, n)
    log = DecisionLog.from_arrays(rng.normal(size=(n, 4)), action, y)
    trees = Trees(n_trees=50, max_depth=6)
    own = cross_fit_arms(log, trees=trees)[np.arange(n), action]
    assert abs(np.corrcoef(own, y)[0, 1]) < 4 / np.sqrt(n)
    in_sample = TLearner(trees=trees).fit(log)
    assert np.corrcoef(np.asarray(in_sample.effect(log))[:, 1], np.where(action, y, -y))[0, 1] > 0.3


@pytest.mark.parametrize("treated_only", [True, False])
def test_the_response_model_predicts_the_outcome_of_those_it_saw(treated_only: bool) -> None:
    log = sample(arms=2)
    model = ResponseModel(trees=TREES, treated_only=treated_only).fit(log)
    predicted = model.predict(log)
    assert predicted.shape == (log.n,)
    expected = log.features.values[:, 0] + (1.0 if treated_only else 0.5)
    assert np.sqrt(np.mean((predicted - expected) ** 2)) < 0.35
    assert model.fitted_on.overlap(log.fingerprint) == log.n
    np.testing.assert_array_equal(predicted, model.predict(log.features.frame().select("f2", "f1", "f0")))


def test_the_response_model_counts_weights_and_knows_binary_outcomes() -> None:
    rng = np.random.default_rng(2)
    n, other = 4_000, rng.integers(0, 2, 4_000)
    log = DecisionLog.from_arrays(np.zeros((n, 1)), rng.integers(0, 2, n), other, weight=np.where(other, 3.0, 1.0))
    assert ResponseModel(trees=TREES).fit(log).predict(log).mean() == pytest.approx(0.75, abs=0.04)


def test_the_same_seed_gives_the_same_model() -> None:
    log = sample()
    trees = Trees(n_trees=10, subsample=0.5)
    models = [ResponseModel(trees=trees, engine=LocalEngine(threads=1), random_state=s).fit(log) for s in (0, 0, 1)]
    assert models[0].model_.to_bytes() == models[1].model_.to_bytes() != models[2].model_.to_bytes()


def test_refusals() -> None:
    with pytest.raises(NotFittedError, match=r"This ResponseModel is not fitted. Call fit\(log\) first"):
        ResponseModel().predict(np.zeros((1, 3)))
    with pytest.raises(FeatureError, match="The array has 2 features, expected 3"):
        ResponseModel(trees=Trees(n_trees=2)).fit(sample()).predict(np.zeros((1, 2)))
