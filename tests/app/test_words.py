from __future__ import annotations

import re
from typing import Any, get_args

import pytest
from documents import HELD_OUT, decision, policy

from persuadable.app.budgets import meaning
from persuadable.app.look import plain_markdown
from persuadable.app.sentences import decision_said, flag_sentence, shown_value
from persuadable.app.units import Unit
from persuadable.app.views.model import card_rows
from persuadable.contract import ViolationCode

VISIT = Unit("visit", binary=True)
SPEND = Unit("spend", binary=False)
RANGES = {"age": "18 to 80"}


def said(share: float = 0.3, unit: Unit = VISIT, **changes: Any) -> str:
    told = decision_said(decision(**changes), "none", share, unit, RANGES)
    return " ".join((f"[{told.tone}] {told.headline}.", *told.lines))


def test_units() -> None:
    assert VISIT.amount(0.0635) == "6.35 percentage points"
    assert VISIT.amount(-0.0005, signed=True) == "−0.05 percentage points"
    assert VISIT.amount(0.02, signed=True) == "+2.00 percentage points"
    assert VISIT.between(-0.01, 0.025) == "−1.00 to 2.50"
    assert VISIT.level(0.1287) == "12.9%"
    assert SPEND.amount(1.234) == "1.23 spend per head"
    assert SPEND.by(1.234) == "1.23 per head"
    assert SPEND.between(0.5, 1.25) == "0.50 to 1.25"
    assert VISIT.axis("effect on visit") == "effect on visit, percentage points"
    assert SPEND.axis("effect on spend") == "effect on spend per head"
    assert SPEND.scaled([0.5]).tolist() == [0.5]
    assert VISIT.scaled([0.5]).tolist() == [50.0]


def test_the_unit_follows_what_was_measured() -> None:
    assert Unit.of({"outcome": "visit"}, {"binary": True}) == VISIT
    assert Unit.of({"outcome": "spend"}, {"binary": False}) == SPEND
    assert Unit.of({"outcome": "spend"}, None) == SPEND


def test_sums_over_a_population_share_their_decimals() -> None:
    assert VISIT.totals(10_000, 0.0069, 0.0151) == ["69", "151"]
    assert VISIT.totals(100, 0.0069, 0.0251) == ["0.7", "2.5"]
    assert VISIT.totals(10, -0.0069) == ["−0.07"]
    assert VISIT.totals(1_000_000, 0.0255, signed=True) == ["+25,500"]


def test_a_treated_user() -> None:
    assert said() == (
        "[good] Treat: mail. mail is predicted to raise visit by 8.00 percentage points (95% interval of the effect "
        "5.00 to 11.00). With a budget of 30%, users are treated from 6.00 percentage points on; this one lies above."
    )


def test_a_user_below_the_threshold() -> None:
    told = said(action="none", effect=0.01, net_effect=0.01, interval=None, reason="below-threshold")
    assert told == (
        "[quiet] Do not treat: none. mail is predicted to raise visit by 1.00 percentage points. This model gives no "
        "intervals. With a budget of 30%, users are treated from 6.00 percentage points on; this one lies below, so "
        "the budget goes to users whom it moves more."
    )


def test_a_user_whom_it_would_harm() -> None:
    told = said(action="none", effect=-0.02, net_effect=-0.02, interval=[-0.03, -0.01], reason="not-worth-it")
    assert "lower visit by 2.00 percentage points" in told
    assert "is predicted to do no good, so it is not given, however large the budget." in told


def test_the_cost_is_told_where_there_is_one() -> None:
    told = said(net_effect=0.07)
    assert "Net of what it costs that is 7.00 percentage points. With a budget of 30%" in told
    assert "bring less than it costs" in said(action="none", net_effect=-0.01, reason="not-worth-it")


@pytest.mark.parametrize(("reason", "action"), [("lottery-won", "mail"), ("lottery-lost", "none")])
def test_a_lottery_tells_its_chance(reason: str, action: str) -> None:
    told = said(action=action, reason=reason, propensities={"none": 0.75, "mail": 0.25})
    assert told.startswith("[unclear]")
    assert "of users like this one 25.0% are treated, by lot." in told
    assert told.endswith("This one was drawn." if action == "mail" else "This one was not drawn.")


def test_a_budget_of_nothing_treats_nobody() -> None:
    told = said(0.0, action="none", threshold=None, reason="below-threshold")
    assert told.endswith("With a budget of 0%, nobody is treated.")


def test_a_fallback_says_which_feature_led_to_it() -> None:
    flag = {"code": "unseen-category", "feature": "city", "answer": "fallback"}
    told = said(action="none", reason="fallback", flags=[flag])
    assert told.startswith("[unclear] Do not treat: none.")
    assert told.endswith("city holds a category that training never saw, so nothing is done.")


def test_a_clipped_feature_is_told_with_its_range() -> None:
    flag = {"code": "out-of-range", "feature": "age", "answer": "clip"}
    assert said(flags=[flag]).endswith(
        "age lies outside what training saw (18 to 80); the nearest bound was used instead."
    )


@pytest.mark.parametrize("code", get_args(ViolationCode))
@pytest.mark.parametrize("answer", ["flag", "fallback"])
def test_every_flag_has_a_sentence_of_its_own(code: str, answer: str) -> None:
    told = flag_sentence({"code": code, "feature": "{age}", "answer": answer}, {})
    assert told.startswith("{age} ")
    assert code not in told
    assert ("nothing is done" in told) == (answer == "fallback")


def test_values_on_labels() -> None:
    assert [shown_value(v) for v in (None, 6.0, -0.064, 758.070007, 1234567.0, "Ulm")] == [
        "not known", "6", "−0.064", "758.07", "1,234,567", "Ulm",
    ]  # fmt: skip


def rows(share: float, held_out: list[dict[str, Any]] | None, price: float = 0.0) -> dict[str, tuple[str, ...]]:
    told = meaning(policy(held_out), {"alpha": 0.05}, share, 1_000, price, VISIT)
    return {row[0]: row[1:] for row in told.rows}


def test_what_a_measured_budget_means() -> None:
    assert rows(0.3, HELD_OUT) == {
        "Users treated": ("30.0%", "300 users"),
        "Effect from which a user is treated": ("7.00 percentage points", "–"),
        # 0.05 · 0.3 per head
        "Gain over treating nobody, predicted": ("+1.50 percentage points", "+15.0"),
        "Gain over treating nobody, measured at 30%": (
            "+2.00 percentage points\n95% interval 1.50 to 2.50",
            "+20\n15 to 25",
        ),
        "Gain over as many drawn by lot, measured at 30%": (
            "+0.80 percentage points\n95% interval 0.40 to 1.20",
            "+8.0\n4.0 to 12.0",
        ),
        "visit in all, measured at 30%": ("12.0%\n95% interval 11.0% to 13.0%", "120\n110 to 130"),
    }


def test_between_two_measured_budgets_the_nearest_is_named() -> None:
    told = meaning(policy(HELD_OUT), {"alpha": 0.05}, 0.2 + 1e-9, 1_000, 0.0, VISIT)
    assert any(re.search("measured at 30%", row[0]) for row in told.rows)
    assert told.note.endswith("30% is the budget nearest to yours that was measured.")


def test_without_measurement_the_predictions_stand_alone() -> None:
    assert list(rows(0.3, None)) == [
        "Users treated",
        "Effect from which a user is treated",
        "Gain over treating nobody, predicted",
    ]
    unmeasured = [row | {"gain_over_random": None} for row in HELD_OUT]
    assert rows(0.3, unmeasured) == rows(0.3, None)


def test_costs() -> None:
    assert rows(1.0, None, price=0.5)["Cost at your price"] == ("0.400", "400")
    costly = [HELD_OUT[2] | {"cost": {"value": 0.2, "low": 0.1, "high": 0.3}}]
    assert rows(0.3, costly)["Cost, measured at 30%"] == (
        "0.200 cost per head\n95% interval 0.100 to 0.300",
        "200\n100 to 300",
    )


def test_a_budget_of_nothing_in_the_table() -> None:
    told = rows(0.0, HELD_OUT)
    assert told["Effect from which a user is treated"] == ("nobody is treated", "–")
    assert told["Users treated"] == ("0.0%", "0 users")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("zip_code", "zip_code"),
        ("_age_", r"\_age\_"),
        ("a*b* [c]", r"a\*b\* \[c\]"),
        (":red[x]", r"\:red\[x\]"),
        ("a\nb", "a b"),
        ("share: 5 %", "share: 5 %"),
        ("<b>$x$", r"\<b\>\$x\$"),
        ("# rank", r"\# rank"),
        ("- x", r"\- x"),
        ("+ x", r"\+ x"),
        ("1. rank", r"1\. rank"),
        ("2) rank", r"2\) rank"),
        ("a&lt;b", r"a\&lt;b"),
        ("a-b #1. +c", "a-b #1. +c"),
        # Seen in a browser: a backslash does not keep these from becoming links, a word joiner does.
        ("at https://a.example", "at https:\u2060//a.example"),
        ("WWW.a.example", "WWW\u2060.a.example"),
        ("me@a.example", "me\u2060@a.example"),
    ],
)
def test_names_are_letters_to_markdown(name: str, label: str) -> None:
    assert plain_markdown(name) == label


def test_a_model_card_says_what_it_knows_and_no_more() -> None:
    data = {"name": "letters", "rows": 42_693, "actions": {"none": 21_306, "mail": 21_387}, "features": ["age", "city"]}
    card = {"name": "X", "estimand": "The effect.", "data": data, "policy": {"rule": "Treat all."}, "propensity": None}
    assert card_rows(card) == [
        ("What is estimated", "The effect."),
        ("The rule", "Treat all."),
        ("Learned from", "letters: 42,693 rows (none 21,306, mail 21,387)"),
        ("Features", "age, city"),
    ]
    assert card_rows({"name": "X"}) == []
