"""The kinds of chart, on plain arrays: a curve with its band, bars and points with their intervals, histograms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable.report.theme import INK, MUTED, PALETTE, faded, styled
from persuadable.report.words import plain, wrapped

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["Series", "curves", "histograms", "intervals_across", "intervals_along", "level_line"]

Floats = NDArray[np.float64]

# A line is drawn through at most so many points; the eye sees no more and the page stays small.
POINTS = 400


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One line or set of points.

    Attributes:
        name: what the legend calls it.
        x: (k,) positions.
        y: (k,) values.
        lower: (k,) lower ends of the intervals, or None.
        upper: (k,) upper ends, or None.
        colour: #rrggbb, or None for the next of the palette.
        dash: "solid", "dash" or "dot".
    """

    name: str
    x: Floats
    y: Floats
    lower: Floats | None = None
    upper: Floats | None = None
    colour: str | None = None
    dash: str = "solid"


def _thinned(series: Series) -> Series:
    k = series.x.shape[0]
    if k <= POINTS:
        return series
    keep = np.unique(np.linspace(0, k - 1, POINTS).round().astype(np.intp))
    ends = [None if part is None else part[keep] for part in (series.lower, series.upper)]
    return Series(series.name, series.x[keep], series.y[keep], ends[0], ends[1], series.colour, series.dash)


def _band(figure: go.Figure, series: Series, colour: str) -> None:
    import plotly.graph_objects as go

    if series.lower is None or series.upper is None:
        return
    figure.add_trace(
        go.Scatter(
            x=np.concatenate([series.x, series.x[::-1]]),
            y=np.concatenate([series.upper, series.lower[::-1]]),
            fill="toself",
            fillcolor=faded(colour, 0.16),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=series.name,
        )
    )


def _hover(series: Series, x: str, y: str, level: str) -> tuple[Any, str]:
    text = f"{plain(x)} %{{x}}<br>{plain(y)} %{{y:.4g}}"
    if series.lower is None or series.upper is None:
        return None, f"<b>{plain(series.name)}</b><br>{text}<extra></extra>"
    ends = np.column_stack([series.lower, series.upper])
    return (
        ends,
        f"<b>{plain(series.name)}</b><br>{text}<br>"
        f"{level} %{{customdata[0]:.4g}} to %{{customdata[1]:.4g}}<extra></extra>",
    )


def curves(
    series: Sequence[Series], *, x: str, y: str, share_axis: bool = True, level: str = "95% interval", height: int = 400
) -> go.Figure:
    """Lines, each with its band where it has intervals; the x axis in percent where it is a share."""
    import plotly.graph_objects as go

    figure = go.Figure()
    drawn = [(s, s.colour or PALETTE[place % len(PALETTE)]) for place, s in enumerate(map(_thinned, series))]
    for line, colour in drawn:
        _band(figure, line, colour)
    for line, colour in drawn:
        ends, hover = _hover(line, x, y, level)
        figure.add_trace(
            go.Scatter(
                x=line.x,
                y=line.y,
                mode="lines",
                name=plain(line.name),
                legendgroup=line.name,
                line={"color": colour, "width": 2.4 if line.dash == "solid" else 1.6, "dash": line.dash},
                customdata=ends,
                hovertemplate=hover,
            )
        )
    styled(figure, x=x, y=y, height=height)
    if share_axis:
        figure.update_xaxes(tickformat=".0%", range=[0, 1.004], tick0=0, dtick=0.2)
    return figure


def _errors(series: Series, colour: str, axis: str) -> dict[str, Any]:
    if series.lower is None or series.upper is None:
        return {}
    reach = {
        "type": "data",
        "symmetric": False,
        "array": series.upper - series.y,
        "arrayminus": series.y - series.lower,
        "color": colour,
        "thickness": 1.5,
        "width": 4,
    }
    return {f"error_{axis}": reach}


def intervals_along(
    series: Sequence[Series],
    *,
    x: str,
    y: str,
    labels: Sequence[str] | None = None,
    bars: bool = False,
    joined: bool = False,
    level: str = "95% interval",
    height: int = 400,
) -> go.Figure:
    """Points or bars standing at x with vertical intervals; several series stand beside each other.

    Args:
        series: the groups of points.
        x: title of the x axis.
        y: title of the y axis.
        labels: names for the positions 1 … k, where x is an order and no quantity.
        bars: draw the first series as bars.
        joined: join a series' points by a thin line.
        level: what the intervals are called in hover texts.
        height: in pixels.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for place, group in enumerate(series):
        colour = group.colour or PALETTE[place % len(PALETTE)]
        ends, hover = _hover(group, x, y, level)
        common = {"x": group.x, "y": group.y, "name": plain(group.name), "customdata": ends, "hovertemplate": hover}
        if bars and place == 0:
            spread = _errors(group, INK, "y")
            figure.add_trace(go.Bar(**common, **spread, marker={"color": faded(colour, 0.78)}, width=0.72))
            continue
        figure.add_trace(
            go.Scatter(
                **common,
                **_errors(group, colour, "y"),
                mode="lines+markers" if joined else "markers",
                marker={"color": colour, "size": 8, "symbol": ("circle", "diamond", "square", "cross")[place % 4]},
                line={"color": colour, "width": 1.4, "dash": group.dash},
            )
        )
    styled(figure, x=x, y=y, height=height)
    if labels is not None:
        figure.update_xaxes(tickvals=list(range(1, len(labels) + 1)), ticktext=[plain(name) for name in labels])
    return figure


def intervals_across(
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    x: str,
    level: str = "95% interval",
    guides: Sequence[float] = (0.0,),
) -> go.Figure:
    """Named rows from top to bottom with a value and a horizontal interval each; ``series.x`` is the row, from 0.

    Args:
        labels: the rows' names, the first on top.
        series: the groups of points: x (row), y (value), lower, upper.
        x: title of the value axis.
        level: what the intervals are called in hover texts.
        guides: values at which a thin line stands.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    names = [plain(label) for label in labels]
    for place, group in enumerate(series):
        colour = group.colour or PALETTE[place % len(PALETTE)]
        rows = group.x.astype(np.intp)
        hover = "<b>%{text}</b><br>%{x:.4g}"
        ends = None
        if group.lower is not None and group.upper is not None:
            ends = np.column_stack([group.lower, group.upper])
            hover += f"<br>{level} %{{customdata[0]:.4g}} to %{{customdata[1]:.4g}}"
        figure.add_trace(
            go.Scatter(
                x=group.y,
                y=rows,
                text=[names[row] for row in rows],
                name=plain(group.name),
                mode="markers",
                marker={"color": colour, "size": 9, "symbol": ("circle", "diamond", "square", "cross")[place % 4]},
                customdata=ends,
                hovertemplate=f"{hover}<extra>{plain(group.name) if len(series) > 1 else ''}</extra>",
                **_errors(group, colour, "x"),
            )
        )
    for guide in guides:
        figure.add_vline(x=guide, line={"color": MUTED, "width": 1, "dash": "solid" if guide == 0 else "dot"})
    broken = [wrapped(label) for label in labels]
    step = 24 + 15 * max((label.count("<br>") for label in broken), default=0)
    styled(figure, x=x, y="", height=max(220, 110 + step * len(names)))
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=broken, range=[len(names) - 0.5, -0.5], zeroline=False
    )
    figure.update_layout(showlegend=len(series) > 1)
    return figure


def histograms(edges: Floats, series: Sequence[Series], *, x: str, y: str = "share of the arm") -> go.Figure:
    """Overlaid histograms with common bins: ``edges`` (k + 1,), ``series.y`` (k,) shares."""
    import plotly.graph_objects as go

    figure = go.Figure()
    middles, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    for place, group in enumerate(series):
        colour = group.colour or PALETTE[place % len(PALETTE)]
        figure.add_trace(
            go.Bar(
                x=middles,
                y=group.y,
                width=widths,
                name=plain(group.name),
                marker={"color": faded(colour, 0.45), "line": {"color": colour, "width": 1}},
                hovertemplate=f"<b>{plain(group.name)}</b><br>about %{{x:.3f}}: %{{y:.1%}}<extra></extra>",
            )
        )
    styled(figure, x=x, y=y, height=340, barmode="overlay")
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return figure


def level_line(figure: go.Figure, value: float, name: str, *, colour: str = MUTED, dash: str = "longdash") -> go.Figure:
    """Draw a horizontal line across a figure and name it in the legend: an average, everybody, nobody."""
    figure.add_hline(y=value, line={"color": colour, "width": 1.3, "dash": dash}, name=plain(name), showlegend=True)
    return figure
