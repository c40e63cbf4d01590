"""Constraints that cannot hold together are named, those that have no part in it are not."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable.errors import Infeasible, ParameterError, PersuadableError
from persuadable.policies import AtLeast, Cap, Parity, RoiFloor, Spend
from persuadable.policies.allocation.dual import solve


def units(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each third unit may profit from the offer, which costs 1; half are in group "a"."""
    value, cost = np.zeros((n, 2)), np.zeros((n, 2))
    value[:, 1] = np.where(np.arange(n) % 3 == 0, 1.0 + np.arange(n) / n, -1.0)
    cost[:, 1] = 1.0
    return value, cost, np.where(np.arange(n) % 2, "b", "a")


@pytest.mark.parametrize("n", [300, 3000])
def test_a_constraint_impossible_by_itself_is_told_with_what_can_be_had(n: int) -> None:
    value, cost, group = units(n)
    with pytest.raises(
        Infeasible, match=rf"asks for at least {n // 2:,} units, of which at most {n // 6} can be had"
    ) as told:
        solve(value, cost, constraints=[Spend(n), AtLeast(n // 2, groups="a", name="new")], groups=group)
    assert told.value.constraints == ("new",)
    assert isinstance(told.value, PersuadableError)
    assert not isinstance(told.value, ParameterError)


@pytest.mark.parametrize("n", [300, 3000])
def test_those_that_cannot_hold_together_are_named_and_no_other(n: int) -> None:
    value, cost, group = units(n)
    constraints = [
        Cap(n, name="idle"),
        Spend(n / 10),
        Cap(0.9, groups="b", of="share", name="idle too"),
        AtLeast(n / 5, name="reach"),
        RoiFloor(0.5),
    ]
    with pytest.raises(Infeasible) as told:
        solve(value, cost, constraints=constraints, groups=group)
    assert told.value.constraints == ("budget", "reach")
    reached = float(str(told.value).split("comes to at most ")[1].split(". ")[0].replace(",", ""))
    assert reached == pytest.approx(n / 10, rel=1e-3)


def test_a_conflict_of_three_names_three() -> None:
    value, cost, group = units(3000)
    constraints = [Cap(100, groups="a", name="few a"), Cap(100, groups="b", name="few b"), AtLeast(300, name="many")]
    with pytest.raises(Infeasible) as told:
        solve(value, cost, constraints=[Spend(2000.0), *constraints], groups=group)
    assert sorted(told.value.constraints) == ["few a", "few b", "many"]


def test_parity_that_one_group_cannot_follow_is_told_without_idle_numbers() -> None:
    value, cost, group = units(3000)
    value[group == "b", 1] = -1.0
    constraints = [Spend(2000.0), Parity(0.8), AtLeast(100, groups="a", name="a")]
    with pytest.raises(Infeasible, match="parity: 'b'") as told:
        solve(value, cost, constraints=constraints, groups=group)
    assert set(told.value.constraints) == {"a", "parity: 'b' ≥ 0.8 × 'a'"}


def test_an_impossible_return_is_told_by_how_much_it_is_missed() -> None:
    value, cost, _ = units(30)
    forced = np.full(30, -1)
    forced[:3] = 1  # brings 1 − 1 − 1 for a cost of 3
    others = np.arange(30) > 2
    with pytest.raises(Infeasible, match="missed by at least"):
        solve(value, cost, constraints=[RoiFloor(2.0)], forced=np.where(others, 0, forced))


def test_whole_units_may_make_impossible_what_divided_ones_could() -> None:
    """Two offers of cost 2 each, 3 to spend, and at least three halves of them to give."""
    value, cost = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([[0.0, 2.0], [0.0, 2.0]])
    with pytest.raises(Infeasible, match="for want of units that could be divided") as told:
        solve(value, cost, constraints=[Spend(3.0), AtLeast(1.5, name="three halves")])
    assert told.value.constraints == ("budget", "three halves")


def test_forced_actions_over_the_budget_are_told() -> None:
    value, cost, _ = units(300)
    forced = np.where(np.arange(300) < 50, 1, -1)
    with pytest.raises(Infeasible, match="allows at most 20 of cost, but 50 are forced"):
        solve(value, cost, constraints=[Spend(20.0)], forced=forced)
