"""Ratios of two values, against candidates tried one by one, numerical derivatives and many logs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

import persuadable as ps
from persuadable import DecisionLog
from persuadable.errors import DataError, OutcomeError, ParameterError
from persuadable.value.ope import SwitchDR
from persuadable.value.ope.intervals import Ratios
from persuadable.value.ope.ratio import estimate_ratio, ratio
from persuadable.value.ope.terms import Terms
from persuadable.worlds import RandomisedTrial


def rounds(n, seed=2, cost=1.0):
    """Weights, values and costs that go together, and predictions of the value."""
    rng = np.random.default_rng(seed)
    w = rng.exponential(1.0, n)
    spent = cost + rng.normal(0.0, 1.0, n)
    return w, 2.0 + spent + rng.normal(0.0, 1.0, n), spent


def moments(w, y, c):
    """Values by SNIPS and their covariance, from the definition."""
    psi = np.column_stack([w * (x - np.average(x, weights=w)) / w.mean() for x in (y, c)])
    return np.average(y, weights=w), np.average(c, weights=w), psi.T @ psi / (w.size * (w.size - 1))


def snips(w, y):
    return Terms(w * y, None, w)


def kept(w, y, c, grid, alpha=0.05):
    """The candidates that a z-test of N − ρD = 0 does not refuse."""
    over, under, s = moments(w, y, c)
    z = stats.norm.isf(alpha / 2)
    return (over - grid * under) ** 2 <= z**2 * (s[0, 0] - 2 * grid * s[0, 1] + grid**2 * s[1, 1])


@pytest.mark.parametrize(
    ("n", "cost", "seed", "shape"),
    [
        (400, 1.0, 2, "interval"),
        (400, -1.0, 2, "interval"),
        (30, 0.0, 3, "outside"),
        (400, 0.0, 3, "outside"),
    ],
)
def test_fieller_keeps_what_a_test_does_not_refuse(n, cost, seed, shape):
    w, y, c = rounds(n, seed, cost)
    found = ratio(snips(w, y), snips(w, c))
    assert found.shape == shape
    grid = np.linspace(-60, 60, 100_003)
    edge = np.min(np.abs(grid[:, None] - np.array(found.limits)), axis=1) < 1e-9
    assert [found.holds(rho) for rho in grid[~edge]] == kept(w, y, c, grid)[~edge].tolist()


def test_where_neither_value_can_be_told_from_zero_nothing_is_ruled_out():
    rng = np.random.default_rng(0)
    y, c = rng.normal(size=50), rng.normal(size=50)
    found = ratio(Terms(y - y.mean() + 0.01), Terms(c - c.mean() + 0.01))
    assert found.shape == "everything"
    assert found.limits == found.interval == (-math.inf, math.inf)
    assert found.holds(1e9)
    assert "every number, for the denominator may be 0" in str(found)


def test_an_unbounded_set_is_never_told_as_an_interval():
    w, y, c = rounds(30, 3, 0.0)
    found = ratio(snips(w, y), snips(w, c), name="ROI")
    lower, upper = found.limits
    assert found.interval == (-math.inf, math.inf)
    assert found.holds(lower - 1)
    assert found.holds(upper + 1)
    assert not found.holds((lower + upper) / 2)
    assert f"below {lower:.4g} or above {upper:.4g}, for the denominator may be 0" in str(found)


def test_the_set_of_the_inverse_is_the_inverse_of_the_set():
    w, y, c = rounds(400)
    one, other = ratio(snips(w, y), snips(w, c)), ratio(snips(w, c), snips(w, y))
    assert other.limits == pytest.approx((1 / one.limits[1], 1 / one.limits[0]), rel=1e-9)


def test_delta_is_the_slope_times_the_covariance():
    """The derivative of N/D taken numerically."""
    w, y, c = rounds(400)
    over, under, s = moments(w, y, c)
    step = 1e-6
    slope = np.array(
        [
            ((over + step) / under - (over - step) / under) / (2 * step),
            (over / (under + step) - over / (under - step)) / (2 * step),
        ]
    )
    stderr = math.sqrt(slope @ s @ slope)
    found = ratio(snips(w, y), snips(w, c), method="delta")
    assert found.value == pytest.approx(over / under)
    assert found.stderr == pytest.approx(stderr, rel=1e-6)
    half = stats.norm.isf(0.025) * stderr
    assert found.limits == pytest.approx((over / under - half, over / under + half), rel=1e-6)


def test_methods_agree_where_the_denominator_is_far_from_zero():
    w, y, c = rounds(40_000, cost=3.0)
    terms = snips(w, y), snips(w, c)
    fieller, delta, drawn = (ratio(*terms, method=m) for m in ("fieller", "delta", "bootstrap"))
    width = fieller.limits[1] - fieller.limits[0]
    assert np.abs(np.array(delta.limits) - fieller.limits).max() < 0.02 * width
    # 999 draws know their 95% quantile to 3%, half a width each side.
    assert np.abs(np.array(drawn.limits) - fieller.limits).max() < 0.06 * width


def test_bootstrap_redraws_numerator_and_denominator_together():
    """Value is 2.5 × cost in every row, so the ratio is known exactly, however uncertain both are."""
    w, _, c = rounds(200)
    for method in ("fieller", "delta", "bootstrap"):
        found = ratio(snips(w, 2.5 * c), snips(w, c), method=method)
        assert found.value == pytest.approx(2.5)
        assert found.limits == pytest.approx((2.5, 2.5), abs=1e-6)


def test_bootstrap_has_the_quantile_of_an_independent_redraw():
    """IPS on skewed rows: 4,000 multinomial redraws of |N* − ρD*| over its own standard error."""
    rng = np.random.default_rng(5)
    y, c = rng.gamma(0.3, 4.0, 120), rng.gamma(1.0, 1.0, 120) + 0.5
    rho = y.mean() / c.mean()
    again = rng.integers(0, 120, (4_000, 120))
    contrast = (y - rho * c)[again]
    t = np.abs(contrast.mean(axis=1)) / (contrast.std(axis=1, ddof=1) / math.sqrt(120))
    quantile = np.quantile(t, 0.95)
    found = ratio(Terms(y), Terms(c), method="bootstrap", n_resamples=3_999)
    for limit in found.limits:
        distance = abs(y.mean() - limit * c.mean()) / ((y - limit * c).std(ddof=1) / math.sqrt(120))
        assert distance == pytest.approx(quantile, rel=0.08)
    assert quantile > 2.1


def test_clusters_and_row_weights_are_those_of_repeated_rows():
    w, y, c = rounds(150)
    times = np.random.default_rng(3).integers(1, 4, 150)
    one = ratio(snips(w, y), snips(w, c), weight=times)
    rows = np.arange(150).repeat(times)
    other = ratio(snips(w[rows], y[rows]), snips(w[rows], c[rows]), clusters=rows)
    assert one.limits == pytest.approx(other.limits, rel=1e-9)
    assert one.limits != pytest.approx(ratio(snips(w, y), snips(w, c)).limits, rel=1e-3)


def test_scale_of_value_and_cost_carries_over():
    w, y, c = rounds(300)
    for method in ("fieller", "delta", "bootstrap"):
        one = ratio(snips(w, y), snips(w, c), method=method)
        other = ratio(snips(w, 10 * y), snips(w, -2 * c), method=method)
        assert other.limits == pytest.approx((-5 * one.limits[1], -5 * one.limits[0]), rel=1e-9)


def test_what_more_brings_for_what_more_it_costs():
    """The ratio of two differences, each a contrast of self-normalised values."""
    w, y, c = rounds(2_000)
    v = np.random.default_rng(9).exponential(1.0, 2_000)
    gain = Ratios.of(snips(w, y + 0.5 * w)) - Ratios.of(snips(v, y + 0.5 * w))
    spent = Ratios.of(snips(w, c + w)) - Ratios.of(snips(v, c + w))
    found = ratio(gain, spent, name="incremental ROI", unit="per dollar")
    expected = (np.average(y + 0.5 * w, weights=w) - np.average(y + 0.5 * w, weights=v)) / (
        np.average(c + w, weights=w) - np.average(c + w, weights=v)
    )
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert str(found).startswith("incremental ROI: ")
    assert found.n == 2_000


def test_fieller_holds_where_delta_does_not():
    """A cost two standard errors from 0, 2,000 logs of 50 rows with normal means: Fieller misses 5%, delta far more.

    Limits: a binomial of 5% lies in 3.3–7% with probability 0.9996.
    """
    rng = np.random.default_rng(12)
    missed = dict.fromkeys(("fieller", "delta"), 0)
    for _ in range(2_000):
        c = rng.normal(0.25, 1.0, 50)
        y = 4.0 * 0.25 + 0.9 * (c - 0.25) + rng.normal(0.0, 0.4, 50)
        for method in missed:
            missed[method] += not ratio(Terms(y), Terms(c), method=method).holds(4.0)
    assert 66 <= missed["fieller"] <= 155
    assert missed["delta"] > 200


def test_a_denominator_of_zero_is_refused():
    with pytest.raises(DataError, match="denominator of ROI is 0"):
        ratio(Terms(np.ones(3)), Terms(np.zeros(3)), name="ROI")


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method is 'taylor'"):
        ratio(Terms(np.ones(3)), Terms(np.ones(3)), method="taylor")


@pytest.fixture(scope="module")
def shop():
    """Three actions with known propensities; the second brings 3 and costs 2, the third 4 and 4; units come twice."""
    rng = np.random.default_rng(8)
    n = 6_000
    propensity = rng.dirichlet([3.0, 3.0, 3.0], n) * 0.7 + 0.1
    action = (rng.random(n)[:, None] > propensity.cumsum(axis=1)[:, :-1]).sum(axis=1)
    brings, costs = np.array([1.0, 3.0, 4.0]), np.array([0.5, 2.0, 4.0])
    return DecisionLog.from_arrays(
        rng.normal(size=(n, 2)),
        action,
        {"sales": brings[action] + rng.normal(size=n), "cost": costs[action] * rng.uniform(0.5, 1.5, n)},
        propensity=propensity,
        cost="cost",
        unit=np.arange(n) // 2,
        weight=rng.uniform(0.5, 1.5, n),
    )


def test_value_over_cost_of_a_policy(shop):
    """SNIPS by hand with row weights; the truth is 3 / 2."""
    second = np.tile([0.0, 1.0, 0.0], (shop.n, 1))
    found = estimate_ratio(shop, second, estimator="snips")
    w = shop.weight * (shop.action == 1) / shop.propensities[:, 1]
    assert found.value == pytest.approx((w @ shop.outcome("sales")) / (w @ shop.outcome("cost")), rel=1e-12)
    assert found.holds(1.5)
    assert found.name == "sales per cost of the candidate"
    first = np.tile([1.0, 0.0, 0.0], (shop.n, 1))
    more = estimate_ratio(shop, second, first, estimator="snips")
    assert str(more).startswith("sales per cost of the candidate − the baseline: "), "what is incremental says so"
    rows = ratio(snips(w, shop.outcome("sales")), snips(w, shop.outcome("cost")), clusters=shop.clusters)
    assert found.limits == pytest.approx(rows.limits, rel=1e-9)


@pytest.mark.parametrize("method", ["fieller", "bootstrap"])
def test_what_a_policy_brings_more_for_what_it_costs_more(shop, method):
    """From nothing (1 for 0.5) to the second (3 for 2): 2 / 1.5. Predictions are the truth, so DR is precise."""
    second, nothing = np.tile([0.0, 1.0, 0.0], (shop.n, 1)), np.tile([1.0, 0.0, 0.0], (shop.n, 1))
    q_hat = {"sales": [1.0, 3.0, 4.0], "cost": [0.5, 2.0, 4.0]}
    found = estimate_ratio(shop, second, nothing, q_hat=q_hat, method=method)
    assert found.holds(2 / 1.5)
    assert found.stderr < 0.05
    assert found.numerator == pytest.approx(2.0, abs=0.15)
    assert found.denominator == pytest.approx(1.5, abs=0.1)


def test_ratios_of_a_log_that_make_no_sense_are_refused(shop):
    p = np.tile([0.0, 1.0, 0.0], (shop.n, 1))
    with pytest.raises(OutcomeError, match="'cost' would be divided by itself"):
        estimate_ratio(shop, p, numerator="cost")
    with pytest.raises(OutcomeError, match="q_hat is given for 'visits'"):
        estimate_ratio(shop, p, q_hat={"visits": [0.0, 0.0, 0.0]})
    with pytest.raises(ParameterError, match=r"estimator is \['ips', 'dr'\], not one estimator"):
        estimate_ratio(shop, p, p, estimator=["ips", "dr"])
    bare = DecisionLog.from_arrays(np.zeros((4, 1)), [0, 1, 0, 1], {"sales": [0.0, 1, 2, 3], "visits": [1.0, 2, 3, 4]})
    with pytest.raises(OutcomeError, match=r"nothing to divide 'sales' by.*\['visits'\]"):
        estimate_ratio(bare, np.tile([0.5, 0.5], (4, 1)))


def test_outcomes_are_predicted_once_for_candidate_and_baseline(shop, monkeypatch):
    import persuadable.response

    fitted = []

    def constant(log, outcome, *, random_state):
        fitted.append(outcome)
        return np.zeros((log.n, log.n_actions))

    monkeypatch.setattr(persuadable.response, "cross_fit_arms", constant)
    p, b = np.tile([0.0, 1.0, 0.0], (shop.n, 1)), np.tile([1.0, 0.0, 0.0], (shop.n, 1))
    found = ps.value.estimate_ratio(shop, p, b, denominator="cost")
    assert sorted(fitted) == sorted({shop.primary, "cost"})
    by_weights = estimate_ratio(shop, p, b, denominator="cost", estimator="ips")  # what a model of zeros makes of DR
    assert found.value == pytest.approx(by_weights.value, rel=1e-12)
    assert found.limits == pytest.approx(by_weights.limits, rel=1e-9)


@pytest.mark.parametrize("method", ["fieller", "delta", "bootstrap"])
def test_a_single_unit_rules_nothing_out(method):
    found = ratio(Terms(np.arange(4.0)), Terms(np.arange(4.0) + 1), method=method, clusters=np.zeros(4, dtype=int))
    assert found.value == 0.6
    assert found.stderr == math.inf
    assert found.interval == (-math.inf, math.inf)


@pytest.mark.parametrize("told", [{"estimator": "dros"}, {"estimator": SwitchDR()}, {"clip": "slope"}])
def test_a_ratio_is_not_tuned_on_its_own_rounds(told: dict[str, Any]) -> None:
    log = RandomisedTrial(costs=1.0, cost_when="assignment").sample(300, random_state=0)
    with pytest.raises(ParameterError, match="would be tuned on the rounds"):
        estimate_ratio(log, np.full((300, 2), 0.5), **told)
