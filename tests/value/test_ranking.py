"""Qini, AUUC, uplift at k and their differences, through the public functions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable import value as v
from persuadable.effects import TLearner
from persuadable.engine import Trees
from persuadable.errors import ActionError, DataError, LeakageError, OutcomeError, ParameterError
from persuadable.log import DecisionLog

# Samples of a sample drift, and small experiments do so once in a thousand; test_drift.py is about the warning.
pytestmark = pytest.mark.filterwarnings("ignore::persuadable.value.PrefixDriftWarning")

METRICS = ("qini", "auuc", "autoc", "uplift_at_k")


def trial(n: int = 400, seed: int = 0, p: float = 0.5, scale: float = 1.0, **how: Any) -> tuple[DecisionLog, Any]:
    """An experiment whose effect is the score: uniform x, y = 2 + x + x·treated + noise."""
    rng = np.random.default_rng(seed)
    x = rng.random(n)
    treated = (rng.random(n) < p).astype(int)
    y = scale * (2 + x + x * treated + rng.normal(size=n))
    return DecisionLog.from_arrays(x[:, None], treated, y, propensity=how.pop("propensity", p), **how), x


def all_numbers(log: DecisionLog, scores: Any, **how: Any) -> dict[str, v.Estimate]:
    report = v.evaluate_ranking(log, scores, **how)
    return {e.name: e for e in report.estimates}


def assert_same(a: dict[str, v.Estimate], b: dict[str, v.Estimate], factor: float = 1.0) -> None:
    assert a.keys() == b.keys()
    for name, first in a.items():
        assert b[name].value == pytest.approx(factor * first.value, rel=1e-9, abs=1e-12), name
        assert b[name].stderr == pytest.approx(abs(factor) * first.stderr, rel=1e-9, abs=1e-12), name


def test_qini_is_the_definition_over_all_pairs() -> None:
    log, x = trial(n=120)
    scores = np.round(x, 1)
    gamma = v.uplift_scores(log)
    u = np.array([np.mean((scores > s) + 0.5 * (scores == s)) for s in scores])
    result = v.qini(log, scores)
    assert result.coefficient.value == pytest.approx(np.mean(gamma * (0.5 - u)))
    assert result.auuc.value == pytest.approx(np.mean(gamma * (1 - u)))
    assert result.ate.value == pytest.approx(gamma.mean())
    assert result.relative is not None
    assert result.relative.value == pytest.approx(2 * np.mean(gamma * (0.5 - u)) / gamma.mean())
    assert result.p_value == result.coefficient.p_value
    assert result.coefficient.unit == "outcome per head"


def test_the_truth_lies_in_the_intervals_of_a_large_trial() -> None:
    """τ = x, U = 1 − x: θ = 1/12, AUUC = 1/3, AUTOC = 1/4, uplift at k = 1 − k/2."""
    log, x = trial(n=200_000, p=0.7)
    numbers = all_numbers(log, x)
    truth = {
        "Qini": 1 / 12,
        "AUUC": 1 / 3,
        "AUTOC": 1 / 4,
        "average effect": 1 / 2,
        "uplift at 0.1": 0.95,
        "uplift at 0.2": 0.9,
        "uplift at 0.3": 0.85,
    }
    assert numbers.keys() == truth.keys()
    for name, expected in truth.items():
        assert abs(numbers[name].value - expected) < 4 * numbers[name].stderr, name
        assert numbers[name].stderr < 0.05 * expected, name


def test_one_call_gives_the_numbers_of_the_single_ones() -> None:
    log, x = trial(weight=np.random.default_rng(1).uniform(0.5, 2, 400))
    report = v.evaluate_ranking(log, x, ks=[0.05, 0.5])
    single = v.qini(log, x)
    assert report.qini.coefficient == single.coefficient
    assert report.qini.auuc == single.auuc
    assert report.autoc == v.rate(log, x)
    assert report.at_k.keys() == {0.05, 0.5}
    for k, estimate in report.at_k.items():
        alone = v.uplift_at_k(log, x, k)
        assert (alone.value, alone.stderr) == pytest.approx((estimate.value, estimate.stderr))
        assert replace(alone, value=0.0, stderr=0.0, interval=(0, 0)) == replace(
            estimate, value=0.0, stderr=0.0, interval=(0, 0)
        )
    assert single.coefficient.ess is not None
    assert 300 < single.coefficient.ess < 400


seeds = st.integers(0, 10_000)


@given(seed=seeds, levels=st.sampled_from([2, 5, 1000]), weighted=st.booleans(), stored=st.booleans())
def test_row_order_changes_nothing(seed: int, levels: int, weighted: bool, stored: bool) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.3, 2, 60) if weighted else None
    log, x = trial(n=60, seed=seed, weight=weight, propensity=0.5 if stored else None)
    scores = np.floor(x * levels)
    shuffle = rng.permutation(60)
    assert_same(all_numbers(log, scores), all_numbers(log.take(shuffle), scores[shuffle]))


@given(seed=seeds)
def test_only_the_order_of_the_scores_matters(seed: int) -> None:
    log, x = trial(n=60, seed=seed)
    scores = np.round(x, 1)
    numbers = all_numbers(log, scores)
    for transformed in (np.exp(5 * scores), scores**3 - 7, scores.astype(np.float32), np.argsort(np.argsort(scores))):
        if np.unique(transformed).size == np.unique(scores).size:
            assert_same(numbers, all_numbers(log, transformed))


@given(seed=seeds, factor=st.floats(0.01, 100), negative=st.booleans())
def test_effects_scale_with_the_outcome(seed: int, factor: float, negative: bool) -> None:
    factor = -factor if negative else factor
    log, x = trial(n=60, seed=seed)
    scaled, _ = trial(n=60, seed=seed, scale=factor)
    assert_same(all_numbers(log, x), all_numbers(scaled, x), factor)


@given(seed=seeds, levels=st.sampled_from([2, 5, 1000]))
def test_the_opposite_ranking_has_the_opposite_qini(seed: int, levels: int) -> None:
    log, x = trial(n=60, seed=seed)
    scores = np.floor(x * levels)
    up, down = v.qini(log, scores), v.qini(log, -scores)
    assert down.coefficient.value == pytest.approx(-up.coefficient.value, abs=1e-12)
    assert down.coefficient.stderr == pytest.approx(up.coefficient.stderr)
    assert up.auuc.value + down.auuc.value == pytest.approx(up.ate.value)


@given(seed=seeds)
def test_relabelled_arms_have_the_opposite_numbers(seed: int) -> None:
    log, x = trial(n=60, seed=seed, p=0.4)
    swapped = DecisionLog.from_arrays(
        log.features, 1 - log.action, log.outcome(), propensity=0.6, action_names=("0", "1")
    )
    assert_same(all_numbers(log, x), all_numbers(swapped, x), -1.0)


def test_rows_copied_are_rows_weighted() -> None:
    log, x = trial(n=50)
    copies = np.random.default_rng(0).integers(1, 4, 50)
    rows = np.repeat(np.arange(50), copies)
    weighted, _ = trial(n=50, weight=copies.astype(float))
    scores = np.round(x, 1)
    a, b = v.qini(weighted, scores), v.qini(log.take(rows), scores[rows])
    assert a.coefficient.value == pytest.approx(b.coefficient.value)
    assert a.auuc.value == pytest.approx(b.auuc.value)
    assert v.uplift_at_k(weighted, scores, 0.3).value == pytest.approx(
        v.uplift_at_k(log.take(rows), scores[rows], 0.3).value
    )


def test_a_ranking_of_equals_has_a_qini_of_zero() -> None:
    log, _ = trial()
    result = v.evaluate_ranking(log, np.zeros(log.n))
    assert result.qini.coefficient.value == pytest.approx(0, abs=1e-12)
    assert result.autoc.value == pytest.approx(0, abs=1e-12)
    assert result.at_k[0.1].value == pytest.approx(result.qini.ate.value)


def test_units_make_intervals_wider_where_their_rows_agree() -> None:
    log, x = trial(n=300)
    rows = np.repeat(np.arange(300), 4)
    fourfold = log.take(rows)
    clustered = DecisionLog.from_arrays(
        fourfold.features, fourfold.action, fourfold.outcome(), propensity=0.5, unit=rows
    )
    once, many, robust = (all_numbers(d, x[r]) for d, r in ((log, slice(None)), (fourfold, rows), (clustered, rows)))
    for name, estimate in once.items():
        assert robust[name].value == pytest.approx(many[name].value, rel=1e-9)
        assert robust[name].stderr == pytest.approx(estimate.stderr, rel=0.02), name
        assert many[name].stderr == pytest.approx(estimate.stderr / 2, rel=0.02), name
    difference = v.compare_rankings(clustered, x[rows], -x[rows])
    assert difference.stderr == pytest.approx(v.compare_rankings(log, x, -x).stderr, rel=0.02)
    assert len(v.uplift_curve(clustered, x[rows])) == 101


@pytest.mark.parametrize("metric", METRICS)
def test_a_difference_is_the_difference_and_cancels_what_is_common(metric: Any) -> None:
    rng = np.random.default_rng(2)
    log, x = trial(n=2000)
    noisy = x + 0.1 * rng.normal(size=2000)
    difference = v.compare_rankings(log, x, noisy, metric=metric, k=0.3)
    alone = [
        {
            "qini": lambda s: v.qini(log, s).coefficient,
            "auuc": lambda s: v.qini(log, s).auuc,
            "autoc": lambda s: v.rate(log, s),
            "uplift_at_k": lambda s: v.uplift_at_k(log, s, 0.3),
        }[metric](s)
        for s in (x, noisy)
    ]
    assert difference.value == pytest.approx(alone[0].value - alone[1].value)
    assert difference.stderr < 0.7 * min(e.stderr for e in alone)
    assert v.compare_rankings(log, noisy, x, metric=metric).value == pytest.approx(-difference.value)
    itself = v.compare_rankings(log, x, x**3, metric=metric)
    assert itself.value == pytest.approx(0, abs=1e-12)
    assert itself.stderr == pytest.approx(0, abs=1e-12)


def test_differences_agree_with_the_bootstrap() -> None:
    rng = np.random.default_rng(3)
    log, x = trial(n=400, p=0.7)
    other = x + 0.3 * rng.normal(size=400)
    for metric in ("qini", "auuc", "autoc"):
        draws = []
        for _ in range(400):
            rows = rng.integers(0, 400, 400)
            again = log.take(rows)
            draws.append(v.compare_rankings(again, x[rows], other[rows], metric=metric).value)  # type: ignore[arg-type]
        stderr = v.compare_rankings(log, x, other, metric=metric).stderr  # type: ignore[arg-type]
        assert stderr == pytest.approx(np.std(draws), rel=0.15), metric


def test_bootstrap_intervals_are_percentiles_and_repeat() -> None:
    log, x = trial(n=300)
    result = v.qini(log, x, interval="bootstrap", n_resamples=300, random_state=1)
    plain = v.qini(log, x)
    assert result.coefficient.value == plain.coefficient.value
    assert result.coefficient.stderr == pytest.approx(plain.coefficient.stderr, rel=0.15)
    assert result.auuc.stderr == pytest.approx(plain.auuc.stderr, rel=0.15)
    lower, upper = result.coefficient.interval
    assert lower < result.coefficient.value < upper
    assert upper - lower == pytest.approx(2 * 1.96 * result.coefficient.stderr, rel=0.15)
    again = v.qini(log, x, interval="bootstrap", n_resamples=300, random_state=1)
    assert again.coefficient == result.coefficient
    other = v.qini(log, x, interval="bootstrap", n_resamples=300, random_state=2)
    assert other.coefficient != result.coefficient
    assert v.rate(log, x, interval="bootstrap", n_resamples=300).stderr == pytest.approx(
        v.rate(log, x).stderr, rel=0.15
    )


def test_dr_narrows_the_interval_where_predictions_are_good() -> None:
    log, x = trial(n=3000)
    mu = np.stack([2 + x, 2 + 2 * x], axis=1)
    dr, ipw = v.qini(log, x, method="dr", mu=mu), v.qini(log, x)
    assert dr.coefficient.stderr < ipw.coefficient.stderr
    assert dr.coefficient.value == pytest.approx(1 / 12, abs=4 * dr.coefficient.stderr)


def test_several_treatments_are_ranked_on_their_own_rows() -> None:
    rng = np.random.default_rng(4)
    x = rng.random(300)
    action = np.arange(300) % 3
    log = DecisionLog.from_arrays(x[:, None], action, x * action + rng.normal(size=300))
    kept = action != 1
    assert_same(all_numbers(log, x, action=2), all_numbers(log.contrast(2), x[kept]))
    with pytest.raises(ActionError, match="none was chosen"):
        v.qini(log, x)


def test_alpha_sets_every_interval() -> None:
    log, x = trial()
    wide, narrow = v.qini(log, x, alpha=0.01), v.qini(log, x, alpha=0.5)
    assert wide.coefficient.interval[1] > narrow.coefficient.interval[1]
    assert (wide.curve.upper[1:-1] > narrow.curve.upper[1:-1]).all()
    with pytest.raises(ParameterError, match="alpha is 5"):
        v.qini(log, x, alpha=5)


def test_effects_of_a_learner_are_refused_on_its_own_rows() -> None:
    log, _ = trial(n=300)
    train, test = log.split(0.5, random_state=0)
    learner = TLearner(trees=Trees(n_trees=5)).fit(train)
    for measure in (v.qini, v.uplift_curve, v.qini_curve, v.uplift_at_k, v.evaluate_ranking, v.toc, v.rate, v.deciles):
        with pytest.raises(LeakageError, match=r"of the 1\d\d rows offered for judging also fitted"):
            measure(train, learner.effect(train.features)[:, 1])
    effects = learner.effect(test.features)[:, 1]
    assert v.qini(test, effects).coefficient.n == test.n
    with pytest.raises(LeakageError, match=r"of the 1\d\d rows offered for judging also fitted"):
        v.compare_rankings(train, np.zeros(train.n), learner.effect(train.features)[:, 1])


@pytest.mark.parametrize(
    "measure", [v.qini, v.uplift_curve, v.qini_curve, v.uplift_at_k, v.evaluate_ranking, v.toc, v.rate, v.deciles]
)
def test_wrong_scores_are_refused_everywhere(measure: Any) -> None:
    log, x = trial()
    bad = x.copy()
    bad[17] = np.nan
    with pytest.raises(DataError, match=r"nan \(row 17\)"):
        measure(log, bad)
    with pytest.raises(DataError, match="399 scores for 400 rows"):
        measure(log, x[1:])
    with pytest.raises(DataError, match="one number per row"):
        measure(log, np.stack([x, x], axis=1))
    with pytest.raises(OutcomeError, match="no outcome 'spend'"):
        measure(log, x, outcome="spend")


def test_wrong_arguments_are_refused() -> None:
    log, x = trial()
    for k in (0, 1.5, -1, np.nan):
        with pytest.raises(ParameterError, match="share of the population"):
            v.uplift_at_k(log, x, k)
    with pytest.raises(ParameterError, match="k is 2"):
        v.evaluate_ranking(log, x, ks=[0.1, 2])
    with pytest.raises(ParameterError, match="k is 0"):
        v.compare_rankings(log, x, x, metric="uplift_at_k", k=0)
    with pytest.raises(ParameterError, match="metric is 'gini'"):
        v.compare_rankings(log, x, x, metric="gini")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r'interval is \'jackknife\'\. Pass "influence" or "bootstrap"'):
        v.qini(log, x, interval="jackknife")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="n_resamples is 1"):
        v.qini(log, x, interval="bootstrap", n_resamples=1)
    with pytest.raises(ParameterError, match="target is 'auc'"):
        v.rate(log, x, "auc")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="method is 'dm'"):
        v.qini(log, x, method="dm")  # type: ignore[arg-type]


def test_results_print_and_become_frames() -> None:
    log, x = trial(n=40)
    report = v.evaluate_ranking(log, x)
    assert report.frame().columns == ["measure", "value", "stderr", "lower", "upper", "p_value", "unit"]
    assert report.frame()["measure"].to_list()[:4] == ["Qini", "AUUC", "AUTOC", "average effect"]
    assert len(str(report).splitlines()) == 7
    result = report.qini
    assert str(result) == str(result.coefficient)
    frame = result.frame()
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == ["share", "value", "stderr", "lower", "upper", "random"]
    assert frame["share"].to_list() == pytest.approx(list(np.arange(41) / 40))


def test_an_average_effect_of_zero_has_no_relative_qini() -> None:
    log = DecisionLog.from_arrays(np.ones((4, 1)), [0, 1, 0, 1], [1.0, 2.0, 2.0, 1.0])
    assert v.qini(log, np.arange(4)).relative is None


def test_the_relative_qini_has_the_standard_error_of_a_ratio() -> None:
    """Noise grows with the score, so that θ and the average effect go together and their covariance counts."""
    rng = np.random.default_rng(5)
    x, treated = rng.random(600), np.arange(600) % 2
    y = (1 + x) * treated + 3 * x**2 * rng.normal(size=600)
    log = DecisionLog.from_arrays(x[:, None], treated, y, propensity=0.5)
    draws = []
    for _ in range(500):
        rows = rng.integers(0, 600, 600)
        again = v.qini(log.take(rows), x[rows]).relative
        assert again is not None
        draws.append(again.value)
    relative = v.qini(log, x).relative
    assert relative is not None
    assert relative.stderr == pytest.approx(np.std(draws), rel=0.15)
