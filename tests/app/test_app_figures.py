from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from documents import HELD_OUT, decision, estimate, measured, policy

from persuadable.app import figures
from persuadable.app.units import Unit

VISIT = Unit("visit", binary=True)
SPEND = Unit("spend", binary=False)


def trace(figure: Any, name: str) -> Any:
    (found,) = [t for t in figure.data if t.name == name]
    return found


def lines(figure: Any) -> dict[str, float]:
    """The upright lines by name."""
    return {shape.name: shape.x0 for shape in figure.layout.shapes if shape.name}


def test_an_effect_stands_between_nothing_and_the_threshold() -> None:
    drawn = figures.effect_figure(decision(), 0.3, VISIT)
    point = trace(drawn, "predicted effect, 95% interval")
    assert point.x[0] == pytest.approx(8.0)
    assert (point.error_x.array[0], point.error_x.arrayminus[0]) == pytest.approx((3.0, 3.0))
    assert lines(drawn) == {"no effect": 0.0, "threshold at a budget of 30%": pytest.approx(6.0)}
    low, high = drawn.layout.xaxis.range
    assert low < 0
    assert high > 11
    assert drawn.layout.xaxis.title.text == "effect on visit, percentage points"


def test_the_threshold_of_a_net_effect_is_drawn_where_this_effect_would_meet_it() -> None:
    # The net effect is 0.03 less; so an effect of 0.09 meets the threshold of 0.06.
    drawn = figures.effect_figure(decision(net_effect=0.05), 0.3, SPEND)
    assert lines(drawn)["threshold at a budget of 30%"] == pytest.approx(0.09)


def test_an_effect_without_interval_or_threshold() -> None:
    drawn = figures.effect_figure(decision(interval=None, threshold=None), 0.0, VISIT)
    assert list(lines(drawn)) == ["no effect"]
    assert trace(drawn, "predicted effect").error_x.array is None


def explained(contributions: list[float], base: float = 0.04) -> dict[str, Any]:
    parts = [{"feature": f"f{i}", "value": float(i), "contribution": c} for i, c in enumerate(contributions)]
    return {"treatment": "mail", "base": base, "effect": base + sum(contributions), "contributions": parts}


def test_the_waterfall_begins_at_the_average_and_ends_at_this_user() -> None:
    drawn = figures.waterfall_figure(explained([0.03, -0.02, 0.01]), VISIT)
    bars = drawn.data[0]
    assert list(bars.measure) == ["absolute", "relative", "relative", "relative", "total"]
    assert bars.x.tolist() == pytest.approx([4.0, 3.0, -2.0, 1.0, 6.0])
    assert list(bars.text) == ["4.00", "+3.00", "−2.00", "+1.00", "6.00"]
    assert list(drawn.layout.yaxis.ticktext) == ["average user", "f0 = 0", "f1 = 1", "f2 = 2", "this user"]
    assert [t.name for t in drawn.data[1:]] == ["raises the effect", "lowers it", "effect"]


def test_small_parts_of_a_waterfall_are_summed_up() -> None:
    parts = [0.1, *([0.01] * 9), 0.0]
    drawn = figures.waterfall_figure(explained(parts), SPEND, shown=3)
    assert list(drawn.layout.yaxis.ticktext)[-2:] == ["8 others", "this user"]
    assert drawn.data[0].x.tolist() == pytest.approx([0.04, 0.1, 0.01, 0.01, 0.07, 0.23])
    thin = figures.waterfall_figure(explained([0.1, 0.0005, 0.0002]), SPEND)
    assert list(thin.layout.yaxis.ticktext)[1:-1] == ["f0 = 0", "2 others"]


def test_names_are_letters_to_the_figure() -> None:
    told = explained([0.1])
    told["contributions"][0]["feature"] = "<b>age"
    assert "&lt;b&gt;age" in figures.waterfall_figure(told, SPEND).layout.yaxis.ticktext[1]


def test_gain_by_budget() -> None:
    drawn = figures.gain_figure(policy(HELD_OUT), {"alpha": 0.1}, 0.3, VISIT)
    best = trace(drawn, "measured on held-out users")
    assert best.x.tolist() == [0.0, 0.1, 0.3, 0.5]
    assert best.y.tolist() == pytest.approx([0.0, 0.8, 2.0, 3.0])
    assert best.customdata[2].tolist() == pytest.approx([1.5, 2.5])
    assert "90% interval" in best.hovertemplate
    # What lots bring is the gain less the gain over lots.
    assert trace(drawn, "as many drawn by lot").y.tolist() == pytest.approx([0.0, 0.4, 1.2, 2.0])
    predicted = trace(drawn, "predicted")
    assert predicted.y.tolist() == pytest.approx([5 * min(i / 10, 0.8) for i in range(11)])
    assert lines(drawn) == {"your budget, 30%": 0.3}


def test_gain_by_budget_without_measurement() -> None:
    drawn = figures.gain_figure(policy(None), None, 0.5, SPEND)
    assert [t.name for t in drawn.data if t.mode == "lines" and t.showlegend is None] == ["predicted"]
    assert drawn.layout.yaxis.title.text == "spend gained per head"


def test_share_treated_stops_where_more_would_do_no_good() -> None:
    drawn = figures.share_figure(policy(None), 0.3)
    assert trace(drawn, "treated").y.max() == 0.8
    assert trace(drawn, "all that the budget pays for").y.max() == 1.0


def test_cost_is_measured_or_at_a_price_or_not_drawn() -> None:
    assert figures.cost_figure(policy(HELD_OUT), None, 0.0, 0.3) is None
    at_price = figures.cost_figure(policy(HELD_OUT), None, 2.0, 0.3)
    assert trace(at_price, "at your price per treatment").y.tolist() == pytest.approx(
        [2 * min(i / 10, 0.8) for i in range(11)]
    )
    costly = policy([measured(0.5, 0.03, 0.01, cost=0.4)])
    drawn = figures.cost_figure(costly, None, 0.0, 0.3)
    assert trace(drawn, "measured on held-out users").y.tolist() == pytest.approx([0.0, 0.4])


RANKING = {
    "qini_curve": [
        {"share": s, "value": 0.06 * s, "low": 0.04 * s, "high": 0.08 * s, "random": 0.05 * s} for s in (0.0, 0.5, 1.0)
    ]
    + [{"share": 1.0, "value": None, "low": None, "high": None, "random": 0.05}],
    "deciles": [
        {"bin": 1, "rows": 30, "mean_score": 0.07, "uplift": estimate(0.08, 0.02)},
        {"bin": 2, "rows": 10, "mean_score": 0.01, "uplift": estimate(0.0, 0.02)},
        {"bin": 3, "rows": 10, "mean_score": None, "uplift": None},
    ],
    "calibration": [
        {"group": 1, "rows": 10, "predicted": 0.01, "observed": estimate(0.02, 0.01)},
        {"group": 2, "rows": 10, "predicted": 0.07, "observed": estimate(0.06, 0.01)},
        {"group": 3, "rows": 10, "predicted": 0.08, "observed": None},
    ],
}


def test_the_qini_curve_leaves_out_what_could_not_be_estimated() -> None:
    drawn = figures.qini_figure(RANKING, VISIT, 0.05)
    assert trace(drawn, "ranked by predicted effect").y.tolist() == pytest.approx([0.0, 3.0, 6.0])
    assert trace(drawn, "random order").y.tolist() == pytest.approx([0.0, 2.5, 5.0])


def test_deciles_with_their_average() -> None:
    drawn = figures.decile_figure(RANKING, VISIT, 0.05)
    assert trace(drawn, "measured effect").y.tolist() == pytest.approx([8.0, 0.0])
    assert trace(drawn, "predicted effect").y.tolist() == pytest.approx([7.0, 1.0])
    (level,) = [shape.y0 for shape in drawn.layout.shapes]
    assert level == pytest.approx(6.0)  # (30 · 8 + 10 · 0) / 40


def test_calibration_lies_around_its_line() -> None:
    drawn = figures.calibration_figure(RANKING, SPEND, 0.05)
    assert trace(drawn, "groups of users").x.tolist() == pytest.approx([0.01, 0.07])
    line = trace(drawn, "predictions come true")
    assert list(line.x) == list(line.y) == pytest.approx([0.01, 0.07])


def test_minutes_add_up() -> None:
    minutes = [
        {"minute": "2026-01-01T10:00:00Z", "decisions": 10, "treated": 3},
        {"minute": "2026-01-01T10:01:00Z", "decisions": 0, "treated": 0},
    ]
    drawn = figures.minutes_figure(minutes, "none")
    assert list(trace(drawn, "treated").y) == [3, 0]
    assert list(trace(drawn, "not treated (none)").y) == [7, 0]
    assert drawn.layout.barmode == "stack"


def test_propensities_are_shares_of_the_decisions() -> None:
    bins = [{"low": i / 10, "high": (i + 1) / 10, "count": 30 if i == 0 else 10 if i == 9 else 0} for i in range(10)]
    (bars,) = figures.propensity_figure(bins).data
    assert bars.y.tolist() == [0.75, *([0.0] * 8), 0.25]
    assert np.asarray(bars.x).tolist() == pytest.approx([0.05 + i / 10 for i in range(10)])
