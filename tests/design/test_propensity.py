"""Propensities: known ones are used as they are, constant ones counted, estimated ones never in-sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from persuadable import DecisionLog
from persuadable.design import ClippingWarning, estimate_propensity, resolve
from persuadable.design.propensity import _raised
from persuadable.engine import Trees
from persuadable.errors import ParameterError, PropensityError


def sample(
    n: int = 600, arms: int = 2, known: bool = False, seed: int = 0, **roles: Any
) -> tuple[DecisionLog, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(n, 2))
    score = np.column_stack([np.zeros(n), *(1.5 * (a + 1) * x[:, a % 2] for a in range(arms - 1))])
    e = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    action = (rng.random(n)[:, None] >= np.cumsum(e, axis=1)[:, :-1]).sum(axis=1)
    log = DecisionLog.from_arrays(x, action, np.zeros(n), propensity=e if known else None, **roles)
    return log, e


def test_known_propensities_are_used_bit_for_bit() -> None:
    log, e = sample(known=True)
    for how in ("auto", "known"):
        found = resolve(log, how, clip=0.0)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.values, e)
        assert (found.source, found.constant, found.clipped) == ("known", False, (0, 0))
        assert found.lowest == tuple(e.min(axis=0))


def test_constant_propensities_are_the_shares_of_the_arms() -> None:
    for known in (False, True):
        log, _ = sample(known=known)
        found = resolve(log, "constant")
        shares = np.bincount(log.action) / log.n
        np.testing.assert_allclose(found.values, np.tile(shares, (log.n, 1)))
        assert (found.source, found.constant) == ("constant", True)
        assert found.values.strides[0] == 0


def test_constant_propensities_count_weights() -> None:
    weight = np.random.default_rng(1).uniform(1, 5, 600)
    log, _ = sample(weight=weight)
    shares = [weight[log.action == a].sum() / weight.sum() for a in range(2)]
    np.testing.assert_allclose(resolve(log, "constant").values[0], shares)


def test_estimated_propensities_marked_as_such_stay_so() -> None:
    log, e = sample()
    assert resolve(log.with_propensities(e), clip=0.0).source == "estimated"
    assert resolve(log.with_propensities(e, "logged"), clip=0.0).source == "known"


@pytest.mark.parametrize("arms", [2, 3])
def test_estimated_propensities_are_near_the_truth(arms: int) -> None:
    log, e = sample(10_000, arms)
    found = estimate_propensity(log)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    # The propensities have a standard deviation of 0.19 and more; small trees leave a third of it.
    assert np.sqrt(np.mean((found - e) ** 2)) < 0.07
    constant = np.bincount(log.action) / log.n
    assert np.mean((found - e) ** 2) < 0.2 * np.mean((constant - e) ** 2)


@pytest.mark.parametrize("arms", [2, 3])
def test_a_rows_own_action_does_not_touch_its_estimated_propensity(arms: int) -> None:
    log, _ = sample(400, arms)
    folds = (np.arange(400) % 4).astype(np.int16)
    before = estimate_propensity(log, folds=folds)
    action = log.action.copy()
    action[folds == 2] = (action[folds == 2] + 1) % arms
    changed = DecisionLog.from_arrays(log.features, action, np.zeros(400))
    after = estimate_propensity(changed, folds=folds)
    np.testing.assert_array_equal(after[folds == 2], before[folds == 2])
    assert (after[folds != 2] != before[folds != 2]).any()


def test_a_weight_counts_in_the_estimate() -> None:
    rng = np.random.default_rng(0)
    action = rng.integers(0, 2, 2_000)
    log = DecisionLog.from_arrays(np.zeros((2_000, 1)), action, np.zeros(2_000), weight=np.where(action, 3.0, 1.0))
    assert estimate_propensity(log)[:, 1].mean() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("arms", [2, 3])
def test_an_ineligible_action_has_estimated_propensity_zero(arms: int) -> None:
    rng = np.random.default_rng(0)
    n = 3_000
    eligible = np.ones((n, arms), dtype=bool)
    eligible[: n // 2, 1] = False
    action = np.where(eligible[:, 1], rng.integers(0, arms, n), rng.integers(0, arms - 1, n) * 2)
    log = DecisionLog.from_arrays(rng.normal(size=(n, 2)), action, np.zeros(n), eligible=eligible)
    found = estimate_propensity(log, trees=Trees(n_trees=60, max_depth=2))
    assert (found[: n // 2, 1] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
    # Among the eligible all actions are equally likely, and among the others those left.
    np.testing.assert_allclose(found[n // 2 :].mean(axis=0), 1 / arms, atol=0.05)
    assert found[: n // 2, 0].mean() == pytest.approx(1 / (arms - 1), abs=0.05)
    np.testing.assert_allclose(log.propensity()[n // 2 :].mean(axis=0), 1 / arms, atol=0.05)


def test_clipping_raises_low_propensities_and_reports_it() -> None:
    e = np.array([[0.995, 0.005], [0.5, 0.5], [0.01, 0.99], [0.002, 0.998]])
    log = DecisionLog.from_arrays(np.zeros((4, 1)), [0, 1, 1, 0], np.zeros(4), propensity=e)
    with pytest.warns(ClippingWarning, match=r"2 known propensities lie below clip=0.01 and were raised"):
        found = resolve(log, clip=0.01)
    np.testing.assert_allclose(found.values, [[0.99, 0.01], [0.5, 0.5], [0.01, 0.99], [0.01, 0.99]])
    assert found.clipped == (1, 1)
    assert found.lowest == (0.002, 0.005)
    assert str(found) == "known, varying, lowest 0.002, 2 of 4 rows clipped at 0.01"
    np.testing.assert_array_equal(resolve(log, clip=0.0).values, e)


@given(st.lists(st.floats(1e-6, 1), min_size=2, max_size=6), st.floats(0, 0.99))
def test_clipped_propensities_sum_to_one_and_none_is_below(raw: list[float], share: float) -> None:
    e = np.array([raw]) / np.sum(raw)
    clip = share / len(raw)
    raised = _raised(e, clip, True)
    assert raised.sum() == pytest.approx(1)
    assert (raised >= clip - 1e-12).all()
    kept = raised[e > clip]
    assert (np.diff(raised[0][np.argsort(e[0])]) >= -1e-12).all(), "the order of the actions stays"
    assert kept.size == 0 or (kept <= e[e > clip] + 1e-12).all(), "those above pay"


def test_clipping_leaves_ineligible_actions_at_zero() -> None:
    eligible = np.array([[True, False], [True, True], [True, True]])
    e = np.array([[1.0, 0.0], [0.999, 0.001], [0.5, 0.5]])
    log = DecisionLog.from_arrays(np.zeros((3, 1)), [0, 0, 1], np.zeros(3), propensity=e, eligible=eligible)
    with pytest.warns(ClippingWarning, match="1 known propensities"):
        found = resolve(log, clip=0.1)
    np.testing.assert_allclose(found.values, [[1, 0], [0.9, 0.1], [0.5, 0.5]])


def test_choices_that_cannot_be() -> None:
    log, _ = sample()
    with pytest.raises(ParameterError, match=r"propensity='guess' is not a choice. Choose 'auto'"):
        resolve(log, "guess")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"clip must lie in \[0, 0.5\), got 0.5"):
        resolve(log, clip=0.5)
    with pytest.raises(PropensityError, match=r"The log 'log' has no propensities. Give propensity= when making it"):
        resolve(log, "known")
