"""A result as a block of the report: its figure, the sentence that says how to read it, and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persuadable.design.balance import Balance
from persuadable.report.content import Plot, Table
from persuadable.report.figures import figure, figure_data
from persuadable.report.overlaps import Overlap
from persuadable.value import (
    TOC,
    BudgetPath,
    BudgetValues,
    Calibration,
    Clan,
    Curve,
    Deciles,
    PolicyComparisons,
    Qini,
    RankingReport,
    Stability,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["READINGS", "plot"]

ROWS_SHOWN = 20

_RANKED = (
    "How much of the outcome is gained per head of everybody as more are treated, best ranked first. The further the "
    "curve lies above the dashed line of a random order, the better the ranking."
)
READINGS: dict[type, str] = {
    Qini: _RANKED,
    RankingReport: _RANKED,
    Curve: _RANKED,
    TOC: "How much larger the effect is among those ranked highest than among everybody. A useful ranking starts high "
    "on the left and falls to 0.",
    Deciles: "The measured effect in each tenth of the ranking, with the effect that was predicted. In a useful "
    "ranking the bars fall from left to right.",
    Calibration: "Groups by predicted effect, against the effect measured in them. On the dashed line "
    "predictions come true.",
    BudgetValues: "What each way of choosing whom to treat brings per head of everybody, by the share treated.",
    BudgetPath: "What each budget brings per head of everybody, with all actions to choose from, and (dashed) with one "
    "alone or without knowing who somebody is. The height between two lines is what the choice is worth.",
    PolicyComparisons: "What the policy brings beyond each alternative, on the same rows. An interval that leaves "
    "out 0 is a difference beyond chance.",
    Clan: "How those predicted to be affected most differ from those affected least, in standard deviations "
    "of each feature.",
    Stability: "The held-out rows halved at random, time and again: how much larger the effect is in the group ranked "
    "highest than in the one ranked lowest, in either half. Above 0 both halves agree with the ranking.",
    Balance: "Differences between each treatment arm and the control before anybody was treated. In a randomised "
    "experiment they are small; beyond ±0.1 (dotted) they call for an explanation.",
    Overlap: "How likely the treatment was, for those who got each action. Where only one arm has bars, "
    "the arms cannot be compared.",
}


def plot(result: Any, reading: str | None = None, *, drawn: go.Figure | None = None) -> Plot:
    """A result as a block of the report: its figure, how to read it, and its numbers (at most 20 rows of them).

    Args:
        result: anything ``figure`` draws.
        reading: how to read it; a sentence that fits the kind of result when None.
        drawn: a figure of the result other than ``figure(result)``, such as ``gains_figure(result)``.
    """
    data = figure_data(result)
    if data.height > ROWS_SHOWN + 1:
        data = data[np.linspace(0, data.height - 1, ROWS_SHOWN + 1).round().astype(int).tolist()]
    said = next((text for kind, text in READINGS.items() if isinstance(result, kind)), "")
    return Plot(figure(result) if drawn is None else drawn, said if reading is None else reading, Table.of(data))
