"""A figure for every result: ``figure(result)`` draws it, ``figure_data(result)`` gives its numbers."""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable.design.balance import Balance
from persuadable.errors import ParameterError
from persuadable.report.charts import Series, curves, histograms, intervals_across, intervals_along, level_line
from persuadable.report.overlaps import Overlap
from persuadable.report.theme import INK, MUTED, PALETTE
from persuadable.report.words import level
from persuadable.value import (
    TOC,
    BestLinearPredictor,
    BudgetPath,
    BudgetValues,
    Calibration,
    Clan,
    Curve,
    Deciles,
    Estimate,
    PolicyComparisons,
    Qini,
    RankingReport,
    Stability,
)
from persuadable.value.paths.result import AVERAGE

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

__all__ = ["budget_line", "calibration_figure", "figure", "figure_data", "gains_figure"]

# Budgets, estimates at each by what they are gains over, and alpha.
Gains = tuple[NDArray[np.float64], dict[str, list[Estimate]], float]

SHARE_TREATED = "share treated, highest ranked first"
FEATURES_SHOWN = 20


@singledispatch
def figure(result: Any) -> go.Figure:
    """Draw a result of ``persuadable.value``, ``persuadable.design`` or ``report.overlap``.

    Raises:
        ParameterError: nobody said how to draw this kind of result.
    """
    raise ParameterError(
        f"There is no figure of a {type(result).__name__}",
        remedy="Drawn are results of value.qini, uplift_curve, qini_curve, toc, deciles, gates, clan, stability, "
        "budget_values, budget_path and compare_many, of design.balance and of report.overlap.",
    )


def figure_data(result: Any) -> pl.DataFrame:
    """The numbers behind a figure.

    Raises:
        ParameterError: the result has no ``frame()``.
    """
    if not callable(getattr(result, "frame", None)):
        raise ParameterError(f"A {type(result).__name__} has no table", remedy="Pass a result that has frame().")
    data: pl.DataFrame = result.frame()
    return data


@figure.register(Curve)
def _(result: Curve) -> go.Figure:
    per_head = {
        "uplift": f"{result.name} gained per head",
        "qini": f"{result.name} gained per head beyond a random order",
        "toc": f"effect on {result.name} above average",
    }
    lines = [
        Series("ranked by predicted effect", result.share, result.value, result.lower, result.upper),
        Series("random order", result.share, result.random, colour=MUTED, dash="dash"),
    ]
    return curves(lines, x=SHARE_TREATED, y=per_head[result.kind], level=level(result.alpha))


@figure.register(Qini)
def _(result: Qini) -> go.Figure:
    return figure(result.curve)


@figure.register(RankingReport)
def _(result: RankingReport) -> go.Figure:
    return figure(result.qini)


@figure.register(TOC)
def _(result: TOC) -> go.Figure:
    # The first few rows are all noise, and by their size would flatten the rest: the drawing begins at 1%.
    curve = result.curve
    drawn = curve.share >= min(0.01, float(curve.share[-1]))
    parts = {part: getattr(curve, part)[drawn] for part in ("share", "value", "stderr", "lower", "upper", "random")}
    return figure(replace(curve, **parts))


@figure.register(Deciles)
def _(result: Deciles) -> go.Figure:
    place = np.array([float(d.bin) for d in result.bins])
    ends = np.array([d.uplift.interval for d in result.bins])
    observed = np.array([d.uplift.value for d in result.bins])
    drawn = intervals_along(
        [
            Series("measured effect", place, observed, ends[:, 0], ends[:, 1]),
            Series("mean score (predicted effect)", place, np.array([d.mean_score for d in result.bins])),
        ],
        x=f"{'tenth' if len(result) == 10 else 'group'} of the ranking (1 = ranked highest)",
        y=f"effect on {result.name} per head",
        labels=[str(d.bin) for d in result.bins],
        bars=True,
        level=level(result.overall.alpha),
    )
    return level_line(drawn, result.overall.value, "average effect")


@figure.register(Calibration)
def _(result: Calibration) -> go.Figure:
    return calibration_figure(result)


def calibration_figure(result: Calibration, line: BestLinearPredictor | None = None) -> go.Figure:
    """Measured against predicted effect by group, with the line of perfect calibration.

    Args:
        result: of ``value.gates`` or ``value.monotonic_bins``.
        line: the best linear predictor of the same effects, drawn through the groups.
    """
    predicted = np.array([g.predicted for g in result.bins])
    ends = np.array([g.effect.interval for g in result.bins])
    groups = Series(
        "groups by predicted effect", predicted, np.array([g.effect.value for g in result.bins]), ends[:, 0], ends[:, 1]
    )
    drawn = intervals_along(
        [groups],
        x=f"predicted effect on {result.outcome}",
        y="measured effect",
        level=level(result.top_minus_bottom.alpha),
    )
    reach = np.array([predicted.min(), predicted.max()])
    lines = [("predictions come true", reach, MUTED, "dash")]
    if line is not None:
        centre = float(np.average(predicted, weights=[g.share for g in result.bins]))
        fitted = line.intercept.value + line.slope.value * (reach - centre)
        lines.append((f"best line, slope {line.slope.value:.2f}", fitted, PALETTE[1], "solid"))
    for name, y, colour, dash in lines:
        drawn.add_scatter(x=reach, y=y, mode="lines", name=name, line={"color": colour, "dash": dash, "width": 1.6})
    return drawn


@figure.register(BudgetValues)
def _(result: BudgetValues) -> go.Figure:
    share = np.array([row.treated for row in result.rows])
    asked = np.array([row.share for row in result.rows])

    def line(name: str, estimates: list[Any], x: Any, **look: Any) -> Series:
        ends = np.array([e.interval for e in estimates])
        return Series(name, x, np.array([e.value for e in estimates]), ends[:, 0], ends[:, 1], **look)

    lines = [line("this policy", [row.value for row in result.rows], share)]
    for place, name in enumerate(result.rows[0].baselines):
        estimates = [row.baselines[name] for row in result.rows]
        lines.append(line(name, estimates, asked, colour=PALETTE[1 + place % 5]))
    by_lot = np.array([row.random.value for row in result.rows])
    lines.append(Series("drawn by lot", share, by_lot, colour=MUTED, dash="dash"))
    drawn = curves(
        lines,
        x="share treated",
        y=f"{result.outcome} per head",
        level=level(result.treat_all.alpha),
    )
    level_line(drawn, result.treat_all.value, "treat everybody", colour=INK, dash="dot")
    return level_line(drawn, result.treat_none.value, "treat nobody", dash="dot")


@figure.register(BudgetPath)
def _(result: BudgetPath) -> go.Figure:
    def line(name: str, path: BudgetPath, band: bool, **look: Any) -> Series:
        gains = [point.gain for point in path.points]
        ends = np.array([gain.interval for gain in gains]) if band else None
        x, y = np.array([point.budget for point in path.points]), np.array([gain.value for gain in gains])
        lower, upper = (None, None) if ends is None else (ends[:, 0], ends[:, 1])
        return Series(name, x, y, lower, upper, **look)

    lines = [line(result.name, result, True)]
    for place, (name, path) in enumerate(result.baselines.items()):
        lines.append(line(name, path, False, colour=_beside(name, place), dash="dash"))
    return curves(
        lines,
        x="budget per head" if result.cost_outcome is None else f"budget per head, in {result.cost_outcome}",
        y=f"{result.outcome} gained per head",
        share_axis=False,
        level=level(result.alpha),
    )


def _beside(name: str, place: int) -> str:
    """The colour of what stands beside a path, the same in every figure of it."""
    return MUTED if name == AVERAGE else PALETTE[1 + place % 5]


def budget_line(drawn: go.Figure, budget: float) -> go.Figure:
    """Mark the budget that was chosen on a figure of budgets, by a vertical line with its amount."""
    drawn.add_vline(x=budget, line={"color": INK, "width": 1.3, "dash": "dot"})
    drawn.add_annotation(
        x=budget, y=1, yref="paper", yanchor="bottom", text=f"budget {budget:.4g}", showarrow=False, font={"color": INK}
    )
    return drawn


def gains_figure(result: BudgetValues | BudgetPath) -> go.Figure:
    """Paired differences by budget: the policy less drawing by lot and other rankings, a path less those beside it."""
    asked, against, said = _path_gains(result) if isinstance(result, BudgetPath) else _share_gains(result)
    path = isinstance(result, BudgetPath)
    reach = float(asked[-1] - asked[0]) if path else 1.0
    lines = []
    for place, (name, estimates) in enumerate(against.items()):
        ends, colour = np.array([e.interval for e in estimates]), _beside(name, place) if path else None
        nudge = 0.008 * reach * (place - (len(against) - 1) / 2)
        lines.append(
            Series(
                f"over {name}", asked + nudge, np.array([e.value for e in estimates]), ends[:, 0], ends[:, 1], colour
            )
        )
    drawn = intervals_along(
        lines,
        x="budget per head" if path else "budget (share treated)",
        y=f"{result.outcome} gained per head",
        joined=True,
        level=level(said),
    )
    return drawn if path else drawn.update_xaxes(tickformat=".0%")


def _share_gains(result: BudgetValues) -> Gains:
    against = {"drawing by lot": [row.difference for row in result.rows]}
    against |= {name: [row.gains[name] for row in result.rows] for name in result.rows[0].gains}
    return np.array([row.share for row in result.rows]), against, result.treat_all.alpha


def _path_gains(result: BudgetPath) -> Gains:
    asked = [point.budget for point in result.points]
    against = {name: [result.difference(name, budget) for budget in asked] for name in result.baselines}
    return np.array(asked), against, result.alpha


@figure.register(PolicyComparisons)
def _(result: PolicyComparisons) -> go.Figure:
    differences = [c.difference for c in result.comparisons]
    ends = np.array([d.interval for d in differences])
    rows = np.arange(len(differences), dtype=np.float64)
    gains = Series("gain", rows, np.array([d.value for d in differences]), ends[:, 0], ends[:, 1])
    return intervals_across(
        [f"over {c.baseline.policy}" for c in result.comparisons],
        [gains],
        x=f"{result.policy.outcome} gained per head",
        level=level(differences[0].alpha),
    )


@figure.register(Clan)
def _(result: Clan) -> go.Figure:
    shown = result.rows[:FEATURES_SHOWN]
    value = np.array([row.standardised for row in shown])
    raw = np.array([row.difference.value for row in shown])
    ends = np.array([row.difference.interval for row in shown]).reshape(-1, 2)
    # Intervals are in the feature's units; the ratio of the two differences is its standard deviation.
    scale = np.divide(value, raw, out=np.zeros_like(value), where=raw != 0)[:, None] * ends
    rows = np.arange(len(shown), dtype=np.float64)
    return intervals_across(
        [row.label for row in shown],
        [Series("most − least affected", rows, value, scale[:, 0], scale[:, 1])],
        x="difference in standard deviations",
    )


@figure.register(Stability)
def _(result: Stability) -> go.Figure:
    split = np.arange(1.0, result.top_minus_bottom.shape[0] + 1)
    halves = [
        Series(name, split, result.top_minus_bottom[:, half])
        for half, name in enumerate(("one half", "the other half"))
    ]
    drawn = intervals_along(halves, x="random halving", y=f"effect on {result.outcome}, top − bottom group", height=340)
    drawn.update_yaxes(rangemode="tozero")
    return drawn.update_xaxes(zeroline=False, range=[0.4, len(split) + 0.6])


@figure.register(Balance)
def _(result: Balance) -> go.Figure:
    names = list(dict.fromkeys(row.feature for row in result.rows))[:FEATURES_SHOWN]
    place = {name: float(i) for i, name in enumerate(names)}
    series = []
    for action in dict.fromkeys(row.action for row in result.rows):
        rows = [row for row in result.rows if row.action == action and row.feature in place]
        series.append(
            Series(action, np.array([place[r.feature] for r in rows]), np.array([r.difference for r in rows]))
        )
    drawn = intervals_across(names, series, x="standardised difference from the control", guides=(-0.1, 0.0, 0.1))
    reach = max(0.12, 1.1 * result.largest)
    drawn.update_xaxes(range=[-reach, reach])
    return drawn


@figure.register(Overlap)
def _(result: Overlap) -> go.Figure:
    series = [Series(name, result.edges, share) for name, share in result.shares.items()]
    return histograms(result.edges, series, x=f"probability of {result.treatment}")
