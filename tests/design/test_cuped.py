"""Covariate adjustment: statsmodels' interacted regression, Deng et al.'s formula, and trials drawn many times."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from persuadable.design import adjusted_means, variance_reduction
from persuadable.errors import DataError


def trial(n=400, d=2, share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * [1.0, 20.0][:d] + 5.0
    arm = (rng.random(n) < share).astype(int)
    y = x @ [2.0, 0.1][:d] + arm * (1.0 + 0.5 * x[:, 0]) + rng.normal(0, 1, n)
    return y, arm, x


def chances(arm, share=0.3):
    return np.broadcast_to([1 - share, share], (len(arm), 2))


def variance(psi):
    return float(psi @ psi) / len(psi) ** 2


def test_without_covariates_it_is_welch():
    y, arm, _ = trial()
    found = adjusted_means(y, arm, chances(arm))
    first, second = y[arm == 0], y[arm == 1]
    assert found.means == pytest.approx([first.mean(), second.mean()])
    welch = first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second)
    assert variance(found.psi[1] - found.psi[0]) == pytest.approx(welch, rel=1e-9)
    assert found.explained == pytest.approx([0, 0])


def test_with_covariates_it_is_lins_interacted_regression():
    y, arm, x = trial()
    centred = x - x.mean(axis=0)
    table = np.column_stack([np.ones(len(y)), arm, centred, arm[:, None] * centred])
    fit = sm.OLS(y, table).fit(cov_type="HC0")
    found = adjusted_means(y, arm, chances(arm), x)
    assert found.means[1] - found.means[0] == pytest.approx(fit.params[1], rel=1e-9)
    # Its sandwich takes the covariates' mean for the population's; sampling that mean adds the interaction's variance.
    interaction = fit.params[4:]
    sampling = interaction @ np.cov(x.T, bias=True) @ interaction / len(y)
    assert variance(found.psi[1] - found.psi[0]) == pytest.approx(fit.bse[1] ** 2 + sampling, rel=0.02)  # HC1, not HC0
    for k in (0, 1):
        alone = sm.OLS(y[arm == k], sm.add_constant(x[arm == k])).fit()
        assert found.explained[k] == pytest.approx(alone.rsquared_adj, abs=1e-9)


def test_row_weights_and_varying_chances_make_it_weighted_least_squares():
    y, _, x = trial()
    rng = np.random.default_rng(1)
    p, weight = rng.uniform(0.2, 0.8, len(y)), rng.uniform(0.5, 3.0, len(y))
    arm = (rng.random(len(y)) < p).astype(int)
    e = np.stack([1 - p, p], axis=1)
    found = adjusted_means(y, arm, e, x, weight)
    centre = np.average(x, axis=0, weights=weight)
    for k in (0, 1):
        on = arm == k
        fit = sm.WLS(y[on], sm.add_constant(x[on] - centre), weights=weight[on] / e[on, k]).fit()
        assert found.means[k] == pytest.approx(fit.params[0], rel=1e-9)
    assert np.abs(found.psi @ weight).max() < 1e-8 * np.abs(found.psi).sum()


def test_rows_of_a_third_arm_help_to_know_the_covariates():
    y, arm, x = trial(n=900)
    third = np.where(np.arange(900) % 3 == 0, -1, arm)
    found = adjusted_means(y, third, chances(arm), x)
    for k in (0, 1):
        fit = sm.OLS(y[third == k], sm.add_constant(x[third == k])).fit()
        assert found.means[k] == pytest.approx(fit.predict(sm.add_constant(x)).mean())


def test_at_even_arms_it_is_the_formula_of_cuped():
    rng = np.random.default_rng(2)
    n = 40_000
    before = rng.gamma(2.0, 3.0, n)
    arm = rng.integers(0, 2, n)
    y = 0.8 * before + 0.2 * arm + rng.normal(0, 2, n)
    theta = np.cov(y, before)[0, 1] / before.var(ddof=1)
    cleaned = y - theta * before
    told = cleaned[arm == 1].mean() - cleaned[arm == 0].mean()
    found = adjusted_means(y, arm, chances(arm, 0.5), before)
    stderr = np.sqrt(variance(found.psi[1] - found.psi[0]))
    assert found.means[1] - found.means[0] == pytest.approx(told, abs=0.05 * stderr)
    welch = cleaned[arm == 1].var() / (arm == 1).sum() + cleaned[arm == 0].var() / (arm == 0).sum()
    assert stderr == pytest.approx(np.sqrt(welch), rel=2e-3)
    # Deng et al.: the variance falls by the squared correlation.
    squared = np.corrcoef(y, before)[0, 1] ** 2
    assert variance_reduction(y, before, arm) == pytest.approx(squared, abs=2e-3)


def test_the_standard_error_is_the_spread_over_trials():
    found = []
    for run in range(1_500):
        y, arm, x = trial(n=300, seed=100 + run)
        means = adjusted_means(y, arm, chances(arm), x)
        found.append((means.means[1] - means.means[0], variance(means.psi[1] - means.psi[0])))
    errors, variances = np.array(found).T
    assert errors.mean() == pytest.approx(1 + 0.5 * 5, abs=4 * errors.std() / np.sqrt(1_500))
    # A standard deviation of 1,500 runs is known to 1.8%.
    assert np.sqrt(variances.mean()) == pytest.approx(errors.std(), rel=0.06)


def test_the_reduction_is_the_adjusted_r_squared():
    y, arm, x = trial()
    assert variance_reduction(y[arm == 0], x[arm == 0]) == pytest.approx(
        sm.OLS(y[arm == 0], sm.add_constant(x[arm == 0])).fit().rsquared_adj
    )
    # Over both arms each counts by its variance over its rows, which matters where they differ in both.
    noise = np.random.default_rng(4).normal(0, 4, 400)
    louder = np.where(arm == 1, y + noise, y)
    fits = [sm.OLS(louder[arm == k], sm.add_constant(x[arm == k])).fit() for k in (0, 1)]
    before = np.array([louder[arm == k].var() / (arm == k).sum() for k in (0, 1)])
    after = before * [1 - fit.rsquared_adj for fit in fits]
    assert variance_reduction(louder, x, arm) == pytest.approx(1 - after.sum() / before.sum())
    noise = np.random.default_rng(3).normal(size=(400, 5))
    assert variance_reduction(y, noise, arm) == pytest.approx(0, abs=0.03)
    assert variance_reduction(np.ones(10), noise[:10, 0]) == 0.0


def test_collinear_and_constant_covariates_change_nothing():
    y, arm, x = trial()
    double = np.column_stack([x, x[:, 0] * 2 - 3, np.full(len(y), 7.0)])
    once, twice = adjusted_means(y, arm, chances(arm), x), adjusted_means(y, arm, chances(arm), double)
    assert twice.means == pytest.approx(once.means, rel=1e-9)
    np.testing.assert_allclose(twice.psi, once.psi, atol=1e-7)


def test_what_cannot_be_is_refused():
    y, arm, x = trial(n=20)
    gap = x.copy()
    gap[3, 1] = np.nan
    with pytest.raises(DataError, match=r"A covariate is nan \(row 3, column 1\)"):
        adjusted_means(y, arm, chances(arm), gap)
    with pytest.raises(DataError, match=r"expected \(20, d\)"):
        adjusted_means(y, arm, chances(arm), x[:5])
    with pytest.raises(DataError, match="propensity"):
        adjusted_means(y, arm, np.full(20, 0.5))
    with pytest.raises(DataError, match="arm 1 has 1 rows"):
        adjusted_means(y, (np.arange(20) == 4).astype(int), chances(arm))
    with pytest.raises(DataError, match="3 rows for 3 coefficients"):
        adjusted_means(y, (np.arange(20) < 3).astype(int), chances(arm), x)
