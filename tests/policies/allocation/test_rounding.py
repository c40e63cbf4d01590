"""Whole allocations: as good as HiGHS's on small problems, and never over a limit by however little."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from persuadable.errors import Infeasible
from persuadable.policies import AtLeast, Cap, Parity, Spend, allocate
from persuadable.policies.allocation import rounding
from persuadable.policies.allocation.dual import solve
from persuadable.policies.allocation.quiet import quiet


@pytest.mark.parametrize("few", [400, 1])
@pytest.mark.parametrize("seed", range(12))
def test_small_problems_are_solved_as_well_as_by_highs(seed: int, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole at once, and by a core that grows."""
    monkeypatch.setattr(rounding, "FEW", few)
    monkeypatch.setattr(rounding, "CORE", 10)
    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 150))
    value, cost, hours = (np.zeros((n, 4)) for _ in range(3))
    value[:, 1:], cost[:, 1:], hours[:, 1:] = rng.normal(1, 1, (n, 3)), rng.gamma(2, 0.5, (n, 3)), rng.random((n, 3))
    if seed % 3 == 0:
        value, cost, hours = np.round(value), np.round(cost), np.round(hours, 1)
    inside = rng.random(n) < 0.3
    floor, cap = float(int(rng.uniform(0.1, 0.6) * inside.sum())), float(int(0.2 * n))
    rows = np.zeros((4, n, 4))
    rows[0], rows[1] = cost, hours
    rows[2, :, 1] = 1.0
    rows[3, inside, 1:] = -1.0
    limits = np.array([rng.uniform(0.2, 0.6) * n, rng.uniform(0.1, 0.3) * n, cap, -floor])
    highest = (value > 0).astype(float)
    highest[:, 0] = 1.0
    reference = milp(
        -value.ravel(),
        constraints=[
            LinearConstraint(sparse.csr_array(rows.reshape(4, -1)), -np.inf, limits),
            LinearConstraint(sparse.kron(sparse.eye(n), np.ones((1, 4))), 1, 1),
        ],
        integrality=np.ones(value.size),
        bounds=Bounds(0, highest.ravel()),
        options={"mip_rel_gap": 1e-6, "time_limit": 20},
    )
    constraints = [
        Spend(limits[0]),
        Spend(limits[1], cost=hours, name="hours"),
        Cap(cap, actions="1"),
        AtLeast(floor, groups=True),
    ]
    if reference.status == 2:
        with pytest.raises(Infeasible):
            solve(value, cost, constraints=constraints, groups=inside)
        return
    solved = solve(value, cost, constraints=constraints, groups=inside)
    used = rows[:, np.arange(n), solved.action].sum(axis=1)
    assert (used <= limits + 1e-11 * np.abs(rows).sum(axis=(1, 2))).all()
    assert solved.value >= -reference.fun * (1 - (1e-5 if few == 400 else 1e-3))
    assert solved.bound >= -reference.fun * (1 - 1e-6)


def test_what_highs_takes_too_much_is_given_back() -> None:
    """A limit a ten-millionth short of what two offers cost: HiGHS by itself calls that kept."""
    value, cost = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    limit = 2.0 - 1e-7
    solved = solve(value, cost, constraints=[Spend(limit)])
    assert solved.cost == 1.0
    assert solve(value, cost, constraints=[Spend(2.0)]).cost == 2.0


def test_a_floor_that_takes_everybody_is_met() -> None:
    rng = np.random.default_rng(1)
    value, cost = np.zeros((3000, 3)), np.zeros((3000, 3))
    value[:, 1:], cost[:, 1:] = rng.normal(0.5, 1, (3000, 2)), rng.random((3000, 2))
    can = float((value[:, 2] > 0).sum())
    solved = solve(value, cost, constraints=[Spend(3000.0), AtLeast(can, actions="2")])
    assert (solved.action == 2).sum() == can


def hard() -> dict[str, object]:
    """A parity among three groups, a cap and a floor: HiGHS opens hundreds of nodes for the core."""
    rng = np.random.default_rng(1)
    n, a = int(rng.integers(20, 2000)), int(rng.integers(2, 6))
    value = rng.normal(0.5, 1, (n, a)) * rng.choice([1, 100])
    cost = rng.exponential(1, (n, a)) * rng.choice([1, 30])
    value[:, 0] = cost[:, 0] = 0.0
    asked = [Cap(0.4, groups=0, of="share"), AtLeast(0.1, groups=1, of="share"), Parity(0.7)]
    budget = 0.3 * np.where(value > 0, cost, 0).max(axis=1).sum()
    return {"value": value, "cost": cost, "budget": budget, "groups": rng.integers(0, 3, n), "constraints": asked}


def test_a_search_that_is_cut_short_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    easy = allocate(np.array([[0.0, 1.0]] * 9), np.array([[0.0, 1.0]] * 9), budget=5, caps={1: 4})
    assert not easy.cut_short
    assert "cut short" not in str(easy)
    monkeypatch.setattr(rounding, "NODES", 3)
    told = allocate(**hard())  # type: ignore[arg-type]
    assert told.cut_short
    assert "cut short" in str(told)
    assert told.gap > 0.0


def test_where_a_search_was_cut_short_before_it_found_anything_the_error_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounding, "SECONDS", 0.0)
    with pytest.raises(Infeasible, match=r"no proof that there is none; the search was cut short after 2,000 nodes"):
        allocate(**hard())  # type: ignore[arg-type]


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """HiGHS prints a line from C++ where it mends a solution, and it does here, with ``disp`` False."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        value, cost = np.zeros((60, 4)), np.zeros((60, 4))
        value[:, 1:], cost[:, 1:] = rng.normal(1, 1, (60, 3)), rng.gamma(2, 0.5, (60, 3))
        solve(value, cost, constraints=[Spend(20.0), Cap(12, actions="1")])
    assert capfd.readouterr().out == ""


def test_what_others_print_meanwhile_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        os.write(1, b"HighsMipSolverData::transformNewIntegerFeasibleSolution tmpSolver.run();\nfrom a thread\n")
    os.write(1, b"afterwards\n")
    assert capfd.readouterr().out == "from a thread\nafterwards\n"
