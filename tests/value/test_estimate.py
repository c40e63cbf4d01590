"""One number with its uncertainty."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from persuadable.errors import ParameterError
from persuadable.value import Estimate
from persuadable.value.estimate import cluster_codes, influence_covariance, influence_stderr, normal_quantile


def test_a_mean_has_the_textbook_standard_error() -> None:
    x = np.random.default_rng(0).normal(3, 2, size=200)
    estimate = Estimate.from_influence(x.mean(), x - x.mean(), alpha=0.1, name="mean", unit="euros")
    assert estimate.stderr == pytest.approx(stats.sem(x))
    half = stats.norm.ppf(0.95) * stats.sem(x)
    assert estimate.interval == pytest.approx((x.mean() - half, x.mean() + half))
    assert estimate.p_value == pytest.approx(2 * stats.norm.sf(abs(x.mean() / stats.sem(x))))
    assert (estimate.n, estimate.alpha, estimate.name, estimate.unit, estimate.ess) == (200, 0.1, "mean", "euros", None)


def test_it_is_frozen_and_prints_on_one_line() -> None:
    estimate = Estimate.normal(0.5, 0.25, n=1234, name="Qini", unit="visits per head")
    with pytest.raises(dataclasses.FrozenInstanceError):
        estimate.value = 1.0  # type: ignore[misc]
    assert str(estimate) == ("Qini: 0.5 visits per head (95% interval 0.01001 to 0.99, p = 0.046, n = 1,234)")


def test_p_values_at_the_edges() -> None:
    assert Estimate.normal(0.0, 0.0, n=5).p_value == 1.0
    assert Estimate.normal(1.0, 0.0, n=5).p_value == 0.0
    assert Estimate.normal(1.0, math.inf, n=1).p_value == 1.0
    assert Estimate.normal(-1.96, 1.0, n=5).p_value == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 2, math.nan, 0.51, "0.05", True])
def test_alpha_is_a_probability(alpha: float) -> None:
    with pytest.raises(ParameterError, match=r"alpha is .* Pass the probability that the interval may miss"):
        Estimate.normal(0.0, 1.0, alpha=alpha, n=3)


def test_quantiles_are_the_normals() -> None:
    for alpha in (0.5, 0.1, 0.05, 0.001):
        assert normal_quantile(alpha) == pytest.approx(stats.norm.isf(alpha / 2))


def test_clusters_sum_before_squaring() -> None:
    psi = np.array([1.0, -2.0, 3.0, -1.0, -1.0])
    clusters = np.array(["b", "a", "b", "c", "c"])
    by_hand = math.sqrt((4.0**2 + 2.0**2 + 2.0**2) * 3 / 2) / 5
    assert influence_stderr(psi, clusters=clusters) == pytest.approx(by_hand)
    assert influence_stderr(psi, clusters=np.array([7, 9, 7, 0, 0])) == pytest.approx(by_hand)
    assert influence_stderr(psi, clusters=np.array([-7, 10**12, -7, 0, 0])) == pytest.approx(by_hand)


def test_clusters_of_one_row_change_nothing() -> None:
    psi = np.random.default_rng(1).normal(size=50)
    assert influence_stderr(psi, clusters=np.arange(50)[::-1]) == pytest.approx(influence_stderr(psi))


def test_a_single_cluster_has_no_finite_standard_error() -> None:
    assert influence_stderr(np.ones(4), clusters=np.zeros(4, dtype=int)) == math.inf


def test_duplicated_rows_as_clusters_change_nothing() -> None:
    psi = np.random.default_rng(2).normal(size=40)
    doubled = influence_stderr(np.repeat(psi, 2), clusters=np.repeat(np.arange(40), 2))
    assert doubled == pytest.approx(influence_stderr(psi))


def test_weights_give_the_weighted_means_standard_error() -> None:
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=100), rng.uniform(0.2, 3, size=100)
    mean = np.average(x, weights=w)
    by_hand = math.sqrt((w**2 * (x - mean) ** 2).sum() * 100 / 99) / w.sum()
    assert influence_stderr(x - mean, weight=w) == pytest.approx(by_hand)
    assert influence_stderr(x - mean, weight=7 * w) == pytest.approx(by_hand)


def test_a_covariance_holds_every_combination() -> None:
    rng = np.random.default_rng(4)
    a, b, clusters = rng.normal(size=60), rng.normal(size=60), rng.integers(0, 20, 60)
    covariance = influence_covariance([a, b], clusters=clusters)
    assert covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1] == pytest.approx(
        influence_stderr(a - b, clusters=clusters) ** 2
    )


def test_cluster_codes_are_none_where_nothing_repeats() -> None:
    assert cluster_codes(None) is None
    assert cluster_codes(np.array(["x", "y"])) is None
    codes = cluster_codes(np.array(["x", "y", "x"]))
    assert codes is not None
    assert codes.tolist() == [0, 1, 0]
