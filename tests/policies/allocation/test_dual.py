"""Prices of several constraints: the bound is the linear programme's, whatever the size, precision and threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog

from persuadable.errors import ActionError, DataError, ParameterError
from persuadable.policies import AtLeast, Cap, RoiFloor, Spend
from persuadable.policies.allocation.dual import Solved, box_minimum, solve

Array = np.ndarray[Any, Any]


def offers(n: int, seed: int = 0, coarse: bool = False) -> tuple[Array, Array, Array]:
    """Values, costs and a group of n units with three offers."""
    rng = np.random.default_rng(seed)
    value, cost = np.zeros((n, 4)), np.zeros((n, 4))
    value[:, 1:] = rng.gamma(2.0, 1.0, (n, 1)) * [0.5, 0.8, 1.0] * rng.uniform(0.3, 1.7, (n, 3)) - 0.3
    cost[:, 1:] = rng.uniform(0.2, 1.8, (n, 1)) * [0.3, 0.6, 1.0]
    if coarse:
        value, cost = np.round(value), np.round(2.0 * cost) / 2.0
    return value, cost, rng.integers(0, 3, n)


def asked(n: int) -> list[Any]:
    return [Spend(0.2 * n), Cap(0.1 * n, actions="3"), AtLeast(0.5, groups=1, of="share"), RoiFloor(2.0)]


def linear(value: Array, cost: Array, group: Array) -> float:
    """The linear programme of ``asked``, written out, by HiGHS."""
    n, n_actions = value.shape
    only = np.zeros_like(value)
    only[:, 3] = 1.0
    offered = np.zeros_like(value)
    offered[group == 1, 1:] = 1.0
    rows = np.array([cost.ravel(), only.ravel(), -offered.ravel(), (2.0 * cost - value).ravel()])
    limits = [0.2 * n, 0.1 * n, -0.5 * (group == 1).sum(), 0.0]
    once = sparse.kron(sparse.eye(n), np.ones((1, n_actions)))
    highest = (value > 0).astype(float)
    highest[:, 0] = 1.0
    bounds = np.column_stack([np.zeros(value.size), highest.ravel()])
    answer = linprog(-value.ravel(), sparse.csr_array(rows), limits, once, np.ones(n), bounds, method="highs")
    assert answer.status == 0
    return float(-answer.fun)


@pytest.mark.parametrize("coarse", [False, True])
def test_the_bound_is_that_of_the_linear_programme(coarse: bool) -> None:
    value, cost, group = offers(3000, coarse=coarse)
    best = linear(value, cost, group)
    solved = solve(value, cost, constraints=asked(3000), groups=group)
    assert best * (1 - 1e-9) <= solved.bound <= best * (1 + 1e-6)
    assert 0.0 <= solved.lp_gap <= 1e-6
    assert best * (1 - 1e-4) <= solved.value <= solved.bound


def spent(solved: Solved) -> dict[str, float]:
    return {row.name: row.used for row in solved.rows}


def test_many_units_start_from_a_sample_and_hold_everything() -> None:
    value, cost, group = offers(60_000)
    solved = solve(value, cost, constraints=asked(60_000), groups=group, threads=1)
    got = np.arange(60_000), solved.action
    assert cost[got].sum() <= 12_000 * (1 + 1e-12)
    assert (solved.action == 3).sum() <= 6_000
    assert (solved.action[group == 1] > 0).sum() >= 0.5 * (group == 1).sum()
    assert value[got].sum() >= 2.0 * cost[got].sum()
    assert (value[got][solved.action > 0] > 0).all()
    assert solved.value == pytest.approx(value[got].sum(), rel=1e-12)
    assert spent(solved)["budget"] == pytest.approx(cost[got].sum(), rel=1e-12)
    assert solved.lp_gap <= 1e-6
    assert solved.bound - solved.value <= 1e-5 * solved.bound
    # The bound once more, from the prices alone, without our sums: g(μ) = μ·b + Σ max r.
    price = [solved.prices[name] for name in ("budget", "cap on '3'", "floor on offers to group 1", "ROI floor")]
    r = value * (1 + price[3]) - (price[0] + 2.0 * price[3]) * cost
    r[:, 3] -= price[1]
    r[group == 1, 1:] += price[2]
    r[:, 1:][value[:, 1:] <= 0] = -np.inf
    limits = np.array([12_000, 6_000, -0.5 * (group == 1).sum(), 0.0])
    assert solved.bound == pytest.approx(float(limits @ price) + r.max(axis=1).sum(), rel=1e-10)


def test_threads_and_layout_change_nothing() -> None:
    value, cost, group = offers(40_000)
    one = solve(value, cost, constraints=asked(40_000), groups=group, threads=1)
    three = solve(np.asfortranarray(value), cost[:, ::1], constraints=asked(40_000), groups=group, threads=3)
    assert one.bound == three.bound
    assert one.prices == three.prices
    np.testing.assert_array_equal(one.action, three.action)
    single = solve(value.astype(np.float32), cost.astype(np.float32), constraints=asked(40_000), groups=group)
    assert single.bound == pytest.approx(one.bound, rel=1e-6)


def test_units_that_are_all_alike_are_divided_evenly() -> None:
    n = 20_000
    value, cost = np.tile([0.0, 2.0, 3.0], (n, 1)), np.tile([0.0, 1.0, 2.0], (n, 1))
    # With 0.6·n to spend and at most 0.4·n of the first: 0.4·n of it at 1, 0.1·n of the second at 2.
    solved = solve(value, cost, constraints=[Spend(0.6 * n), Cap(0.4 * n, actions="1")])
    assert solved.bound == pytest.approx(0.4 * n * 2 + 0.1 * n * 3, rel=1e-5)
    assert solved.value >= 1.1 * n * (1 - 1e-4)
    assert np.bincount(solved.action)[1] <= 0.4 * n


def test_no_constraint_takes_every_units_best() -> None:
    value, cost, _ = offers(500)
    solved = solve(value, cost, constraints=[])
    np.testing.assert_array_equal(solved.action, value.argmax(axis=1))
    assert solved.bound == pytest.approx(value.max(axis=1).sum(), rel=1e-12)


def test_no_budget_at_all_buys_only_what_is_free() -> None:
    value, cost, _ = offers(500)
    cost[::2, 1] = 0.0
    solved = solve(value, cost, constraints=[Spend(0.0)])
    free = (cost[:, 1] == 0) & (value[:, 1] > 0)
    np.testing.assert_array_equal(solved.action, free.astype(np.int16))


def test_forced_and_ineligible_actions_are_kept() -> None:
    value, cost, _ = offers(2000)
    value[0, 2] = -5.0
    forced = np.full(2000, -1)
    forced[:50], forced[50:60] = 2, 0
    eligible = np.ones(value.shape, dtype=bool)
    eligible[100:1000, 3] = False
    solved = solve(value, cost, constraints=[Spend(500.0)], forced=forced, eligible=eligible)
    assert (solved.action[:50] == 2).all()
    assert (solved.action[50:60] == 0).all()
    assert (solved.action[100:1000] != 3).all()
    assert (solved.action[1000:] == 3).any()


@pytest.mark.parametrize(
    ("forced", "error", "told"),
    [([0, 9], ActionError, "row 1"), ([0], ParameterError, "shape"), ([-2, 0], ActionError, "-2")],
)
def test_odd_forced_actions_are_refused(forced: list[int], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        solve(np.zeros((2, 2)), np.zeros((2, 2)), constraints=[], forced=forced)


@pytest.mark.parametrize("seed", range(20))
def test_the_least_of_a_parabola_in_a_box(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 40))
    root = rng.normal(size=(2 * size, size))
    curvature, slope = root.T @ root, size * rng.normal(size=size)
    low, high = -rng.random(size) * (rng.random(size) < 0.5), rng.random(size) + 0.01
    d = box_minimum(curvature, slope, low, high)
    gradient = slope + curvature @ d
    assert (d >= low).all()
    assert (d <= high).all()
    # Karush–Kuhn–Tucker: no way down that the box allows.
    wrong = np.where(d <= low, np.maximum(-gradient, 0), np.where(d >= high, np.maximum(gradient, 0), np.abs(gradient)))
    assert wrong.max() <= 1e-6 * size


def test_numbers_out_of_all_proportion_are_refused_by_name() -> None:
    rng = np.random.default_rng(0)
    value, cost = np.zeros((50, 3)), np.zeros((50, 3))
    value[:, 1:], cost[:, 1:] = rng.normal(1, 1, (50, 2)), rng.random((50, 2))
    for more, dearer in ((1.0, 1e300), (1e200, 1e200), (1e160, 1e-160)):
        with pytest.raises(DataError, match="too large for the others"):
            solve(value * more, cost * dearer, constraints=[Spend(10.0 * dearer), Cap(20, actions="1"), AtLeast(5)])
    with pytest.raises(DataError, match="too large for the others"):
        box_minimum(np.ones((2, 2)), -np.ones(2), -np.ones(2), np.full(2, 9.0))  # flat in one direction


def test_nobody_and_nothing_to_give_are_no_error() -> None:
    empty = np.zeros((0, 3))
    assert solve(empty, empty, constraints=[Spend(1.0), Cap(2)]).bound == 0.0
    nothing = solve(np.zeros((5, 1)), np.zeros((5, 1)), constraints=[Spend(1.0)])
    assert nothing.action.tolist() == [0] * 5
