"""What the best allocation is, by somebody else's solver: HiGHS on the whole table of pairs, and the dual by search."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp, minimize_scalar


def _program(
    value: Any, cost: Any, budget: float, roi: float = 0.0, eligible: Any = None, forced: Any = None
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Objective, rows ≤ limits, bounds; a variable for each pair, doing nothing is the rest of a unit.

    A pair may be used if it is eligible and brings something; a forced one must be used.
    """
    value, cost = np.asarray(value, float), np.asarray(cost, float)
    n, n_actions = value.shape
    upper = (value > 0) if eligible is None else (value > 0) & eligible
    upper[:, 0] = False
    lower = np.zeros_like(upper)
    if forced is not None:
        fixed = np.asarray(forced) >= 0
        upper[fixed] = False
        rows = np.flatnonzero(fixed & (np.asarray(forced) > 0))
        upper[rows, np.asarray(forced)[rows]] = lower[rows, np.asarray(forced)[rows]] = True
    v, c = (np.where(upper, table, 0.0).ravel() for table in (value, cost))
    rows, limits = [sparse.kron(sparse.eye(n), np.ones((1, n_actions)))], [np.ones(n)]
    if np.isfinite(budget):
        rows.append(sparse.csr_matrix(c[None, :]))
        limits.append(np.array([budget]))
    if roi > 0:
        rows.append(sparse.csr_matrix((roi * c - v)[None, :]))
        limits.append(np.zeros(1))
    return -v, sparse.vstack(rows).tocsr(), np.concatenate(limits), lower.ravel() * 1.0, upper.ravel() * 1.0, v


def best_divided(value: Any, cost: Any, budget: float, **more: Any) -> float:
    """The most value where units may be divided among actions."""
    objective, rows, limits, lower, upper, _ = _program(value, cost, budget, **more)
    found = linprog(
        objective,
        A_ub=rows,
        b_ub=limits,
        bounds=np.column_stack([lower, upper]),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    assert found.status == 0, found.message
    return float(-found.fun)


def best_whole(value: Any, cost: Any, budget: float, **more: Any) -> float:
    """The most value where every unit gets one action."""
    objective, rows, limits, lower, upper, v = _program(value, cost, budget, **more)
    found = milp(
        objective,
        constraints=LinearConstraint(rows, -np.inf, limits),
        bounds=Bounds(lower, upper),
        integrality=np.ones(len(v)),
        options={"mip_rel_gap": 0.0},
    )
    assert found.status == 0, found.message
    return float(-found.fun)


def dual(value: Any, cost: Any, price: float, budget: float) -> float:
    """g(λ) = λB + Σ max(0, max_a v − λc) over pairs that bring something: no allocation brings more."""
    net = np.where(value > 0, value - price * cost, 0.0)
    return float(price * budget + np.maximum(net.max(axis=1), 0.0).sum())


def least_dual(value: Any, cost: Any, budget: float, highest: float) -> float:
    """The least g(λ), which equals the most value where units may be divided."""
    found = minimize_scalar(
        lambda price: dual(value, cost, price, budget),
        bounds=(0.0, highest),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return float(found.fun)
