"""The engine against XGBoost used by hand: shared bins, batches and threads may change the speed and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from persuadable.engine import Case, LocalEngine, Recipe, Stage, Trees, local
from persuadable.engine.local import Fit, predict
from persuadable.errors import ParameterError
from persuadable.features import Column, Features

TREES = Trees(n_trees=8, max_depth=3)


def features(n: int = 500, seed: int = 0) -> Features:
    """Two numbers, one with gaps, and a category of eight levels."""
    rng = np.random.default_rng(seed)
    values = np.column_stack([rng.normal(size=(n, 2)), rng.integers(0, 8, n)]).astype(np.float32)
    values[rng.random(n) < 0.1, 1] = np.nan
    values[rng.random(n) < 0.1, 2] = np.nan
    return Features(values, (Column("a"), Column("b"), Column("c", "category", tuple("abcdefgh"))))


def case(n: int = 500, arms: int = 2, seed: int = 0, weighted: bool = False, binary: bool = False) -> Case:
    rng = np.random.default_rng(seed)
    x = features(n, seed).values
    action = (np.arange(n) % arms).astype(np.int16)
    y = x[:, 0] * (1 + action) + np.nan_to_num(x[:, 2]) + rng.normal(size=n)
    return Case(
        y=(y > 2).astype(np.float64) if binary else y,
        action=action,
        e=np.full((n, arms), 1 / arms),
        mu=np.empty((n, 0)),
        loss="logistic" if binary else "squared",
        weight=rng.uniform(0.5, 2, n) if weighted else None,
    )


def by_hand(
    x: NDArray[Any],
    rows: NDArray[Any],
    y: NDArray[Any],
    weight: NDArray[Any] | None,
    objective: str,
    trees: Trees,
    seed: int = 0,
) -> xgb.Booster:
    """XGBoost as its documentation has it: the rows binned by the boundaries of all rows, weights of mean 1."""
    types = ["q", "q", "c"]
    whole = xgb.QuantileDMatrix(x, feature_types=types, enable_categorical=True, max_bin=trees.max_bin)
    part = xgb.QuantileDMatrix(
        x[rows], label=y[rows], weight=None if weight is None else weight[rows] / weight[rows].mean(), ref=whole,
        feature_types=types, enable_categorical=True, max_bin=trees.max_bin,
    )  # fmt: skip
    parameters = {
        "objective": objective, "max_depth": trees.max_depth, "eta": trees.learning_rate, "lambda": trees.reg_lambda,
        "min_child_weight": trees.min_child_weight, "gamma": trees.gamma, "subsample": trees.subsample,
        "colsample_bytree": trees.colsample, "max_bin": trees.max_bin, "seed": seed, "nthread": 1,
    }  # fmt: skip
    return xgb.train(parameters, part, num_boost_round=trees.n_trees)


def predicted(booster: xgb.Booster, x: NDArray[Any]) -> NDArray[Any]:
    return booster.predict(xgb.DMatrix(x, feature_types=["q", "q", "c"], enable_categorical=True))


SETTINGS = [
    TREES,
    Trees(n_trees=5, max_depth=5, learning_rate=0.3, reg_lambda=0, min_child_weight=10, gamma=0.5),
    Trees(n_trees=10, max_depth=2, subsample=0.6, colsample=0.7, max_bin=16),
]


@pytest.mark.parametrize("trees", SETTINGS, ids=repr)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_a_fit_on_some_rows_is_plain_xgboost_on_the_same_bins(trees: Trees, weighted: bool, loss: Any) -> None:
    x, c = features(), case(weighted=weighted, binary=loss == "logistic")
    rows = np.flatnonzero(np.random.default_rng(1).random(500) < 0.6)
    engine = LocalEngine(threads=1)
    fit = Fit(rows, c.y[rows], None if c.weight is None else c.weight[rows], loss, trees)
    model = engine.run(engine.matrix(x), [fit], seed=5, what="")[0].model
    objective = {"squared": "reg:squarederror", "logistic": "binary:logistic"}[loss]
    plain = by_hand(x.values, rows, c.y, c.weight, objective, trees, seed=5)
    np.testing.assert_allclose(model.predict(x.values), predicted(plain, x.values), rtol=1e-5, atol=1e-6)


def test_a_fit_on_all_rows_is_plain_xgboost() -> None:
    x, c = features(), case()
    engine = LocalEngine(threads=1)
    model = engine.run(engine.matrix(x), [Fit(None, c.y, None, "squared", TREES)], seed=0, what="")[0].model
    plain = by_hand(x.values, np.arange(500), c.y, None, "reg:squarederror", TREES)
    np.testing.assert_allclose(model.predict(x.values), predicted(plain, x.values), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arms", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("binary", [False, True])
def test_cross_fitting_is_refitting_on_the_complement_of_each_fold(arms: int, weighted: bool, binary: bool) -> None:
    x, c = features(), case(arms=arms, weighted=weighted, binary=binary)
    folds = (np.random.default_rng(2).permutation(500) % 3).astype(np.int16)
    engine = LocalEngine(threads=2)
    (mu,) = engine.cross_fit(engine.matrix(x), [c], folds, TREES, seed=0)
    expected = np.empty((500, arms))
    for k in range(3):
        for arm in range(arms):
            rows = np.flatnonzero((folds != k) & (c.action == arm))
            objective = "binary:logistic" if binary else "reg:squarederror"
            plain = by_hand(x.values, rows, c.y, c.weight, objective, TREES)
            expected[folds == k, arm] = predicted(plain, x.values[folds == k])
    np.testing.assert_allclose(mu, expected, rtol=1e-4, atol=1e-5)


def test_a_rows_own_outcome_does_not_touch_its_out_of_fold_response() -> None:
    x, c = features(), case()
    folds = (np.arange(500) // 2 % 5).astype(np.int16)
    engine = LocalEngine(threads=1)
    (before,) = engine.cross_fit(engine.matrix(x), [c], folds, TREES, seed=0)
    changed = c.y.copy()
    changed[folds == 3] += 100
    (after,) = engine.cross_fit(engine.matrix(x), [Case(changed, c.action, c.e, c.mu, c.loss)], folds, TREES, seed=0)
    np.testing.assert_array_equal(after[folds == 3], before[folds == 3])
    assert (after[folds != 3] != before[folds != 3]).any()


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_fitting_without_a_fold_is_refitting_without_both(weighted: bool) -> None:
    x, c = features(), case(weighted=weighted)
    folds = (np.random.default_rng(3).permutation(500) % 4).astype(np.int16)
    engine = LocalEngine(threads=2)
    without = engine.cross_fit_without(engine.matrix(x), [c], folds, TREES, seed=0)
    assert len(without) == 4
    for k in range(4):
        (mu,) = without[k]
        assert np.isnan(mu[folds == k]).all()
        for j in set(range(4)) - {k}:
            for arm in range(2):
                rows = np.flatnonzero((folds != j) & (folds != k) & (c.action == arm))
                plain = by_hand(x.values, rows, c.y, c.weight, "reg:squarederror", TREES)
                expected = predicted(plain, x.values[folds == j])
                np.testing.assert_allclose(mu[folds == j, arm], expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=10)
@given(threads=st.integers(1, 3), order=st.permutations(range(6)), pick=st.integers(0, 5))
def test_batches_never_change_a_result(threads: int, order: list[int], pick: int) -> None:
    """Six fits, four of them on shared rows (all, or one index array), alone, together, and in any order."""
    x, c = features(200), case(200)
    rows, other = np.arange(120), np.arange(60, 200)
    fits = [
        Fit(None, c.y, None, "squared", TREES),
        Fit(None, -c.y, np.linspace(1, 2, 200), "squared", TREES, held_out=other),
        Fit(rows, c.y[rows], None, "squared", TREES, held_out=other),
        Fit(rows, (c.y[rows] > 0).astype(float), None, "logistic", TREES),
        Fit(other, c.y[other], None, "squared", TREES),
        Fit(None, c.y**2, None, "squared", Trees(n_trees=4, max_bin=8)),
    ]
    together = LocalEngine(threads=threads)
    results = together.run(together.matrix(x), [fits[i] for i in order], seed=0, what="")
    alone = LocalEngine(threads=threads)
    lone = alone.run(alone.matrix(x), [fits[pick]], seed=0, what="")[0]
    found = results[order.index(pick)]
    assert found.model.to_bytes() == lone.model.to_bytes()
    if fits[pick].held_out is not None:
        np.testing.assert_array_equal(found.held_out, lone.model.predict(x.values[other]))


@pytest.mark.parametrize("objective", ["squared", "logistic", "softmax"])
def test_an_ensemble_survives_its_bytes(objective: Any) -> None:
    from persuadable.engine import TreeModel

    x, c = features(), case(binary=objective != "squared")
    target = c.y + c.action if objective == "softmax" else c.y
    engine = LocalEngine()
    fit = Fit(None, target, None, objective, TREES, classes=3 if objective == "softmax" else None)
    model = engine.run(engine.matrix(x), [fit], seed=0, what="")[0].model
    again = TreeModel.from_bytes(model.to_bytes())
    assert again.to_bytes() == model.to_bytes()
    fresh = features(300, seed=9).values
    np.testing.assert_array_equal(again.predict(fresh), model.predict(fresh))
    if objective == "softmax":
        assert model.predict(fresh).shape == (300, 3)


def test_bin_boundaries_of_a_large_matrix_come_from_a_sample_that_has_every_category(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "BOUNDARY_ROWS", 300)
    x = features(2_000)
    x.values[:, 2] = 0
    x.values[1_234, 2] = 7  # a category of one row
    rows = local._boundary_rows(x.values, ["q", "q", "c"])
    assert rows is not None
    assert 300 <= rows.size <= 310
    assert 1_234 in rows
    assert local._boundary_rows(x.values[:300], ["q", "q", "c"]) is None
    y = x.values[:, 0].astype(np.float64) + 50 * (x.values[:, 2] == 7)
    engine = LocalEngine(threads=1)
    model = engine.run(
        engine.matrix(x), [Fit(None, y, None, "squared", Trees(n_trees=80, min_child_weight=0))], seed=0, what=""
    )[0].model
    assert model.predict(x.values[1_234:1_235])[0] > 20
    # 256 bins from 300 values are as good as from 2,000 for a straight line
    others = x.values[:, 2] == 0
    assert np.sqrt(np.mean((model.predict(x.values[others]) - y[others]) ** 2)) < 0.1


def test_execute_reads_rows_target_weight_and_loss_of_each_stage() -> None:
    x, c = features(), case(weighted=True)
    within = np.arange(500) % 3 != 0
    stage = Stage(
        "s",
        lambda case: 2 * case.y,
        rows=lambda case: case.action == 1,
        weight=lambda case: np.where(case.y > 0, 3.0, 1.0),
    )
    recipe = Recipe((stage,), lambda p: np.stack([0 * p["s"], p["s"]], axis=1), needs_mu=False)
    engine = LocalEngine(threads=1)
    (models,) = engine.execute(engine.matrix(x), [(recipe, c, TREES)], seed=0, within=within)
    rows = np.flatnonzero((c.action == 1) & within)
    own = np.where(c.y > 0, 3.0, 1.0)
    assert c.weight is not None
    weight = c.weight * own
    plain = by_hand(x.values, rows, 2 * c.y, weight, "reg:squarederror", TREES)
    effect = predict(recipe, models, x.values, 2)
    np.testing.assert_allclose(effect[:, 1], predicted(plain, x.values), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(effect[:, 0], 0)


@pytest.mark.parametrize("arms", [2, 3])
def test_a_stage_that_sees_the_action_predicts_a_column_per_action(arms: int) -> None:
    x, c = features(), case(arms=arms)
    recipe = Recipe((Stage("r", lambda case: case.y, sees_action=True),), lambda p: p["r"], needs_mu=False)
    engine = LocalEngine(threads=1)
    (models,) = engine.execute(engine.matrix(x), [(recipe, c, TREES)], seed=0)
    columns = predict(recipe, models, x.values, arms)
    for arm in range(arms):
        seeing = np.column_stack([x.values, np.full(500, arm, dtype=np.float32)])
        np.testing.assert_array_equal(columns[:, arm], models["r"].predict(seeing))
    assert columns.shape == (500, arms)


def test_nothing_to_fit_is_no_error_and_no_rows_are_one() -> None:
    engine = LocalEngine()
    x = features()
    assert engine.run(engine.matrix(x), [], seed=0, what="") == []
    empty = Fit(np.array([], dtype=np.intp), np.array([]), None, "squared", TREES)
    with pytest.raises(ParameterError, match=r"There is no row left to learn from \(Responses\). Use fewer folds"):
        engine.run(engine.matrix(x), [empty], seed=0, what="Responses")


@pytest.mark.parametrize(
    ("setting", "value", "match"),
    [
        ("n_trees", 0, r"n_trees must lie in \[1, 100000\], got 0"),
        ("n_trees", 2.5, "n_trees must be a whole number, got 2.5"),
        ("max_depth", 31, r"max_depth must lie in \[1, 30\]"),
        ("learning_rate", 0, "learning_rate must lie in"),
        ("min_child_weight", -1, "min_child_weight must lie in"),
        ("reg_lambda", float("nan"), "reg_lambda must lie in"),
        ("gamma", "much", "gamma must lie in .*got 'much'"),
        ("subsample", 1.1, "subsample must lie in"),
        ("colsample", 0, "colsample must lie in"),
        ("max_bin", 1, r"max_bin must lie in \[2, 65536\]"),
    ],
)
def test_settings_out_of_range(setting: str, value: Any, match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        Trees(**{setting: value}).validate()


def test_threads_default_to_the_processors_this_process_may_use() -> None:
    assert LocalEngine().n_threads >= 1
    assert LocalEngine(threads=3).n_threads == 3


def test_progress_goes_to_standard_error_and_only_when_asked(capfd: pytest.CaptureFixture[str]) -> None:
    x, c = features(), case()
    for progress, expected in ((False, False), (True, True), (None, False)):
        engine = LocalEngine(threads=1, progress=progress)
        engine.run(engine.matrix(x), [Fit(None, c.y, None, "squared", TREES)], seed=0, what="Responses")
        captured = capfd.readouterr()
        assert captured.out == ""
        assert ("Responses" in captured.err) is expected
