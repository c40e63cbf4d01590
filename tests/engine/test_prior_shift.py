"""Weighing positives and leaving out negatives: chances stay chances, by XGBoost's own arithmetic and by counting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from numpy.typing import NDArray
from scipy.special import expit, logit

from persuadable.engine import LocalEngine, TreeModel, Trees
from persuadable.engine.compiled import CompiledTrees
from persuadable.engine.local import Fit
from persuadable.errors import ParameterError
from persuadable.features import Column, Features

ENGINE = LocalEngine(threads=1, progress=False)


def rare(n: int = 40_000, seed: int = 0) -> tuple[Features, NDArray[np.float64]]:
    """One feature of three levels, 0.5%, 2% and 8% of whom are positive, and one that tells nothing."""
    rng = np.random.default_rng(seed)
    level = rng.integers(0, 3, n)
    y = rng.random(n) < np.array([0.005, 0.02, 0.08])[level]
    values = np.column_stack([level, rng.normal(size=n)]).astype(np.float32)
    return Features(values, (Column("level"), Column("noise"))), y.astype(np.float64)


def fitted(features: Features, y: NDArray[np.float64], trees: Trees, **told: Any) -> TreeModel:
    fit = Fit(told.get("rows"), y, told.get("weight"), told.get("loss", "logistic"), trees)
    return ENGINE.run(ENGINE.matrix(features), [fit], seed=told.get("seed", 0), what="test")[0].model


def saturated(**told: Any) -> Trees:
    """As many unpenalised rounds as it takes to fit three levels exactly."""
    return Trees(n_trees=60, max_depth=2, learning_rate=0.5, min_child_weight=0, reg_lambda=0, **told)


@pytest.mark.parametrize("s", [0.2, 7.0, 300.0])
def test_odds_are_xgboosts_divided_by_one_number_that_restores_the_share_of_positives(s: float) -> None:
    features, y = rare()
    trees = Trees(n_trees=20, max_depth=3, scale_pos_weight=s)
    ours = logit(fitted(features, y, trees).predict(features.values).astype(np.float64))
    start = s * y.mean() / (1 - y.mean() + s * y.mean())
    told = {"objective": "binary:logistic", "max_depth": 3, "eta": 0.1, "scale_pos_weight": s, "base_score": start}
    data = xgb.QuantileDMatrix(features.values, label=y)
    theirs = xgb.train({**told, "tree_method": "hist", "nthread": 1, "lambda": 1.0}, data, 20)
    ratio = theirs.predict(data, output_margin=True) - ours
    assert np.ptp(ratio) < 1e-4
    assert expit(ours).mean() == pytest.approx(y.mean(), rel=1e-5)


@pytest.mark.parametrize("s", [0.2, 50.0])
def test_an_ensemble_that_has_learned_all_there_is_divides_by_the_weight_itself(s: float) -> None:
    """Then the odds are the counts', and one number other than s would miss them."""
    features, y = rare()
    level = features.values[:, 0]
    one = Features(features.values[:, :1], features.columns[:1])
    predicted = fitted(one, y, saturated(scale_pos_weight=s)).predict(one.values)
    for k in range(3):
        assert predicted[level == k].mean() == pytest.approx(y[level == k].mean(), rel=2e-3)


@pytest.mark.parametrize("s", [1.0, 9.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_negatives_left_out_are_put_back(s: float, weighted: bool) -> None:
    """A level's odds are its positives over r times its kept negatives, whose count has sd √(m(1 − r)r)."""
    features, y = rare()
    level, r = features.values[:, 0], 0.1
    one = Features(features.values[:, :1], features.columns[:1])
    weight = np.where(np.arange(y.size) % 2, 1.5, 0.5) if weighted else None
    predicted = fitted(one, y, saturated(keep_negatives=r, scale_pos_weight=s), weight=weight).predict(one.values)
    for k in range(3):
        exact = np.average(y[level == k], weights=None if weight is None else weight[level == k])
        kept = r * (1 - y[level == k]).sum()
        noise = np.sqrt((1 - r) / kept) * (np.sqrt(1.25) if weighted else 1)
        assert abs(np.log(predicted[level == k].mean() / exact)) < 4 * noise + 2e-3


def test_only_negatives_are_left_out_and_anew_for_each_seed() -> None:
    _, y = rare(5_000)
    rows = np.arange(100, 5_100)
    fit = Fit(rows, y, None, "logistic", Trees(keep_negatives=0.25))
    thin = fit.thinned(3)
    assert thin.target.sum() == y.sum()
    assert (thin.target == 0).sum() == round(0.25 * (y == 0).sum())
    assert thin.kept == (thin.target == 0).sum() / (y == 0).sum()
    assert thin.rows is not None
    np.testing.assert_array_equal(y[thin.rows - 100], thin.target)
    assert fit.thinned(3).rows.tolist() == thin.rows.tolist()
    assert fit.thinned(4).rows.tolist() != thin.rows.tolist()


def test_bytes_and_compiled_trees_are_corrected_too() -> None:
    features, y = rare(8_000)
    model = fitted(features, y, Trees(n_trees=15, scale_pos_weight=40.0, keep_negatives=0.5))
    predicted = model.predict(features.values)
    again = TreeModel.from_bytes(model.to_bytes())
    np.testing.assert_array_equal(again.predict(features.values), predicted)
    np.testing.assert_allclose(
        CompiledTrees.of([model], threads=1).predict(features.values)[:, 0], predicted, rtol=1e-6
    )
    assert predicted.mean() == pytest.approx(y.mean(), rel=0.15)


def test_held_out_predictions_are_corrected() -> None:
    features, y = rare(8_000)
    rows, out = np.arange(4_000), np.arange(4_000, 8_000)
    fit = Fit(rows, y[rows], None, "logistic", Trees(n_trees=15, scale_pos_weight=40.0), out)
    done = ENGINE.run(ENGINE.matrix(features), [fit], seed=0, what="test")[0]
    assert done.held_out is not None
    np.testing.assert_array_equal(done.held_out, done.model.predict(features.values[out]))
    assert done.held_out.mean() == pytest.approx(y.mean(), rel=0.3)


def test_other_losses_have_no_positives() -> None:
    """XGBoost itself would weigh targets that happen to be 1 under squared error."""
    features, y = rare(3_000)
    for loss in ("squared", "poisson"):
        plain = fitted(features, y, Trees(n_trees=5), loss=loss)
        told = fitted(features, y, Trees(n_trees=5, scale_pos_weight=50.0, keep_negatives=0.1), loss=loss)
        np.testing.assert_array_equal(told.predict(features.values), plain.predict(features.values))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_arm_whose_outcome_never_varies_needs_no_correction(value: float) -> None:
    features, y = rare(500)
    constant = np.full_like(y, value)
    model = fitted(features, constant, Trees(n_trees=5, scale_pos_weight=50.0, keep_negatives=0.5))
    np.testing.assert_allclose(model.predict(features.values), value, atol=0.05)


def test_a_single_positive_among_many_stays_one() -> None:
    """Where the shifted start would lie beyond what XGBoost can start from."""
    features, _ = rare(20_000)
    y = np.zeros(20_000)
    y[0] = 1.0
    for s in (1e-3, 1e5):
        model = fitted(features, y, Trees(n_trees=3, max_depth=1, scale_pos_weight=s))
        assert model.predict(features.values).sum() == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"scale_pos_weight": 0.0}, r"scale_pos_weight must lie in \[0.001, 100000\], got 0.0"),
        ({"scale_pos_weight": np.nan}, "scale_pos_weight must lie in"),
        ({"keep_negatives": 0.0}, r"keep_negatives must lie in \[1e-06, 1\], got 0.0"),
        ({"keep_negatives": 1.5}, "keep_negatives must lie in"),
    ],
)
def test_settings_out_of_range_are_refused(told: dict[str, float], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Trees(**told).validate()
