"""One look for every figure: few colours that stay apart for colour-blind readers, and in grey print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from persuadable.report.words import wrapped

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["INK", "MUTED", "PALETTE", "RULE", "faded", "styled"]

INK = "#1f2933"
MUTED = "#6b7785"
RULE = "#dfe4ea"
# Okabe and Ito's colours, darkened where thin lines on white need it: blue, vermilion, green, purple, ochre, sky.
PALETTE = ("#0b62a4", "#c4500b", "#1a8062", "#9a4f86", "#b57a00", "#3f8fc0")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def faded(colour: str, opacity: float) -> str:
    """A #rrggbb colour as rgba text, for bands."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def _title(text: str) -> dict[str, Any]:
    return {"text": wrapped(text, 48, 2), "standoff": 10, "font": {"size": 13, "color": INK}}


def styled(figure: go.Figure, *, x: str, y: str, height: int = 400, **layout: Any) -> go.Figure:
    """Give a figure the house's look and its axes their titles."""
    axis = {
        "showline": True,
        "linecolor": RULE,
        "gridcolor": RULE,
        "zerolinecolor": "#b8c0ca",
        "zerolinewidth": 1,
        "ticks": "outside",
        "tickcolor": RULE,
        "automargin": True,
    }
    figure.update_layout(
        template="none",
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        colorway=list(PALETTE),
        height=height,
        margin={"l": 12, "r": 16, "t": 34, "b": 12},
        hoverlabel={"bgcolor": "white", "bordercolor": RULE, "font": {"family": FONT, "size": 12, "color": INK}},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0, "font": {"size": 12}},
        xaxis={**axis, "title": _title(x), "showgrid": False},
        yaxis={**axis, "title": _title(y)},
    )
    figure.update_layout(**layout)
    return figure
