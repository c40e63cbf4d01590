"""Figures hold the results' own numbers, every result has one, and labels are taken for text."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

import persuadable as ps
from persuadable.design import balance
from persuadable.report import (
    balance_table,
    budget_table,
    calibration_figure,
    calibration_table,
    clan_table,
    decile_table,
    decision_table,
    estimate_table,
    figure,
    figure_data,
    gains_figure,
    overlap,
    plot,
)
from persuadable.report.charts import POINTS
from persuadable.value import (
    BudgetValues,
    PolicyComparisons,
    blp,
    budget_values,
    clan,
    compare_many,
    deciles,
    evaluate_ranking,
    gates,
    qini,
    qini_curve,
    stability,
    toc,
)

N = 1200
NAME = "visit <b>x</b>"


@pytest.fixture(scope="module")
def scores() -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(1).normal(size=N)


@pytest.fixture(scope="module")
def log(scores: np.ndarray[Any, np.dtype[np.float64]]) -> ps.DecisionLog:
    rng = np.random.default_rng(2)
    X = np.column_stack([scores, rng.normal(size=(N, 2))])
    action = rng.integers(0, 2, N)
    return ps.DecisionLog.from_arrays(
        X,
        action,
        {NAME: rng.normal(size=N) + action * (0.3 + 0.4 * scores)},
        action_names=("none", "mail"),
        propensity=0.5,
    )


@pytest.fixture(scope="module")
def by_budget(log: ps.DecisionLog, scores: np.ndarray[Any, np.dtype[np.float64]]) -> BudgetValues:
    return budget_values(log, scores, (0.1, 0.3, 1.0), baselines={"response": -scores}, mu=np.zeros(2))


@pytest.fixture(scope="module")
def compared(log: ps.DecisionLog, scores: np.ndarray[Any, np.dtype[np.float64]]) -> PolicyComparisons:
    treat = (scores > 0.5).astype(float)
    return compare_many(log, np.column_stack([1 - treat, treat]), mu=np.zeros(2))


def everything(log: ps.DecisionLog, scores: Any, by_budget: Any, compared: Any) -> list[Any]:
    return [
        qini(log, scores),
        qini_curve(log, scores),
        evaluate_ranking(log, scores),
        toc(log, scores),
        deciles(log, scores),
        gates(log, scores),
        clan(log, scores),
        stability(log, scores, n_splits=3),
        balance(log),
        overlap(log),
        by_budget,
        compared,
    ]


def test_every_result_has_a_figure_with_titles_and_data(
    log: ps.DecisionLog, scores: Any, by_budget: BudgetValues, compared: PolicyComparisons
) -> None:
    for result in everything(log, scores, by_budget, compared):
        drawn = plot(result)
        name = type(result).__name__
        assert drawn.reading, name
        assert isinstance(drawn.figure, go.Figure), name
        assert drawn.figure.layout.xaxis.title.text, name
        assert drawn.data is not None, name
        assert 1 <= len(drawn.data.rows) <= 21, name
        assert figure_data(result).height >= len(drawn.data.rows), name
        assert "<b>x</b>" not in (drawn.figure.layout.yaxis.title.text or ""), name
        assert "x</b>" not in drawn.figure.to_json().replace("\\u003c", "<"), name
        assert "http" not in drawn.figure.to_json(), name


def test_a_curve_is_drawn_through_its_own_points(log: ps.DecisionLog, scores: Any) -> None:
    curve = qini(log, scores).curve
    band, line, chance = figure(curve).data
    assert len(line.x) == min(POINTS, len(curve))
    assert line.y[-1] == pytest.approx(curve.value[-1])
    assert np.isin(line.y, curve.value).all()
    assert max(band.y) == pytest.approx(curve.upper[np.isin(curve.share, line.x)].max())
    assert chance.y[-1] == pytest.approx(curve.random[-1])


def test_bars_and_their_errors_are_the_deciles(log: ps.DecisionLog, scores: Any) -> None:
    result = deciles(log, scores)
    bars, predicted = figure(result).data
    assert list(bars.y) == [d.uplift.value for d in result.bins]
    assert np.allclose(bars.y + bars.error_y.array, [d.uplift.interval[1] for d in result.bins])
    assert np.allclose(bars.y - bars.error_y.arrayminus, [d.uplift.interval[0] for d in result.bins])
    assert list(predicted.y) == [d.mean_score for d in result.bins]


def test_the_best_line_goes_through_the_average(log: ps.DecisionLog, scores: Any) -> None:
    groups, line = gates(log, scores), blp(log, scores)
    fitted = calibration_figure(groups, line).data[-1]
    slope = (fitted.y[1] - fitted.y[0]) / (fitted.x[1] - fitted.x[0])
    assert slope == pytest.approx(line.slope.value)
    at_mean = np.interp(scores.mean(), fitted.x, fitted.y)
    assert at_mean == pytest.approx(line.intercept.value, abs=1e-9)


def test_clan_intervals_are_in_standard_deviations(log: ps.DecisionLog, scores: Any) -> None:
    result = clan(log, scores)
    points = figure(result).data[0]
    width = points.error_x.array + points.error_x.arrayminus
    sd = np.asarray(log.features.values, dtype=np.float64).std(axis=0)
    by_name = dict(zip(log.features.names, sd, strict=True))
    for row, drawn in zip(result.rows, width, strict=True):
        low, high = row.difference.interval
        assert drawn == pytest.approx((high - low) / by_name[row.feature], rel=1e-6)


def test_gains_are_the_paired_differences(by_budget: BudgetValues) -> None:
    over_lot, over_response = gains_figure(by_budget).data
    assert list(over_lot.y) == [row.difference.value for row in by_budget.rows]
    assert list(over_response.y) == [row.gains["response"].value for row in by_budget.rows]


def test_overlap_counts_each_arm_by_itself(log: ps.DecisionLog) -> None:
    e = np.linspace(0.05, 0.95, log.n)
    found = overlap(log, np.column_stack([1 - e, e]), action="mail", bins=10)
    for code, name in enumerate(("none", "mail")):
        taken = e[log.action == code]
        by_hand = [np.mean((taken >= k / 10) & (taken < (k + 1) / 10)) for k in range(10)]
        assert found.shares[name] == pytest.approx(by_hand)
    assert not found.constant
    assert overlap(log).constant
    with pytest.raises(ps.errors.PropensityError, match="shape"):
        overlap(log, e)
    with pytest.raises(ps.errors.ParameterError, match="bins"):
        overlap(log, bins=0)


def test_tables_hold_the_results(
    log: ps.DecisionLog, scores: Any, by_budget: BudgetValues, compared: PolicyComparisons
) -> None:
    shown = deciles(log, scores)
    assert [row[3] for row in decile_table(shown).rows] == [*(d.uplift.value for d in shown.bins), shown.overall.value]
    decision = decision_table(compared)
    assert [row[0] for row in decision.rows] == [compared.policy.policy, "random", "treat all", "treat none"]
    assert decision.rows[1][4] == compared["random"].difference.value
    assert budget_table(by_budget).rows[1][6] == by_budget.rows[1].gains["response"].value
    groups = gates(log, scores)
    assert len(calibration_table(groups).rows) == len(groups.bins) + 1
    assert len(clan_table(clan(log, scores), rows=2).rows) == 2
    assert "1 smaller difference" in clan_table(clan(log, scores), rows=2).note
    assert [row[0] for row in balance_table(balance(log)).rows] == [r.feature for r in balance(log).rows]
    measures = estimate_table(evaluate_ranking(log, scores).estimates)
    assert [row[0] for row in measures.rows][:2] == ["Qini", "AUUC"]


def test_what_cannot_be_drawn_says_so() -> None:
    with pytest.raises(ps.errors.ParameterError, match="no figure of a int"):
        figure(3)
    with pytest.raises(ps.errors.ParameterError, match="no table"):
        figure_data(3)
