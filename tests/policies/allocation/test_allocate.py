"""What ``allocate`` accepts, refuses and says."""

from __future__ import annotations

import math
import tracemalloc
import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest

import persuadable as ps
from persuadable.errors import ActionError, DataError, Infeasible, ParameterError
from persuadable.policies import Allocation, ScaleWarning, allocate

VALUE = np.array([[0.0, 10.0, 12.0], [0.0, 6.0, -1.0], [0.0, 1.0, 8.0], [0.0, -2.0, -3.0]])
COST = np.array([[0.0, 5.0, 9.0], [0.0, 4.0, 1.0], [0.0, 1.0, 8.0], [0.0, 1.0, -5.0]])


def some(n: int, n_actions: int = 4, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    value, cost = rng.normal(0.2, 1.0, (n, n_actions)), rng.exponential(1.0, (n, n_actions)) + 0.05
    value[:, 0] = cost[:, 0] = 0.0
    return value, cost


def test_without_a_budget_everybody_gets_what_brings_most() -> None:
    made = allocate(VALUE, COST, budget=None)
    assert made.action.tolist() == [2, 1, 2, 0]  # nothing is given to the last, though −5 would be saved
    assert made.action.dtype == np.int16
    assert (made.value, made.cost, made.price, made.bound, made.gap) == (26.0, 21.0, 0.0, 26.0, 0.0)
    assert made.rows == ()
    assert made.budget == math.inf
    assert made.roi == pytest.approx(26 / 21)
    assert made.counts.tolist() == [1, 1, 2]
    assert made.shares.tolist() == [0.25, 0.25, 0.5]


def test_a_budget_that_does_not_bind_has_no_price() -> None:
    made = allocate(VALUE, COST, budget=21.0)
    (row,) = made.rows
    assert (row.name, row.used, row.limit, row.price, row.binding, row.met) == ("budget", 21.0, 21.0, 0.0, False, True)


def test_no_budget_at_all_buys_what_is_free() -> None:
    value, cost = np.array([[0.0, 3.0, 5.0], [0.0, 2.0, 1.0]]), np.array([[0.0, 0.0, 1.0], [0.0, 4.0, -2.0]])
    made = allocate(value, cost, budget=0.0)
    # The second unit's offer at −2 pays for the first unit's dearer one, and leaves 1 over.
    assert made.action.tolist() == [2, 2]
    assert (made.value, made.cost) == (6.0, -1.0)


def test_why_pairs_are_out_of_the_question_is_counted() -> None:
    value = np.array([[0.0, 10.0, 9.0, 4.0, -1.0], [0.0, 1.0, 2.0, 0.0, 5.0]])
    cost = np.array([[0.0, 5.0, 6.0, 1.0, 1.0], [0.0, 10.0, 1.0, 1.0, 2.0]])
    eligible = np.array([[True, True, True, True, True], [False, True, True, True, False]])
    made = allocate(value, cost, budget=100.0, eligible=eligible, efficiency_floor=0.5)
    # 9 for 6 is worse than 10 for 5; 1 for 10 is below 0.5 per unit of cost.
    assert made.pruned == {"not eligible": 1, "brings nothing": 2, "below the efficiency floor": 1, "dominated": 1}
    assert made.action.tolist() == [1, 2]


def test_the_efficiency_floor_is_kept_pair_by_pair() -> None:
    assert allocate(VALUE, COST, budget=None, efficiency_floor=1.4).action.tolist() == [1, 1, 0, 0]


def test_forbidden_pairs_are_not_given_and_forced_ones_are() -> None:
    forbidden = np.zeros(VALUE.shape, dtype=bool)
    forbidden[0, 2] = True
    made = allocate(VALUE, COST, budget=None, forbidden=forbidden, forced=[-1, 2, 0, 2])
    assert made.action.tolist() == [1, 2, 0, 2]
    assert (made.value, made.cost) == (10.0 - 1.0 - 3.0, 5.0 + 1.0 - 5.0)


def test_forced_actions_beyond_the_budget_are_infeasible() -> None:
    with pytest.raises(Infeasible, match=r"least that can be spent is 9, the budget is 8.*forced actions"):
        allocate(VALUE, COST, budget=8.0, forced=[2, -1, -1, -1])


def test_caution_decides_on_the_bound_and_tells_both_totals() -> None:
    value, cost = some(300)
    rng = np.random.default_rng(1)
    off, over = rng.exponential(0.3, value.shape), rng.exponential(0.1, value.shape)
    made = allocate(value, cost, budget=40.0, value_stderr=off, cost_stderr=over, averse=1.5)
    safe_value, safe_cost = value - 1.5 * off, cost + 1.5 * over
    safe_value[:, 0] = safe_cost[:, 0] = 0.0
    plain = allocate(safe_value, safe_cost, budget=40.0)
    rows = np.arange(300)
    assert np.array_equal(made.action, plain.action)
    assert (made.decided_value, made.decided_cost, made.bound) == (plain.value, plain.cost, plain.bound)
    assert made.value == pytest.approx(value[rows, made.action].sum(), rel=1e-12)
    assert made.cost == pytest.approx(cost[rows, made.action].sum(), rel=1e-12)
    assert made.value > made.decided_value
    assert made.cost < made.decided_cost <= 40.0
    at_price = made.decide(value, cost, value_stderr=off, cost_stderr=over)
    assert np.array_equal(np.flatnonzero(at_price != made.action), made.marginal)
    assert "1.5 standard errors on the safe side" in str(made)


def test_a_unit_with_no_eligible_action_gets_no_offer_and_its_numbers_are_not_looked_at() -> None:
    value, cost = VALUE.copy(), COST.copy()
    value[1], cost[1] = np.nan, np.inf
    value[1, 0] = cost[1, 0] = 0.0
    eligible = np.ones(VALUE.shape, dtype=bool)
    eligible[1] = False
    made = allocate(value, cost, budget=None, eligible=eligible)
    assert made.action.tolist() == [2, 0, 2, 0]
    assert made.value == 20.0


def test_nobody_and_no_offer_are_allowed() -> None:
    made = allocate(np.empty((0, 3)), np.empty((0, 3)), budget=1.0)
    assert (made.n, made.value, made.cost, made.bound, made.relative_gap) == (0, 0.0, 0.0, 0.0, 0.0)
    made = allocate(np.zeros((4, 1)), np.zeros((4, 1)), budget=1.0)
    assert made.action.tolist() == [0, 0, 0, 0]
    assert math.isnan(made.roi)


def test_whole_numbers_and_lists_are_numbers() -> None:
    made = allocate([[0, 3, 2]], [[0, 2, 1]], budget=1)
    assert made.action.tolist() == [2]


@pytest.mark.parametrize("budget", [-1.0, math.nan, "much", -math.inf])
def test_a_budget_that_is_none_is_refused(budget: Any) -> None:
    with pytest.raises(ParameterError, match="budget is"):
        allocate(VALUE, COST, budget=budget)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"roi_floor": -1.0}, ParameterError, "roi_floor is -1"),
        ({"roi_floor": math.inf}, ParameterError, "roi_floor is inf"),
        ({"efficiency_floor": math.nan}, ParameterError, "efficiency_floor is nan"),
        ({"averse": -1.0}, ParameterError, "averse is -1"),
        ({"averse": 1.0}, ParameterError, "averse= needs standard errors"),
        ({"averse": 1.0, "value_stderr": np.ones((4, 2))}, DataError, r"value_stderr has shape \(4, 2\)"),
        ({"averse": 1.0, "value_stderr": -np.ones((4, 3))}, DataError, r"value_stderr is -1.0 \(row 0, column 1\)"),
        ({"averse": 1.0, "cost_stderr": VALUE * np.nan}, DataError, r"cost_stderr is nan \(row 0, column 1\)"),
        ({"cost": COST[:, :2]}, DataError, r"cost has shape \(4, 2\), value \(4, 3\)"),
        ({"value": VALUE[0]}, DataError, r"value has shape \(3,\)"),
        ({"value": VALUE.astype(str)}, DataError, "value holds"),
        ({"value": VALUE * np.nan}, DataError, r"value is nan \(row 0, column 0\)"),
        ({"value": np.ma.masked_greater(VALUE, 9.0)}, DataError, "value is masked in places"),
        ({"cost": np.where(COST == 8.0, np.inf, COST)}, DataError, r"cost is inf \(row 2, column 2\)"),
        ({"value": VALUE + 1.0}, DataError, r"value of doing nothing is 1, not 0 \(row 0, column 0\).*[Ss]ubtract"),
        ({"eligible": np.ones((4, 2), dtype=bool)}, ActionError, r"eligible has shape \(4, 2\)"),
        ({"eligible": np.full((4, 3), 2)}, ActionError, "other than True and False"),
        ({"forbidden": np.ones((4, 3), dtype=bool)}, ActionError, "Doing nothing cannot be forbidden"),
        ({"forced": [0, 1, 3, -1]}, ActionError, r"no action 3 to force \(row 2\)"),
        ({"forced": [0.5, 1, 2, -1]}, ActionError, "forced has shape"),
        ({"forced": [2, -1, -1, -1], "eligible": np.eye(4, 3, dtype=bool)}, ActionError, "Action 2 is forced and not"),
        ({"actions": ["none", "mail"]}, ActionError, "actions names 2 actions"),
        ({"actions": ["none", "mail", "mail"]}, ActionError, "2 different"),
        ({"caps": {"voucher": 3}}, ActionError, "caps names 'voucher'"),
        ({"groups": ["a", "a", "b", "b"]}, ParameterError, "no constraint refers to it"),
        ({"threads": 0}, ParameterError, "threads must be"),
    ],
)
def test_what_cannot_be_used_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        allocate(**({"value": VALUE, "cost": COST, "budget": 5.0} | change))


def test_a_bad_number_among_very_many_is_found() -> None:
    value, cost = some(90_000)
    cost[71_234, 2] = np.nan
    with pytest.raises(DataError, match=r"cost is nan \(row 71,234, column 2\)"):
        allocate(value, cost, budget=10.0)


def test_totals_that_overflow_are_refused() -> None:
    value, cost = np.full((30, 2), 1e307), np.ones((30, 2))
    value[:, 0] = cost[:, 0] = 0.0
    with pytest.raises(DataError, match="overflows"):
        allocate(value, cost, budget=None)


@pytest.mark.parametrize("factor", [1e4, 1e-5])
def test_costs_in_another_unit_are_told(factor: float) -> None:
    value, cost = some(1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        allocate(value, cost, budget=50.0)
    with pytest.warns(ScaleWarning, match="same unit") as seen:
        made = allocate(value, cost * factor, budget=50.0)
    assert seen[0].filename == __file__
    assert made.cost <= 50.0


def test_few_units_or_a_budget_of_nothing_are_no_sign_of_another_unit() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        allocate(*some(30), budget=1e9)
        allocate(*some(1000), budget=0.0)


def test_labels_and_caps_and_constraints_go_together() -> None:
    value, cost = some(400)
    made = allocate(value, cost, budget=60.0, actions=["none", "a", "b", "c"], caps={"a": 10, 3: 20})
    assert made.labels == ("none", "a", "b", "c")
    assert made.counts[1] <= 10
    assert made.counts[3] <= 20
    assert made.cost <= 60.0 * (1 + 1e-12)
    assert made.value <= made.bound * (1 + 1e-9)
    assert all(row.met for row in made.rows)
    free = allocate(value, cost, budget=60.0)
    assert made.value < free.value
    with pytest.raises(ParameterError, match="a price for every constraint"):
        made.decide(value, cost)


def test_a_cap_on_a_label_that_is_a_number_is_on_that_label() -> None:
    value, cost = some(200, 3)
    made = allocate(value, cost, budget=None, actions=[0, 2, 5], caps={2: 7})
    assert made.labels == ("0", "2", "5")
    assert made.counts[1] == 7
    assert made.counts[2] > 7


def test_a_cap_sees_what_caution_and_the_floor_leave() -> None:
    value, cost = some(200)
    off = np.full(value.shape, 0.3)
    made = allocate(value, cost, budget=None, caps={1: 20}, value_stderr=off, averse=1.0, efficiency_floor=0.8)
    rows = np.flatnonzero(made.action)
    given = value[rows, made.action[rows]] - 0.3
    assert (given >= 0.8 * cost[rows, made.action[rows]]).all()
    assert made.counts[1] <= 20
    assert made.decided_value == pytest.approx(given.sum())


def test_forced_losses_under_a_floor_on_the_return_are_made_up_for_or_infeasible() -> None:
    value, cost = np.array([[0.0, -2.0], [0.0, 9.0], [0.0, 3.0]]), np.array([[0.0, 1.0], [0.0, 4.0], [0.0, 1.0]])
    made = allocate(value, cost, budget=None, roi_floor=1.0, forced=[1, -1, -1])
    assert made.action.tolist() == [1, 1, 1]
    with pytest.raises(Infeasible):
        allocate(value, cost, budget=None, roi_floor=2.0, forced=[1, 0, 0])


def test_it_prints_and_tabulates() -> None:
    made = allocate(VALUE, COST, budget=14.0, actions=["nothing", "mail", "voucher"])
    text = str(made)
    assert text == made.summary()
    for told in ("4 units", "voucher", "the last unit of it brought", "no allocation brings more than"):
        assert told in text
    assert made.frame().equals(
        pl.DataFrame({"action": made.labels, "units": made.counts, "share": made.shares}), null_equal=True
    )
    assert isinstance(made, Allocation)
    assert made.prices == {"budget": made.price}


def test_the_decision_takes_the_same_actions_only() -> None:
    made = allocate(VALUE, COST, budget=14.0)
    with pytest.raises(ParameterError, match="chooses among 3 actions, 2 are asked for"):
        made.decide(VALUE[:, :2], COST[:, :2])
    with pytest.raises(DataError, match="value is nan"):
        made.decide(np.full((1, 3), np.nan), np.zeros((1, 3)))


def test_memory_stays_far_below_that_of_the_inputs() -> None:
    value, cost = some(300_000, 6)
    allocate(value[:100], cost[:100], budget=1.0)
    tracemalloc.start()
    allocate(value, cost, budget=20_000.0, threads=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / 300_000 < 100.0  # bytes per unit: 1 GB for ten million


def test_the_names_are_public() -> None:
    assert ps.policies.allocate is allocate


def test_many_constraints_are_told_only_where_they_bind() -> None:
    value, cost = some(400)
    group = np.arange(400) % 4
    made = allocate(value, cost, budget=40.0, constraints=[ps.policies.Parity(0.1)], groups=group)
    assert len(made.rows) == 13
    idle = sum(not row.binding for row in made.rows)
    assert idle
    assert f"{idle} more do not bind" in str(made)
    assert str(made).count("parity: ") == 12 - idle


@pytest.mark.parametrize("budget", ["100", True, [1.0]])
def test_a_budget_is_a_number(budget: Any) -> None:
    with pytest.raises(ParameterError, match="budget is"):
        allocate(VALUE, COST, budget=budget)


@pytest.mark.parametrize("told", [["cap 5"], ps.policies.Cap(5), "cap"])
def test_constraints_are_a_list_of_constraints(told: Any) -> None:
    with pytest.raises(ParameterError, match="constraints holds"):
        allocate(VALUE, COST, budget=5.0, constraints=told)
