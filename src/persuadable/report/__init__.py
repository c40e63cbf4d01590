"""Results as people read them: figures, tables, the HTML report and the model card."""

from __future__ import annotations

from persuadable.report.card import Metric, ModelCard
from persuadable.report.card_page import card_page, write_card_page
from persuadable.report.content import Block, Facts, Plot, ReportContent, Section, Table, Verdict
from persuadable.report.decision import decision_card, write_decision_card
from persuadable.report.figures import calibration_figure, figure, figure_data, gains_figure
from persuadable.report.overlaps import Overlap, overlap
from persuadable.report.page import render, write_report
from persuadable.report.readings import plot
from persuadable.report.tables import (
    balance_table,
    budget_table,
    calibration_table,
    clan_table,
    decile_table,
    decision_table,
    estimate_table,
)

__all__ = [
    "Block",
    "Facts",
    "Metric",
    "ModelCard",
    "Overlap",
    "Plot",
    "ReportContent",
    "Section",
    "Table",
    "Verdict",
    "balance_table",
    "budget_table",
    "calibration_figure",
    "calibration_table",
    "card_page",
    "clan_table",
    "decile_table",
    "decision_card",
    "decision_table",
    "estimate_table",
    "figure",
    "figure_data",
    "gains_figure",
    "overlap",
    "plot",
    "render",
    "write_card_page",
    "write_decision_card",
    "write_report",
]
