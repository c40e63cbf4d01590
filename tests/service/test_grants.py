"""A cap is never exceeded, and the recorded propensities are those of the draws."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable.service.grants import Settled, committed, decisions, settle
from persuadable.service.records import Budget, Order, Priced, Proposal

ACTIONS = ("none", "mail", "call")
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def proposal(net: float, chance: float, unit: str = "u", treatment: str = "mail") -> Proposal:
    reason = "below-threshold" if chance == 0 else "treated" if chance == 1 else "lottery-won"
    return Proposal(unit, {}, treatment, net, None, net, 0.1, chance, reason)


def order_of(proposals: list[Proposal]) -> Order:
    return Order(None, b"", Budget(0.3, None, "spring"), tuple(proposals), ACTIONS, "v1", "c1")


class Unused(np.random.Generator):
    """A generator that must not be asked."""

    def random(self, *args: object, **options: object) -> float:
        raise AssertionError("a number was drawn although nothing was left to chance")


NO_LOTS = Unused(np.random.PCG64(0))


def test_without_a_cap_everybody_gets_their_chance() -> None:
    settled = settle([proposal(3, 1.0), proposal(2, 0.0)], None, NO_LOTS)
    assert settled == [Settled(True, 1.0, "treated"), Settled(False, 0.0, "below-threshold")]


def test_the_highest_net_effects_are_served_first_and_ties_in_request_order() -> None:
    settled = settle([proposal(net, 1.0) for net in (1.0, 5.0, 3.0, 5.0, 3.0)], 3, NO_LOTS)
    assert [s.treated for s in settled] == [False, True, True, True, False]
    assert [s.reason for s in settled] == ["budget-spent", "treated", "treated", "treated", "budget-spent"]
    assert [s.propensity for s in settled] == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_nothing_is_drawn_once_the_budget_is_spent() -> None:
    settled = settle([proposal(1.0, 0.5), proposal(2.0, 1.0)], 1, NO_LOTS)
    assert [s.reason for s in settled] == ["budget-spent", "treated"]


@pytest.mark.parametrize("left", [0, -3])
def test_an_empty_budget_treats_nobody_and_leaves_other_reasons_alone(left: int) -> None:
    settled = settle([proposal(1.0, 1.0), proposal(0.5, 0.0), proposal(0.7, 0.2)], left, NO_LOTS)
    assert [s.reason for s in settled] == ["budget-spent", "below-threshold", "budget-spent"]
    assert not any(s.treated or s.propensity for s in settled)


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.sampled_from([0.0, 0.2, 0.9, 1.0]))),
    st.integers(0, 6),
    st.integers(0, 2**32),
)
def test_a_cap_is_never_exceeded_and_always_used_up_by_the_certain(
    units: list[tuple[float, float]], cap: int, seed: int
) -> None:
    settled = settle([proposal(*unit) for unit in units], cap, np.random.default_rng(seed))
    treated = sum(s.treated for s in settled)
    certain = sum(chance == 1.0 for _, chance in units)
    assert min(cap, certain) <= treated <= cap
    assert all(chance > 0 for (_, chance), s in zip(units, settled, strict=True) if s.treated)


def histories(chances: list[float], cap: int) -> dict[tuple[bool, ...], float]:
    """Outcome of all lotteries → probability, by enumeration: all draws are made, and the cap cuts what they gave."""
    found: dict[tuple[bool, ...], float] = {}
    for draws in product([True, False], repeat=len(chances)):
        probability = math.prod(p if won else 1 - p for p, won in zip(chances, draws, strict=True))
        given_out, left = [], cap
        for won in draws:
            given_out.append(won and left > 0)
            left -= given_out[-1]
        found[tuple(given_out)] = found.get(tuple(given_out), 0.0) + probability
    return {history: probability for history, probability in found.items() if probability > 0}


@pytest.mark.parametrize(
    ("chances", "cap"),
    [
        ([1.0, 0.3, 0.6, 0.5], 2),
        ([0.3, 0.6, 0.5, 0.2], 1),
        ([0.25, 0.5], 5),
        ([0.97, 0.03], 1),
        ([0.9, 0.0, 0.4], 1),
    ],
)
def test_propensities_multiply_to_the_probability_of_what_happened(chances: list[float], cap: int) -> None:
    proposals = [proposal(10.0 - i, chance) for i, chance in enumerate(chances)]
    expected, rng, runs = histories(chances, cap), np.random.default_rng(0), 4000
    seen: Counter[tuple[bool, ...]] = Counter()
    for _ in range(runs):
        settled = settle(proposals, cap, rng)
        history = tuple(s.treated for s in settled)
        recorded = math.prod(s.propensity if s.treated else 1 - s.propensity for s in settled)
        assert recorded == pytest.approx(expected[history], abs=1e-12)
        seen[history] += 1
    for history, probability in expected.items():
        spread = math.sqrt(probability * (1 - probability) / runs)
        assert abs(seen[history] / runs - probability) <= 4.5 * spread + 1e-12


@given(st.floats(0, 1))
def test_propensities_cover_every_action_and_sum_to_one_exactly(chance: float) -> None:
    order = order_of([proposal(1.0, chance)])
    (decision,) = decisions(order, [Settled(True, chance, "lottery-won")], ["d1"], NOW)
    assert tuple(decision.propensities) == ACTIONS
    assert decision.propensities["mail"] == chance
    assert sum(decision.propensities.values()) == 1.0


def test_a_decision_carries_what_was_proposed_and_settled() -> None:
    order = order_of([proposal(1.0, 1.0, "anna", "call"), proposal(0.5, 0.0, "ben")])
    anna, ben = decisions(order, settle(order.proposals, None, NO_LOTS), ["d1", "d2"], NOW)
    assert (anna.decision_id, anna.unit, anna.action, anna.treatment) == ("d1", "anna", "call", "call")
    assert anna.propensities == {"none": 0.0, "mail": 0.0, "call": 1.0}
    assert (ben.decision_id, ben.action, ben.treatment) == ("d2", "none", "mail")
    assert ben.propensities == {"none": 1.0, "mail": 0.0, "call": 0.0}
    assert (anna.bundle, anna.contract, anna.campaign, anna.made_at) == ("v1", "c1", "spring", NOW)


def test_decisions_that_are_not_recorded_have_no_id() -> None:
    order = order_of([proposal(1.0, 1.0)])
    (decision,) = decisions(order, settle(order.proposals, None, NO_LOTS), None, NOW)
    assert decision.decision_id is None


# --- money --------------------------------------------------------------------------------------------------------


def priced(net: float, chance: float, cost: float, other: str | None = None, other_cost: float = 0.0) -> Proposal:
    return proposal(net, chance)._replace(priced=Priced(0.5, cost, other, other_cost))


def test_money_is_given_to_the_best_and_what_cannot_be_paid_is_passed_over() -> None:
    proposals = [priced(3.0, 1.0, 6.0), priced(2.0, 1.0, 5.0), priced(1.0, 1.0, 4.0), priced(0.5, 0.0, 0.1)]
    settled = settle(proposals, None, NO_LOTS, 10_000_000)
    assert [s.treated for s in settled] == [True, False, True, False]
    assert [s.reason for s in settled] == ["treated", "budget-spent", "treated", "below-threshold"]
    assert committed(proposals, settled) == 10_000_000


def test_what_is_expected_to_save_money_is_given_from_an_empty_purse_and_adds_nothing() -> None:
    proposals = [priced(3.0, 1.0, -2.0), priced(2.0, 1.0, 0.0), priced(1.0, 1.0, 1e-9)]
    settled = settle(proposals, None, NO_LOTS, 0)
    assert [s.treated for s in settled] == [True, True, False]
    assert committed(proposals, settled) == 0


def test_costs_count_as_they_are_written_and_never_for_less() -> None:
    exact = [priced(1.0, 1.0, 0.1) for _ in range(10)]
    assert [s.treated for s in settle(exact, None, NO_LOTS, 1_000_000)] == [True] * 10
    odd = [priced(1.0, 1.0, 4.03) for _ in range(10)]
    assert 4.03 * 1e6 > 4_030_000, "or this tests nothing"
    assert [s.treated for s in settle(odd, None, NO_LOTS, 40_300_000)] == [True] * 10
    third = [priced(1.0, 1.0, 1 / 3) for _ in range(3)]
    settled = settle(third, None, NO_LOTS, 1_000_000)
    assert sum(s.treated for s in settled) == 2, "three thirds, each rounded up to a millionth, are more than one"
    assert committed(third, settled) == 666_668


def test_both_caps_hold_together() -> None:
    proposals = [priced(float(-i), 1.0, 1.0) for i in range(9)]
    assert sum(s.treated for s in settle(proposals, 3, NO_LOTS, 5_000_000)) == 3
    assert sum(s.treated for s in settle(proposals, 7, NO_LOTS, 5_000_000)) == 5


def test_a_lot_between_two_treatments_gives_one_of_them() -> None:
    rng, n = np.random.default_rng(0), 4_000
    settled = settle([priced(1.0, 0.25, 3.0, "call", 1.0)] * n, None, rng, None)
    assert {(s.treated, s.propensity, s.other) for s in settled} == {(True, 0.25, 0.75)}
    assert {(s.is_other, s.reason) for s in settled} == {(False, "lottery-won"), (True, "lottery-lost")}
    assert abs(sum(not s.is_other for s in settled) / n - 0.25) < 4.5 * math.sqrt(0.25 * 0.75 / n)


@pytest.mark.parametrize(
    ("money", "told"),
    [
        (2_999_999, Settled(True, 0.0, "treated", 1.0, True)),
        (1_000_000, Settled(True, 0.0, "treated", 1.0, True)),
        (999_999, Settled(False, 0.0, "budget-spent")),
    ],
)
def test_where_only_the_cheaper_can_be_paid_it_is_given_for_certain(money: int, told: Settled) -> None:
    assert settle([priced(1.0, 0.25, 3.0, "call", 1.0)], None, NO_LOTS, money) == [told]


def test_a_lot_against_nothing_is_drawn_only_where_it_can_be_paid() -> None:
    assert settle([priced(1.0, 0.25, 3.0)], None, NO_LOTS, 2_000_000) == [Settled(False, 0.0, "budget-spent")]


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.sampled_from([0.0, 0.4, 1.0]), st.floats(-2, 6), st.booleans())),
    st.integers(0, 20_000_000),
    st.integers(0, 2**32),
)
def test_money_is_never_overspent(units: list[tuple[float, float, float, bool]], money: int, seed: int) -> None:
    proposals = [priced(net, p, cost, "call" if two else None, cost - 1) for net, p, cost, two in units]
    settled = settle(proposals, None, np.random.default_rng(seed), money)
    spent = committed(proposals, settled)
    assert 0 <= spent <= money
    given_out = [
        (p.priced.other_cost if s.is_other else p.priced.cost_effect)
        for p, s in zip(proposals, settled, strict=True)
        if s.treated and p.priced
    ]
    assert math.fsum(max(cost, 0.0) for cost in given_out) <= spent / 1e6 + 1e-12
    for p, s in zip(proposals, settled, strict=True):
        assert s.propensity + s.other <= 1.0
        if s.reason == "budget-spent":  # not even its cheapest could be paid in the end
            cheapest = min(p.priced.cost_effect, p.priced.other_cost) if p.priced.other and p.chance < 1 else None
            assert (p.priced.cost_effect if cheapest is None else cheapest) * 1e6 > money - spent - 1


def test_a_decision_says_which_of_two_treatments_it_gave() -> None:
    order = order_of([priced(1.0, 0.25, 3.0, "call", 1.0)] * 2)
    lots = [Settled(True, 0.25, "lottery-won", 0.75), Settled(True, 0.25, "lottery-lost", 0.75, True)]
    won, lost = decisions(order, lots, ["d1", "d2"], NOW)
    assert (won.action, lost.action, won.treatment, lost.treatment) == ("mail", "call", "mail", "mail")
    for decision in (won, lost):
        assert decision.propensities == {"none": 0.0, "mail": 0.25, "call": 0.75}
        assert decision.priced == Priced(0.5, 3.0)
