"""What a conversion brings and a contact costs."""

from __future__ import annotations

import pytest

from persuadable.errors import ParameterError
from persuadable.policies import Economics, economics


def test_the_break_even_is_where_one_contact_pays_for_itself():
    money = economics(50.0, 0.4, margin=0.2)
    assert money.break_even == pytest.approx(0.04)  # 0.40 of cost over 10 of margin
    assert money.profit(money.break_even * 1_000, 1_000) == pytest.approx(0.0)
    assert money.break_even_roas == pytest.approx(5.0)
    conversions = 1_000 * money.break_even
    assert money.revenue(conversions) / money.spend(1_000) == pytest.approx(money.break_even_roas)


def test_several_contacts_a_treated_unit_raise_the_break_even():
    one, three = economics(20.0, 0.1), economics(20.0, 0.1, contacts_per_treated=3)
    assert three.break_even == pytest.approx(3 * one.break_even)


def test_a_contact_may_be_free():
    assert economics(20.0, 0.0).break_even == 0.0


def test_it_is_the_same_again_from_its_plain_values():
    money = economics(20, 0.1, outcome="visit", margin=0.5, contact="exposure", currency="$")
    assert Economics(**money.as_dict()) == money


@pytest.mark.parametrize(
    ("amount", "sign", "told"),
    [
        (1_234.5, "", "€1,234"),
        (-3.4, "", "−€3.40"),
        (12.0, "+", "+€12"),
        (0.0, "+", "€0"),
        (-150.0, "+", "−€150"),
        (0.0025, "", "€0.0025"),
    ],
)
def test_amounts_are_told_as_people_write_them(amount, sign, told):
    assert economics(1, 1, currency="€").money(amount, sign) == told


def test_an_amount_and_its_interval_have_the_same_digits():
    money = economics(1, 1, currency="€")
    assert money.amounts(1_700.6, 18.2, 3_384.0) == "€1,701 (€18 to €3,384)"
    assert money.amounts(-14.2, -380.9, 353.0, "+") == "−€14 (−€381 to +€353)"
    assert money.amounts(12.0, -0.3, 24.25) == "€12.00 (−€0.30 to €24.25)"
    assert money.amounts(0.2, -0.1, 120.0) == "€0 (€0 to €120)"


def test_it_says_what_it_means():
    told = str(economics(50.0, 0.4, margin=0.2, currency="€"))
    assert "One conversion brings €50 of which 20% is left" in told
    assert "by more than 0.04" in told


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"value_per_conversion": 0.0}, "value_per_conversion is 0.0"),
        ({"value_per_conversion": float("nan")}, "value_per_conversion is nan"),
        ({"value_per_conversion": True}, "value_per_conversion is True"),
        ({"value_per_conversion": "9"}, "value_per_conversion is '9'"),
        ({"cost_per_contact": -0.1}, "cost_per_contact is -0.1"),
        ({"margin": 1.2}, "margin is 1.2"),
        ({"margin": 0.0}, "margin is 0.0"),
        ({"contacts_per_treated": 0}, "contacts_per_treated is 0"),
        ({"outcome": "visit", "contact": "visit"}, "'visit' is named as the conversion and as the contact"),
    ],
)
def test_amounts_that_cannot_be_are_refused(arguments, what):
    with pytest.raises(ParameterError, match=what):
        economics(**({"value_per_conversion": 50.0, "cost_per_contact": 0.4} | arguments))
