"""Boundaries for several looks: published constants, exact bivariate normals, simulation, and the mixture itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.stats import binom, multivariate_normal, norm

from persuadable.design import always_valid_quantile, mixture_scale, monitor
from persuadable.design.crossing import first_crossings, solve_boundaries
from persuadable.design.sequential import Monitoring
from persuadable.errors import ParameterError


def evenly(looks):
    return [(k + 1) / looks for k in range(looks)]


def classic(kind, constant, looks):
    """Boundaries of Pocock (1977), constant, or O'Brien and Fleming (1979), constant · √(K/k)."""
    return [constant * (math.sqrt(looks / (k + 1)) if kind == "obrien-fleming" else 1.0) for k in range(looks)]


# Jennison and Turnbull (2000), Group Sequential Methods, Tables 2.1 and 2.3: constants at two-sided alpha = 0.05.
CONSTANTS = [
    ("pocock", 2, 2.178),
    ("pocock", 3, 2.289),
    ("pocock", 4, 2.361),
    ("pocock", 5, 2.413),
    ("pocock", 10, 2.555),
    ("obrien-fleming", 2, 1.977),
    ("obrien-fleming", 3, 2.004),
    ("obrien-fleming", 4, 2.024),
    ("obrien-fleming", 5, 2.040),
    ("obrien-fleming", 10, 2.087),
]


@pytest.mark.parametrize(("kind", "looks", "constant"), CONSTANTS)
def test_the_tabulated_constants_spend_five_percent(kind, looks, constant):
    # Three decimals of a constant are worth ± 0.0005 · 2φ(1.96) · (a little more for several looks) of alpha.
    crossed = first_crossings(evenly(looks), classic(kind, constant, looks))
    assert crossed.sum() == pytest.approx(0.05, abs=1.2e-4)
    np.testing.assert_allclose(crossed[:, 0], crossed[:, 1], atol=1e-12)


# The same book, Tables 2.2 and 2.4: sample size over that of a single look, at power 0.8 and 0.9.
@pytest.mark.parametrize(
    ("kind", "looks", "constant", "at_80", "at_90"),
    [
        ("pocock", 2, 2.178, 1.110, 1.100),
        ("pocock", 5, 2.413, 1.229, 1.207),
        ("obrien-fleming", 2, 1.977, 1.008, 1.007),
        ("obrien-fleming", 5, 2.040, 1.028, 1.026),
    ],
)
def test_the_tabulated_inflation_factors_come_out(kind, looks, constant, at_80, at_90):
    watch = Monitoring(kind, 0.05, tuple(evenly(looks)), tuple(classic(kind, constant, looks)), (0.05,) * looks)
    assert watch.inflation(0.8) == pytest.approx(at_80, abs=1.1e-3)
    assert watch.inflation(0.9) == pytest.approx(at_90, abs=1.1e-3)


# R's ldbounds and the program of Reboussin, DeMets, Kim and Lan (2000): five even looks, two-sided 0.05. Their
# trapezoids leave about one unit in the fourth decimal.
@pytest.mark.parametrize(
    ("kind", "boundaries"),
    [
        ("obrien-fleming", (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)),
        ("pocock", (2.4380, 2.4268, 2.4101, 2.3966, 2.3859)),
    ],
)
def test_the_spending_boundaries_are_the_published_ones(kind, boundaries):
    watch = monitor(kind, 5)
    np.testing.assert_allclose(watch.boundaries, boundaries, atol=2e-4)
    assert watch.spent[-1] == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize("times", [(0.3, 0.85), (0.8, 0.801)])
@pytest.mark.parametrize("drift", [0.0, 1.3, -2.8])
def test_two_looks_agree_with_the_bivariate_normal(drift, times):
    limits = (2.5, 2.1)
    mean = drift * np.sqrt(times)
    correlation = math.sqrt(times[0] / times[1])
    both = multivariate_normal(mean, [[1, correlation], [correlation, 1]])
    found = first_crossings(times, limits, drift)
    assert found[0] == pytest.approx([norm.sf(limits[0] - mean[0]), norm.cdf(-limits[0] - mean[0])], abs=1e-12)
    # Above at the second look, inside at the first: a rectangle of the joint distribution.
    inside = both.cdf([limits[0], 9], lower_limit=[-limits[0], limits[1]])
    assert found[1, 0] == pytest.approx(inside, abs=1e-8)


def test_uneven_looks_under_drift_agree_with_simulated_paths():
    times, limits, runs = np.array([0.2, 0.25, 0.7, 1.0]), np.array([2.9, 3.1, 2.2, 1.9]), 200_000
    rng = np.random.default_rng(0)
    steps = np.diff(times, prepend=0.0)
    z = np.cumsum(rng.normal(1.7 * steps, np.sqrt(steps), (runs, 4)), axis=1) / np.sqrt(times)
    crossed = np.abs(z) > limits
    first = np.where(crossed.any(axis=1), crossed.argmax(axis=1), -1)
    found = first_crossings(times, limits, 1.7)
    for k in range(4):
        up = int(((first == k) & (z[:, k] > 0)).sum())
        low, high = binom.ppf([1e-5, 1 - 1e-5], runs, found[k, 0])
        assert low <= up <= high


def test_many_looks_and_close_looks_keep_alpha():
    assert monitor("pocock", 100).spent[-1] == pytest.approx(0.05, abs=1e-9)
    close = monitor("obrien-fleming", (0.5, 0.501, 1.0))
    assert close.spent[-1] == pytest.approx(0.05, abs=1e-9)
    # A look that adds no more than a thousandth of the units spends next to nothing.
    assert close.spent[1] - close.spent[0] < 2e-4


def test_a_boundary_depends_on_earlier_looks_only():
    assert monitor("obrien-fleming", (0.3, 0.6, 1.0)).boundaries[:2] == pytest.approx(
        monitor("obrien-fleming", (0.3, 0.6, 0.7, 0.8)).boundaries[:2], abs=1e-9
    )


def test_a_single_look_is_the_usual_test():
    for kind in ("fixed", "obrien-fleming", "pocock"):
        watch = monitor(kind, 1, alpha=0.1)
        assert watch.boundaries == pytest.approx((norm.isf(0.05),), abs=1e-9)
        assert watch.power(2.5) == pytest.approx(norm.sf(norm.isf(0.05) - 2.5), abs=1e-9)
        assert watch.inflation(0.9) == pytest.approx(1.0, abs=1e-9)


def test_boundaries_out_of_reach_are_cut():
    assert solve_boundaries((0.01, 1.0), (0.0, 0.05))[0] == 8.0
    assert monitor("obrien-fleming", (0.01, 1.0)).boundaries[1] == pytest.approx(norm.isf(0.025), abs=1e-9)


def test_stopping_early_saves_units():
    watch = monitor("obrien-fleming", 4)
    assert watch.expected_fraction(0.0) == pytest.approx(1.0, abs=0.02)
    crossed = watch.crossing(3.0).sum(axis=1)
    by_hand = sum(p * t for p, t in zip(crossed, watch.fractions, strict=True)) + (1 - crossed.sum())
    assert watch.expected_fraction(3.0) == pytest.approx(by_hand, rel=1e-12)
    assert watch.expected_fraction(3.0) < 0.85
    assert watch.expected_fraction(30.0) == pytest.approx(0.25, abs=1e-6)  # found at the first look


def test_the_drift_has_the_power_it_was_solved_for():
    for kind in ("obrien-fleming", "pocock", "always-valid"):
        watch = monitor(kind, 3, alpha=0.01)
        assert watch.power(watch.drift(0.85)) == pytest.approx(0.85, abs=1e-9)
        assert watch.power(-watch.drift(0.85)) == pytest.approx(0.85, abs=1e-9)


def test_the_always_valid_boundary_is_where_the_mixture_reaches_one_over_alpha():
    # The mixture ∫ exp(λS − λ²n/2) dN(λ; 0, ρ²) is a martingale in n; Ville's inequality makes 1/alpha its boundary.
    for n, best, alpha in [(50, 400, 0.05), (1_000, 400, 0.01)]:
        rho = mixture_scale(best, alpha)
        s = always_valid_quantile(n, best_at=best, alpha=alpha) * math.sqrt(n)
        mixture, _ = quad(lambda v, s=s, n=n, rho=rho: math.exp(v * s - v * v * n / 2) * norm.pdf(v, 0, rho), -3, 3,
                          points=[s / n], limit=400)  # fmt: skip
        assert mixture == pytest.approx(1 / alpha, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.001])
def test_the_mixture_scale_is_the_best_one(alpha):
    def width(log_rho):
        spread = 700 * math.exp(2 * log_rho)
        return 2 * (spread + 1) / spread * math.log(math.sqrt(spread + 1) / alpha)

    best = minimize_scalar(width, bounds=(-8, 0), method="bounded", options={"xatol": 1e-10})
    assert mixture_scale(700, alpha) == pytest.approx(math.exp(best.x), rel=1e-4)  # flat near its minimum


def test_always_valid_boundaries_leave_alpha_for_looks_in_between():
    few, many = monitor("always-valid", 5), monitor("always-valid", 200)
    assert few.spent[-1] < many.spent[-1] < 0.05
    assert few.boundaries == pytest.approx(many.boundaries[39::40])
    assert monitor("pocock", 5).inflation() < few.inflation()


def test_numpys_whole_numbers_are_whole_numbers():
    assert monitor("pocock", np.int64(3)) == monitor("pocock", 3)
    assert type(monitor("pocock", np.int64(3)).fractions[0]) is float


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: monitor("bayes"), "monitoring is 'bayes'"),
        (lambda: monitor("pocock", 0), "looks is 0"),
        (lambda: monitor("pocock", (0.5, 0.5, 1.0)), r"looks are at \[0.5, 0.5, 1.0\]"),
        (lambda: monitor("pocock", (0.5, 1.2)), "planned units"),
        (lambda: monitor("pocock", ()), "looks are at"),
        (lambda: monitor("fixed", 3), "looks once, at the end"),
        (lambda: monitor("pocock", alpha=0.0), "alpha is 0.0"),
        (lambda: monitor("pocock").drift(0.01), "power is 0.01"),
        (lambda: monitor("pocock").drift(1.0), "power is 1.0"),
        (lambda: always_valid_quantile(0, best_at=10), "n is 0"),
        (lambda: always_valid_quantile(5, best_at=0), "best_at is 0"),
        (lambda: mixture_scale(5, alpha=1), "alpha is 1"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


def test_a_monitoring_shows_its_looks():
    watch = monitor("obrien-fleming", 2)
    assert str(watch).startswith("O'Brien–Fleming spending at 0.05")
    assert "50%: 2.96, 100%: 1.97" in str(watch)
    frame = watch.frame()
    assert frame.columns == ["fraction", "boundary", "alpha_spent"]
    assert frame["boundary"].to_list() == list(watch.boundaries)
