"""Decisions under a budget of money, in words and tables that anybody understands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from persuadable.app import money_figures
from persuadable.app.offers import meaning, offer_said, option_rows
from persuadable.app.spending import Money, is_money, shown, terms
from persuadable.app.units import Unit
from persuadable.app.users import SCHEMA, _row

MARGIN = Unit("margin", binary=False)
BUDGET = Money(0.5)
OPTIONS = {
    "none": {"effect": 0.0, "cost_effect": 0.0, "net_effect": 0.0, "eligible": True},
    "5% off": {"effect": 2.0, "cost_effect": 0.4, "net_effect": 1.2, "eligible": True},
    "20% off": {"effect": 3.0, "cost_effect": 1.5, "net_effect": 0.0, "eligible": False},
    "call": {"effect": -1.0, "cost_effect": 0.1, "net_effect": -1.2, "eligible": True},
}
POLICY: dict[str, Any] = {
    "outcome": "margin",
    "budget_per_head": 0.5,
    "rows": [
        {"budget_per_head": b, "price": p, "expected_spend": b, "expected_share": s, "value_per_head": v}
        for b, p, s, v in ((0.0, None, 0.0, 0.0), (0.5, 2.0, 0.4, 1.5), (1.0, 1.0, 0.7, 2.25))
    ],
}


def decision(**changes: Any) -> dict[str, Any]:
    told = {
        "unit": "u1",
        "action": "5% off",
        "treatment": "5% off",
        "effect": 2.0,
        "interval": [1.0, 3.0],
        "net_effect": 1.2,
        "threshold": 0.0,
        "propensities": {"none": 0.0, "5% off": 1.0, "20% off": 0.0, "call": 0.0},
        "reason": "treated",
        "flags": [],
        "cost_effect": 0.4,
        "price": 2.0,
        "options": OPTIONS,
    }
    return told | changes


@pytest.mark.parametrize(
    ("changes", "tone", "headline", "said"),
    [
        ({}, "good", "Offer: 5% off", "5% off leaves 1.20 per head, the most of all offers"),
        (
            {"action": "none", "reason": "below-threshold"},
            "quiet",
            "Offer nothing: none",
            "not even 5% off is worth it",
        ),
        ({"action": "none", "reason": "not-worth-it"}, "quiet", "Offer nothing: none", "No offer is predicted"),
        ({"action": "none", "reason": "not-eligible"}, "quiet", "Offer nothing: none", "may not be given any"),
        ({"action": "none", "reason": "budget-spent"}, "quiet", "Offer nothing: none", "The budget was spent"),
        ({"action": "none", "reason": "fallback"}, "unclear", "Offer nothing: none", "unlike anything"),
        (
            {"reason": "lottery-won", "propensities": {"none": 0.75, "5% off": 0.25}},
            "unclear",
            "Offer: 5% off",
            "given to 25.0% of users like this one, by lot",
        ),
        (
            {"action": "none", "reason": "below-threshold", "price": None},
            "quiet",
            "Offer nothing: none",
            "only what costs nothing is offered",
        ),
    ],
)
def test_an_offer_in_words(changes: dict[str, Any], tone: str, headline: str, said: str) -> None:
    told = offer_said(decision(**changes), "none", BUDGET, MARGIN, {})
    assert (told.tone, told.headline) == (tone, headline)
    assert said in told.lines[1]
    assert "raise margin by 2 per head" in told.lines[0]


def test_every_offer_is_told_the_best_first() -> None:
    rows = option_rows(decision(), MARGIN)
    assert [row[0] for row in rows] == ["5% off", "none", "20% off", "call"]
    assert rows[0] == ("5% off", "+2", "0.400", "+1.20", "given")
    assert [row[4] for row in rows] == ["given", "", "not allowed", "does no good"]


def test_what_a_budget_of_money_means() -> None:
    heads, rows = meaning(POLICY, BUDGET, 1_000, MARGIN)
    assert heads == ("A budget of 0.500 per head", "per head of everybody", "over 1,000 users")
    told = {row[0]: row[1:] for row in rows}
    assert told["Users given an offer"] == ("40.0%", "400 users")
    assert told["Cost, expected"] == ("0.500", "500")
    assert told["The last unit of money brings"] == ("2 of margin", "–")
    assert told["Gain over offering nothing, predicted"] == ("+1.50 margin per head", "+1,500")
    assert dict(row[:2] for row in meaning(POLICY, Money(0.0), 10, MARGIN)[1])["The last unit of money brings"] == (
        "nothing that costs"
    )


def test_figures_show_the_curve_and_the_budget() -> None:
    for drawn, last in (
        (money_figures.value_by_money_figure(POLICY, BUDGET, MARGIN), 2.25),
        (money_figures.offered_by_money_figure(POLICY, BUDGET), 0.7),
        (money_figures.price_figure(POLICY, BUDGET, MARGIN), 1.0),
    ):
        (line,) = (trace for trace in drawn.data if trace.x is not None and len(trace.x) == 3)
        np.testing.assert_array_equal(line.x, [0.0, 0.5, 1.0])
        assert line.y[-1] == last
        assert any(shape.x0 == 0.5 for shape in drawn.layout.shapes)
        assert (drawn.layout.xaxis.tickformat, drawn.layout.xaxis.range) == (None, None), "money is no percentage"


def test_budgets_are_asked_for_as_the_service_takes_them() -> None:
    assert terms(BUDGET) == {"budget_per_head": 0.5}
    assert terms(0.3) == {"budget_share": 0.3}
    assert (shown(BUDGET), shown(0.3)) == ("0.500 per head", "30%")
    assert is_money(POLICY)
    assert not is_money({"share": 0.3})


def test_a_row_of_the_list_is_about_the_offer_that_is_made() -> None:
    assert _row(decision()).keys() == {*SCHEMA, "cost"}
    other = _row(decision(treatment="20% off", reason="lottery-lost", effect=3.0, cost_effect=1.5))
    assert (other["action"], other["effect"], other["cost"], other["low"]) == ("5% off", 2.0, 0.4, None)
    nothing = _row(decision(action="none", reason="below-threshold"))
    assert (nothing["effect"], nothing["cost"]) == (2.0, 0.4)
