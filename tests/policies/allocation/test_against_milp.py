"""Allocations under many constraints, against HiGHS: never refused where HiGHS finds one, and never far from its bound.

The constraints are written out here a second time, as rows over pairs of unit and offer, from their definitions alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from persuadable.errors import Infeasible
from persuadable.policies import AtLeast, Cap, Parity, RoiFloor, Spend, allocate

INSTANCES = 100
GAP = 1e-3
SLACK = 1e-9


class Instance:
    """Units, offers, groups, and constraints drawn at random; each constraint also as rows · x ≤ limit."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.n, offers = int(rng.integers(150, 600)), int(rng.integers(1, 5))
        shape = (self.n, offers + 1)
        self.value = rng.gamma(1.0, 5.0, shape) - rng.exponential(2.0, (self.n, 1))
        self.cost = rng.uniform(0.1, 3.0, shape) * np.arange(offers + 1)
        self.minutes = rng.uniform(0.0, 1.0, shape)
        for table in (self.value, self.cost, self.minutes):
            table[:, 0] = 0.0
        self.group = rng.choice(["north", "south", "west"], self.n, p=[0.5, 0.3, 0.2])
        self.possible = self.value > 0.0
        self.constraints: list[Any] = []
        self.rows: list[np.ndarray] = []
        self.limits: list[float] = []
        self.budget = self._budget(rng)
        self._draw(rng, offers)

    def _budget(self, rng: np.random.Generator) -> float:
        best = np.where(self.possible, self.value, 0.0).argmax(axis=1)
        budget = float(rng.uniform(0.1, 0.8) * np.take_along_axis(self.cost, best[:, None], axis=1).sum())
        self._ask(self.cost, budget)
        return budget

    def _draw(self, rng: np.random.Generator, offers: int) -> None:
        """Up to six more, some of which may be more than can be had."""
        n, one = self.n, np.ones_like(self.cost)
        for kind in rng.permutation(["minutes", "cap", "group cap", "floor", "worth", "parity", "return"])[:6]:
            offer, where = int(rng.integers(1, offers + 1)), str(rng.choice(["north", "south", "west"]))
            inside = (self.group == where)[:, None]
            only = np.arange(offers + 1)[None, :] == offer
            if kind == "minutes":
                limit = float(rng.uniform(0.1, 0.6) * n)
                self._ask(self.minutes, limit, Spend(limit, cost=self.minutes, name="minutes"))
            elif kind == "cap":
                limit = float(int(rng.uniform(0.05, 0.5) * n))
                self._ask(one * only, limit, Cap(limit, actions=[str(offer)]))
            elif kind == "group cap":
                share = float(rng.uniform(0.2, 0.9))
                self._ask(one * inside, share * inside.sum(), Cap(share, groups={"region": where}, of="share"))
            elif kind == "floor":
                share = float(rng.uniform(0.05, 0.6))
                self._ask(-one * inside, -share * inside.sum(), AtLeast(share, groups={"region": where}, of="share"))
            elif kind == "worth":
                least = float(rng.uniform(0.0, 2.0) * inside.sum())
                self._ask(-self.value * inside, -least, AtLeast(least, groups={"region": where}, of="value"))
            elif kind == "parity":
                self._parity(float(rng.uniform(0.5, 0.9)))
            else:
                rho = float(rng.uniform(0.5, 4.0))
                self._ask(rho * self.cost - self.value, 0.0, RoiFloor(rho))

    def _parity(self, ratio: float) -> None:
        self.constraints.append(Parity(ratio, by="region"))
        for here in np.unique(self.group):
            for other in np.unique(self.group):
                if here != other:
                    mine, theirs = ((self.group == g) / (self.group == g).sum() for g in (here, other))
                    self._ask(np.ones_like(self.cost) * (ratio * theirs - mine)[:, None], 0.0)

    def _ask(self, row: np.ndarray, limit: float, constraint: Any = None) -> None:
        row = np.array(row, dtype=float)
        row[:, 0] = 0.0
        self.rows.append(row)
        self.limits.append(limit)
        if constraint is not None:
            self.constraints.append(constraint)

    def program(self) -> tuple[np.ndarray, Any, np.ndarray, np.ndarray]:
        """Objective to be lowered, rows, limits and upper bounds over the pairs."""
        n, actions = self.value.shape
        units = sparse.kron(sparse.eye(n), np.ones((1, actions)))
        rows = sparse.vstack([units, sparse.csr_matrix(np.stack([row.ravel() for row in self.rows]))]).tocsr()
        upper = self.possible.ravel().astype(float)
        return -self.value.ravel(), rows, np.concatenate([np.ones(n), self.limits]), upper

    def divided(self) -> float | None:
        """HiGHS's optimum where units may be divided, None where there is none."""
        objective, rows, limits, upper = self.program()
        found = linprog(objective, A_ub=rows, b_ub=limits, bounds=np.column_stack([0 * upper, upper]), method="highs")
        return None if found.status == 2 else float(-found.fun)

    def whole(self) -> float | None:
        """The value of a whole allocation that HiGHS finds, near the best there is; None if it finds none."""
        objective, rows, limits, upper = self.program()
        found = milp(
            objective,
            constraints=LinearConstraint(rows, -np.inf, limits),
            bounds=Bounds(0, upper),
            integrality=np.ones(upper.size),
            options={"time_limit": 20, "mip_rel_gap": GAP / 10},
        )
        return None if found.x is None else float(-found.fun)


@pytest.mark.parametrize("block", range(4))
def test_never_infeasible_where_highs_is_not_and_never_far_from_the_bound(block: int) -> None:
    solved = 0
    for seed in range(block * INSTANCES // 4, (block + 1) * INSTANCES // 4):
        one = Instance(seed)
        best = one.divided()
        try:
            found = allocate(
                one.value, one.cost, budget=one.budget, constraints=one.constraints, groups={"region": one.group}
            )
        except Infeasible:
            assert best is None or one.whole() is None, f"instance {seed}: HiGHS finds one"
            continue
        assert best is not None, f"instance {seed}: HiGHS says there is none"
        solved += 1
        chosen = np.zeros(one.value.shape)
        chosen[np.arange(one.n), found.action] = 1.0
        assert not (chosen[:, 1:] * ~one.possible[:, 1:]).any()
        for row, limit in zip(one.rows, one.limits, strict=True):
            assert (row * chosen).sum() <= limit + SLACK * max(1.0, np.abs(row * chosen).sum()), f"instance {seed}"
        assert found.value == pytest.approx((one.value * chosen).sum(), rel=1e-9)
        assert found.bound >= best * (1 - 1e-9), f"instance {seed}: the bound is none"
        assert found.bound <= best * (1 + 1e-5), f"instance {seed}: the bound is loose"
        if found.relative_gap > GAP:  # then whole offers cannot do better: the best of them is as far from the bound
            whole = one.whole()
            assert whole is not None
            assert found.value >= whole * (1 - GAP), f"instance {seed}: {found.value} of {whole}"
    assert solved >= INSTANCES // 4 // 3, "most instances have an answer"
