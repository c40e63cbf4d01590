"""Compiled trees against XGBoost, which grew them: bit for bit, on the values where an error would hide."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from persuadable.engine import TreeModel, compiled
from persuadable.engine.compiled import CompiledTrees, kernels
from persuadable.engine.trees import xgboost
from persuadable.errors import MissingDependency, ParameterError

TYPES = ["q", "c", "q", "c", "q"]
CODES = (3, 70)  # of the two categorical features: one-hot splits, and sets that need three words
N = 900


def sample(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Features with ties, gaps and categories, and a target that makes use of them all."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(N, 5)).astype(np.float32)
    values[:, 1], values[:, 3] = rng.integers(0, CODES[0], N), rng.integers(0, CODES[1], N)
    values[:, 4] = np.round(values[:, 4])
    target = values[:, 0] * (values[:, 1] == 1) + np.sin(values[:, 3] * 7) + np.abs(values[:, 4])
    values[rng.random(values.shape) < 0.1] = np.nan
    target = target + np.isnan(values[:, 0]) - 2 * np.isnan(values[:, 3]) + 0.3 * rng.normal(size=N)
    return values, target


def fitted(
    objective: str = "reg:squarederror", n_trees: int = 30, max_depth: int = 4, *, seed: int = 0, **settings: Any
) -> TreeModel:
    values, target = sample(seed)
    if objective == "binary:logistic":
        target = (target > 0.3) * 1.0
    if objective == "count:poisson":
        target = np.exp(target)
    if objective == "multi:softprob":
        target, settings["num_class"] = np.digitize(target, [0, 1]) * 1.0, 3
    data = xgboost().QuantileDMatrix(values, label=target, feature_types=TYPES, enable_categorical=True)
    parameters = {"objective": objective, "max_depth": max_depth, "subsample": 0.7, "seed": seed, **settings}
    return TreeModel(xgboost().train(parameters, data, n_trees))


def nodes(model: TreeModel) -> list[dict[str, Any]]:
    trees: list[dict[str, Any]] = json.loads(bytes(model.booster.save_raw("json")))["learner"]["gradient_booster"][
        "model"
    ]["trees"]
    return trees


def probes(model: TreeModel) -> NDArray[np.float32]:
    """Rows of the sample, with every threshold, its neighbours, missing values and odd category codes among them."""
    rng = np.random.default_rng(1)
    values = np.tile(sample()[0], (2, 1))
    for feature, kind in enumerate(TYPES):
        if kind == "c":
            pool = np.array([-1, -0.5, -0.0, 0.9, 2.7, 69, 70, 71.5, 96, 128, 1e6, 2**24 - 1, 2**24, 3e9, np.nan])
        else:
            at = [
                threshold
                for tree in nodes(model)
                for threshold, split, left in zip(
                    tree["split_conditions"], tree["split_indices"], tree["left_children"], strict=True
                )
                if left != -1 and split == feature
            ] or [0.0]
            exact = np.array(at, dtype=np.float32)
            inf = np.float32(np.inf)
            largest = np.finfo(np.float32).max
            beside = [np.nextafter(exact, -inf), np.nextafter(exact, inf)]
            pool = np.concatenate([exact, *beside, [np.nan, -0.0, 0.0, 1e-45, -largest, largest]])
        rows = rng.random(len(values)) < 0.5
        values[rows, feature] = rng.choice(pool.astype(np.float32), rows.sum())
    return values


def margins(model: TreeModel, values: NDArray[np.float32]) -> NDArray[np.float32]:
    predicted: NDArray[np.float32] = model.booster.inplace_predict(
        values, predict_type="margin", validate_features=False
    )
    return predicted


@pytest.mark.parametrize("max_depth", [1, 3, 4, 5, 8, 30])
@pytest.mark.parametrize("n_trees", [1, 30])
def test_a_regression_is_bit_equal(max_depth: int, n_trees: int) -> None:
    model = fitted(n_trees=n_trees, max_depth=max_depth, min_child_weight=0)
    values, trees = probes(model), CompiledTrees.of([model])
    expected = model.predict(values)
    np.testing.assert_array_equal(trees.predict(values)[:, 0], expected)
    one_by_one = np.concatenate([trees.predict(values[i : i + 1]) for i in range(300)])
    np.testing.assert_array_equal(one_by_one[:, 0], expected[:300])
    assert trees.n_trees == n_trees


def test_the_cases_compared_hold_what_they_are_meant_to() -> None:
    """Deep and shallow trees, both default directions, one-hot and set splits; else the tests above prove little."""
    model = fitted(max_depth=8, min_child_weight=0)
    trees = nodes(model)
    assert {default for tree in trees for default in tree["default_left"]} == {0, 1}
    sizes = {size for tree in trees for size in tree["categories_sizes"]}
    assert 1 in sizes
    assert max(sizes) > 1
    assert max(max(tree["categories"], default=0) for tree in trees) > 64
    assert (CompiledTrees.of([model]).predict(probes(model))[:, 0] != CompiledTrees.of([model]).predict(
        np.nan_to_num(probes(model))
    )[:, 0]).any()  # fmt: skip


@pytest.mark.parametrize("max_depth", [2, 6])
def test_a_probability_and_probabilities_of_classes(max_depth: int) -> None:
    binary = fitted("binary:logistic", max_depth=max_depth)
    softmax = fitted("multi:softprob", max_depth=max_depth)
    values = probes(binary)
    together = CompiledTrees.of([binary, softmax])
    assert together.n_outputs == 4
    for rows in (values, values[:1], values[:7]):
        predicted = together.predict(rows)
        np.testing.assert_allclose(predicted[:, 0], binary.predict(rows), atol=2e-7, rtol=0)
        np.testing.assert_allclose(predicted[:, 1:], softmax.predict(rows), atol=3e-7, rtol=0)


@pytest.mark.parametrize("max_depth", [2, 6])
def test_a_log_mean_is_the_mean_it_stands_for(max_depth: int) -> None:
    model = fitted("count:poisson", max_depth=max_depth)
    values = probes(model)
    expected = model.booster.inplace_predict(values, validate_features=False)
    np.testing.assert_allclose(model.predict(values), expected, rtol=1e-6)
    trees = CompiledTrees.of([model, fitted(max_depth=max_depth)])
    for rows in (values, values[:1], values[:7]):
        np.testing.assert_allclose(trees.predict(rows)[:, 0], expected[: len(rows)], rtol=1e-6)


def test_extreme_log_means_do_not_overflow() -> None:
    """A mean beyond any fitted in units of the arm's own, as a hostile file may hold, stays a number."""
    values, target = sample()
    data = xgboost().QuantileDMatrix(values, label=200 * target, feature_types=TYPES, enable_categorical=True)
    told = json.loads(bytes(xgboost().train({"eta": 1}, data, 3).save_raw("json")))
    told["learner"]["objective"] = {"name": "count:poisson", "poisson_regression_param": {"max_delta_step": "0.7"}}
    told["learner"]["learner_model_param"]["base_score"] = "[1E0]"
    model = TreeModel.from_bytes(json.dumps(told).encode())
    assert margins(model, values).max() > 88
    assert np.isfinite(model.predict(values)).all()
    np.testing.assert_allclose(CompiledTrees.of([model]).predict(values)[:, 0], model.predict(values), rtol=1e-6)


def test_extreme_log_odds_do_not_overflow() -> None:
    values, _ = sample()
    data = xgboost().QuantileDMatrix(values, label=(values[:, 2] > 0) * 1.0, feature_types=TYPES)
    parameters = {"objective": "binary:logistic", "eta": 1, "lambda": 0, "min_child_weight": 0, "max_depth": 2}
    model = TreeModel(xgboost().train(parameters, data, 60))
    assert np.abs(margins(model, values)).max() > 30
    np.testing.assert_allclose(
        CompiledTrees.of([model]).predict(values)[:, 0], model.predict(values), atol=2e-7, rtol=0
    )


@pytest.mark.parametrize("objective", ["reg:squarederror", "binary:logistic"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_constant_target_leaves_trees_of_one_leaf(objective: str, value: float) -> None:
    values = sample()[0]
    data = xgboost().QuantileDMatrix(values, label=np.full(N, value), feature_types=TYPES)
    model = TreeModel(xgboost().train({"objective": objective}, data, 3))
    np.testing.assert_allclose(
        CompiledTrees.of([model]).predict(values)[:, 0], model.predict(values), atol=2e-7, rtol=0
    )


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_a_split_between_missing_and_present_only(direction: float) -> None:
    rng = np.random.default_rng(0)
    values = np.full((N, 2), 5, dtype=np.float32)
    values[:, 1] = rng.normal(size=N)
    values[rng.random(N) < 0.3, 0] = np.nan
    target = direction * np.isnan(values[:, 0])
    model = TreeModel(xgboost().train({"max_depth": 2}, xgboost().QuantileDMatrix(values, label=target), 3))
    predicted = CompiledTrees.of([model]).predict(values)[:, 0]
    np.testing.assert_array_equal(predicted, model.predict(values))
    assert abs(np.corrcoef(predicted, target)[0, 1]) > 0.99


@pytest.mark.parametrize("threshold", [-np.inf, np.inf])
@pytest.mark.parametrize("default_left", [0, 1])
def test_a_threshold_at_infinity_parts_missing_from_present(threshold: float, default_left: int) -> None:
    told = json.loads(bytes(fitted(n_trees=1, max_depth=1).booster.save_raw("json")))
    (tree,) = told["learner"]["gradient_booster"]["model"]["trees"]
    tree |= {
        "split_conditions": [threshold, 1.0, 2.0],
        "default_left": [default_left, 0, 0],
        "split_indices": [0, 0, 0],
    }
    tree |= {"split_type": [0, 0, 0], "left_children": [1, -1, -1], "right_children": [2, -1, -1]}
    tree |= {key: [] for key in ("categories", "categories_nodes", "categories_segments", "categories_sizes")}
    told["learner"]["learner_model_param"]["base_score"] = "[0E0]"
    booster = xgboost().Booster()
    booster.load_model(bytearray(json.dumps(told).replace("Infinity", "1e999"), "utf8"))
    values = np.zeros((3, 5), dtype=np.float32)
    values[:, 0] = [np.nan, -1e30, 1e30]
    present = 1.0 if threshold > 0 else 2.0
    expected = [1.0 if default_left else 2.0, present, present]
    np.testing.assert_array_equal(CompiledTrees.of([TreeModel(booster)]).predict(values)[:, 0], expected)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    depth=st.integers(1, 10),
    n_trees=st.integers(1, 8),
    rows=st.integers(0, 300),
    objective=st.sampled_from(["reg:squarederror", "binary:logistic"]),
    onehot=st.sampled_from([1, 4, 100]),
)
def test_any_ensemble_is_predicted_alike(
    seed: int, depth: int, n_trees: int, rows: int, objective: str, onehot: int
) -> None:
    model = fitted(objective, n_trees, depth, seed=seed, max_cat_to_onehot=onehot, min_child_weight=0.1)
    values = probes(model)[:rows]
    predicted = CompiledTrees.of([model]).predict(values)[:, 0]
    assert predicted.shape == (rows,)
    if rows:
        np.testing.assert_allclose(predicted, model.predict(values), atol=2e-7, rtol=0)


@pytest.mark.parametrize("max_depth", [4, 6])
def test_many_ensembles_are_predicted_together(max_depth: int) -> None:
    models = [fitted(seed=seed, max_depth=max_depth, n_trees=3 + seed) for seed in range(5)]
    values = probes(models[0])
    together = CompiledTrees.of(models).predict(values)
    for column, model in zip(together.T, models, strict=True):
        np.testing.assert_array_equal(column, model.predict(values))


@pytest.mark.parametrize("max_depth", [1, 4, 7])
@pytest.mark.parametrize(("feature", "levels"), [(4, [-1.0, 0.0, 1.0]), (3, [0.0, 5.0, 69.0])])
def test_a_held_feature_need_not_be_given(feature: int, levels: list[float], max_depth: int) -> None:
    """The held one is the last, so the sample's columns are moved for it; a level may lie exactly on a threshold."""
    values, target = sample()
    order = [*[j for j in range(5) if j != feature], feature]
    values = np.ascontiguousarray(values[:, order])
    values[:, -1] = np.resize(levels, N)
    types = [TYPES[j] for j in order]
    effect = np.resize([0.0, 1.0, -2.0], N) * (3 + values[:, 0])
    data = xgboost().QuantileDMatrix(
        values, label=np.nan_to_num(effect) + target, feature_types=types, enable_categorical=True
    )
    booster = xgboost().train({"max_depth": max_depth}, data, 20)
    models = [TreeModel(booster)] * len(levels)
    held = CompiledTrees.of(models, held=[{4: level} for level in levels])
    assert held.n_features == 4
    predicted = held.predict(np.ascontiguousarray(values[:, :4]))
    for column, level in zip(predicted.T, levels, strict=True):
        seeing = values.copy()
        seeing[:, 4] = level
        np.testing.assert_array_equal(column, models[0].predict(seeing))
    assert np.ptp(predicted, axis=1).max() > 0


def test_the_layout_of_the_values_makes_no_difference() -> None:
    model = fitted()
    trees, values = CompiledTrees.of([model]), probes(model)
    expected = model.predict(values)
    frozen = values.copy()
    frozen.flags.writeable = False
    for same in (frozen, np.asfortranarray(values), np.repeat(values, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(trees.predict(same)[:, 0], expected)
        np.testing.assert_array_equal(trees.predict(same[:2])[:, 0], expected[:2])


@pytest.mark.parametrize("max_depth", [3, 6])
def test_threads_change_nothing(max_depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "WALKS_WORTH_A_THREAD", 1_000)
    model = fitted(max_depth=max_depth)
    values = probes(model)
    expected = model.predict(values)
    for threads in (1, 2, 5):
        trees = CompiledTrees.of([model], threads=threads)
        np.testing.assert_array_equal(trees.predict(values)[:, 0], expected)
        with ThreadPoolExecutor(4) as pool:
            parts = list(pool.map(lambda i, trees=trees: trees.predict(values[i : i + 1 + i % 40])[:, 0], range(200)))
        for i, part in enumerate(parts):
            np.testing.assert_array_equal(part, expected[i : i + 1 + i % 40])


def test_one_row_takes_a_fraction_of_what_xgboost_takes() -> None:
    model = fitted(n_trees=100)
    trees, row = CompiledTrees.of([model]), sample()[0][:1]
    trees.warm()

    def shortest(predict: Any) -> float:
        times = []
        for _ in range(30):
            start = time.perf_counter()
            predict(row)
            times.append(time.perf_counter() - start)
        return min(times)

    assert shortest(trees.predict) < shortest(model.predict) / 3


def other(**parameters: Any) -> TreeModel:
    values, target = sample()
    data = xgboost().DMatrix(np.nan_to_num(values), label=np.abs(target))
    return TreeModel(xgboost().train({"verbosity": 0, **parameters}, data, 2))


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"booster": "dart"}, "'dart'"),
        ({"booster": "gblinear"}, "'gblinear'"),
        ({"objective": "reg:gamma"}, "'reg:gamma'"),
    ],
)
def test_what_would_be_read_wrongly_is_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError, match=told):
        CompiledTrees.of([other(**parameters)])


def test_several_targets_and_recoded_categories_are_refused() -> None:
    pd = pytest.importorskip("pandas")
    values, target = sample()
    pair = xgboost().train({}, xgboost().DMatrix(values, label=np.column_stack([target, target])), 1)
    with pytest.raises(ParameterError, match="several targets"):
        CompiledTrees.of([TreeModel(pair)])
    frame = pd.DataFrame({"x": values[:, 0], "c": pd.Categorical(["b", "a", "c"] * (N // 3))})
    data = xgboost().DMatrix(frame, label=target, enable_categorical=True)
    with pytest.raises(ParameterError, match="recoded"):
        CompiledTrees.of([TreeModel(xgboost().train({}, data, 1))])


def test_ensembles_that_do_not_belong_together_are_refused() -> None:
    values, target = sample()
    narrow = TreeModel(xgboost().train({}, xgboost().DMatrix(values[:, :2], label=target), 1))
    with pytest.raises(ParameterError, match=r"\[2, 5\]"):
        CompiledTrees.of([fitted(), narrow])
    with pytest.raises(ParameterError, match="no ensemble"):
        CompiledTrees.of([])


@pytest.mark.parametrize(
    "values", [np.zeros((2, 4), np.float32), np.zeros((2, 5)), np.zeros(5, np.float32)], ids=["width", "type", "shape"]
)
def test_values_of_another_kind_are_refused(values: NDArray[Any]) -> None:
    with pytest.raises(ParameterError, match=r"\(n, 5\) float32"):
        CompiledTrees.of([fitted(n_trees=1)]).predict(values)


def test_without_numba_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import persuadable.engine

    trees = CompiledTrees.of([fitted(n_trees=1)])
    monkeypatch.delitem(sys.modules, "persuadable.engine.kernels", raising=False)
    monkeypatch.delattr(persuadable.engine, "kernels", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    kernels.cache_clear()
    with pytest.raises(MissingDependency, match=r"pip install 'persuadable\[service\]'"):
        trees.warm()


def in_a_fresh_interpreter(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_numba_is_loaded_only_to_walk() -> None:
    code = "import sys, persuadable.engine.compiled; print('numba' in sys.modules)"
    assert in_a_fresh_interpreter(code) == "False"


def test_no_folder_to_cache_in_is_no_obstacle() -> None:
    code = (
        "from numba.core import caching\n"
        "for kind in (caching.CompileResultCacheImpl, caching.CodeLibraryCacheImpl): kind._locator_classes = []\n"
        "from persuadable.engine import compiled\n"
        "print(type(compiled.kernels().score_rows._cache).__name__)"
    )
    assert in_a_fresh_interpreter(code) == "NullCache"
