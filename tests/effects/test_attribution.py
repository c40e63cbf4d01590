"""Attributions against Shapley's formula, summed over every subset of the features by a slow walk of the trees."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from math import exp, factorial, isnan
from typing import Any

import numpy as np
import polars as pl
import pytest

from persuadable import DecisionLog
from persuadable.effects import DRLearner, Learner, RLearner, SLearner, TLearner, XLearner
from persuadable.effects import attribution as room
from persuadable.effects.attribution import contributions
from persuadable.effects.state import learner_from_state, learner_state
from persuadable.engine import TreeModel, Trees
from persuadable.errors import FeatureError, NotFittedError, OutcomeError

TREES = Trees(n_trees=4, max_depth=3)
N, D = 500, 3


def sample(arms: int) -> DecisionLog:
    rng = np.random.default_rng(arms)
    x, gap = rng.normal(size=N), np.where(rng.random(N) < 0.3, np.nan, rng.normal(size=N))
    colour = rng.choice([*"abcdefg"], N)
    frame = pl.DataFrame({"x": x, "colour": colour, "gap": gap})
    action = rng.integers(0, arms, N)
    y = x + action * (2 * np.isin(colour, ["c", "e"]) + np.isnan(gap)) + rng.normal(size=N)
    return DecisionLog.from_arrays(frame, action, {"y": y, "b": (y > 0.5) * 1.0})


class SlowEnsemble:
    """An ensemble as XGBoost's JSON tells it, walked one node at a time."""

    def __init__(self, model: TreeModel) -> None:
        told = json.loads(bytes(model.booster.save_raw("json")))["learner"]
        self.trees = told["gradient_booster"]["model"]["trees"]
        (base,) = json.loads(told["learner_model_param"]["base_score"])
        self.logistic = told["objective"]["name"] == "binary:logistic"
        self.base = -np.log(1 / base - 1) if self.logistic else base

    def given(self, row: Sequence[float], known: frozenset[int]) -> float:
        """Expected margin where only some features are known: the others' branches weigh by their training rows."""
        return self.base + sum(self._below(tree, 0, row, known) for tree in self.trees)

    def _below(self, tree: dict[str, Any], node: int, row: Sequence[float], known: frozenset[int]) -> float:
        left, right = tree["left_children"][node], tree["right_children"][node]
        if left == -1:
            return float(tree["split_conditions"][node])
        if tree["split_indices"][node] in known:
            return self._below(tree, left if self._goes_left(tree, node, row) else right, row, known)
        cover = tree["sum_hessian"]
        total = sum(cover[child] * self._below(tree, child, row, known) for child in (left, right))
        return total / (cover[left] + cover[right])

    @staticmethod
    def _goes_left(tree: dict[str, Any], node: int, row: Sequence[float]) -> bool:
        value = row[tree["split_indices"][node]]
        if isnan(value):
            return bool(tree["default_left"][node])
        if tree["split_type"][node]:
            place = tree["categories_nodes"].index(node)
            start = tree["categories_segments"][place]
            return int(value) not in tree["categories"][start : start + tree["categories_sizes"][place]]
        return bool(np.float32(value) < np.float32(tree["split_conditions"][node]))

    def shapley(self, row: Sequence[float]) -> list[float]:
        """A Shapley value per feature, then the base; of a logistic ensemble rescaled to the probability."""
        d, parts = len(row), []
        for j in range(d):
            others = [i for i in range(d) if i != j]
            parts.append(
                sum(
                    factorial(size) * factorial(d - size - 1) / factorial(d)
                    * (self.given(row, frozenset(known) | {j}) - self.given(row, frozenset(known)))
                    for size in range(d)
                    for known in combinations(others, size)
                )
            )  # fmt: skip
        base = self.given(row, frozenset())
        if not self.logistic:
            return [*parts, base]
        margin = self.given(row, frozenset(range(d)))
        slope = (sigmoid(margin) - sigmoid(base)) / (margin - base)
        return [*(part * slope for part in parts), sigmoid(base)]


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def expected(learner: Learner, outcome: str, row: list[float], action: int) -> list[float]:
    """Parts of one effect, written out learner by learner."""
    models = learner.models_[outcome]

    def parts(stage: str, seen: list[float] = row) -> np.ndarray:
        return np.array(SlowEnsemble(models[stage]).shapley(seen))

    if isinstance(learner, SLearner):
        treated, control = (parts("response", [*row, float(a)]) for a in (action, 0))
        told = treated - control
        return [*told[:D], told[D] + told[D + 1]]
    if isinstance(learner, TLearner):
        return list(parts(f"response-{action}") - parts("response-0"))
    if isinstance(learner, XLearner) and learner.form == "two-model":
        if learner.constant_propensity_ is None:
            g = SlowEnsemble(models[f"propensity-{action}"]).given(row, frozenset(range(D)))
        else:
            e = learner.constant_propensity_
            g = e[action] / (e[0] + e[action])
        return list(g * parts(f"control-{action}") + (1 - g) * parts(f"treated-{action}"))
    return list(parts(f"effect-{action}"))


LEARNERS = [
    SLearner(trees=TREES),
    TLearner(trees=TREES),
    XLearner(trees=TREES),
    XLearner(form="two-model", trees=TREES, propensity="constant"),
    XLearner(form="two-model", trees=TREES, propensity="estimated"),
    RLearner(trees=TREES),
    DRLearner(trees=TREES),
]


@pytest.mark.parametrize("arms", [2, 3])
@pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: repr(learner)[:60])
def test_contributions_are_shapley_values_and_add_up(learner: Learner, arms: int) -> None:
    log = sample(arms)
    learner.fit(log, outcomes=["y", "b"])
    values = log.features.values
    for outcome in ("y", "b"):
        told = contributions(learner, log, outcome)
        assert told.base.shape == (N, arms)
        assert told.values.shape == (N, D, arms)
        total = told.base + told.values.sum(axis=1)
        np.testing.assert_allclose(total, learner.effect(log, outcome), atol=1e-6, rtol=0)
        np.testing.assert_array_equal(told.base[:, 0], 0)
        np.testing.assert_array_equal(told.values[:, :, 0], 0)
        for i in range(6):
            for action in range(1, arms):
                *parts, base = expected(learner, outcome, values[i].tolist(), action)
                np.testing.assert_allclose(told.values[i, :, action], parts, atol=3e-6, rtol=0)
                np.testing.assert_allclose(told.base[i, action], base, atol=3e-6, rtol=0)


def test_only_features_that_matter_contribute() -> None:
    rng = np.random.default_rng(0)
    X, action = rng.normal(size=(2_000, 3)), np.arange(2_000) % 2
    log = DecisionLog.from_arrays(X, action, action * np.sign(X[:, 1]))
    told = contributions(XLearner(trees=Trees(n_trees=30, max_depth=1)).fit(log), X)
    sizes = np.abs(told.values[:, :, 1]).mean(axis=0)
    assert sizes[1] > 0.9
    assert max(sizes[0], sizes[2]) < 0.05
    assert np.corrcoef(told.values[:, 1, 1], np.sign(X[:, 1]))[0, 1] > 0.99


def test_the_rescaling_is_continuous_where_the_margin_meets_the_base() -> None:
    """The slope tends to the derivative of σ at the base; each row differs from the last by a tenth of its rise."""
    base, rises = 0.7, 10.0 ** -np.arange(0, 13)
    parts = np.column_stack([3 * rises, -2 * rises, np.full(rises.shape, base)])
    told = room._as_probability(parts, base + rises)
    slope = told[:, 0] / (3 * rises)
    limit = sigmoid(base) * (1 - sigmoid(base))
    assert (np.abs(slope - limit) <= 0.1 * rises + 1e-9).all()
    at_base = room._as_probability(np.array([[1.0, -1.0, base]]), np.array([base]))
    np.testing.assert_allclose(at_base, [[limit, -limit, sigmoid(base)]], rtol=1e-12)


def test_rows_may_come_in_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    log = sample(2)
    learner = TLearner(trees=TREES).fit(log)
    whole = contributions(learner, log)
    monkeypatch.setattr(room, "CHUNK", 7)
    again = contributions(learner, log)
    np.testing.assert_array_equal(again.values, whole.values)
    assert contributions(learner, log.features.take(slice(0, 0))).values.shape == (0, D, 2)


def test_a_learner_read_back_from_its_state_is_taken_apart_alike() -> None:
    log = sample(3)
    learner = SLearner(trees=TREES).fit(log)
    description, blobs = learner_state(learner)
    again = learner_from_state(json.loads(json.dumps(description)), blobs)
    np.testing.assert_array_equal(contributions(again, log).values, contributions(learner, log).values)


def test_trees_without_a_split_leave_everything_to_the_base() -> None:
    log = sample(2)
    learner = TLearner(trees=Trees(n_trees=2, gamma=1e9)).fit(log, outcomes=["y", "b"])
    for outcome in ("y", "b"):
        told = contributions(learner, log, outcome)
        np.testing.assert_allclose(told.values, 0, atol=1e-7)
        np.testing.assert_allclose(told.base, learner.effect(log, outcome), atol=1e-6)


def test_what_cannot_be_answered_is_refused() -> None:
    log = sample(2)
    with pytest.raises(NotFittedError):
        contributions(TLearner(), log)
    learner = TLearner(trees=TREES).fit(log)
    with pytest.raises(OutcomeError, match="'sales'"):
        contributions(learner, log, "sales")
    with pytest.raises(FeatureError):
        contributions(learner, np.zeros((2, 7)))
