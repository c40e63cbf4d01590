"""The second opinion, with econml's answer replayed from tests/value/golden/crosscheck.json."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from persuadable import peers
from persuadable.effects import RLearner
from persuadable.engine import LocalEngine
from persuadable.errors import ActionError, DataError, LeakageError, MissingDependency, ParameterError
from persuadable.log import DecisionLog
from persuadable.value.crosscheck import crosscheck, one_hot

GOLDEN = Path(__file__).parent / "golden"
_spec = importlib.util.spec_from_file_location("golden_make_crosscheck", GOLDEN / "make_crosscheck.py")
assert _spec is not None
assert _spec.loader is not None
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)
RECORDED = json.loads((GOLDEN / "crosscheck.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def world_train_test():
    return make.world_and_halves()


@pytest.fixture(scope="module")
def effect(world_train_test):
    _, train, test = world_train_test
    learner = RLearner(trees=make.trees(), engine=LocalEngine(threads=1), random_state=0).fit(train)
    return learner.effect(test.features)[:, 1]


@pytest.fixture
def asked(monkeypatch):
    """Replays econml's recorded answer and keeps what it was asked."""
    calls = []

    def replay(peer, script, arrays, settings, *, threads):
        calls.append((peer, script, arrays, settings))
        return {"effect": np.array(RECORDED["effect"]), "version": np.array(RECORDED["econml"])}

    monkeypatch.setattr(peers, "call", replay)
    return calls


def test_on_a_known_truth_ours_agrees_with_econml_and_is_at_least_as_near(world_train_test, effect, asked):
    world, train, test = world_train_test
    np.testing.assert_allclose(test.outcome()[:5], RECORDED["first_outcomes"], rtol=1e-5)  # the rows recorded for
    truth = world.effect(test.features)[:, 1]
    found = crosscheck(train, test, effect, trees=make.trees(), truth=truth)
    assert found.spearman > 0.95
    assert found.to_truth is not None
    assert found.to_truth[0] >= found.to_truth[1] - 0.01
    assert found.rmse is not None
    assert found.rmse[0] <= found.rmse[1] * 1.02
    assert found.distance < found.spread / 3
    assert 0.7 < found.top_overlap <= 1
    assert (found.n_train, found.n_test, found.econml) == (train.n, test.n, "0.17.0")
    assert "rank correlation" in str(found)
    assert "Rank correlation with the truth" in str(found)


def test_econml_gets_the_same_rows_folds_and_trees(world_train_test, effect, asked):
    _, train, test = world_train_test
    crosscheck(train, test, effect, trees=make.trees(), n_folds=4, random_state=7)
    ((peer, script, arrays, settings),) = asked
    assert peer == "econml"
    assert script.exists()
    np.testing.assert_array_equal(arrays["w"], train.action)
    np.testing.assert_array_equal(arrays["y"], train.outcome())
    np.testing.assert_array_equal(arrays["fold"], train.folds(4, 7))
    assert arrays["X"].shape == (train.n, 7 + 4)  # seven numbers, and a column for each of four levels
    assert arrays["X_test"].shape[0] == test.n
    assert settings["binary"] is False
    assert settings["propensity"] == "estimated"
    model = settings["model"]
    assert (model["n_estimators"], model["max_depth"], model["learning_rate"]) == (60, 3, 0.1)


def test_a_binary_outcome_is_classified_and_weights_go_along(asked):
    rng = np.random.default_rng(0)
    n, m = 300, len(RECORDED["effect"])
    train = DecisionLog.from_arrays(
        rng.random((n, 2)), rng.integers(0, 2, n), rng.integers(0, 2, n), weight=1 + rng.random(n)
    )
    test = DecisionLog.from_arrays(rng.random((m, 2)), rng.integers(0, 2, m), rng.integers(0, 2, m))
    found = crosscheck(train, test, rng.random(m))
    (_, _, arrays, settings) = asked[0]
    assert settings["binary"] is True
    assert arrays["y"].dtype.kind == "i"
    np.testing.assert_array_equal(arrays["weight"], train.weight)
    assert found.to_truth is None
    assert abs(found.spearman) < 0.2


def test_categories_become_one_column_for_each_level(world_train_test):
    _, train, _ = world_train_test
    levels = one_hot(train.features)[:, -4:]
    assert set(np.unique(levels)) == {0.0, 1.0}
    np.testing.assert_array_equal(levels.sum(axis=1), 1.0)


def test_effects_of_the_training_rows_are_refused(world_train_test, asked):
    _, train, _ = world_train_test
    learner = RLearner(trees=make.trees(), engine=LocalEngine(threads=1)).fit(train.take(np.arange(500)))
    with pytest.raises(LeakageError):
        crosscheck(train, train, learner.effect(train.features)[:, 1])


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda e: {"effect": e[1:]}, DataError, "effect has shape"),
        (lambda e: {"effect": e * np.nan}, DataError, "effect is not finite"),
        (lambda e: {"effect": e, "truth": e[:, None]}, DataError, "truth has shape"),
        (lambda e: {"effect": e, "propensity": "guessed"}, ParameterError, "unknown propensity"),
        (lambda e: {"effect": e, "action": "no such action"}, ActionError, "no such action"),
    ],
)
def test_unusable_arguments_are_refused(world_train_test, effect, asked, change, error, says):
    _, train, test = world_train_test
    with pytest.raises(error, match=says):
        crosscheck(train, test, **change(np.asarray(effect)))


def test_without_econml_the_error_says_how_to_have_it(world_train_test, effect, monkeypatch, tmp_path):
    _, train, test = world_train_test
    monkeypatch.setenv("PERSUADABLE_PEERS", str(tmp_path))
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"python -m persuadable\.peers econml"):
        crosscheck(train, test, effect)
