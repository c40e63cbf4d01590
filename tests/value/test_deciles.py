"""Uplift by decile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from persuadable import value as v
from persuadable.errors import ParameterError
from persuadable.log import DecisionLog


def trial(n: int = 1000, **how: Any) -> tuple[DecisionLog, Any]:
    rng = np.random.default_rng(0)
    x = rng.random(n)
    treated = (rng.random(n) < 0.6).astype(int)
    y = 1 + x * treated + rng.normal(size=n)
    return DecisionLog.from_arrays(x[:, None], treated, y, propensity=how.pop("propensity", 0.6), **how), x


def test_bins_without_ties_are_cuts_of_the_sorted_rows() -> None:
    log, x = trial()
    gamma, order = v.uplift_scores(log), np.argsort(-x)
    table = v.deciles(log, x)
    assert len(table) == 10
    for d, rows in zip(table.bins, np.split(order, 10), strict=True):
        treated = log.action[rows] == 1
        assert d.n == pytest.approx(100)
        assert (d.score_low, d.score_high) == (x[rows].min(), x[rows].max())
        assert d.mean_score == pytest.approx(x[rows].mean())
        assert d.uplift.value == pytest.approx(gamma[rows].mean())
        assert d.treated_share == pytest.approx(treated.mean())
        assert d.outcome_treated == pytest.approx(log.outcome()[rows][treated].mean())
        assert d.outcome_control == pytest.approx(log.outcome()[rows][~treated].mean())
    assert [d.bin for d in table.bins] == list(range(1, 11))


def test_bins_agree_with_uplift_at_k() -> None:
    log, x = trial()
    for scores in (x, np.round(x, 1), np.round(x)):
        table = v.deciles(log, scores)
        uplift = [d.uplift.value for d in table.bins]
        assert np.mean(uplift[:3]) == pytest.approx(v.uplift_at_k(log, scores, 0.3).value)
        assert np.mean(uplift) == pytest.approx(table.overall.value)
        first, top = table.bins[0].uplift, v.uplift_at_k(log, scores, 0.1)
        assert (first.value, first.stderr) == pytest.approx((top.value, top.stderr))


def test_a_tie_group_is_shared_by_the_fractions_that_fit() -> None:
    log, _ = trial(n=100)
    scores = np.repeat([2.0, 1.0, 0.0], [10, 40, 50])
    gamma = v.uplift_scores(log)
    top, middle, bottom = (gamma[scores == s].mean() for s in (2.0, 1.0, 0.0))
    table = v.deciles(log, scores, bins=4)
    uplift = [d.uplift.value for d in table.bins]
    assert uplift == pytest.approx([(10 * top + 15 * middle) / 25, middle, bottom, bottom])
    assert [(d.score_low, d.score_high) for d in table.bins] == [(1, 2), (1, 1), (0, 0), (0, 0)]
    assert [d.n for d in table.bins] == pytest.approx([25] * 4)
    assert table.bins[0].mean_score == pytest.approx((10 * 2 + 15) / 25)


def test_row_order_changes_nothing() -> None:
    log, x = trial(weight=np.random.default_rng(1).uniform(0.5, 2, 1000))
    scores = np.round(x, 1)
    shuffle = np.random.default_rng(2).permutation(1000)
    a, b = v.deciles(log, scores).frame(), v.deciles(log.take(shuffle), scores[shuffle]).frame()
    assert a.to_numpy() == pytest.approx(b.to_numpy(), abs=1e-10)


def test_weights_make_bins_of_equal_weight() -> None:
    weight = np.random.default_rng(1).uniform(0.5, 2, 1000)
    log, x = trial(weight=weight)
    table = v.deciles(log, x, bins=2)
    assert sum(d.n for d in table.bins) == pytest.approx(1000)
    order = np.argsort(-x)
    cut = np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)
    assert table.bins[0].n == pytest.approx(cut, abs=1)
    gamma = v.uplift_scores(log)
    rows = order[: cut + 1]
    assert table.bins[0].uplift.value == pytest.approx(np.average(gamma[rows], weights=weight[rows]), abs=0.02)


@pytest.mark.filterwarnings("ignore::persuadable.value.PrefixDriftWarning")
def test_intervals_agree_with_the_bootstrap() -> None:
    log, x = trial()
    rng = np.random.default_rng(3)
    draws = []
    for _ in range(400):
        rows = rng.integers(0, 1000, 1000)
        draws.append([d.uplift.value for d in v.deciles(log.take(rows), x[rows], bins=5).bins])
    stderr = [d.uplift.stderr for d in v.deciles(log, x, bins=5).bins]
    assert stderr == pytest.approx(np.std(draws, axis=0), rel=0.15)


def test_an_arm_absent_from_a_bin_has_no_mean() -> None:
    log = DecisionLog.from_arrays(np.ones((8, 1)), [1, 1, 0, 1, 0, 1, 0, 0], np.arange(8.0), propensity=0.5)
    table = v.deciles(log, np.arange(8)[::-1], bins=4)
    assert np.isnan(table.bins[0].outcome_control)
    assert table.bins[0].outcome_treated == pytest.approx(0.5)
    assert np.isnan(table.bins[3].outcome_treated)


@pytest.mark.parametrize("bins", [0, -1, 1001])
def test_impossible_bins_are_refused(bins: int) -> None:
    log, x = trial()
    with pytest.raises(ParameterError, match=f"bins is {bins} for 1,000 rows"):
        v.deciles(log, x, bins=bins)


def test_a_table_prints_and_becomes_a_frame() -> None:
    log, x = trial()
    table = v.deciles(log, x, bins=5)
    lines = str(table).splitlines()
    assert len(lines) == 7
    assert lines[0].split() == ["bin", "rows", "score", "uplift", "95%", "interval", "treated"]
    assert "average effect" in lines[-1]
    assert table.frame().columns == [
        "bin", "n", "score_low", "score_high", "mean_score", "uplift", "stderr", "lower", "upper",
        "treated_share", "outcome_treated", "outcome_control",
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore::persuadable.value.PrefixDriftWarning")
def test_arm_means_are_weighted_by_the_propensity_within_the_bin() -> None:
    e = np.linspace(0.2, 0.9, 1000)
    log, x = trial(propensity=e)
    rows = np.argsort(-x)[:500]
    y, a, p = log.outcome()[rows], log.action[rows] == 1, e[rows]
    first = v.deciles(log, x, bins=2).bins[0]
    assert first.outcome_treated == pytest.approx(np.average(y[a], weights=1 / p[a]))
    assert first.outcome_control == pytest.approx(np.average(y[~a], weights=1 / (1 - p[~a])))
