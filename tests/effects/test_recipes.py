"""Each learner's recipe against its paper: which rows, which target, which weight, and how the stages combine."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable.effects import DRLearner, RLearner, SLearner, TLearner, XLearner
from persuadable.engine import Case

N, A = 90, 3


@pytest.fixture(scope="module")
def case() -> Case:
    """Three actions with varying propensities; the second treatment was impossible for a sixth of the rows."""
    rng = np.random.default_rng(0)
    e = rng.dirichlet([3, 2, 1], size=N)
    action = (np.arange(N) % A).astype(np.int16)
    action[::6] = 0
    e[::6, 2] = 0
    e /= e.sum(axis=1, keepdims=True)
    return Case(rng.normal(size=N), action, e, rng.normal(size=(N, A)), "squared")


def pair_share(case: Case, a: int) -> np.ndarray:
    """P(a | a or control), row by row."""
    return np.array([row[a] / (row[a] + row[0]) for row in case.e])


def test_s_is_one_response_of_the_action(case: Case) -> None:
    (stage,) = SLearner().recipe(A, None).stages
    assert stage.sees_action
    assert stage.is_response
    np.testing.assert_array_equal(stage.target(case), case.y)
    assert stage.rows(case).all()
    combined = SLearner().recipe(A, None).combine({"response": np.array([[1.0, 4.0, 2.5]])})
    np.testing.assert_array_equal(combined, [[0, 3, 1.5]])


def test_t_is_a_response_per_arm(case: Case) -> None:
    recipe = TLearner().recipe(A, None)
    for a, stage in enumerate(recipe.stages):
        np.testing.assert_array_equal(stage.rows(case), case.action == a)
        np.testing.assert_array_equal(stage.target(case), case.y)
        assert stage.is_response
    responses = {f"response-{a}": np.array([10.0 * a, a**2]) for a in range(A)}
    np.testing.assert_array_equal(recipe.combine(responses), [[0, 10, 20], [0, 1, 4]])
    assert not recipe.needs_mu


@pytest.mark.parametrize("learner", [XLearner, RLearner])
def test_x_and_r_weigh_a_pair_by_its_squared_residual_treatment(case: Case, learner: type[XLearner | RLearner]) -> None:
    recipe = learner().recipe(A, None)
    assert recipe.needs_mu
    for a, stage in zip((1, 2), recipe.stages, strict=True):
        rows = stage.rows(case)
        np.testing.assert_array_equal(rows, np.isin(case.action, (0, a)) & (case.e[:, a] > 0))
        p, treated = pair_share(case, a), case.action == a
        assert stage.weight is not None
        np.testing.assert_allclose(stage.weight(case)[rows], ((treated - p) ** 2)[rows])
        assert not stage.is_response
        if learner is RLearner:
            m = p * case.mu[:, a] + (1 - p) * case.mu[:, 0]
            expected = np.full(N, np.nan)
            expected[rows] = ((case.y - m)[rows]) / (treated - p)[rows]
        else:
            expected = np.where(treated, case.y - case.mu[:, 0], case.mu[:, a] - case.y)
        np.testing.assert_allclose(stage.target(case)[rows], expected[rows])
    effects = recipe.combine({"effect-1": np.array([1.0]), "effect-2": np.array([2.0])})
    np.testing.assert_array_equal(effects, [[0, 1, 2]])


def test_dr_reads_every_row_where_the_treatment_was_possible(case: Case) -> None:
    for a, stage in zip((1, 2), DRLearner().recipe(A, None).stages, strict=True):
        rows = stage.rows(case)
        np.testing.assert_array_equal(rows, case.e[:, a] > 0)
        assert stage.weight is None
        for i in np.flatnonzero(rows):
            gamma = case.mu[i, a] - case.mu[i, 0]
            if case.action[i] == a:
                gamma += (case.y[i] - case.mu[i, a]) / case.e[i, a]
            if case.action[i] == 0:
                gamma -= (case.y[i] - case.mu[i, 0]) / case.e[i, 0]
            assert stage.target(case)[i] == pytest.approx(gamma)


@pytest.mark.parametrize("constant", [None, (0.5, 0.3, 0.2)])
def test_two_model_x_regresses_both_arms_and_weighs_them_by_the_propensity(
    case: Case, constant: tuple[float, ...] | None
) -> None:
    recipe = XLearner(form="two-model").recipe(A, constant)
    stages = {stage.name: stage for stage in recipe.stages}
    for a in (1, 2):
        treated, control = case.action == a, (case.action == 0) & (case.e[:, a] > 0)
        np.testing.assert_array_equal(stages[f"treated-{a}"].rows(case), treated)
        np.testing.assert_allclose(stages[f"treated-{a}"].target(case)[treated], (case.y - case.mu[:, 0])[treated])
        np.testing.assert_array_equal(stages[f"control-{a}"].rows(case), control)
        np.testing.assert_allclose(stages[f"control-{a}"].target(case)[control], (case.mu[:, a] - case.y)[control])
        assert (f"propensity-{a}" in stages) is (constant is None)
        if constant is None:
            rows = stages[f"propensity-{a}"].rows(case)
            np.testing.assert_allclose(stages[f"propensity-{a}"].target(case)[rows], pair_share(case, a)[rows])
    predictions = {
        f"{arm}-{a}": np.array([value]) for arm, value in (("treated", 8.0), ("control", 0.0)) for a in (1, 2)
    }
    g = (0.3 / 0.8, 0.2 / 0.7) if constant else (0.25, 1.0)
    if constant is None:
        predictions |= {"propensity-1": np.array([0.25]), "propensity-2": np.array([1.5])}  # trees may overshoot 1
    np.testing.assert_allclose(recipe.combine(predictions), [[0, (1 - g[0]) * 8, (1 - g[1]) * 8]])
