"""The exact allocation against HiGHS and the dual: hundreds of small problems, and large ones read in passes."""

from __future__ import annotations

from typing import Any

import allocation_oracle as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from persuadable.policies import Allocation, allocate
from persuadable.policies.allocation import search

pytestmark = pytest.mark.filterwarnings("ignore::persuadable.policies.ScaleWarning")

NUMBERS = {
    "coarse": st.integers(-2, 4).map(float),  # ties, zero costs, costs below zero
    "tenths": st.integers(-3, 9).map(lambda k: k * 0.1),  # equal on paper, not in floats
    "fine": st.floats(-1.0, 3.0, allow_subnormal=False).map(lambda x: round(x, 6)),
    "wide": st.sampled_from([-1e3, 0.0, 1e-3, 0.7, 1.0, 12.0, 1e4]),
}
BUDGETS = st.one_of(st.just(0.0), st.floats(0.0, 20.0).map(lambda x: round(x, 3)), st.integers(0, 12).map(float),
                    st.just(1e7), st.just(np.inf))  # fmt: skip


@st.composite
def problems(draw: st.DrawFn, most: int = 9) -> dict[str, Any]:
    shape = draw(st.integers(1, most)), draw(st.integers(1, 6))
    value = draw(arrays(float, shape, elements=NUMBERS[draw(st.sampled_from(sorted(NUMBERS)))]))
    cost = draw(arrays(float, shape, elements=NUMBERS[draw(st.sampled_from(sorted(NUMBERS)))]))
    value[:, 0] = cost[:, 0] = 0.0
    eligible = draw(st.one_of(st.none(), arrays(bool, shape)))
    return {
        "value": value,
        "cost": cost,
        "budget": draw(BUDGETS),
        "eligible": eligible,
        "roi": draw(st.sampled_from([0.0, 0.0, 0.0, 0.4, 1.0, 2.5])),
    }


def certified(made: Allocation, problem: dict[str, Any]) -> float:
    """Everything an answer promises, checked from its actions alone; returns the most value of one unit."""
    value, cost, budget, roi = (problem[key] for key in ("value", "cost", "budget", "roi"))
    rows = np.arange(len(value))
    brought, spent = value[rows, made.action].sum(), cost[rows, made.action].sum()
    assert made.value == pytest.approx(brought, rel=1e-12, abs=1e-12)
    assert made.cost == pytest.approx(spent, rel=1e-12, abs=1e-9)
    assert spent <= budget * (1 + 1e-9) + 1e-12
    assert roi == 0.0 or brought >= roi * spent - 1e-9 * max(1.0, brought)
    given_ = made.action > 0
    assert (value[rows, made.action][given_] > 0).all()
    if problem["eligible"] is not None:
        assert problem["eligible"][rows, made.action][given_].all()
    at_price = made.decide(value, cost, problem["eligible"])
    assert np.array_equal(np.flatnonzero(at_price != made.action), made.marginal)
    usable = value > 0 if problem["eligible"] is None else (value > 0) & problem["eligible"]
    return float(np.max(value, where=usable, initial=0.0))


@settings(max_examples=500)
@given(problems())
def test_the_bound_is_the_linear_program_and_is_missed_by_less_than_one_unit(
    problem: dict[str, Any],
) -> None:
    made = allocate(
        problem["value"],
        problem["cost"],
        budget=problem["budget"],
        eligible=problem["eligible"],
        roi_floor=problem["roi"],
    )
    most = certified(made, problem)
    best = oracle.best_divided(**problem)
    assert made.bound == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert made.value >= best - most - 1e-9 * max(1.0, best)


@settings(max_examples=100)
@given(problems(most=5))
def test_no_whole_allocation_is_above_the_bound_or_better_than_one_unit(problem: dict[str, Any]) -> None:
    made = allocate(
        problem["value"],
        problem["cost"],
        budget=problem["budget"],
        eligible=problem["eligible"],
        roi_floor=problem["roi"],
    )
    best = oracle.best_whole(**problem)
    slip = 1e-6 * max(1.0, best)  # what HiGHS forgives a constraint
    assert made.value <= best + slip
    assert best <= made.bound + slip


@settings(max_examples=80)
@given(problems(most=40), st.sampled_from([(4, 10_000, 2), (8, 3, 1), (3, 1, 4)]))
def test_a_population_too_large_to_sort_has_the_same_answer(
    problem: dict[str, Any], sizes: tuple[int, int, int]
) -> None:
    asked = {
        "value": problem["value"],
        "cost": problem["cost"],
        "budget": problem["budget"],
        "eligible": problem["eligible"],
        "roi_floor": problem["roi"],
    }
    whole = allocate(**asked)
    with pytest.MonkeyPatch.context() as patch:
        for name, size in zip(("SAMPLE", "MOST_STEPS", "CORE"), sizes, strict=True):
            patch.setattr(search, name, size)
        patch.setattr(search, "FEW", 1)
        patch.setattr(search, "WIDE", 0.1)
        passed = allocate(**asked)
    certified(passed, problem)
    assert passed.price == whole.price
    assert passed.bound == pytest.approx(whole.bound, rel=1e-12, abs=1e-12)


@settings(max_examples=60)
@given(problems(), st.data())
def test_forced_actions_are_given_and_the_rest_is_best(problem: dict[str, Any], data: st.DataObject) -> None:
    value, cost, eligible = problem["value"], problem["cost"], problem["eligible"]
    n, n_actions = value.shape
    forced = data.draw(arrays(np.int64, n, elements=st.integers(-1, n_actions - 1)))
    if eligible is not None:
        barred = ~eligible[np.arange(n), np.maximum(forced, 0)] & (forced > 0)
        forced[barred] = 0
    held = np.maximum(forced, 0)
    budget = problem["budget"] + np.maximum(cost[np.arange(n), held], 0).sum()  # so that it can be paid
    made = allocate(value, cost, budget=budget, eligible=eligible, forced=forced)
    assert (made.action[forced >= 0] == forced[forced >= 0]).all()
    best = oracle.best_divided(value, cost, budget, eligible=eligible, forced=forced)
    assert made.bound == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert made.cost <= budget * (1 + 1e-9) + 1e-12


@settings(max_examples=100)
@given(problems())
def test_the_price_is_what_more_budget_would_bring(problem: dict[str, Any]) -> None:
    if not np.isfinite(problem["budget"]):
        problem["budget"] = 3.0
    asked = {"value": problem["value"], "cost": problem["cost"], "eligible": problem["eligible"]}
    here, step = allocate(**asked, budget=problem["budget"]), 0.01
    more = allocate(**asked, budget=problem["budget"] + step)
    assert more.bound <= here.bound + here.price * step + 1e-9 * max(1.0, here.bound)
    if problem["budget"] >= step:
        less = allocate(**asked, budget=problem["budget"] - step)
        assert less.bound <= here.bound - here.price * step + 1e-9 * max(1.0, here.bound)


def large(n: int, kind: str) -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    value, cost = rng.exponential(size=(n, 4)) - 0.4, rng.exponential(size=(n, 4)) + 0.01
    if kind == "sorted":
        order = np.argsort(value[:, 1] - cost[:, 2])
        value, cost = value[order], cost[order]
    elif kind == "few ratios":
        value, cost = rng.integers(-1, 4, (n, 4)) * 0.1, rng.integers(0, 3, (n, 4)) * 0.1
    elif kind == "one ratio":
        value, cost = np.ones((n, 4)), np.ones((n, 4))
    elif kind == "heavy tails":
        cost = rng.pareto(1.1, size=(n, 4)) + 0.01
    value[:, 0] = cost[:, 0] = 0.0
    return value, cost


@pytest.mark.parametrize("kind", ["plain", "sorted", "few ratios", "one ratio", "heavy tails"])
def test_a_large_population_reaches_the_least_dual(kind: str) -> None:
    n = 150_000
    value, cost = large(n, kind)
    for budget in (50.5, 0.1 * n):
        made = allocate(value, cost, budget=budget)
        highest = 1.05 * np.divide(value, cost, out=np.zeros_like(value), where=cost > 0).max()
        best = oracle.least_dual(value, cost, budget, max(highest, 1.0))
        assert made.bound <= best * (1 + 1e-9)  # the search stops a little above the least
        assert made.bound == pytest.approx(oracle.dual(value, cost, made.price, budget), rel=1e-12)
        assert made.cost <= budget * (1 + 1e-9)
        assert made.gap <= value.max() + 1e-9 * best
        at_price = made.decide(value, cost)
        assert np.array_equal(np.flatnonzero(at_price != made.action), made.marginal)


def test_threads_and_layout_and_precision_do_not_change_the_answer() -> None:
    value, cost = large(100_000, "plain")
    value, cost = value.astype(np.float32), cost.astype(np.float32)
    made = allocate(value, cost, budget=2e4, threads=1)
    others = [
        allocate(value, cost, budget=2e4, threads=3),
        allocate(np.asfortranarray(value), np.asfortranarray(cost), budget=2e4),
        allocate(value.astype(np.float64), cost.astype(np.float64), budget=2e4),
    ]
    for other in others:
        assert np.array_equal(other.action, made.action)
        assert (other.price, other.value, other.cost, other.bound) == (made.price, made.value, made.cost, made.bound)


def test_everything_that_fits_is_bought() -> None:
    value = np.array([[0.0, 10.0], [0.0, 6.0], [0.0, 1.0]])
    cost = np.array([[0.0, 5.0], [0.0, 4.0], [0.0, 1.0]])
    made = allocate(value, cost, budget=7.0)  # 10 for 5, then 6 for 4 does not fit, but 1 for 1 does
    assert made.action.tolist() == [1, 0, 1]
    assert (made.value, made.cost, made.price, made.fractional) == (11.0, 6.0, 1.5, 1)
    assert made.bound == pytest.approx(10.0 + 1.5 * 2.0)
    assert made.marginal.tolist() == [2]
    assert allocate(value, cost, budget=7.0, fill=False).action.tolist() == [1, 0, 0]


def test_an_offer_off_the_hull_may_fill_what_is_left() -> None:
    # One unit, 9 for 3; 4 for 2 lies under the line from nothing to it.
    made = allocate([[0.0, 9.0, 4.0]], [[0.0, 3.0, 2.0]], budget=2.5)
    assert made.action.tolist() == [2]
    assert (made.price, made.bound) == (3.0, 7.5)
    assert made.pruned["dominated"] == 1


def test_among_equals_the_cheaper_is_decided_and_ties_are_bought_in_order() -> None:
    value, cost = np.array([[0.0, 0.3, 0.2]] * 4), np.array([[0.0, 0.3, 0.2]] * 4)
    made = allocate(value, cost, budget=0.8)
    assert made.price == pytest.approx(1.0)
    assert made.decide(value, cost).tolist() == [0, 0, 0, 0]
    assert made.action.tolist() == [1, 1, 2, 0]
    assert made.cost == pytest.approx(0.8)


@pytest.mark.parametrize("n", [2000, 100_000])
def test_units_that_share_a_price_all_count_as_ties_however_it_is_rounded(n: int) -> None:
    rng = np.random.default_rng(0)
    pairs = rng.uniform(0.1, 10.0, (1000, 2))
    v, c = next((v, c) for v, c in pairs if v - (v / c) * c < 0.0)  # the net at their own price is just below nothing
    value, cost = np.zeros((n, 2)), np.zeros((n, 2))
    value[:, 1], cost[:, 1] = v, c
    made = allocate(value, cost, budget=0.4 * n * c)
    assert made.counts.tolist() == [0.6 * n, 0.4 * n]
    assert made.gap <= 1e-9 * made.value


def test_among_equals_that_cost_the_same_the_most_valuable_is_decided() -> None:
    # At the price of the dear offer, 1e13, rounding hides 0.3: with nothing to spend the free offer is still given.
    value, cost = np.array([[0.0, 0.3, 1e12]]), np.array([[0.0, 0.0, 0.1]])
    made = allocate(value, cost, budget=0.0)
    assert made.action.tolist() == made.decide(value, cost).tolist() == [1]
    assert made.bound == pytest.approx(0.3)


def test_a_budget_for_all_of_very_many_equal_offers_pays_for_all() -> None:
    value = np.zeros((100_000, 2))
    value[:, 1] = 0.1  # added one by one they come to more than 10,000 by rounding
    made = allocate(value, value, budget=10_000.0)
    assert made.counts.tolist() == [0, 100_000]
    assert all(row.met for row in made.rows)


def test_steps_that_all_fit_after_all_leave_the_price_where_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    # A survey adds up in another order, and may see a limit broken that the steps it points to just keep.
    monkeypatch.setattr(search, "_guess", lambda *_: (2.9, 3.0))
    monkeypatch.setattr(search, "_narrowed", lambda *_: (1.5, 3.0))
    made = allocate([[0.0, 3.0], [0.0, 2.0], [0.0, 1.0]], [[0.0, 1.0]] * 3, budget=2.0)
    assert (made.price, made.cost, made.action.tolist()) == (1.5, 2.0, [1, 1, 0])


def test_a_price_of_the_return_stops_where_the_return_is_just_kept() -> None:
    # 4 for 1, then 1 for 2: the two bring 5 for 3; at least 2 per unit of cost allows half of the second.
    value, cost = np.array([[0.0, 4.0], [0.0, 1.0]]), np.array([[0.0, 1.0], [0.0, 2.0]])
    made = allocate(value, cost, budget=None, roi_floor=2.0)
    assert made.action.tolist() == [1, 0]
    share = (4 - 2 * 1) / (2 * 2 - 1)
    assert made.bound == pytest.approx(4 + share * 1)
    (row,) = made.rows
    assert (row.name, row.limit, row.at_least, row.binding, row.met) == ("ROI floor", 2.0, True, True, True)
    assert made.price == pytest.approx(0.5)
    eta = row.price
    assert made.price == pytest.approx((0.0 + eta * 2.0) / (1 + eta))
