"""Every figure of the app, as a function of what the service answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable.app.palette import BLUE, GREEN, VERMILION
from persuadable.app.sentences import shown_value
from persuadable.app.spending import Spending, shown
from persuadable.app.units import Unit
from persuadable.report.charts import Series, curves, histograms, intervals_across, intervals_along, level_line
from persuadable.report.theme import INK, MUTED, PALETTE, faded, styled
from persuadable.report.words import level, percent, plain, wrapped

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "calibration_figure",
    "cost_figure",
    "decile_figure",
    "effect_figure",
    "gain_figure",
    "measured_rows",
    "minutes_figure",
    "propensity_figure",
    "qini_figure",
    "share_figure",
    "waterfall_figure",
]

Json = Mapping[str, Any]
Rows = Sequence[Json]
Floats = NDArray[np.float64]
FEATURES_SHOWN = 8
# Contributions below this part of the largest would be bars too thin to see.
SLIGHT = 0.01
# Room at the right for the last tick's label where a figure is half as wide as the page.
RIGHT = 30
ENDS = ("value", "low", "high")
MEASURED = ("value", "gain_over_none", "gain_over_random")


def effect_figure(decision: Json, budget: Spending | None, unit: Unit) -> go.Figure:
    """One user's effect with its interval, against no effect and against the threshold of a budget.

    The threshold is one of the net effect; it is drawn where this user's effect would meet it. Of a budget of money it
    is what the treatment's cost must bring. Of which budget it is, is left out where that is None.
    """
    interval = decision.get("interval")
    name = "predicted effect, 95% interval" if interval else "predicted effect"
    low, high = (unit.scaled([end]) for end in interval) if interval else (None, None)
    point = Series(name, np.array([0.0]), unit.scaled([decision["effect"]]), low, high, colour=BLUE)
    drawn = intervals_across([decision["treatment"]], [point], x=unit.axis(f"effect on {unit.outcome}"), guides=())
    _upright(drawn, 0.0, "no effect", MUTED, "solid")
    marks = [decision["effect"], 0.0, *(interval or ())]
    if decision.get("threshold") is not None:
        at = "" if budget is None else f" at a budget of {shown(budget)}"
        line = decision["threshold"] + decision["effect"] - decision["net_effect"]
        _upright(drawn, float(unit.scaled(line)), f"threshold{at}", VERMILION, "dash")
        marks.append(line)
    return drawn.update_layout(showlegend=True, height=190).update_xaxes(range=_around(unit.scaled(marks)))


def _around(values: Floats, room: float = 0.08) -> list[float]:
    """A range that holds all values with some room to both sides."""
    low, high = float(values.min()), float(values.max())
    margin = room * (high - low or abs(high) or 1.0)
    return [low - margin, high + margin]


def _upright(figure: go.Figure, value: float, name: str, colour: str, dash: str) -> None:
    figure.add_vline(x=value, line={"color": colour, "width": 1.6, "dash": dash}, name=plain(name), showlegend=True)


def waterfall_figure(explained: Json, unit: Unit, *, shown: int = FEATURES_SHOWN) -> go.Figure:
    """From the average effect to this user's: what each feature adds, the largest first, the rest together."""
    import plotly.graph_objects as go

    parts = [(f"{c['feature']} = {shown_value(c['value'])}", c["contribution"]) for c in explained["contributions"]]
    largest = max((abs(value) for _, value in parts), default=0.0)
    kept = min(shown, sum(abs(value) > SLIGHT * largest for _, value in parts))
    if len(parts) > kept + 1:
        rest = parts[kept:]
        parts = [*parts[:kept], (f"{len(rest)} others", sum(value for _, value in rest))]
    labels = ["average user", *(label for label, _ in parts), "this user"]
    steps = [explained["base"], *(value for _, value in parts), explained["effect"]]
    kinds = ["absolute", *("relative" for _ in parts), "total"]
    texts = [
        f"+{text}" if kind == "relative" and value > 0 else text
        for text, kind, value in zip(unit.aligned(steps), kinds, steps, strict=True)
    ]
    drawn = go.Figure(
        go.Waterfall(
            orientation="h",
            measure=kinds,
            y=list(range(len(labels))),
            x=unit.scaled(steps),
            text=texts,
            textposition="outside",
            textfont={"color": INK, "size": 12},
            cliponaxis=False,
            increasing={"marker": {"color": BLUE}},
            decreasing={"marker": {"color": VERMILION}},
            totals={"marker": {"color": MUTED}},
            connector={"line": {"color": "#b8c0ca", "width": 1}},
            customdata=[plain(label) for label in labels],
            hovertemplate="<b>%{customdata}</b><br>%{text}<extra></extra>",
            showlegend=False,
        )
    )
    for name, colour in (("raises the effect", BLUE), ("lowers it", VERMILION), ("effect", MUTED)):
        drawn.add_bar(x=[None], y=[None], name=name, marker={"color": colour}, orientation="h")
    broken = [wrapped(label, 30, 2) for label in labels]
    styled(drawn, x=unit.axis(f"effect on {unit.outcome}"), y="", height=130 + 32 * len(labels), bargap=0.35)
    drawn.update_yaxes(
        tickvals=list(range(len(labels))), ticktext=broken, range=[len(labels) - 0.5, -0.5], zeroline=False
    )
    reach = unit.scaled([0.0, *np.cumsum(steps[:-1])])
    drawn.update_yaxes(showgrid=False)
    return drawn.update_xaxes(range=_around(reach, room=0.22), zeroline=True)


def gain_figure(policy: Json, evaluation: Json | None, share: float, unit: Unit) -> go.Figure:
    """Gain per head over treating nobody, by budget: predicted, measured on held-out rows, and drawn by lot."""
    rows = policy["rows"]
    budget = np.array([row["share"] for row in rows])
    predicted = unit.scaled([row["value_per_head"] for row in rows])
    measured = measured_rows(policy)
    colour, dash = (MUTED, "dot") if measured else (BLUE, "solid")
    lines = [Series("predicted", budget, predicted, colour=colour, dash=dash)]
    if measured:
        at = np.array([0.0, *(row["share"] for row in measured)])
        gain = [row["gain_over_none"] for row in measured]
        lot = [0.0, *(row["gain_over_none"]["value"] - row["gain_over_random"]["value"] for row in measured)]
        value, low, high = (unit.scaled([0.0, *(g[part] for g in gain)]) for part in ENDS)
        lines.insert(0, Series("measured on held-out users", at, value, low, high, colour=BLUE))
        lines.append(Series("as many drawn by lot", at, unit.scaled(lot), colour=PALETTE[1], dash="dash"))
    drawn = curves(
        lines,
        x="budget: share of users you can treat",
        y=unit.gained,
        level=_level(evaluation),
        height=380,
    )
    return _chosen(drawn, share)


def share_figure(policy: Json, share: float) -> go.Figure:
    """Share of users that is really treated, by budget: less than it pays for where more would do no good."""
    rows = policy["rows"]
    budget = np.array([row["share"] for row in rows])
    treated = np.array([row["expected_share"] for row in rows])
    lines = [
        Series("treated", budget, treated, colour=BLUE),
        Series("all that the budget pays for", budget, budget, colour=MUTED, dash="dash"),
    ]
    drawn = curves(lines, x="budget: share of users you can treat", y="share of users treated", height=320)
    drawn.update_layout(margin={"r": RIGHT})
    return _chosen(drawn.update_yaxes(tickformat=".0%", range=[0, 1.02]), share)


def cost_figure(policy: Json, evaluation: Json | None, price: float, share: float) -> go.Figure | None:
    """Cost per head by budget: as measured on held-out rows, or at a price per treatment; None where neither is known.

    Args:
        policy: of /v1/policy.
        evaluation: of /v1/evaluation.
        price: what one treatment costs; 0 where nobody said.
        share: the budget chosen.
    """
    lines = []
    measured = [row for row in measured_rows(policy) if row.get("cost")]
    if measured:
        at = np.array([0.0, *(row["share"] for row in measured)])
        value, low, high = (np.array([0.0, *(row["cost"][part] for row in measured)]) for part in ENDS)
        lines.append(Series("measured on held-out users", at, value, low, high, colour=PALETTE[4]))
    if price > 0:
        budget = np.array([row["share"] for row in policy["rows"]])
        paid = price * np.array([row["expected_share"] for row in policy["rows"]])
        lines.append(Series("at your price per treatment", budget, paid, colour=PALETTE[3], dash="dash"))
    if not lines:
        return None
    drawn = curves(
        lines, x="budget: share of users you can treat", y="cost per head", level=_level(evaluation), height=320
    )
    return _chosen(drawn.update_layout(margin={"r": RIGHT}), share)


def _chosen(figure: go.Figure, share: float) -> go.Figure:
    """Mark the budget chosen."""
    line = {"color": INK, "width": 1.2, "dash": "dot"}
    return figure.add_vline(x=share, line=line, name=f"your budget, {percent(share, 0)}", showlegend=True)


def measured_rows(policy: Json) -> list[Json]:
    """The budgets that were measured on held-out rows, the smallest first; none where the bundle holds none."""
    found = [row for row in policy.get("held_out") or () if all(row.get(part) for part in MEASURED)]
    return sorted(found, key=lambda row: row["share"])


def _complete(rows: Rows, *names: str) -> list[Json]:
    """The rows in which everything named could be estimated: what could not is null."""
    return [row for row in rows if all(row.get(name) is not None for name in names)]


def qini_figure(ranking: Json, unit: Unit, alpha: float) -> go.Figure:
    """The Qini (uplift) curve: what treating a share brings, ranked by predicted effect and in a random order."""
    points = _complete(ranking["qini_curve"], "value", "low", "high", "random")
    share = np.array([p["share"] for p in points])
    value, low, high, random = (unit.scaled([p[part] for p in points]) for part in ("value", "low", "high", "random"))
    lines = [
        Series("ranked by predicted effect", share, value, low, high, colour=BLUE),
        Series("random order", share, random, colour=MUTED, dash="dash"),
    ]
    return curves(lines, x="share treated, highest ranked first", y=unit.gained, level=level(alpha))


def decile_figure(ranking: Json, unit: Unit, alpha: float) -> go.Figure:
    """Measured and predicted effect by tenth of the ranking."""
    bins = _complete(ranking["deciles"], "mean_score", "uplift")
    place = np.arange(1.0, len(bins) + 1)
    value, low, high = (unit.scaled([b["uplift"][part] for b in bins]) for part in ENDS)
    drawn = intervals_along(
        [
            Series("measured effect", place, value, low, high, colour=BLUE),
            Series("predicted effect", place, unit.scaled([b["mean_score"] for b in bins]), colour=VERMILION),
        ],
        x=f"{'tenth' if len(bins) == 10 else 'group'} of the ranking (1 = ranked highest)",
        y=unit.axis(f"effect on {unit.outcome}"),
        labels=[str(b["bin"]) for b in bins],
        bars=True,
        level=level(alpha),
    )
    rows = [b["rows"] for b in bins]
    return level_line(drawn, float(np.average(value, weights=rows)), "average of the groups")


def calibration_figure(ranking: Json, unit: Unit, alpha: float) -> go.Figure:
    """Measured against predicted effect by group, with the line on which predictions come true."""
    groups = _complete(ranking["calibration"], "predicted", "observed")
    predicted = unit.scaled([g["predicted"] for g in groups])
    value, low, high = (unit.scaled([g["observed"][part] for g in groups]) for part in ENDS)
    drawn = intervals_along(
        [Series("groups of users", predicted, value, low, high, colour=BLUE)],
        x=unit.axis(f"predicted effect on {unit.outcome}"),
        y=unit.axis("measured effect"),
        level=level(alpha),
    )
    reach = [float(predicted.min()), float(predicted.max())]
    look = {"color": MUTED, "dash": "dash", "width": 1.6}
    drawn.add_scatter(x=reach, y=reach, mode="lines", name="predictions come true", line=look, hoverinfo="skip")
    return drawn.update_layout(showlegend=True)


def minutes_figure(minutes: Rows, control: str) -> go.Figure:
    """Decisions per minute, the treated and the others."""
    import plotly.graph_objects as go

    at = [row["minute"] for row in minutes]
    treated = [row["treated"] for row in minutes]
    others = [row["decisions"] - row["treated"] for row in minutes]
    drawn = go.Figure()
    for name, counts, colour in (("treated", treated, BLUE), (f"not treated ({control})", others, MUTED)):
        drawn.add_bar(
            x=at,
            y=counts,
            name=plain(name),
            marker={"color": faded(colour, 0.78)},
            hovertemplate=f"<b>{plain(name)}</b><br>%{{x|%H:%M}} UTC: %{{y:,}}<extra></extra>",
        )
    styled(drawn, x="minute (UTC)", y="decisions per minute", height=300, barmode="stack", bargap=0.15)
    drawn.update_layout(legend={"traceorder": "normal"})
    return drawn.update_xaxes(tickformat="%H:%M").update_yaxes(rangemode="tozero")


def propensity_figure(bins: Rows) -> go.Figure:
    """How probable it was to be treated: share of the decisions by bin."""
    edges = np.array([bins[0]["low"], *(b["high"] for b in bins)])
    counts = np.array([b["count"] for b in bins], dtype=np.float64)
    shares = counts / max(1.0, counts.sum())
    drawn = histograms(
        edges,
        [Series("decisions", edges, shares, colour=GREEN)],
        x="probability of being treated",
        y="share of the decisions",
    )
    return drawn.update_layout(height=300, showlegend=False, margin={"r": RIGHT}).update_xaxes(
        tickformat=".0%", range=[0, 1.004], dtick=0.2
    )


def _level(evaluation: Json | None) -> str:
    return level((evaluation or {}).get("alpha", 0.05))
