"""Curves: their values, ends, areas and bands."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable import value as v
from persuadable.log import DecisionLog


@pytest.fixture
def log() -> DecisionLog:
    rng = np.random.default_rng(0)
    x = rng.random(2500)
    treated = rng.integers(0, 2, 2500)
    return DecisionLog.from_arrays(x[:, None], treated, x * treated + rng.normal(size=2500), propensity=0.5)


def test_the_uplift_curve_is_the_mean_over_the_top(log: DecisionLog) -> None:
    scores = np.round(log.features.values[:, 0], 1)
    gamma = v.uplift_scores(log)
    curve = v.uplift_curve(log, scores)
    levels = sorted(set(scores.tolist()), reverse=True)
    by_hand = [0.0, *(float(np.sum(gamma[scores >= level])) / log.n for level in levels)]
    assert curve.value == pytest.approx(np.array(by_hand))
    assert curve.share == pytest.approx(np.array([0.0, *(np.mean(scores >= level) for level in levels)]))
    assert curve.random == pytest.approx(curve.share * gamma.mean())


def test_the_curves_hang_together(log: DecisionLog) -> None:
    scores = log.features.values[:, 0]
    uplift, gain, toc = v.uplift_curve(log, scores), v.qini_curve(log, scores), v.toc(log, scores).curve
    assert (uplift.kind, gain.kind, toc.kind) == ("uplift", "qini", "toc")
    assert len(uplift) == len(gain) == 1001
    assert len(toc) == 1000
    assert gain.value == pytest.approx(uplift.value - uplift.random)
    assert toc.value == pytest.approx(gain.value[1:] / gain.share[1:])
    assert toc.stderr == pytest.approx(gain.stderr[1:] / gain.share[1:])
    for curve in (uplift, gain, toc):
        assert curve.upper - curve.value == pytest.approx(1.959964 * curve.stderr, rel=1e-5)
        assert curve.value - curve.lower == pytest.approx(1.959964 * curve.stderr, rel=1e-5)


def test_the_ends_of_the_curves_are_known(log: DecisionLog) -> None:
    scores = log.features.values[:, 0]
    ate = v.qini(log, scores).ate
    uplift, gain = v.uplift_curve(log, scores), v.qini_curve(log, scores)
    assert (uplift.value[0], uplift.stderr[0]) == (0, 0)
    assert (uplift.value[-1], uplift.stderr[-1]) == pytest.approx((ate.value, ate.stderr))
    assert (gain.value[-1], gain.stderr[-1]) == pytest.approx((0, 0), abs=1e-8)
    assert gain.random.tolist() == [0.0] * 1001


def test_areas_under_the_curves_are_the_coefficients(log: DecisionLog) -> None:
    scores = np.round(log.features.values[:, 0], 2)
    result = v.qini(log, scores)
    assert np.trapezoid(result.gain.value, result.gain.share) == pytest.approx(result.coefficient.value, abs=1e-12)
    assert np.trapezoid(result.curve.value, result.curve.share) == pytest.approx(result.auuc.value, abs=1e-12)


def test_points_between_are_on_the_line(log: DecisionLog) -> None:
    curve = v.uplift_curve(log, np.round(log.features.values[:, 0]))
    assert len(curve) == 3
    assert curve.at(0.25) == pytest.approx(curve.value[1] * 0.25 / curve.share[1])


def test_bands_cover_the_truth(log: DecisionLog) -> None:
    """x uniform and τ = x: C(φ) = φ − φ²/2."""
    curve = v.uplift_curve(log, log.features.values[:, 0])
    truth = curve.share - curve.share**2 / 2
    assert np.mean((curve.lower <= truth) & (truth <= curve.upper)) > 0.7
    assert (curve.stderr[1:] > 0).all()


def test_a_curve_prints_and_becomes_a_frame(log: DecisionLog) -> None:
    curve = v.uplift_curve(log, log.features.values[:, 0])
    assert str(curve).startswith("uplift curve of outcome: 1,001 points, highest")
    assert curve.frame().shape == (1001, 6)
