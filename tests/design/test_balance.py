"""Balance: the joint test is uniform under randomisation and sees what is wrong."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import chi2, kstest

from persuadable import DecisionLog
from persuadable.design import balance


def randomised(rng: np.random.Generator, n: int = 500, how: str = "two arms") -> DecisionLog:
    x = rng.normal(size=(n, 3))
    town = rng.choice(["a", "b", "c"], size=n)
    gaps = np.where(rng.random(n) < 0.2, np.nan, x[:, 2])
    frame = pl.DataFrame({"x0": x[:, 0], "x1": x[:, 1] + x[:, 0], "x2": gaps, "town": town}).with_columns(
        pl.col("x2").fill_nan(None)
    )
    if how == "three arms":
        return DecisionLog.from_arrays(frame, rng.integers(0, 3, n), np.zeros(n))
    if how == "known, varying":
        p = 0.5 + 0.3 * np.tanh(x[:, 0])
        return DecisionLog.from_arrays(frame, (rng.random(n) < p).astype(int), np.zeros(n), propensity=p)
    if how == "mixed units":  # a unit's rows are alike and take different actions, which compares it with itself
        unit = np.arange(n) // 3
        return DecisionLog.from_arrays(frame[(unit * 3).tolist()], rng.integers(0, 2, n), np.zeros(n), unit=unit)
    if how == "units":
        unit = np.arange(n) // 3
        frame = frame[(unit * 3).tolist()]
        return DecisionLog.from_arrays(frame, rng.integers(0, 2, n)[unit], np.zeros(n), unit=unit)
    return DecisionLog.from_arrays(frame, rng.integers(0, 2, n), np.zeros(n))


@pytest.mark.parametrize("how", ["two arms", "three arms", "known, varying", "units", "mixed units"])
def test_the_p_value_is_uniform_under_randomisation(how: str) -> None:
    rng = np.random.default_rng(0)
    found = [balance(randomised(rng, how=how)) for _ in range(200)]
    p = np.array([b.p_value for b in found])
    # Binomial(200, 0.1) lies in 6 … 36 with probability 0.9999; the sandwich variance makes the test a little eager.
    assert 6 <= (p < 0.1).sum() <= 36
    assert kstest(p, "uniform").pvalue > 1e-3
    shares = np.array([b.shares_p_value for b in found])
    if how == "known, varying":
        assert 6 <= (shares < 0.1).sum() <= 36
        assert kstest(shares, "uniform").pvalue > 1e-3
    else:  # propensities read off the shares cannot disagree with them
        np.testing.assert_allclose(shares, 1)


def test_the_test_sees_an_arm_that_differs() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1_000, 3))
    action = (rng.random(1_000) < 0.5 + 0.15 * (x[:, 1] > 0)).astype(int)
    found = balance(DecisionLog.from_arrays(x, action, np.zeros(1_000)))
    assert found.p_value < 1e-3
    assert found.rows[0].feature == "f1"
    assert found.largest == abs(found.rows[0].difference) > 0.15
    assert "NOT alike" in str(found)


def test_known_propensities_balance_what_plain_means_would_not() -> None:
    log = randomised(np.random.default_rng(2), n=4_000, how="known, varying")
    assert balance(log).p_value > 0.01
    ignoring = DecisionLog.from_arrays(log.features, log.action, np.zeros(log.n))
    assert balance(ignoring).p_value < 1e-6
    wrong = log.with_propensities(log.propensity()[:, ::-1], "logged")
    assert balance(wrong).p_value < 1e-6


@pytest.mark.parametrize("arms", [2, 3])
def test_shares_that_contradict_the_propensities_are_seen(arms: int) -> None:
    rng = np.random.default_rng(8)
    n = 2_000
    action = rng.integers(0, arms, n)
    told = np.full((n, arms), 1 / arms)
    log = DecisionLog.from_arrays(rng.normal(size=(n, 1)), action, np.zeros(n), propensity=told)
    assert balance(log).shares_p_value > 0.01
    told = np.tile(np.array([0.1 / (arms - 1)] * (arms - 1) + [-0.1]) + 1 / arms, (n, 1))
    found = balance(log.with_propensities(told, "logged"))
    assert found.shares_p_value < 1e-6
    assert "shares against propensities p = " in str(found)
    if arms == 2:  # by hand: z = Σ(a − e) / √Σ(a − e)²
        residual = action - told[:, 1]
        expected = chi2.sf(residual.sum() ** 2 / (residual**2).sum(), 1)
        assert found.shares_p_value == pytest.approx(expected)


def test_means_differences_and_statistic_by_hand() -> None:
    """One feature, two arms, equal propensities: means, Cohen-style difference over the pooled sd, and Wald's χ²."""
    rng = np.random.default_rng(3)
    x, action = rng.normal(2, 3, size=300), np.arange(300) % 2
    found = balance(DecisionLog.from_arrays(x[:, None], action, np.zeros(300)))
    x = x.astype(np.float32).astype(np.float64)
    treated, control = x[action == 1], x[action == 0]
    (row,) = found.rows
    assert row.treated_mean == pytest.approx(treated.mean())
    assert row.control_mean == pytest.approx(control.mean())
    assert row.difference == pytest.approx((treated.mean() - control.mean()) / x.std())
    variance = treated.var() / treated.size + control.var() / control.size
    assert found.statistic == pytest.approx((treated.mean() - control.mean()) ** 2 / variance)
    assert found.degrees == 1
    assert found.p_value == pytest.approx(chi2.sf(found.statistic, 1))


def test_weights_by_hand() -> None:
    rng = np.random.default_rng(4)
    x, action, w = rng.normal(size=300), np.arange(300) % 2, rng.uniform(1, 3, 300)
    (row,) = balance(DecisionLog.from_arrays(x[:, None], action, np.zeros(300), weight=w)).rows
    assert row.treated_mean == pytest.approx(np.average(x[action == 1], weights=w[action == 1]), abs=1e-6)
    assert row.control_mean == pytest.approx(np.average(x[action == 0], weights=w[action == 0]), abs=1e-6)


def test_categories_and_gaps_get_indicators_and_collinear_ones_count_once() -> None:
    found = balance(randomised(np.random.default_rng(5)))
    names = {row.feature for row in found.rows}
    assert names == {"x0", "x1", "x2", "x2 is missing", "town = a", "town = b", "town = c"}
    assert found.degrees == 6  # the three towns sum to 1


def test_every_treatment_has_its_rows() -> None:
    found = balance(randomised(np.random.default_rng(6), how="three arms"))
    assert {row.action for row in found.rows} == {"1", "2"}
    assert found.degrees == 12
    frame = found.frame()
    assert frame.columns == ["action", "feature", "treated_mean", "control_mean", "difference"]
    assert frame.height == 14
    assert [abs(d) for d in frame["difference"]] == sorted((abs(d) for d in frame["difference"]), reverse=True)


def test_a_constant_feature_cannot_differ() -> None:
    found = balance(DecisionLog.from_arrays(np.ones((50, 1)), np.arange(50) % 2, np.zeros(50)))
    assert (found.rows, found.degrees, found.p_value, found.largest) == ((), 0, 1.0, 0.0)
    assert str(found).startswith("The arms are alike")


@pytest.mark.parametrize("told", [True, False])
def test_the_control_of_a_treatment_are_those_who_could_have_had_it(told: bool) -> None:
    rng = np.random.default_rng(7)
    n = 2_000
    x = rng.normal(size=n)
    may = x > 0
    action = np.where(may, rng.integers(0, 2, n), 0)
    eligible = np.stack([np.ones(n, dtype=bool), may], axis=1)
    roles: dict[str, Any] = {"eligible": eligible}
    if told:
        roles["propensity"] = np.where(may[:, None], 0.5, [1.0, 0.0])
    found = balance(DecisionLog.from_arrays(x[:, None], action, np.zeros(n), **roles))
    assert found.p_value > 0.01
    assert found.rows[0].control_mean > 0.5


@pytest.mark.parametrize("how", ["three arms", "known, varying", "mixed units"])
def test_rows_taken_in_parts_give_the_same(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = randomised(np.random.default_rng(9), how=how)
    whole = balance(log)
    monkeypatch.setattr(import_module("persuadable.design.balance"), "BLOCK", 37)
    parts = balance(log)
    assert parts.rows == whole.rows
    assert parts.degrees == whole.degrees
    assert parts.statistic == pytest.approx(whole.statistic, rel=1e-9)


def test_the_statistic_is_that_of_influence_functions_written_out() -> None:
    log = randomised(np.random.default_rng(10), how="known, varying")
    x, p = log.features.values[:, :2].astype(float), log.propensity()[:, 1]
    log = DecisionLog.from_arrays(x, log.action, np.zeros(log.n), propensity=p)
    psi, difference = np.zeros(x.shape), np.zeros(2)
    for arm, sign in ((1, 1.0), (0, -1.0)):
        w = (log.action == arm) / np.where(arm == 1, p, 1 - p)
        mean = (w[:, None] * x).sum(axis=0) / w.sum()
        psi += sign * w[:, None] / w.mean() * (x - mean)
        difference += sign * mean
    expected = difference @ np.linalg.solve(psi.T @ psi / log.n**2, difference)
    assert balance(log).statistic == pytest.approx(expected, rel=1e-6)
