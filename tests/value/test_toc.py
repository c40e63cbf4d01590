"""TOC and RATE."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable import value as v
from persuadable.log import DecisionLog


@pytest.fixture
def log() -> DecisionLog:
    rng = np.random.default_rng(0)
    x = rng.random(600)
    treated = rng.integers(0, 2, 600)
    return DecisionLog.from_arrays(x[:, None], treated, x * treated + rng.normal(size=600), propensity=0.5)


def test_autoc_is_the_mean_of_toc_over_the_ranks(log: DecisionLog) -> None:
    scores = log.features.values[:, 0]
    gamma = v.uplift_scores(log)[np.argsort(-scores)]
    toc = np.cumsum(gamma) / np.arange(1, 601) - gamma.mean()
    assert v.rate(log, scores).value == pytest.approx(toc.mean())
    result = v.toc(log, scores)
    assert result.autoc == v.rate(log, scores)
    assert result.curve.value == pytest.approx(toc)
    assert result.qini.value == pytest.approx(v.qini(log, scores).coefficient.value)
    assert result.qini.stderr == pytest.approx(v.qini(log, scores).coefficient.stderr)


def test_qini_is_the_integral_of_toc_weighted_by_share(log: DecisionLog) -> None:
    scores = np.round(log.features.values[:, 0], 1)
    curve = v.toc(log, scores).curve
    share = np.concatenate([[0.0], curve.share])
    area = np.trapezoid(np.concatenate([[0.0], curve.share * curve.value]), share)
    assert v.rate(log, scores, "qini").value == pytest.approx(area, abs=1e-12)


def test_ties_get_the_mean_of_their_ranks_weights(log: DecisionLog) -> None:
    scores = np.round(log.features.values[:, 0], 1)
    gamma = v.uplift_scores(log)
    order = np.argsort(-scores, kind="stable")
    weight = np.array([np.sum(1 / np.arange(i, 601)) - 1 for i in range(1, 601)])
    for level in np.unique(scores):
        rows = scores[order] == level
        weight[rows] = weight[rows].mean()
    assert v.rate(log, scores).value == pytest.approx(np.mean(weight * gamma[order]))


def test_autoc_finds_the_few_and_qini_the_many() -> None:
    """An effect on 2% shows more clearly in AUTOC, one that rises evenly in QINI (Yadlowsky et al. 2025)."""
    rng = np.random.default_rng(1)
    x, treated = rng.random(20_000), rng.integers(0, 2, 20_000)
    noise = rng.normal(size=20_000)

    def strengths(effect: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
        log = DecisionLog.from_arrays(x[:, None], treated, effect * treated + noise, propensity=0.5)
        estimates = (v.rate(log, x, "autoc"), v.rate(log, x, "qini"))
        return [e.value / e.stderr for e in estimates]

    few, many = strengths(2.0 * (x > 0.98)), strengths(0.3 * x)
    assert few[0] > few[1]
    assert many[1] > many[0]


def test_a_toc_prints_and_becomes_a_frame(log: DecisionLog) -> None:
    result = v.toc(log, log.features.values[:, 0])
    assert [line.split(":")[0] for line in str(result).splitlines()] == ["AUTOC", "QINI RATE"]
    assert result.frame().columns == ["share", "value", "stderr", "lower", "upper", "random"]
