"""The value of budget, and what becomes of an allocation if effects are off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from persuadable.errors import DataError, ParameterError
from persuadable.policies import allocate, allocation_curve, robustness


def some(n: int = 400) -> tuple[Any, Any]:
    rng = np.random.default_rng(2)
    value, cost = rng.normal(0.2, 1.0, (n, 4)), rng.exponential(1.0, (n, 4)) + 0.05
    value[:, 0] = cost[:, 0] = 0.0
    return value, cost


def test_the_curve_by_hand() -> None:
    # Steps: 4 for 1 (unit 0), 3 for 1 (unit 1, free offer first), 2 more for 2 (unit 0), then nothing.
    value, cost = np.array([[0.0, 4.0, 6.0], [0.0, 1.0, 4.0]]), np.array([[0.0, 1.0, 3.0], [0.0, 0.0, 1.0]])
    curve = allocation_curve(value, cost, [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 9.0])
    assert curve.price.tolist() == [4.0, 4.0, 3.0, 1.0, 1.0, 0.0, 0.0]
    assert curve.value.tolist() == [1.0, 3.0, 5.0, 8.0, 9.0, 10.0, 10.0]
    assert curve.cost.tolist() == [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 4.0]
    assert curve.no_offer.tolist() == [0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert curve.roi.tolist() == [np.inf, 6.0, 5.0, 4.0, 3.0, 2.5, 2.5]


def test_the_curve_is_the_bound_and_the_price_of_every_allocation() -> None:
    value, cost = some()
    eligible = np.random.default_rng(0).random(value.shape) < 0.8
    curve = allocation_curve(value, cost, eligible=eligible, efficiency_floor=0.1)
    assert len(curve.budget) == 51
    everything = allocate(value, cost, budget=None, eligible=eligible, efficiency_floor=0.1)
    assert curve.budget[-1] == pytest.approx(everything.cost)
    assert curve.no_offer[-1] == pytest.approx(everything.shares[0])
    for k in range(1, 50, 7):
        made = allocate(value, cost, budget=curve.budget[k], eligible=eligible, efficiency_floor=0.1)
        assert curve.value[k] == pytest.approx(made.bound, rel=1e-12)
        assert curve.price[k] == made.price
        assert curve.no_offer[k] == pytest.approx(made.shares[0], abs=0.02)
    assert (np.diff(curve.price) <= 0).all()
    assert (np.diff(curve.no_offer) <= 0).all()
    assert curve.frame().columns == ["budget", "price", "value", "cost", "roi", "no_offer"]
    assert str(curve).count("\n") == 11


def test_a_curve_of_nothing_worth_giving() -> None:
    curve = allocation_curve(np.zeros((3, 2)), np.ones((3, 2)) * [0, 1], [0.0, 5.0])
    assert curve.value.tolist() == [0.0, 0.0]
    assert curve.no_offer.tolist() == [1.0, 1.0]
    assert np.isnan(curve.roi).all()
    with pytest.raises(ParameterError, match="a budget is -1"):
        allocation_curve(*some(5), [-1.0])


def test_without_errors_nothing_changes() -> None:
    value, cost = some()
    told = robustness(value, cost, np.zeros_like(value), np.zeros_like(cost), budget=50.0, draws=2)
    assert len(told.scenarios) == 6
    made = allocate(value, cost, budget=50.0)
    for one in told.scenarios:
        assert one.value == pytest.approx(made.value)
        assert one.cost == pytest.approx(made.cost)
        assert (one.regret, one.changed) == (pytest.approx(0.0, abs=1e-9), 0.0)


def test_errors_in_proportion_scale_values_and_leave_the_actions() -> None:
    value, cost = some()
    value = np.maximum(value, 0.0)
    told = {one.name: one for one in robustness(value, cost, 0.25 * value, budget=50.0, draws=0).scenarios}
    here, down, up = (told[name] for name in ("as predicted", "values 1 standard error down", "values up"))
    assert (down.value, up.value) == (pytest.approx(0.75 * here.value), pytest.approx(1.25 * here.value))
    assert (down.price, up.price) == (pytest.approx(0.75 * here.price), pytest.approx(1.25 * here.price))
    assert down.changed == up.changed == 0.0
    assert down.cost == here.cost


def test_costs_that_go_up_are_seen_in_the_spending() -> None:
    value, cost = some()
    told = robustness(value, cost, np.zeros_like(value), 0.5 * cost, budget=50.0, draws=0)
    here, dearer = told.scenarios[0], told.scenarios[3]
    assert dearer.cost == pytest.approx(1.5 * here.cost)
    assert dearer.best < here.best
    assert dearer.value == here.value
    assert told.frame()["regret"].to_list()[3] < 0  # the chosen one overspends, so it brings more than may be had


def test_independent_draws_move_every_pair_and_can_be_repeated() -> None:
    value, cost = some()
    errors = np.full(value.shape, 0.5)
    told = robustness(value, cost, errors, budget=50.0, draws=8, random_state=3)
    again = robustness(value, cost, errors, budget=50.0, draws=8, random_state=3)
    assert told.draws == again.draws
    last = told.scenarios[-1]
    assert last.name == "mean of 8 independent draws"
    assert last.value == pytest.approx(np.mean([one.value for one in told.draws]))
    assert 0.1 < last.changed < 0.9
    assert all(one.best >= one.value - value.max() for one in told.draws)
    # Draws do not know what was chosen, so the mean over them is the prediction.
    chosen = told.scenarios[0]
    given = np.count_nonzero(allocate(value, cost, budget=50.0).action)
    assert last.value == pytest.approx(chosen.value, abs=4 * 0.5 * np.sqrt(given / 8))
    assert "independent draws" in str(told)


def test_errors_of_pairs_that_are_not_eligible_are_not_looked_at() -> None:
    value, cost = some(50)
    eligible = np.ones(value.shape, dtype=bool)
    eligible[7, 2] = False
    value[7, 2] = np.nan
    errors = np.full(value.shape, 0.1)
    errors[7, 2] = np.nan
    assert robustness(value, cost, errors, budget=5.0, eligible=eligible, draws=1).scenarios[-1].cost > 0
    errors[8, 1] = -1.0
    with pytest.raises(DataError, match=r"value_stderr is -1.0 \(row 8, column 1\)"):
        robustness(value, cost, errors, budget=5.0, eligible=eligible)
    with pytest.raises(DataError, match="value_stderr has shape"):
        robustness(value, cost, errors[:, :2], budget=5.0, eligible=eligible)
    with pytest.raises(ParameterError, match="draws is -1"):
        robustness(value, cost, errors, budget=5.0, draws=-1)
