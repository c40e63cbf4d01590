"""Sample-ratio mismatch: exact p-values by enumeration, χ², Bayes factors of scipy, and lots drawn many times."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import betabinom, binom, binomtest, chisquare, dirichlet_multinomial, kstest, multinomial

from persuadable.design import sample_ratio, sequential_sample_ratio, varying_sample_ratio
from persuadable.errors import DataError, ParameterError


@pytest.mark.parametrize(("counts", "share"), [((40, 60), 0.5), ((3, 17), 0.3), ((0, 9), 0.5), ((700, 800), 0.45)])
def test_two_arms_are_tested_exactly(counts, share):
    found = sample_ratio(counts, (share, 1 - share))
    assert found.method == "exact"
    assert found.p_value == pytest.approx(binomtest(counts[0], sum(counts), share).pvalue, rel=1e-6)


def test_three_arms_are_tested_exactly():
    counts, shares = (2, 9, 4), (0.4, 0.4, 0.2)
    seen = multinomial.pmf(counts, 15, shares)
    tables = [(a, b, 15 - a - b) for a, b in itertools.product(range(16), repeat=2) if a + b <= 15]
    likely = [multinomial.pmf(table, 15, shares) for table in tables]
    assert sample_ratio(counts, shares).p_value == pytest.approx(sum(p for p in likely if p <= seen * (1 + 1e-9)))


def test_large_counts_are_tested_by_chi_square():
    counts, shares = np.array([50_312, 49_900, 25_100]), np.array([2, 2, 1])
    found = sample_ratio(counts, shares)
    told = chisquare(counts, counts.sum() * shares / 5)
    assert (found.method, found.degrees) == ("chi-square", 2)
    assert found.statistic == pytest.approx(told.statistic)
    assert found.p_value == pytest.approx(told.pvalue)
    assert found.expected == pytest.approx((50_124.8, 50_124.8, 25_062.4))


def test_the_known_case_of_a_mismatch():
    # 821,588 against 815,482 users for a planned even split: the example of Kohavi, Tang and Xu (2020, chapter 3) is
    # given there with a p-value of 1.8e-6.
    found = sample_ratio((821_588, 815_482), (1, 1))
    assert found.p_value == pytest.approx(1.8e-6, rel=0.03)
    assert found.mismatch()
    assert not sample_ratio((821_588, 821_482), (1, 1)).mismatch()


def test_chances_that_vary_reduce_to_pearson_where_they_do_not():
    rng = np.random.default_rng(0)
    e = np.array([0.5, 0.3, 0.2])
    arm = rng.choice(3, 5_000, p=e)
    found = varying_sample_ratio(arm, np.broadcast_to(e, (5_000, 3)))
    told = chisquare(np.bincount(arm), 5_000 * e)
    assert found.statistic == pytest.approx(told.statistic)
    assert found.p_value == pytest.approx(told.pvalue)


def test_the_p_value_is_uniform_with_varying_chances_and_units():
    rng = np.random.default_rng(1)
    p = rng.uniform(0.1, 0.9, 600)
    rows, by_unit = [], []
    for _ in range(400):
        arm = (rng.random(600) < p).astype(int)
        rows.append(varying_sample_ratio(arm, np.stack([1 - p, p], axis=1)).p_value)
        whole = np.repeat((rng.random(200) < 0.3).astype(int), 3)
        shares = np.broadcast_to([0.7, 0.3], (600, 2))
        by_unit.append(varying_sample_ratio(whole, shares, np.repeat(np.arange(200), 3)).p_value)
    assert kstest(rows, "uniform").pvalue > 1e-3
    low, high = binom.ppf([1e-4, 1 - 1e-4], 400, 0.1)
    assert low <= np.sum(np.array(by_unit) < 0.1) <= high
    # Counted as rows, units of three would make p-values far too small.
    wrong = [sample_ratio(np.bincount(np.repeat(rng.random(200) < 0.3, 3)), (0.7, 0.3)).p_value for _ in range(400)]
    assert np.sum(np.array(wrong) < 0.1) > high


def test_the_sequential_evidence_is_the_bayes_factor():
    a, b, share, n, first = 400.0, 600.0, 0.4, 5_000, 2_150
    told = binom.pmf(first, n, share) / betabinom.pmf(first, n, a, b)
    found = sequential_sample_ratio((first, n - first), (share, 1 - share), concentration=1_000.0)
    assert found.p_value == pytest.approx(told, rel=1e-6)
    assert found.method == "always-valid"
    shares, counts = np.array([0.5, 0.3, 0.2]), np.array([490, 340, 260])
    told = multinomial.pmf(counts, 1_090, shares) / dirichlet_multinomial.pmf(counts, 100 * shares, 1_090)
    assert sequential_sample_ratio(counts, shares, concentration=100.0).p_value == pytest.approx(told, rel=1e-6)


def test_the_sequential_test_remembers_its_strongest_evidence():
    looks = [(400, 600), (4_950, 5_050)]
    alone = sequential_sample_ratio(looks[0], (1, 1)).p_value
    assert alone < 0.001
    assert sequential_sample_ratio(looks, (1, 1)).p_value == pytest.approx(alone)
    assert sequential_sample_ratio(looks[1], (1, 1)).p_value == 1.0
    assert sequential_sample_ratio((0, 0), (1, 1)).p_value == 1.0


def test_looking_after_every_hundred_units_rarely_cries_wolf():
    rng, runs, looks = np.random.default_rng(2), 1_000, 100
    first = rng.binomial(100, 0.3, (runs, looks)).cumsum(axis=1)
    total = 100 * np.arange(1, looks + 1)
    p = np.array([sequential_sample_ratio(np.stack([row, total - row], axis=1), (0.3, 0.7)).p_value for row in first])
    assert (p < 0.05).sum() <= binom.ppf(1 - 1e-4, runs, 0.05)
    # The fixed test, looked at as often, would be wrong far more often.
    z = (first - 0.3 * total) / np.sqrt(0.21 * total)
    assert ((np.abs(z) > 1.96).any(axis=1)).mean() > 0.2
    # And it does find a lot that gives 33% instead of 30%.
    found = rng.binomial(100, 0.33, (200, looks)).cumsum(axis=1)
    p = [sequential_sample_ratio(np.stack([row, total - row], axis=1), (0.3, 0.7)).p_value for row in found]
    assert np.mean(np.array(p) < 0.001) > 0.9


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sample_ratio((10,), (1,)), DataError, "counts are"),
        (lambda: sample_ratio((10, 2.5), (1, 1)), DataError, "whole numbers"),
        (lambda: sample_ratio((10, -1), (1, 1)), DataError, "whole numbers"),
        (lambda: sequential_sample_ratio(np.empty((0, 2)), (1, 1)), DataError, "whole numbers"),
        (lambda: sample_ratio((10, 10), (1, 0)), ParameterError, "shares are"),
        (lambda: sample_ratio((10, 10), (1, 1, 1)), ParameterError, "2 counts and 3 shares"),
        (lambda: sequential_sample_ratio([(10, 10), (9, 12)], (1, 1)), DataError, "fall from one look"),
        (lambda: sequential_sample_ratio((10, 10), (1, 1), concentration=0), ParameterError, "concentration is 0"),
        (lambda: varying_sample_ratio([0, 1], [[0.5, 0.5]]), DataError, "arm has shape"),
    ],
)
def test_what_cannot_be_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_it_says_what_it_saw():
    assert str(sample_ratio((40, 60), (1, 1))) == ("units in each arm (expected): 40 (50), 60 (50); exact p = 0.057")
