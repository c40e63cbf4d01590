"""The scores Γ: the formula, what it is unbiased for, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from persuadable.errors import ActionError, DataError, OutcomeError, ParameterError, PropensityError
from persuadable.log import DecisionLog
from persuadable.response import cross_fit_arms
from persuadable.value import blp, clan, compare_rankings, deciles, qini, stability, uplift_scores
from persuadable.value.scores import aipw_scores, arm_means, compare_arms

Log = DecisionLog


def a_log(n: int = 30, seed: int = 0, **how: Any) -> Log:
    rng = np.random.default_rng(seed)
    action = np.arange(n) % 3 % 2
    return Log.from_arrays(rng.normal(size=(n, 2)), action, rng.normal(2, 1, size=n), **how)


def by_hand(y: Any, a: Any, e: Any, m1: Any, m0: Any) -> list[float]:
    """Γ from its definition, one row at a time."""
    rows = []
    for i in range(len(y)):
        score = m1[i] - m0[i]
        if a[i] == 1:
            score += (y[i] - m1[i]) / e[i]
        else:
            score -= (y[i] - m0[i]) / (1 - e[i])
        rows.append(score)
    return rows


def test_ipw_is_the_centred_formula() -> None:
    e = np.linspace(0.2, 0.9, 30)
    log = a_log(propensity=e)
    y, a = log.outcome(), log.action
    c1 = sum(y[i] / e[i] for i in range(30) if a[i] == 1) / sum(1 / e[i] for i in range(30) if a[i] == 1)
    c0 = sum(y[i] / (1 - e[i]) for i in range(30) if a[i] == 0) / sum(1 / (1 - e[i]) for i in range(30) if a[i] == 0)
    assert uplift_scores(log) == pytest.approx(np.array(by_hand(y, a, e, [c1] * 30, [c0] * 30)))


def test_dr_is_the_formula_with_the_predictions_given() -> None:
    e = np.linspace(0.2, 0.9, 30)
    log = a_log(propensity=e)
    mu = np.random.default_rng(1).normal(size=(30, 2))
    assert uplift_scores(log, method="dr", mu=mu) == pytest.approx(
        np.array(by_hand(log.outcome(), log.action, e, mu[:, 1], mu[:, 0]))
    )


def test_without_propensities_the_shares_count_and_the_mean_is_the_difference_of_means() -> None:
    log = a_log()
    y, a = log.outcome(), log.action
    scores = uplift_scores(log)
    assert scores.mean() == pytest.approx(y[a == 1].mean() - y[a == 0].mean())
    assert scores == pytest.approx(uplift_scores(a_log(propensity=float(np.mean(a)))))


def test_without_propensities_weighted_shares_count() -> None:
    w = np.linspace(0.5, 2, 30)
    log = a_log(weight=w)
    y, a = log.outcome(), log.action == 1
    difference = np.average(y[a], weights=w[a]) - np.average(y[~a], weights=w[~a])
    assert np.average(uplift_scores(log), weights=w) == pytest.approx(difference)


def test_a_constant_added_to_the_outcome_changes_nothing() -> None:
    log = a_log(propensity=np.linspace(0.2, 0.9, 30))
    shifted = Log.from_arrays(log.features, log.action, log.outcome() + 1000, propensity=np.linspace(0.2, 0.9, 30))
    assert uplift_scores(shifted) == pytest.approx(uplift_scores(log))


def test_centring_is_unbiased_and_shrinks_the_variance() -> None:
    """1,000 experiments with a known effect of 0.3, outcome mean 5 and 80% treated."""
    rng = np.random.default_rng(2)
    e, n, runs = 0.8, 500, 1_000
    a = rng.random((runs, n)) < e
    a[:, 0], a[:, 1] = True, False  # both arms present; the two rows are left out below
    y = 5 + 0.3 * a + rng.normal(size=(runs, n))
    centred = np.array([aipw_scores(y[r], a[r], e, *arm_means(y[r], a[r], e))[2:] for r in range(runs)])
    raw = (y * a / e - y * ~a / (1 - e))[:, 2:]
    assert abs(centred.mean() - 0.3) < 4 * centred.mean(axis=1).std() / np.sqrt(runs)
    # Var(raw) adds (μ₁(1 − e) + μ₀e)²/(e(1 − e)) ≈ 159 to the 6.25 of the noise
    assert centred.var() == pytest.approx(1 / e + 1 / (1 - e), rel=0.05)
    assert raw.var() == pytest.approx(6.25 + (5.3 * 0.2 + 5 * 0.8) ** 2 / 0.16, rel=0.05)


def test_good_predictions_shrink_the_variance_further() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=4000)
    a = rng.integers(0, 2, 4000)
    log = Log.from_arrays(x[:, None], a, 3 * x + a + 0.1 * rng.normal(size=4000), propensity=0.5)
    mu = np.stack([3 * x, 3 * x + 1], axis=1)
    assert uplift_scores(log, method="dr", mu=mu).var() < 0.01 * uplift_scores(log).var()


def test_dr_cross_fits_when_no_predictions_are_given() -> None:
    log = a_log(n=200)
    assert uplift_scores(log, method="dr") == pytest.approx(
        uplift_scores(log, method="dr", mu=cross_fit_arms(log, "outcome"))
    )


def test_several_treatments_are_compared_one_by_one() -> None:
    rng = np.random.default_rng(4)
    labels = np.array(["none", "mail", "call"])[np.arange(60) % 3]
    table = rng.dirichlet([3, 3, 3], size=60)
    log = Log.from_arrays(
        rng.normal(size=(60, 2)),
        labels,
        rng.normal(size=60),
        control="none",
        action_names=("none", "mail", "call"),
        propensity=table,
        unit=np.arange(60) // 2,
    )
    mu = rng.normal(size=(60, 3))
    for label in ("mail", "call"):
        pair = log.contrast(label)
        assert uplift_scores(log, action=label) == pytest.approx(uplift_scores(pair))
        kept = np.flatnonzero((labels == "none") | (labels == label))
        code = log.actions.index(label)
        assert uplift_scores(log, action=label, method="dr", mu=mu) == pytest.approx(
            uplift_scores(pair, method="dr", mu=mu[kept][:, [0, code]])
        )
        arms = compare_arms(log, action=label)
        assert arms.rows is not None
        assert arms.rows.tolist() == kept.tolist()
        assert arms.m == kept.size
        assert not arms.shares_estimated
        either = (table[:, 0] + table[:, code])[kept]
        assert arms.weight == pytest.approx(1 / either / np.mean(1 / either))
        assert arms.weight == pytest.approx(pair.weight)
    with pytest.raises(ActionError, match="2 treatments and none was chosen"):
        uplift_scores(log)


def test_constant_propensities_of_several_arms_are_renormalised_to_one_number() -> None:
    log = Log.from_arrays(np.ones((6, 1)), np.arange(6) % 3, np.arange(6.0), propensity={"0": 0.5, "1": 0.3, "2": 0.2})
    assert compare_arms(log, action=1).treat == pytest.approx(0.3 / 0.8)
    assert compare_arms(log, action=2).treat == pytest.approx(0.2 / 0.7)


def test_another_outcome_can_be_named() -> None:
    log = Log.from_arrays(np.ones((4, 1)), [0, 1, 0, 1], {"visit": [0, 1, 0, 0], "spend": [0.0, 5.0, 1.0, 0.0]})
    assert uplift_scores(log, outcome="spend").mean() == pytest.approx(2.0)
    with pytest.raises(OutcomeError, match="no outcome 'sales'"):
        uplift_scores(log, outcome="sales")


def test_an_impossible_arm_is_refused() -> None:
    """Row 3 may take action 2, yet none of its kind did: the share among the equally eligible is 0."""
    eligible = np.array([[True, False, True]] * 3 + [[True, True, True]] * 2)
    log = Log.from_arrays(np.ones((5, 1)), [0, 2, 2, 0, 1], np.ones(5), eligible=eligible)
    with pytest.raises(PropensityError, match=r"nobody took the treatment \(row 3 and 0 more\)"):
        uplift_scores(log, action=2)
    assert uplift_scores(log, action=1).shape == (2,)


def test_rows_that_cannot_be_treated_are_no_part_of_a_comparison() -> None:
    eligible = np.ones((4, 3), dtype=bool)
    eligible[3, 2] = False
    table = np.array([[0.4, 0.3, 0.3]] * 3 + [[0.5, 0.5, 0.0]])
    log = Log.from_arrays(np.ones((4, 1)), [0, 1, 2, 0], np.ones(4), propensity=table, eligible=eligible)
    assert compare_arms(log, action=2).select(np.arange(4)).tolist() == [0, 2]
    assert compare_arms(log, action=1).select(np.arange(4)).tolist() == [0, 1, 3]
    assert compare_arms(log, action=1).treat == pytest.approx([3 / 7, 3 / 7, 0.5])


@pytest.mark.parametrize("weighted", [False, True])
def test_the_population_is_everybody_where_other_arms_take_more_of_some(weighted: bool) -> None:
    """Effect 1 where x = 1, else 0; arm 2 takes most of x = 1, which would hide half of the effect ½."""
    n = 6000
    rng = np.random.default_rng(13)
    x = np.arange(n) % 2
    table = np.where(x[:, None] == 1, [[0.15, 0.15, 0.7]], [[0.4, 0.4, 0.2]])
    action = (rng.random(n)[:, None] > table.cumsum(axis=1)[:, :-1]).sum(axis=1)
    y = x * (action == 1) + rng.normal(size=n)
    # the log's weights say nothing of x, so the effect stays ½
    weight = rng.uniform(0.5, 1.5, n) if weighted else None
    log = Log.from_arrays(np.stack([x, rng.normal(size=n)], axis=1), action, y, propensity=table, weight=weight)
    found = qini(log, rng.normal(size=n), action=1).ate
    lower, upper = found.interval
    assert lower < 0.5 < upper
    assert upper - lower < 0.25
    weight = compare_arms(log, action=1).weight
    assert weight is not None
    assert weight.mean() == pytest.approx(1.0 if log.weight is None else log.weight[action < 2].mean())


def half_eligible(known: bool, weight: Any = None, n: int = 4000) -> Log:
    """Half eligible, 50:50 among them, effect 0.3, and a level 2 higher than that of the ineligible."""
    rng = np.random.default_rng(11)
    may = np.arange(n) % 2 == 0
    action = np.where(may, rng.random(n) < 0.5, False).astype(int)
    y = 2.0 * may + 0.3 * action + rng.normal(size=n)
    table = np.where(may[:, None], [[0.5, 0.5]], [[1.0, 0.0]]) if known else None
    both = np.stack([np.ones(n, dtype=bool), may], axis=1)
    return Log.from_arrays(rng.normal(size=(n, 2)), action, y, propensity=table, eligible=both, weight=weight)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_effect_is_that_on_the_eligible(known: bool, weighted: bool) -> None:
    log = half_eligible(known, np.random.default_rng(12).uniform(0.5, 2.0, 4000) if weighted else None)
    assert log.eligible is not None
    part = log.take(log.eligible[:, 1])
    x = log.features.values[:, 0].astype(np.float64)
    found, alone = qini(log, x), qini(part, x[log.eligible[:, 1]])
    lower, upper = found.ate.interval
    assert lower < 0.3 < upper
    assert found.ate.n == part.n == 2000
    assert (found.ate.value, found.ate.stderr) == pytest.approx((alone.ate.value, alone.ate.stderr))
    assert found.coefficient.value == pytest.approx(alone.coefficient.value)
    y, a = part.outcome(), part.action == 1
    if not known:
        means = [np.average(y[arm], weights=None if part.weight is None else part.weight[arm]) for arm in (a, ~a)]
        assert found.ate.value == pytest.approx(means[0] - means[1])


def test_all_that_judges_effects_looks_at_the_same_rows() -> None:
    log = half_eligible(known=False)
    assert log.eligible is not None
    may = log.eligible[:, 1]
    part, x = log.take(may), log.features.values[:, 0].astype(np.float64)
    assert blp(log, x).intercept.value == pytest.approx(qini(log, x).ate.value)
    assert blp(log, x).slope.value == pytest.approx(blp(part, x[may]).slope.value)
    assert str(deciles(log, x)) == str(deciles(part, x[may]))
    assert str(stability(log, x, n_splits=3)) == str(stability(part, x[may], n_splits=3))
    assert str(clan(log, x)) == str(clan(part, x[may]))
    assert compare_rankings(log, x, -x).value == pytest.approx(compare_rankings(part, x[may], -x[may]).value)


def test_an_effect_nobody_is_eligible_for_is_refused() -> None:
    eligible = np.array([[True, True, False]] * 4 + [[True, True, True]])
    log = Log.from_arrays(np.ones((5, 1)), [0, 1, 0, 1, 2], np.ones(5), eligible=eligible).take(np.arange(4))
    with pytest.raises(ActionError, match="No row took '2'"):
        uplift_scores(log, action=2)


@pytest.mark.parametrize(("kept", "missing"), [(0, "'1'"), (1, "'0'")])
def test_an_arm_without_rows_is_refused(kept: int, missing: str) -> None:
    log = a_log()
    with pytest.raises(ActionError, match=f"No row took {missing}"):
        uplift_scores(log.take(log.action == kept))


def test_wrong_arguments_are_refused() -> None:
    log = a_log()
    with pytest.raises(ParameterError, match='Pass "ipw" or "dr"'):
        uplift_scores(log, method="aipw")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="ignores it"):
        uplift_scores(log, mu=np.zeros((30, 2)))
    with pytest.raises(DataError, match=r"mu has shape \(29, 2\), expected \(30, 2\)"):
        uplift_scores(log, method="dr", mu=np.zeros((29, 2)))
    mu = np.zeros((30, 2))
    mu[11, 1] = np.nan
    with pytest.raises(DataError, match=r"not finite \(row 11\)"):
        uplift_scores(log, method="dr", mu=mu)
