"""The warning where the treated share inside a prefix is not what the propensities imply."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy import stats

from persuadable import value as v
from persuadable.log import DecisionLog
from persuadable.value.drift import FALSE_ALARM, PREFIXES, prefix_drift
from persuadable.value.ranks import rank


def confounded(n: int = 4000, **how: Any) -> tuple[DecisionLog, Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.random(n)
    e = 0.3 + 0.4 * x
    treated = (rng.random(n) < e).astype(int)
    return DecisionLog.from_arrays(x[:, None], treated, rng.normal(size=n), **how), x, e


def test_an_unbalanced_prefix_warns_where_it_was_asked() -> None:
    log, x, e = confounded(propensity=0.5)
    for measure in (v.qini, v.uplift_at_k, v.toc, v.rate, v.deciles, v.uplift_curve, v.evaluate_ranking):
        with pytest.warns(
            v.PrefixDriftWarning, match=r"ranked highest .* treated where the propensities imply 50.0%"
        ) as r:
            measure(log, x)
        assert r[0].filename == __file__
    with pytest.warns(v.PrefixDriftWarning) as r:
        v.compare_rankings(log, x, -x)
    assert [w.filename for w in r] == [__file__, __file__]
    known, _, _ = confounded(propensity=e)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        v.evaluate_ranking(known, x)


def test_the_numbers_are_those_of_the_worst_prefix() -> None:
    rng = np.random.default_rng(1)
    treated = rng.random(5000) < 0.5
    treated[:500] = rng.random(500) < 0.8
    drift = prefix_drift(treated, 0.5, rank(-np.arange(5000)))
    zs = [(treated[:m].sum() - m / 2) / np.sqrt(m / 4) for m in (5000 * np.array(PREFIXES)).astype(int)]
    assert drift.z == pytest.approx(max(zs, key=abs))
    assert drift.share == PREFIXES[int(np.argmax(np.abs(zs)))]
    assert drift.realised == pytest.approx(treated[: int(drift.share * 5000)].mean())
    assert drift.expected == pytest.approx(0.5)
    assert drift.alarming
    assert drift.limit == pytest.approx(stats.norm.isf(0.001 / 12 / 2))


@pytest.mark.parametrize("estimated", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("varying", [False, True])
def test_false_alarms_are_as_rare_as_promised(estimated: bool, weighted: bool, varying: bool) -> None:
    """3,000 sound experiments: no more alarms than the binomial at 1 in 1,000 allows, nor far too small z."""
    rng = np.random.default_rng(2)
    n, runs = 1000, 3000
    score = rng.random(n)
    ranks = rank(score, rng.uniform(0.5, 2, n) if weighted else None)
    e = 0.3 + 0.4 * rng.random(n) if varying else np.full(n, 0.4)
    found = []
    for _ in range(runs):
        treated = rng.random(n) < e
        treat: Any = e if varying else 0.4
        if estimated:
            p = ranks.unsort(ranks.p) if ranks.p is not None else np.full(n, 1 / n)
            treat = e + p @ (treated - e) if varying else float(p @ treated)
        found.append(prefix_drift(treated, treat, ranks, shares_estimated=estimated).z)
    z = np.abs(found)
    limit = stats.norm.isf(FALSE_ALARM / len(PREFIXES) / 2)
    assert np.sum(z > limit) <= stats.binom.isf(1e-4, runs, FALSE_ALARM)
    assert 1.4 < np.median(z) < 2.1


def test_units_treated_as_a_whole_do_not_alarm() -> None:
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(200):
        units = np.repeat(np.arange(200), 20)
        treated = (rng.random(200) < 0.5)[units]
        ranks = rank(rng.random(200)[units])
        assert abs(prefix_drift(treated, 0.5, ranks).z) >= 0
        alarms += prefix_drift(treated, 0.5, ranks, clusters=units).alarming
    assert alarms <= 3


def test_a_prefix_ends_with_its_tie_group() -> None:
    treated = np.zeros(1000, dtype=bool)
    treated[::2] = True
    drift = prefix_drift(treated, 0.5, rank(np.zeros(1000)))
    assert (drift.z, drift.share) == (0.0, 1.0)


def test_too_few_rows_say_nothing() -> None:
    drift = prefix_drift(np.array([True, False, True]), 0.5, rank(np.arange(3)))
    assert not drift.alarming
    assert drift.z == 0


def test_weights_and_varying_propensities_are_in_the_z() -> None:
    rng = np.random.default_rng(4)
    n = 2000
    weight, e = rng.exponential(size=n) + 0.01, rng.uniform(0.1, 0.9, n)
    treated = rng.random(n) < np.clip(e + 0.05, 0, 1)
    drift = prefix_drift(treated, e, rank(-np.arange(n), weight))
    cumulative = np.cumsum(weight) / weight.sum()
    zs = []
    for share in PREFIXES:
        m = int(np.searchsorted(cumulative, share - 1e-12)) + 1
        residual, spread = weight[:m] * (treated[:m] - e[:m]), weight[:m] ** 2 * e[:m] * (1 - e[:m])
        zs.append(residual.sum() / np.sqrt(spread.sum()))
    assert drift.z == pytest.approx(max(zs, key=abs))
