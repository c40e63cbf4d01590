"""Sample sizes: statsmodels, textbook formulas, and experiments drawn many times."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.stats.power import NormalIndPower, normal_power_het
from statsmodels.stats.proportion import power_proportions_2indep

from persuadable.design import TwoArms, cluster_design_effect, monitor
from persuadable.errors import ParameterError


@pytest.mark.parametrize("share", [0.5, 0.25, 0.9])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_continuous_outcomes_agree_with_statsmodels(share, alpha):
    sd, effect, once = 12.0, 0.7, monitor("fixed", alpha=alpha)
    arms, peer = TwoArms.continuous(sd, share=share), NormalIndPower()
    ratio = share / (1 - share)  # of the second sample to the first
    baseline = peer.solve_power(effect / sd, power=0.8, alpha=alpha, ratio=ratio)
    assert arms.units(effect, 0.8, once) == math.ceil(baseline * (1 + ratio))
    for units in (500, 20_000):
        told = peer.power(effect / sd, units * (1 - share), alpha, ratio=ratio)
        # statsmodels counts a significant difference in the wrong direction as found; we do not.
        wrong = arms.power(-effect, units, once) - told
        z = once.boundaries[0] + effect / arms.stderr(units)
        assert wrong == pytest.approx(-0.5 * math.erfc(z / math.sqrt(2)), abs=1e-9)


@pytest.mark.parametrize(("rate", "effect"), [(0.1, 0.01), (0.02, -0.004), (0.6, 0.05)])
def test_binary_outcomes_agree_with_statsmodels(rate, effect):
    arms, units = TwoArms.binary(rate), 20_000
    sd = math.sqrt(rate * (1 - rate) + (rate + effect) * (1 - rate - effect))
    told = normal_power_het(effect, units / 2, 0.05, std_null=sd, std_alternative=sd)
    assert arms.power(effect, units) == pytest.approx(told, abs=1e-3)  # the wrong direction, again
    # A test with the pooled variance differs in the third digit at such sizes.
    pooled = power_proportions_2indep(effect, rate, units / 2, alpha=0.05).power
    assert arms.power(effect, units) == pytest.approx(pooled, abs=5e-3)


def test_a_sample_size_by_hand():
    # (1.959964 + 0.841621)² · (0.1·0.9 + 0.11·0.89)/0.01² = 14,748.2 for each arm.
    assert TwoArms.binary(0.1).units(0.01) == 29_497
    # Four times 16 σ²/Δ² is Lehr's rule for both arms; the 16 is 15.7.
    assert TwoArms.continuous(10.0).units(1.0) == math.ceil(4 * 7.848879734 * 100)


def test_unequal_deviations_and_shares_by_hand():
    arms = TwoArms.continuous(2.0, 6.0, share=0.75)
    assert arms.stderr(1_000) == pytest.approx(math.sqrt(36 / 750 + 4 / 250))
    assert arms.units_by_arm(1_000) == (250, 750)
    assert arms.adjusted(0.36).stderr(1_000) == pytest.approx(0.8 * arms.stderr(1_000))


def test_experiments_drawn_many_times_have_the_promised_power():
    rate, effect, runs = 0.2, 0.03, 20_000
    arms = TwoArms.binary(rate, share=0.3)
    units = arms.units(effect, 0.8)
    first, second = arms.units_by_arm(units)
    rng = np.random.default_rng(1)
    p0, p1 = rng.binomial(first, rate, runs) / first, rng.binomial(second, rate + effect, runs) / second
    stderr = np.sqrt(p0 * (1 - p0) / first + p1 * (1 - p1) / second)
    found = int(((p1 - p0) / stderr > 1.959964).sum())
    # The binomial's limits, and half a percent for the normal approximation at these counts.
    low, high = binom.ppf([1e-5, 1 - 1e-5], runs, 0.8)
    assert low - 0.005 * runs <= found <= high + 0.005 * runs


def test_only_the_units_on_which_the_arms_differ_count():
    active, effect = 0.1, 0.02
    few = TwoArms.continuous(1.0, active=active)
    everybody = TwoArms.continuous(1.0)
    assert few.units(effect) == pytest.approx(active * everybody.units(effect), rel=1e-3)
    # The same planned among the active units, where the effect is ten times as large.
    assert few.units(effect) == pytest.approx(everybody.units(effect / active) / active, abs=10)
    rate = TwoArms.binary(0.3, active=active)
    inside = TwoArms.binary(0.3)
    assert rate.units(effect) == pytest.approx(inside.units(effect / active) / active, abs=10)


def test_a_triggered_experiment_has_the_standard_error_promised():
    rng, n, active, runs = np.random.default_rng(2), 2_000, 0.2, 3_000
    found = np.empty(runs)
    for run in range(runs):
        on = rng.random(n) < active
        arm = rng.random(n) < 0.5
        y = rng.normal(0, 3, n)
        found[run] = on.mean() * (y[on & arm].mean() - y[on & ~arm].mean())
    # The spread of a standard deviation over 3,000 runs is 1.3%.
    assert found.std() == pytest.approx(TwoArms.continuous(3.0, active=active).stderr(n), rel=0.06)


def test_clustered_units_need_more():
    assert cluster_design_effect(5, 0.1) == pytest.approx(1.4)
    assert cluster_design_effect(1, 0.9) == 1.0
    assert cluster_design_effect(5, 0.1, size_cv=1.0) == pytest.approx(1 + (2 * 5 - 1) * 0.1)
    plain, clustered = TwoArms.continuous(1.0), TwoArms.continuous(1.0).clustered(5, 0.1)
    # Units: 1.4 times the rows, five to a unit.
    assert clustered.units(0.1) == pytest.approx(plain.units(0.1) * 1.4 / 5, abs=1)


def test_the_design_effect_is_what_random_intercepts_make():
    rng, units, icc, runs = np.random.default_rng(3), 200, 0.3, 2_000
    means, cv, mean_size = [], [], []
    for _ in range(runs):
        size = 1 + rng.poisson(3, units)
        centre = rng.normal(0, math.sqrt(icc), units)
        y = np.repeat(centre, size) + rng.normal(0, math.sqrt(1 - icc), size.sum())
        means.append(y.mean())
        cv.append(size.std() / size.mean())
        mean_size.append(size.mean())
    told = cluster_design_effect(float(np.mean(mean_size)), icc, size_cv=float(np.mean(cv)))
    rows = units * np.mean(mean_size)
    assert np.var(means) * rows == pytest.approx(told, rel=0.13)  # 4 standard errors of a variance of 2,000 runs


@given(
    rate=st.floats(0.01, 0.6),
    share=st.floats(0.1, 0.9),
    active=st.floats(0.05, 1.0),
    reduction=st.floats(0.0, 0.8),
    power=st.floats(0.5, 0.99),
)
def test_units_power_and_detectable_agree(rate, share, active, reduction, power):
    arms = TwoArms.binary(rate, share=share, active=active).adjusted(reduction)
    effect = 0.2 * active * (1 - rate)
    units = arms.units(effect, power)
    assert arms.power(effect, units) >= power - 1e-9
    if units > 2:
        assert arms.power(effect, units - 1) < power + 1e-9
    assert arms.power(arms.detectable(10 * units, power), 10 * units) == pytest.approx(power, abs=1e-6)


def test_monitoring_costs_its_inflation():
    arms = TwoArms.continuous(5.0)
    for kind in ("obrien-fleming", "pocock", "always-valid"):
        watch = monitor(kind, 4)
        assert arms.units(0.3, 0.9, watch) == pytest.approx(arms.units(0.3, 0.9) * watch.inflation(0.9), abs=2)
        assert arms.detectable(4_000, 0.9, watch) == pytest.approx(watch.drift(0.9) * arms.stderr(4_000))


def test_the_curve_passes_through_the_plan():
    arms = TwoArms.binary(0.1)
    units = arms.units(0.01)
    curve = arms.curve(0.01, [units // 2, units, 2 * units])
    assert curve.power[1] == pytest.approx(0.8, abs=1e-4)
    assert curve.detectable[1] == pytest.approx(0.01, rel=1e-4)
    assert list(curve.power) == sorted(curve.power)
    assert list(curve.detectable) == sorted(curve.detectable, reverse=True)
    assert curve.frame().columns == ["units", "power", "detectable"]
    assert f"{units:,}" in str(curve)
    usual = arms.curve(0.01)
    assert usual.units[0] == pytest.approx(units / 10, abs=1)
    assert usual.units[-1] == pytest.approx(units * 3, abs=1)


@pytest.mark.parametrize(("rate", "effect"), [(0.8, 0.1), (0.9, 0.09), (0.99, 0.005), (0.2, -0.1), (0.02, -0.01)])
def test_a_curve_near_the_end_of_the_scale_starts_where_something_can_be_found(rate, effect):
    """A tenth of what is needed may be too few to find even the largest difference there can be."""
    arms = TwoArms.binary(rate)
    curve = arms.curve(effect)
    needed, largest = arms.units(effect), math.copysign(1 - rate if effect > 0 else rate, effect)
    assert (curve.units[0], curve.units[-1]) == (max(arms.units(largest), round(needed / 10)), 3 * needed)
    for units, detectable in zip(curve.units, curve.detectable, strict=True):
        assert 0 < detectable / largest <= 1
        assert arms.power(detectable, units) == pytest.approx(0.8, abs=1e-6)
    mirrored = TwoArms.binary(1 - rate).curve(-effect)
    assert mirrored.units == curve.units
    assert mirrored.detectable == pytest.approx([-one for one in curve.detectable])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TwoArms.binary(1.0), "rate is 1.0"),
        (lambda: TwoArms.continuous(-1.0), "baseline_sd is -1.0"),
        (lambda: TwoArms.continuous(0.0), "sum of the deviations"),
        (lambda: TwoArms.continuous(1.0, share=1.0), "share is 1.0"),
        (lambda: TwoArms.continuous(1.0, active=0.0), "active is 0.0"),
        (lambda: TwoArms.continuous(1.0).adjusted(1.0), "reduction is 1.0"),
        (lambda: TwoArms(1.0, 1.0, design_effect=0.0), "design_effect is 0.0"),
        (lambda: TwoArms(1.0, 1.0, rows_per_unit=0.0), "rows_per_unit is 0.0"),
        (lambda: TwoArms.continuous(1.0).units(0.0), "effect is 0.0"),
        (lambda: TwoArms.continuous(1.0).units(float("nan")), "effect is nan"),
        (lambda: TwoArms.continuous(1.0).stderr(0), "units is 0"),
        (lambda: TwoArms.binary(0.2, active=0.1).units(0.09), "carry a rate of 0.2 to 1.1"),
        (lambda: TwoArms.binary(0.2).detectable(2), "no difference in a rate"),
        (lambda: TwoArms.continuous(1.0).clustered(0.5, 0.1), "rows_per_unit is 0.5"),
        (lambda: cluster_design_effect(2, 1.5), "icc is 1.5"),
        (lambda: cluster_design_effect(2, 0.5, size_cv=-1), "size_cv is -1"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


def test_the_arms_say_what_the_size_rests_on():
    arms = TwoArms.binary(0.2, share=0.3, active=0.25).clustered(2, 0.1).adjusted(0.15)
    assert str(arms) == (
        "a rate of 0.2; 30% to the candidate; the arms differ on 25.0% of the units; "
        "covariates take away 15.0% of the variance; 2 rows a unit, design effect 1.1"
    )
