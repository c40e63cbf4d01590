"""The studentised bootstrap, against rows repeated one by one, scipy's bootstrap and the Poisson distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from persuadable.value.ope.intervals import Ratios, bootstrap, interval_of, intervals_of, replicates
from persuadable.value.ope.products import product
from persuadable.value.ope.terms import Terms


def draw(n, seed=5):
    rng = np.random.default_rng(seed)
    w = rng.exponential(1.0, n)
    y = rng.gamma(0.5, 2.0, n)
    q, d = rng.random(n), rng.random(n)
    return {
        "dm": Terms(np.zeros(n), d),
        "ips": Terms(w * y),
        "snips": Terms(w * y, None, w),
        "dr": Terms(w * (y - q), d),
        "sndr": Terms(w * (y - q), d, w),
    }


def by_hand(terms, weight, counts, clusters):
    """(V*, stderr*) of rows repeated as often as their unit was drawn, from the definition."""
    d, b, c = terms.columns().T
    times = counts[clusters]
    total = np.sum(times * weight)
    value_d = np.sum(times * weight * d) / total
    mean_c = np.sum(times * weight * c) / total
    ratio = np.sum(times * weight * b) / np.sum(times * weight * c)
    psi = weight / total * (d - value_d + (b - ratio * c) / mean_c)
    variance = sum(times_u * psi[clusters == u].sum() ** 2 for u, times_u in enumerate(counts))
    groups = len(counts)
    return value_d + ratio, math.sqrt(variance * groups / (groups - 1))


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_replicates_are_those_of_rows_repeated_by_hand(monkeypatch, weighted, clustered):
    """Whatever is drawn, numerator and denominator move together, each replicate has a standard error of its own."""
    n, b, rng = 90, 7, np.random.default_rng(2)
    clusters = rng.permutation(np.arange(n) % 23) if clustered else np.arange(n)
    weight = rng.uniform(0.5, 2.0, n) if weighted else np.ones(n)
    counts = rng.poisson(1.0, (b, clusters.max() + 1)).astype(float)
    monkeypatch.setattr(bootstrap, "ROWS", 10)
    monkeypatch.setattr(bootstrap, "DRAWS", 3)
    served = {"rows": 0, "draws": 0}

    def weights(draws, rows, _):
        if served["draws"] == b:
            served.update(rows=served["rows"] + 10, draws=0)
        found = counts[served["draws"] : served["draws"] + draws, served["rows"] : served["rows"] + rows]
        served["draws"] += draws
        return found

    monkeypatch.setattr(bootstrap, "_weights", weights)
    terms = draw(n)
    paired = Ratios.of(terms["sndr"]) - Ratios.of(terms["snips"])
    units = [
        r.by_unit(clusters if clustered else None, weight if weighted else None)
        for r in [*map(Ratios.of, terms.values()), paired]
    ]
    found = replicates(units, b, rng)
    for name, ratios, drawn in zip(terms, units[:-1], found[:-1], strict=True):
        for k in range(b):
            value, stderr = by_hand(terms[name], weight, counts[k], clusters)
            assert drawn.deviation[k] == pytest.approx(value - ratios.value(), rel=1e-9, abs=1e-12)
            assert drawn.t[k] == pytest.approx((value - ratios.value()) / stderr, rel=1e-9, abs=1e-12)
    here = list(terms)
    one, other = found[here.index("sndr")], found[here.index("snips")]
    assert found[-1].deviation == pytest.approx(one.deviation - other.deviation, rel=1e-9, abs=1e-12)


def test_an_interval_has_the_quantiles_of_its_replicates():
    """From the definition: V − stderr·(25th largest and 25th smallest of 999 studentised deviations)."""
    terms = draw(300)["snips"]
    found = interval_of(terms, "bootstrap", n_resamples=999, random_state=8)
    t = np.sort(replicates([Ratios.of(terms)], 999, np.random.default_rng(8))[0].t)
    assert found.interval == pytest.approx((found.value - t[974] * found.stderr, found.value - t[24] * found.stderr))


def test_spread_is_that_of_scipys_bootstrap():
    """scipy redraws rows (multinomial) for SNIPS; 2,000 replicates each know a spread to 2%."""
    drawn = draw(400)["snips"]
    terms = Terms(drawn.weighted + 2 * drawn.weight, None, drawn.weight)
    peer = stats.bootstrap(
        (terms.weighted, terms.weight),
        lambda b, c, axis: b.sum(axis) / c.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=2_000,
        method="basic",
        rng=np.random.default_rng(3),
    )
    ours = replicates([Ratios.of(terms)], 2_000, np.random.default_rng(4))[0]
    assert ours.deviation.std(ddof=1) == pytest.approx(peer.standard_error, rel=0.08)
    # The peer mistake: replicates of finished scores w·y/mean(w), the normaliser fixed.
    fixed = replicates([Ratios.of(Terms(terms.weighted / terms.weight.mean()))], 2_000, np.random.default_rng(4))[0]
    assert fixed.deviation.std(ddof=1) > 1.5 * peer.standard_error


def test_a_mean_has_the_studentised_quantiles_of_an_independent_bootstrap():
    """2,000 multinomial redraws of a skewed sample, studentised by numpy."""
    x = np.random.default_rng(6).gamma(0.5, 2.0, 150)
    rng = np.random.default_rng(7)
    again = x[rng.integers(0, x.size, (4_000, x.size))]
    t = (again.mean(axis=1) - x.mean()) / (again.std(axis=1, ddof=1) / math.sqrt(x.size))
    ours = replicates([Ratios.of(Terms(x))], 4_000, np.random.default_rng(8))[0].t
    expected, found = np.quantile(t, [0.025, 0.5, 0.975]), np.quantile(ours, [0.025, 0.5, 0.975])
    # Standard errors of these quantiles are 0.06, 0.02 and 0.03 for 4,000 draws; both sides are drawn.
    assert np.abs(found - expected).max() < 0.3
    assert found[0] < -2.1
    assert found[2] < 1.9


def test_weights_are_poisson():
    table = bootstrap.POISSON
    assert table.size == 2**16
    assert table.mean() == 1
    assert table.var() == 1
    assert abs(stats.skew(table) - 1) < 0.002
    shares = np.bincount(table.astype(int), minlength=9) / table.size
    assert np.abs(shares - stats.poisson(1).pmf(np.arange(9))).sum() < 2e-4
    drawn = bootstrap._weights(40, 25_001, np.random.default_rng(1))
    assert drawn.shape == (40, 25_001)
    counted = np.bincount(drawn.astype(int).ravel(), minlength=9)
    assert stats.chisquare(counted[:7], counted[:7].sum() * shares[:7] / shares[:7].sum()).pvalue > 1e-4
    # Rows are drawn independently of one another, and replicates too.
    assert np.abs(np.corrcoef(drawn) - np.eye(40)).max() < 5 / math.sqrt(25_001)
    assert abs(np.corrcoef(drawn[:, :-1].ravel(), drawn[:, 1:].ravel())[0, 1]) < 5 / math.sqrt(1e6)


def test_one_seed_gives_one_answer_whoever_is_estimated_beside():
    terms = draw(500)
    together = intervals_of(terms, "bootstrap", n_resamples=99, random_state=1)
    again = intervals_of(terms, "bootstrap", n_resamples=99, random_state=1)
    assert together == again
    for name, each in terms.items():
        alone = interval_of(each, "bootstrap", n_resamples=99, random_state=1)
        assert alone.interval == pytest.approx(together[name].interval, rel=1e-12)
    other = interval_of(terms["dr"], "bootstrap", n_resamples=99, random_state=2)
    assert other.interval != together["dr"].interval


@pytest.mark.parametrize("rows", [1, 15, 16, 8_191, 8_192])
def test_products_in_pieces_are_the_product(rows):
    rng = np.random.default_rng(0)
    weights, products = rng.random((32, rows)), rng.random((30, rows))
    assert product(weights, products) == pytest.approx(np.einsum("br,pr->bp", weights, products), rel=1e-12)


def test_estimates_may_share_parts():
    sndr = Ratios.of(draw(100)["sndr"])
    first, other = Ratios(sndr.parts[:1]), Ratios(sndr.parts[1:])
    whole, *pieces = replicates([sndr, first, other], 50, np.random.default_rng(0))
    assert whole.deviation == pytest.approx(sum(piece.deviation for piece in pieces), abs=1e-12)


def test_shift_and_scale_of_outcomes_move_the_interval_along():
    terms = draw(200)["snips"]
    moved = Terms(3.0 * terms.weighted - 5.0 * terms.weight, None, terms.weight)
    one = interval_of(terms, "bootstrap", n_resamples=199)
    other = interval_of(moved, "bootstrap", n_resamples=199)
    assert other.interval == pytest.approx(tuple(3 * end - 5 for end in one.interval), rel=1e-9)


def test_too_few_informative_rows_leave_an_end_open():
    """Two rows in 500 have an outcome: e⁻² of the replicates draw neither, and none of these has a spread."""
    y = np.zeros(500)
    y[:2] = 1.0
    lower, upper = interval_of(Terms(y), "bootstrap").interval
    assert upper == math.inf
    assert math.isfinite(lower)


def test_replicates_without_any_weight_count_against_both_ends():
    w = np.zeros(100)
    w[:2] = 1.0
    y = np.random.default_rng(0).random(100)
    assert interval_of(Terms(w * y, None, w), "bootstrap").interval == (-math.inf, math.inf)


def test_rows_that_are_all_alike_have_no_spread():
    w = np.random.default_rng(0).exponential(1.0, 50)
    for terms in (Terms(np.full(50, 0.3)), Terms(0.3 * w, None, w)):
        found = interval_of(terms, "bootstrap")
        assert found.interval == pytest.approx((0.3, 0.3), abs=1e-15)
        assert found.stderr == 0


def test_too_few_replicates_are_refused():
    with pytest.raises(ValueError, match=r"n_resamples is 38.*n_resamples=39"):
        interval_of(Terms(np.arange(9.0)), "bootstrap", n_resamples=38)
    interval_of(Terms(np.arange(9.0)), "bootstrap", n_resamples=39)
    with pytest.raises(ValueError, match="n_resamples is 0"):
        interval_of(Terms(np.arange(9.0)), "bootstrap", n_resamples=0)
