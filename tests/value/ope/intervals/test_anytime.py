"""Confidence sequences, against the published formula, prefixes computed one by one, and many looks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from persuadable.errors import PropensityError
from persuadable.value.ope.intervals import Ratios, anytime_interval, confidence_sequence, interval_of
from persuadable.value.ope.terms import Terms


def published(stderr, t, alpha, rho):
    """σ̂ √(2(tρ² + 1)/(t²ρ²) · ln(√(tρ² + 1)/α)) with σ̂ = stderr·√t."""
    s = t * rho**2 + 1
    return stderr * math.sqrt(t) * math.sqrt(2 * s / (t**2 * rho**2) * math.log(math.sqrt(s) / alpha))


@pytest.mark.parametrize("t", [500, 5_000, 200_000])
def test_the_width_is_the_published_one_with_the_best_mixture(t):
    """ρ is found here by trying: no other gives a narrower interval at ``best_at``."""
    rhos = np.geomspace(1e-4, 1, 200_001)
    at_best = [published(1.0, 5_000, 0.05, rho) for rho in rhos[::50]]
    near = rhos[::50][int(np.argmin(at_best))]
    fine = rhos[(rhos > near / 1.05) & (rhos < near * 1.05)]
    rho = fine[int(np.argmin([published(1.0, 5_000, 0.05, r) for r in fine]))]
    lower, upper = anytime_interval(3.0, 0.2, t, 0.05, best_at=5_000)
    assert (lower + upper) / 2 == pytest.approx(3.0)
    assert (upper - lower) / 2 == pytest.approx(published(0.2, t, 0.05, rho), rel=1e-3)


def test_the_default_is_within_a_third_of_the_narrowest_between_a_thousand_and_ten_million():
    for t in (1_000, 10_000, 100_000, 1_000_000, 10_000_000):
        default, best = anytime_interval(0, 1, t, 0.05)[1], anytime_interval(0, 1, t, 0.05, best_at=t)[1]
        assert best <= default <= best * 4 / 3


def test_clusters_count_as_rounds():
    rng = np.random.default_rng(0)
    w, y, clusters = rng.exponential(1.0, 600), rng.random(600), np.arange(600) // 3
    found = interval_of(Terms(w * y, None, w), "anytime", clusters=clusters, best_at=150)
    normal = interval_of(Terms(w * y, None, w), clusters=clusters)
    assert found.stderr == normal.stderr
    assert found.interval == pytest.approx(anytime_interval(normal.value, normal.stderr, 200, 0.05, best_at=150))
    assert found.interval[1] - found.value > 1.4 * (normal.interval[1] - normal.value)


@pytest.mark.parametrize("name", ["ips", "snips", "sndr"])
def test_a_sequence_is_what_each_prefix_gives_by_itself(name):
    rng = np.random.default_rng(4)
    w, y, q, d = rng.exponential(1.0, 400), rng.normal(5.0, 1.0, 400), rng.normal(5.0, 1.0, 400), rng.random(400)
    columns = {"ips": (w * y, None, None), "snips": (w * y, None, w), "sndr": (w * (y - q), d, w)}[name]
    looks = [2, 10, 57, 400]
    path = confidence_sequence(Terms(*columns), looks, best_at=100)
    for k, t in enumerate(looks):
        prefix = Terms(*(None if c is None else c[:t] for c in columns))
        alone = interval_of(prefix, "anytime", best_at=100)
        assert path.units[k] == t
        assert path.value[k] == pytest.approx(alone.value, rel=1e-10)
        assert (path.lower[k], path.upper[k]) == pytest.approx(alone.interval, rel=1e-9)


def test_a_sequence_over_clusters_counts_them():
    rng = np.random.default_rng(4)
    w, y, clusters = rng.exponential(1.0, 90), rng.random(90), np.arange(90) // 3
    units = Ratios.of(Terms(w * y, None, w)).by_unit(clusters)
    path = confidence_sequence(units, [10, 30])
    alone = interval_of(Terms((w * y)[:30], None, w[:30]), "anytime", clusters=clusters[:30])
    assert (path.lower[0], path.upper[0]) == pytest.approx(alone.interval, rel=1e-9)


def test_looking_after_every_round_misses_in_one_log_of_twenty():
    """400 streams of a SNIPS estimate, looked at after each of 1,900 rounds from the 100th.

    A sequence that misses in exactly 5% of streams stays below 36 of 400 with probability 0.9999; normal intervals at
    each look miss in about a third of the streams.
    """
    rng = np.random.default_rng(11)
    looks = np.arange(100, 2_000)
    missed = naive = 0
    for _ in range(400):
        w = rng.exponential(1.0, 2_000)
        y = (rng.random(2_000) < 0.3).astype(float)
        path = confidence_sequence(Terms(w * y, None, w), looks, best_at=500)
        missed += bool(((path.lower > 0.3) | (path.upper < 0.3)).any())
        stderr = (path.upper - path.value) / anytime_widths(looks)
        naive += bool((np.abs(path.value - 0.3) > 1.96 * stderr).any())
    assert missed <= 36
    assert naive > 80


def anytime_widths(looks):
    return np.array([anytime_interval(0.0, 1.0, int(t), 0.05, best_at=500)[1] for t in looks])


def test_a_look_before_the_first_weight_is_refused():
    w = np.array([0.0, 0.0, 0.0, 1.0, 2.0])
    with pytest.raises(PropensityError, match=r"All weights are 0 up to a look.*the look at 3 rows"):
        confidence_sequence(Terms(w * 2, None, w), [3, 4])
    assert confidence_sequence(Terms(w * 2, None, w), [4, 5]).value == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize("looks", [[], [1], [2, 11]])
def test_looks_that_cannot_be_are_refused(looks):
    with pytest.raises(ValueError, match="looks are"):
        confidence_sequence(Terms(np.arange(10.0)), looks)
