"""All units under prices: what they would take, and what that adds up to, block by block in fixed order.

Blocks are copied to a scratch of each thread, which a second-level cache holds: so inputs may be of either precision,
strided or mapped from a file, and need no memory of their own. Sums are added in the order of the blocks, so that they
do not depend on the number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from persuadable.policies.allocation.constraints import Row

__all__ = ["Lines", "Oracle", "Settled", "Soft", "Units", "passes"]

Floats = NDArray[np.float64]
Part = TypeVar("Part")
BLOCK = 8192  # units; of six actions, their values and costs fill three quarters of a megabyte
TASK = 2 * BLOCK  # units a thread takes at a time


@cache
def passes() -> ModuleType:
    """The machine code, compiled or read from numba's cache on first use."""
    from persuadable.policies.allocation import passes as module

    return module


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The units of a problem.

    Attributes:
        value: (n, A) incremental values.
        costs: (n, A) incremental costs, one array per kind.
        cell: (n,) int32 cell of each unit.
        n_cells: G.
        eligible: (n, A), or None.
        forced: (n,) int16, −1 where free, or None.
    """

    value: NDArray[Any]
    costs: Sequence[NDArray[Any]]
    cell: NDArray[np.int32]
    n_cells: int
    eligible: NDArray[np.bool_] | None = None
    forced: NDArray[np.int16] | None = None
    _scratch: threading.local = field(default_factory=threading.local)

    @property
    def n(self) -> int:
        """How many."""
        return len(self.value)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(G, A, F) of the sums."""
        return self.n_cells, self.value.shape[1], len(self.costs) + 2

    def take(self, index: NDArray[np.intp]) -> Units:
        """Some of them, copied."""
        return Units(
            self.value[index],
            [cost[index] for cost in self.costs],
            self.cell[index],
            self.n_cells,
            None if self.eligible is None else self.eligible[index],
            None if self.forced is None else self.forced[index],
        )

    def blocks(self, start: int, stop: int) -> Iterator[tuple[slice, tuple[NDArray[Any], ...]]]:
        """The arguments the kernels share, a block at a time; the arrays are overwritten by the next block."""
        n_actions, n_costs = self.value.shape[1], len(self.costs)
        if not hasattr(self._scratch, "value"):
            self._scratch.value = np.empty((BLOCK, n_actions))
            self._scratch.cost = np.empty((n_costs, BLOCK, n_actions))
        whole: Floats = self._scratch.cost
        for first in range(start, stop, BLOCK):
            part = slice(first, min(first + BLOCK, stop))
            m = part.stop - part.start
            value = self._scratch.value[:m]
            value[:] = self.value[part]
            cost = whole if m == BLOCK else whole.reshape(-1)[: n_costs * m * n_actions].reshape(n_costs, m, n_actions)
            for k, source in enumerate(self.costs):
                cost[k] = source[part]
            yield (
                part,
                (
                    value,
                    cost,
                    np.require(self.cell[part], requirements=["C", "W"]),
                    np.zeros((0, n_actions), dtype=np.bool_)
                    if self.eligible is None
                    else np.array(self.eligible[part], order="C"),
                    np.zeros(0, dtype=np.int16) if self.forced is None else np.array(self.forced[part], order="C"),
                ),
            )

    def each(self, work: Callable[[int, int], Part], threads: int) -> Iterator[Part]:
        """The parts that ``work`` makes of (start, stop), in order."""
        starts = range(0, self.n, TASK)
        stops = [min(start + TASK, self.n) for start in starts]
        if threads == 1 or len(starts) <= 1:
            yield from map(work, starts, stops)
        else:
            with ThreadPoolExecutor(min(threads, len(starts))) as pool:
                yield from pool.map(work, starts, stops)

    def features(self, unit: NDArray[np.intp], action: NDArray[np.intp]) -> Floats:
        """(p, F) features of pairs of a unit and an action."""
        at = unit, action
        columns = [self.value[at], *(cost[at] for cost in self.costs), np.ones(len(unit))]
        return np.column_stack(columns).astype(np.float64)

    def open(self) -> NDArray[np.bool_]:
        """(n, A) which actions each unit may get."""
        allowed = np.asarray(self.value) > 0
        if self.eligible is not None:
            allowed &= self.eligible
        allowed[:, 0] = True
        if self.forced is not None:
            bound = np.flatnonzero(self.forced >= 0)
            allowed[bound] = False
            allowed[bound, self.forced[bound]] = True
        return allowed


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """The constraints as one matrix on the sums: matrix·S ≤ limit.

    Attributes:
        rows: the J constraints.
        matrix: (J, G·A·F) sparse.
        limit: (J,).
        first, row, coefficient: the same by cell, as the kernels read them.
    """

    rows: tuple[Row, ...]
    matrix: sparse.csr_array
    limit: Floats
    first: NDArray[np.int64]
    row: NDArray[np.int64]
    coefficient: Floats

    @classmethod
    def of(cls, rows: Sequence[Row], shape: tuple[int, int, int]) -> Lines:
        """Lay them out; shape is (G, A, F)."""
        matrix = sparse.csr_array(
            sparse.vstack([sparse.csr_array(row.table.reshape(1, -1)) for row in rows])
            if rows
            else sparse.csr_array((0, int(np.prod(shape))))
        )
        touched = [np.flatnonzero(row.table.any(axis=(1, 2))) for row in rows]
        cell = np.concatenate([*touched, np.empty(0, dtype=np.intp)])
        number = np.repeat(np.arange(len(rows)), [len(cells) for cells in touched])
        order = np.argsort(cell, kind="stable")
        cell, number = cell[order], number[order]
        coefficient = np.empty((len(cell), *shape[1:]))
        for k, (g, j) in enumerate(zip(cell.tolist(), number.tolist(), strict=True)):
            coefficient[k] = rows[j].table[g]
        first = np.searchsorted(cell, np.arange(shape[0] + 1)).astype(np.int64)
        limit = np.array([row.limit for row in rows], dtype=np.float64)
        return cls(tuple(rows), matrix, limit, first, number.astype(np.int64), coefficient)

    def worth(self, objective: Floats, prices: Floats) -> Floats:
        """(G, A, F) what a unit of each feature is worth: objective − Σ_j μ_j·t_j."""
        return np.ascontiguousarray(objective - (self.matrix.T @ prices).reshape(objective.shape))

    def scaled(self, share: float) -> Lines:
        """The same with a part of every limit."""
        return replace(self, limit=self.limit * share)

    def used(self, sums: Floats) -> Floats:
        """(J,) what the sums use of each."""
        used: Floats = self.matrix @ sums.ravel()
        return used

    def excess(self, sums: Floats) -> Floats:
        """(J,) by how much each is broken beyond the rounding of the sums, 0 where it holds."""
        scale = np.abs(self.limit) + abs(self.matrix) @ np.abs(sums.ravel())
        over = self.used(sums) - self.limit
        return np.where(over > ROUNDING * scale, over, 0.0)

    def uses(self, units: Units, unit: NDArray[np.intp], action: NDArray[np.intp]) -> sparse.csr_array:
        """(J, p) what each of p pairs of a unit and an action uses."""
        cell, features = units.cell[unit], units.features(unit, action)
        length = self.first[cell + 1] - self.first[cell]
        pair = np.repeat(np.arange(len(unit)), length)
        place = np.arange(len(pair)) + np.repeat(self.first[cell] - (np.cumsum(length) - length), length)
        amount = (self.coefficient[place, action[pair]] * features[pair]).sum(axis=1)
        return sparse.csr_array((amount, (self.row[place], pair)), shape=(len(self.rows), len(unit)))


ROUNDING = 1e-12  # of sums of some millions of numbers, each block of them added in order


@dataclass(slots=True, eq=False)
class Soft:
    """What a pass with shares p ∝ exp(r/τ) comes to.

    Attributes:
        sums: (G, A, F) Σ p φ.
        curvature: (J, J) second derivative of the softened dual by the prices.
        drift: (J,) τ times its derivative by the prices and τ.
        best: Σ max r.
        soft: Σ τ log Σ exp(r/τ).
        blur: Σ (max r − Σ p r), what sharing costs.
    """

    sums: Floats
    curvature: Floats
    drift: Floats
    best: float
    soft: float
    blur: float


@dataclass(slots=True, eq=False)
class Settled:
    """One action for every unit.

    Attributes:
        action: (n,) int16.
        margin: (n,) float32, how far the second best is behind.
    """

    action: NDArray[np.int16]
    margin: NDArray[np.float32]


@dataclass(slots=True, eq=False)
class Oracle:
    """The units and the constraints, asked under prices.

    Attributes:
        units: whom.
        lines: what is asked of all together.
        threads: how many share out the blocks.
        count: passes made so far.
    """

    units: Units
    lines: Lines
    threads: int
    count: int = 0

    def soften(self, worth: Floats, tau: float) -> Soft:
        """Shares p ∝ exp(r/τ) of the open actions, and what they add up to."""
        lines, n_rows = self.lines, len(self.lines.rows)

        def blank() -> tuple[Floats, Floats, Floats, Floats]:
            return np.zeros(self.units.shape), np.zeros((n_rows, n_rows)), np.zeros(n_rows), np.zeros(3)

        def work(start: int, stop: int) -> tuple[Floats, ...]:
            part = blank()
            for _, block in self.units.blocks(start, stop):
                passes().soften(*block, worth, tau, lines.first, lines.row, lines.coefficient, *part)
            return part

        self.count += 1
        sums, curvature, drift, totals = total = blank()
        for part in self.units.each(work, self.threads):
            for whole, more in zip(total, part, strict=True):
                whole += more
        curvature += np.tril(curvature, -1).T
        return Soft(sums, curvature, drift, *totals.tolist())

    def settle(self, worth: Floats, tau: float, weight: Floats) -> Settled:
        """One action for every unit: the best, and where several are near one that keeps the constraints as used.

        Args:
            worth: (G, A, F) under the prices.
            tau: how near is near.
            weight: (J,) of a constraint being used too much or too little, squared.
        """
        n, lines = self.units.n, self.lines
        settled = Settled(np.empty(n, dtype=np.int16), np.empty(n, dtype=np.float32))

        def work(start: int, stop: int) -> None:
            astray = np.zeros(len(lines.rows))
            for part, block in self.units.blocks(start, stop):
                passes().settle(
                    *block,
                    worth,
                    tau,
                    lines.first,
                    lines.row,
                    lines.coefficient,
                    weight,
                    astray,
                    settled.action[part],
                    settled.margin[part],
                )

        self.count += 1
        for _ in self.units.each(work, self.threads):
            pass
        return settled

    def tally(self, action: NDArray[np.int16]) -> Floats:
        """(G, A, F) what actions add up to; −1 leaves a unit out."""

        def work(start: int, stop: int) -> Floats:
            sums = np.zeros(self.units.shape)
            for part, block in self.units.blocks(start, stop):
                passes().tally(*block[:3], action[part], sums)
            return sums

        self.count += 1
        total = np.zeros(self.units.shape)
        for sums in self.units.each(work, self.threads):
            total += sums
        return total

    def reach(self) -> Floats:
        """(4, J): the least and the most that each constraint can be used, Σ max u², and by how many it can be."""
        lines, n_rows = self.lines, len(self.lines.rows)

        def work(start: int, stop: int) -> Floats:
            ends = np.zeros((4, n_rows))
            for _, block in self.units.blocks(start, stop):
                passes().reach(*block, lines.first, lines.row, lines.coefficient, ends)
            return ends

        self.count += 1
        total = np.zeros((4, n_rows))
        for ends in self.units.each(work, self.threads):
            total += ends
        return total
