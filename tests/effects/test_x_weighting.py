"""How the X-learner weighs the arms: each weighting is g·τ_control + (1 − g)·τ_treated at every x, by counting."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from persuadable import DecisionLog
from persuadable.design import ClippingWarning
from persuadable.effects import XLearner
from persuadable.effects.fitting import Bench
from persuadable.effects.scores import x_combination
from persuadable.effects.state import learner_from_state, learner_state
from persuadable.engine import Case, Trees
from persuadable.errors import BundleError, ParameterError

WEIGHTINGS = ("overlap", "ipw", "rows")
SATURATED = Trees(n_trees=60, max_depth=1, learning_rate=0.5, min_child_weight=0, reg_lambda=0)


def uneven(n: int = 4_000) -> DecisionLog:
    """One 0/1 feature; 85% of the first level are treated and 40% of the second."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, n)
    p = np.where(x == 0, 0.85, 0.4)
    action = (rng.random(n) < p).astype(int)
    y = rng.normal(size=n) + x + action * (1 + x)
    return DecisionLog.from_arrays(x[:, None].astype(float), action, y, propensity=p)


def share(weighting: str, p: float) -> float:
    return {"overlap": p, "ipw": 0.5, "rows": 1 - p}[weighting]


@pytest.mark.parametrize("form", ["one-model", "two-model"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_either_form_is_the_combination_of_both_arms_imputed_effects(form: str, weighting: str) -> None:
    """The responses here are poor on purpose: with good ones all weightings would agree."""
    log = uneven()
    poor = Trees(n_trees=1, max_depth=1, learning_rate=0.3)
    learner = XLearner(form, trees=SATURATED, nuisance_trees=poor, weighting=weighting).fit(log)  # type: ignore[arg-type]
    (mu,) = Bench.of(learner, log).responses(learner, [log.primary])
    x, y, treated = log.features.values[:, 0], log.outcome(), log.action == 1
    effect = np.asarray(learner.effect(log))[:, 1]
    # One model's share is that of the rows there are, which differs from p by what chance made of the assignment.
    for level, p in ((0, 0.85), (1, 0.4)):
        at = x == level
        by_treated = (y - mu[:, 0])[at & treated].mean()
        by_control = (mu[:, 1] - y)[at & ~treated].mean()
        g = share(weighting, p)
        if form == "one-model":
            found = treated[at].mean()
            controls, treats = (1 - found) * g / (1 - p), found * (1 - g) / p
            g = controls / (controls + treats)
        np.testing.assert_allclose(effect[at], g * by_control + (1 - g) * by_treated, atol=2e-3)
        assert abs(by_treated - by_control) > 0.2


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_rows_weigh_what_their_papers_say(weighting: str) -> None:
    rng = np.random.default_rng(1)
    e = rng.dirichlet([3, 2, 1], size=60)
    action = (np.arange(60) % 3).astype(np.int16)
    case = Case(rng.normal(size=60), action, e, rng.normal(size=(60, 3)), "squared")
    for a, stage in enumerate(XLearner(weighting=weighting).recipe(3, None).stages, start=1):  # type: ignore[arg-type]
        rows = stage.rows(case)
        p, took = e[rows, a] / (e[rows, a] + e[rows, 0]), action[rows] == a
        if weighting == "rows":
            assert stage.weight is None
            continue
        assert stage.weight is not None
        expected = np.where(took, 1 / p, 1 / (1 - p)) if weighting == "ipw" else (took - p) ** 2
        np.testing.assert_allclose(stage.weight(case)[rows], expected)


def test_no_row_weighs_more_than_one_over_the_clip() -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0.005, 0.995, 3_000)
    action = (rng.random(3_000) < p).astype(int)
    log = DecisionLog.from_arrays(rng.normal(size=(3_000, 2)), action, rng.normal(size=3_000), propensity=p)
    learner = XLearner(trees=Trees(n_trees=2), weighting="ipw", clip=0.1)
    with pytest.warns(ClippingWarning):
        learner.fit(log)
    case = Case(log.outcome(), log.action, learner.propensity_.values, np.zeros((3_000, 2)), "squared")
    (stage,) = learner.recipe(2, None).stages
    assert stage.weight is not None
    weight = stage.weight(case)
    assert weight.max() == pytest.approx(1 / 0.1)
    assert weight.min() >= 1
    taken = np.where(action == 1, p, 1 - p)
    free = (taken > 0.1) & (taken < 0.9)
    np.testing.assert_allclose(weight[free], 1 / taken[free])


def test_counting_rows_has_the_least_noise() -> None:
    """Of the combination's noise with exact responses, at 85% treated: 1 : 1.96 : 4.84, by simulation to 6 SE."""
    rng = np.random.default_rng(3)
    n, p, runs = 400, 0.85, 4_000
    noise: dict[str, NDArray[np.float64]] = {}
    treated = rng.normal(size=runs) / np.sqrt(p * n)
    control = rng.normal(size=runs) / np.sqrt((1 - p) * n)
    for weighting in WEIGHTINGS:
        noise[weighting] = x_combination(control, treated, share(weighting, p)) * np.sqrt(n)
    for weighting, variance in {"rows": 1.0, "ipw": 0.25 / p + 0.25 / (1 - p), "overlap": 4.843}.items():
        assert noise[weighting].var() == pytest.approx(variance, rel=6 * np.sqrt(2 / runs))


def test_a_weighting_is_kept_and_another_is_refused() -> None:
    log = uneven(300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner = XLearner(trees=Trees(n_trees=2), weighting="rows").fit(log)
    description, blobs = learner_state(learner)
    again = learner_from_state(json.loads(json.dumps(description)), blobs)
    assert isinstance(again, XLearner)
    assert again.weighting == "rows"
    parameters = {k: v for k, v in description["parameters"].items() if k != "weighting"}
    older = learner_from_state(json.loads(json.dumps(description | {"parameters": parameters})), blobs)
    assert older.weighting == "overlap"
    with pytest.raises(BundleError, match="weighting is"):
        learner_from_state(description | {"parameters": parameters | {"weighting": "arms"}}, blobs)
    with pytest.raises(ParameterError, match=r"weighting='arms' is not a choice .XLearner.. Choose among"):
        XLearner(weighting="arms").fit(log)  # type: ignore[arg-type]
