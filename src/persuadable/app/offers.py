"""Decisions under a budget of money, in sentences and tables, for people who have never seen the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from persuadable.app.sentences import Said, in_words, review_sentence
from persuadable.app.spending import Money, shown
from persuadable.app.units import Unit, people
from persuadable.report.words import number, percent

__all__ = ["meaning", "offer_said", "option_rows"]

Json = Mapping[str, Any]
Rows = list[tuple[str, ...]]


def offer_said(decision: Json, control: str, money: Money, unit: Unit, ranges: Mapping[str, str]) -> Said:
    """A decision of /v1/score in words, where it is one out of many offers.

    Args:
        decision: as the service answered it.
        control: the label of doing nothing.
        money: the budget it was asked with.
        unit: of the effect.
        ranges: what training saw of each feature, in words.
    """
    given = decision["action"] != control
    headline = f"Offer: {decision['action']}" if given else f"Offer nothing: {control}"
    return in_words(decision, headline, _reason(decision, money, unit), unit, ranges, given=given)


def _reason(decision: Json, money: Money, unit: Unit) -> str:
    reason, price, offer = decision["reason"], decision["price"], decision["treatment"]
    budget = f"a budget of {shown(money)}"
    if reason == "fallback":
        return "The features are unlike anything the model has learned from, so nothing is offered, whatever it brings."
    if reason == "review":
        return review_sentence(decision)
    if reason == "not-eligible":
        return "This user may not be given any of the offers."
    if reason == "not-worth-it":
        return "No offer is predicted to do any good here, so none is made, however large the budget."
    if reason == "budget-spent":
        return "The budget was spent on users to whom it brings more."
    if price is None:
        return f"With {budget}, only what costs nothing is offered."
    costs = f"It is expected to cost {number(decision['cost_effect'], 3)}. With {budget}, money must bring"
    costs += f" {number(price, 3)} times its amount"
    if reason in ("lottery-won", "lottery-lost"):
        chance = percent(decision["propensities"][offer])
        return f"{costs}, which {offer} does exactly: it is given to {chance} of users like this one, by lot."
    net = f"leaves {unit.by(decision['net_effect'])}"
    if reason == "treated":
        return f"{costs}; less that, {offer} {net}, the most of all offers."
    return f"{costs}; less that, not even {offer} is worth it: it {net}."


def option_rows(decision: Json, unit: Unit) -> Rows:
    """Every action for one user: what it brings, costs and leaves at the price of money, the best first.

    Args:
        decision: of /v1/score, with its options.
        unit: of the effect.
    """
    options = sorted(decision["options"].items(), key=lambda item: -item[1]["net_effect"])
    return [
        (
            label,
            unit.bare(option["effect"], signed=True),
            number(option["cost_effect"], 3),
            unit.bare(option["net_effect"], signed=True),
            _said_of(label, option, decision),
        )
        for label, option in options
    ]


def _said_of(label: str, option: Json, decision: Json) -> str:
    if label == decision["action"]:
        return "given"
    if not option["eligible"]:
        return "not allowed"
    return "does no good" if option["effect"] <= 0 and option["cost_effect"] else ""


def meaning(policy: Json, money: Money, population: int, unit: Unit) -> tuple[tuple[str, ...], Rows]:
    """What a budget of money is predicted to bring: the heads of a table, and its rows.

    Args:
        policy: of /v1/policy.
        money: the budget.
        population: users in all.
        unit: of the outcome.
    """
    row = min(policy["rows"], key=lambda r: abs(r["budget_per_head"] - money.per_head))
    spend, offered = row["expected_spend"], row["expected_share"]
    price = "nothing that costs" if row["price"] is None else f"{number(row['price'], 3)} of {unit.outcome}"
    rows: Rows = [
        ("Users given an offer", percent(offered), f"{people(offered, population):,} users"),
        ("Cost, expected", number(spend, 3), number(spend * population, 6)),
        ("The last unit of money brings", price, "–"),
        (
            "Gain over offering nothing, predicted",
            unit.amount(row["value_per_head"], signed=True),
            *unit.totals(population, row["value_per_head"], signed=True),
        ),
    ]
    return (f"A budget of {shown(money)}", "per head of everybody", f"over {population:,} users"), rows
