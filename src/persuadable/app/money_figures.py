"""Figures of a budget of money: what it brings, whom it reaches, and what its last unit is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from persuadable.app.palette import BLUE, GREEN, VERMILION
from persuadable.app.spending import Money, shown
from persuadable.app.units import Unit
from persuadable.report.charts import Series, curves
from persuadable.report.theme import INK

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["offered_by_money_figure", "price_figure", "value_by_money_figure"]

Json = Mapping[str, Any]
BUDGET = "budget: money per head of everybody"
RIGHT = 30


def value_by_money_figure(policy: Json, money: Money, unit: Unit) -> go.Figure:
    """Predicted gain per head over offering nothing, by budget."""
    line = _line("predicted", policy, unit.scaled([row["value_per_head"] for row in policy["rows"]]), BLUE)
    return _chosen(curves([line], x=BUDGET, share_axis=False, y=unit.gained, height=380), money)


def offered_by_money_figure(policy: Json, money: Money) -> go.Figure:
    """Share of users given any offer, by budget."""
    line = _line("given an offer", policy, [row["expected_share"] for row in policy["rows"]], GREEN)
    drawn = curves([line], x=BUDGET, share_axis=False, y="share of users given an offer", height=320)
    drawn.update_layout(margin={"r": RIGHT}).update_yaxes(tickformat=".0%", range=[0, 1.02])
    return _chosen(drawn, money)


def price_figure(policy: Json, money: Money, unit: Unit) -> go.Figure:
    """What the last unit of money brings, by budget: the slope of the gain."""
    prices = [np.nan if row["price"] is None else row["price"] for row in policy["rows"]]
    line = _line("the last unit of money", policy, prices, VERMILION)
    drawn = curves([line], x=BUDGET, share_axis=False, y=f"{unit.outcome} per unit of money", height=320)
    return _chosen(drawn.update_layout(margin={"r": RIGHT}), money)


def _line(name: str, policy: Json, values: Any, colour: str) -> Series:
    budget = np.array([row["budget_per_head"] for row in policy["rows"]])
    return Series(name, budget, np.asarray(values, dtype=np.float64), colour=colour)


def _chosen(figure: go.Figure, money: Money) -> go.Figure:
    line = {"color": INK, "width": 1.2, "dash": "dot"}
    return figure.add_vline(x=money.per_head, line=line, name=f"your budget, {shown(money)}", showlegend=True)
