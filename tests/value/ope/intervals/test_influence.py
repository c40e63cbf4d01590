"""Values and influence functions of sums of ratios, against regressions, loops and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from persuadable.errors import DataError, PropensityError
from persuadable.value.estimate import Estimate
from persuadable.value.ope.intervals import Bounds, Ratios, by_unit, interval_of, intervals_of
from persuadable.value.ope.terms import Terms


@pytest.fixture(scope="module")
def rows():
    """Weights, outcomes and predictions of 300 rows in 60 clusters of unequal size, with row weights."""
    rng = np.random.default_rng(1)
    n = 300
    clusters = rng.permutation(np.repeat(np.arange(60), rng.multinomial(n - 60, np.full(60, 1 / 60)) + 1))
    y = rng.normal(1.0, 1.0, n) + rng.normal(0, 1, 60)[clusters]
    w = rng.exponential(1.0, n) * (rng.random(n) < 0.7)
    return {
        "w": w,
        "y": y,
        "q": y + rng.normal(size=n),
        "d": rng.normal(1.0, 0.5, n),
        "clusters": clusters,
        "weight": rng.uniform(0.2, 3.0, n),
    }


def terms_of(rows):
    w, y, q, d = (rows[name] for name in ("w", "y", "q", "d"))
    return {
        "ips": Terms(w * y),
        "snips": Terms(w * y, None, w),
        "dr": Terms(w * (y - q), d),
        "sndr": Terms(w * (y - q), d, w),
        "dm": Terms(np.zeros_like(d), d),
    }


def test_values_are_the_formulas(rows):
    w, y, q, d = (rows[name] for name in ("w", "y", "q", "d"))
    expected = {
        "ips": np.mean(w * y),
        "snips": np.sum(w * y) / np.sum(w),
        "dr": np.mean(d + w * (y - q)),
        "sndr": np.mean(d) + np.sum(w * (y - q)) / np.sum(w),
        "dm": np.mean(d),
    }
    for name, estimate in intervals_of(terms_of(rows)).items():
        assert estimate.value == pytest.approx(expected[name], rel=1e-13)


def test_snips_is_a_weighted_regression_on_a_constant(rows):
    """Its cluster-robust standard error is that of weighted least squares with weights w times row weight."""
    w, y, weight, clusters = (rows[name] for name in ("w", "y", "weight", "clusters"))
    fit = sm.WLS(y, np.ones_like(y), weights=w * weight).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    ours = interval_of(Terms(w * y, None, w), clusters=clusters, weight=weight)
    assert ours.value == pytest.approx(fit.params[0], rel=1e-12)
    assert ours.stderr == pytest.approx(fit.bse[0], rel=1e-12)
    assert ours.interval == pytest.approx(tuple(fit.conf_int()[0]), rel=1e-12)


def test_rows_alone_give_the_published_variance_of_snips(rows):
    w, y = rows["w"], rows["y"]
    value = np.sum(w * y) / np.sum(w)
    n = y.size
    variance = np.sum(w**2 * (y - value) ** 2) / np.sum(w) ** 2 * n / (n - 1)
    assert interval_of(Terms(w * y, None, w)).stderr == pytest.approx(np.sqrt(variance), rel=1e-12)


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["ips", "snips", "dr", "sndr", "dm"])
def test_standard_errors_are_near_the_jackknife(rows, name, weighted, clustered):
    """Leaving each unit out and computing afresh: the same to first order, here within 8%."""
    terms = terms_of(rows)[name]
    weight = rows["weight"] if weighted else np.ones(rows["y"].size)
    units = rows["clusters"] if clustered else np.arange(rows["y"].size)

    def value(keep):
        r, b = weight[keep], terms.weighted[keep]
        c = np.ones_like(b) if terms.weight is None else terms.weight[keep]
        d = np.zeros_like(b) if terms.direct is None else terms.direct[keep]
        return np.sum(r * d) / np.sum(r) + np.sum(r * b) / np.sum(r * c)

    left_out = np.array([value(units != unit) for unit in np.unique(units)])
    groups = left_out.size
    jackknife = np.sqrt((groups - 1) / groups * np.sum((left_out - left_out.mean()) ** 2))
    found = interval_of(terms, clusters=units if clustered else None, weight=weight if weighted else None)
    assert found.stderr == pytest.approx(jackknife, rel=0.08)


@pytest.mark.parametrize("name", ["ips", "snips", "dr", "sndr"])
def test_totals_per_unit_agree_with_the_influence_of_rows(rows, name):
    """The two ways to a clustered, weighted standard error in this package meet."""
    terms, weight, clusters = terms_of(rows)[name], rows["weight"], rows["clusters"]
    d, b, c = terms.columns().T
    mean_c = np.average(c, weights=weight)
    ratio = np.average(b, weights=weight) / mean_c
    psi = d - np.average(d, weights=weight) + (b - ratio * c) / mean_c
    by_rows = Estimate.from_influence(0.0, psi, clusters=clusters, weight=weight)
    assert interval_of(terms, clusters=clusters, weight=weight).stderr == pytest.approx(by_rows.stderr, rel=1e-12)


def test_a_difference_of_self_normalised_estimates_is_paired(rows):
    """Two ratios with weights of their own: its variance is that of ψ₁ − ψ₂, far below the sum of both."""
    w, y = rows["w"], rows["y"]
    v = w * (1 + 0.1 * np.sin(np.arange(w.size)))
    one, other = Terms(w * y, None, w), Terms(v * y, None, v)
    found = interval_of(Ratios.of(one) - Ratios.of(other))
    psi = w * (y - np.average(y, weights=w)) / w.mean() - v * (y - np.average(y, weights=v)) / v.mean()
    assert found.value == pytest.approx(np.average(y, weights=w) - np.average(y, weights=v), rel=1e-10)
    assert found.stderr == pytest.approx(psi.std(ddof=1) / np.sqrt(w.size), rel=1e-12)
    assert found.stderr < 0.2 * interval_of(one).stderr


def test_an_estimate_less_itself_is_zero(rows):
    for terms in terms_of(rows).values():
        nothing = Ratios.of(terms) - Ratios.of(terms)
        assert nothing.value() == pytest.approx(0.0, abs=1e-14)
        assert np.abs(nothing.psi()).max() < 1e-12
        assert len(nothing.parts) == len(Ratios.of(terms).parts)


def test_equal_row_weights_and_single_row_clusters_change_nothing(rows):
    plain = intervals_of(terms_of(rows))
    same = intervals_of(terms_of(rows), clusters=np.arange(300)[::-1], weight=np.full(300, 7.0))
    for name, estimate in plain.items():
        assert same[name].stderr == pytest.approx(estimate.stderr, rel=1e-12)
        assert same[name].value == pytest.approx(estimate.value, rel=1e-12)


def test_whole_row_weights_are_repeated_rows_of_one_unit(rows):
    """A row of weight 3 is a unit with three equal rows."""
    times = np.random.default_rng(3).integers(1, 4, 300)
    again = {name: column.repeat(times) for name, column in rows.items()}
    one = intervals_of(terms_of(rows), weight=times)
    other = intervals_of(terms_of(again), clusters=np.arange(300).repeat(times))
    for name, estimate in one.items():
        assert other[name].value == pytest.approx(estimate.value, rel=1e-12)
        assert other[name].stderr == pytest.approx(estimate.stderr, rel=1e-12)


def test_arrays_that_estimates_share_are_summed_once(rows):
    terms = terms_of(rows)
    terms["sndr"] = Terms(terms["sndr"].weighted, terms["sndr"].direct, terms["sndr"].weight[:])  # another view
    snips, sndr = by_unit([Ratios.of(terms["snips"]), Ratios.of(terms["sndr"])], rows["clusters"], rows["weight"])
    assert snips.parts[0].denominator is sndr.parts[1].denominator


@pytest.mark.parametrize("kind", ["normal", "bootstrap", "anytime"])
def test_a_single_unit_tells_nothing_of_the_error(rows, kind):
    for found in intervals_of(terms_of(rows), kind, clusters=np.zeros(300, dtype=int)).values():
        assert (found.stderr, found.interval) == (np.inf, (-np.inf, np.inf))


def test_the_estimate_carries_what_it_was_told(rows):
    found = interval_of(Terms(rows["y"]), alpha=0.1, ess=12.0, name="spend", unit="dollars")
    assert (found.alpha, found.ess, found.name, found.unit, found.n) == (0.1, 12.0, "spend", "dollars", 300)
    assert intervals_of({"a": Terms(rows["y"])}, ess={"a": 3.0})["a"].ess == 3.0
    assert intervals_of({}) == {}


def test_terms_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match=r"not finite.*row 1"):
        interval_of(Terms(np.array([0.0, np.nan, 1.0])))
    with pytest.raises(DataError, match=r"not finite.*row 2"):
        interval_of(Terms(np.array([0.0, 1.0, 1.0]), None, np.array([1.0, 1.0, np.inf])))


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(PropensityError, match="All weights are 0"):
        interval_of(Terms(np.zeros(3), None, np.zeros(3)))


def test_lengths_that_differ_are_refused():
    with pytest.raises(DataError, match=r"have \[3, 4\] rows"):
        interval_of(Terms(np.zeros(3)), clusters=np.arange(4))
    with pytest.raises(DataError, match=r"have \[3, 4\] rows"):
        intervals_of({"a": Terms(np.zeros(3)), "b": Terms(np.zeros(4))})


@pytest.mark.parametrize("weight", [[1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [1.0, np.nan, 1.0], [1.0, np.inf, 1.0]])
def test_impossible_row_weights_are_refused(weight):
    with pytest.raises(DataError, match="Row weights"):
        interval_of(Terms(np.arange(3.0)), weight=np.array(weight))


def test_arguments_that_would_be_ignored_or_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="interval is 'wald'"):
        interval_of(Terms(np.arange(3.0)), "wald")
    with pytest.raises(ValueError, match="bounds were passed"):
        interval_of(Terms(np.arange(3.0)), "normal", bounds=Bounds((0, 1), 2.0))
    with pytest.raises(ValueError, match="alpha"):
        interval_of(Terms(np.arange(3.0)), alpha=1.0)
