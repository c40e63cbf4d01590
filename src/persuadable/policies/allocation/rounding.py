"""Whole actions out of prices: most units are clear, and a small core is solved exactly.

Under the prices most units have one action that is far ahead of the others; they keep it. The core is the units whose
second best is nearest: HiGHS allots it exactly within what the others leave of every limit. Where that cannot be, the
core grows, in the end to all units; so an allocation is found wherever there is one, and none ever breaks a constraint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from persuadable.policies.allocation.dual import Descent
from persuadable.policies.allocation.oracle import Oracle, Settled, Units
from persuadable.policies.allocation.quiet import quiet

__all__ = ["Core", "Whole", "refuted", "round_whole"]

Floats = NDArray[np.float64]
FEW = 400  # so many units are solved exactly as a whole
CORE = 120  # units to begin with where there are more, and so many more per constraint:
CORE_PER_ROW = 4
GROWTH = 4
GOOD = 1e-5  # a gap for which a larger core is not worth its time
NODES = 2000  # of the tree search, which keeps the answer the same on every machine
SECONDS = 10.0  # for one core; where it is met, the answer depends on the machine
BOUND = f"{NODES:,} nodes or {SECONDS:g} s"
WIDE = 50  # candidates for a place in the core
LOOSE = 1e-4  # of the care for a constraint that binds, for one that does not
FINE = 0.3  # of the tolerance, for one of several steps
BLIND = 2e-6  # of the largest use: twice what HiGHS takes for kept
TRIES = 4  # of the search, with what it took too much taken from the limits
SOLVED, IMPOSSIBLE = 0, 2  # how HiGHS ended, in SciPy's numbers; others say that it met a bound, nodes as 4


@dataclass(slots=True, eq=False)
class Whole:
    """An allocation without divided units.

    Attributes:
        action: (n,) int16.
        value: what it brings.
        bound: the best bound known.
        prices: (J,) that give the bound.
        divided: value of the best allocation found that may divide units.
        cut_short: whether a search met its bound of NODES or SECONDS, and the answer is not within the tolerance.
    """

    action: NDArray[np.int16]
    value: float
    bound: float
    prices: Floats
    divided: float
    cut_short: bool = False

    def tighten(self, oracle: Oracle, objective: Floats, prices: Floats, tau: float) -> None:
        """Try other prices for the bound."""
        bound = float(oracle.lines.limit @ prices) + oracle.soften(oracle.lines.worth(objective, prices), tau).best
        if bound < self.bound:
            self.bound, self.prices = bound, prices

    def take(self, oracle: Oracle, action: NDArray[np.int16]) -> None:
        """Keep an allocation that is better."""
        value = float(oracle.tally(action)[..., 0].sum())
        if value > self.value:
            self.action, self.value = action, value


def round_whole(oracle: Oracle, objective: Floats, found: Descent, tolerance: float) -> Whole:
    """The best whole allocation near the prices found.

    Raises:
        Infeasible: there is none.
    """
    units, lines = oracle.units, oracle.lines
    size = np.where(found.start.size > 0, found.start.size, 1.0)
    weight = np.where(found.start.prices * size > found.start.tau, 1.0, LOOSE) / size**2
    settled = oracle.settle(lines.worth(objective, found.start.prices), found.start.tau, weight)
    best = Whole(settled.action, -np.inf, found.bound, found.best, -np.inf)
    core_size = units.n if units.n <= FEW else min(CORE + CORE_PER_ROW * len(lines.rows), units.n)
    again, stopped = True, False
    while True:
        core = _core(units, settled, core_size)
        fixed = settled.action.copy()
        fixed[core] = -1
        problem = Core.of(oracle, core, oracle.tally(fixed))
        divided = problem.divide()
        if divided is not None:
            best.divided = max(best.divided, divided[0])
            if best.bound - divided[0] > FINE * tolerance * abs(best.bound):
                best.tighten(oracle, objective, divided[1], found.start.tau)
            action = problem.allot(fixed, FINE * tolerance * abs(best.bound), divided[0] - problem.fixed)
            stopped |= problem.stopped
            if action is not None:
                best.take(oracle, action)
        if best.value > -np.inf:
            good = best.bound - best.value <= max(tolerance, GOOD) * abs(best.bound)
            if core_size == units.n or not again or good:
                best.cut_short = stopped and not good
                return best
            again = False
        elif core_size == units.n:
            from persuadable.policies.allocation.infeasible import infeasible

            raise infeasible(oracle, f"; the search was cut short after {BOUND}" if stopped else "")
        core_size = min(core_size * GROWTH, units.n)


def refuted(oracle: Oracle) -> bool:
    """Whether HiGHS proves that no allocation holds the constraints; for problems small enough to be asked whole."""
    everyone = np.arange(oracle.units.n)
    problem = Core.of(oracle, everyone, np.zeros(oracle.units.shape))
    if not problem.gain.size:
        return bool((problem.room < 0).any())
    return bool(problem.search(problem.room, 1.0).status == IMPOSSIBLE)


def _core(units: Units, settled: Settled, size: int) -> NDArray[np.intp]:
    """The units nearest to another action: half of them of all, half of each cell in turn; sorted."""
    if size >= units.n:
        return np.arange(units.n)
    wide = min(size * WIDE, units.n)
    near = np.argpartition(settled.margin, wide - 1)[:wide] if wide < units.n else np.arange(units.n)
    near = near[np.lexsort((near, settled.margin[near]))]
    if units.n_cells > 1:
        cell = units.cell[near]
        order = np.argsort(cell, kind="stable")
        begin = np.searchsorted(cell[order], np.arange(units.n_cells))
        turn = np.empty(len(near), dtype=np.intp)
        turn[order] = np.arange(len(near)) - begin[cell[order]]
        turn[: size // 2] = -1
        near = near[np.argsort(turn, kind="stable")]
    return np.sort(near[:size])


@dataclass(slots=True, eq=False)
class Core:
    """The core as a mixed integer program: a variable for every open pair of a unit and an action but its first.

    Attributes:
        oracle: all units.
        core: which of them are in it, m.
        first: (m,) the first open action of each, doing nothing unless another is forced.
        pairs: (2, p) unit, counted within the core, and action.
        gain: (p,) value of each pair over the first action.
        once: (m, p) that every unit gets one action.
        uses: (J, p) what a pair uses over the first action, in parts of ``size``.
        size: (J,) the power of two above the largest use, so that whole numbers stay short.
        room: (J,) what the other units and the first actions leave.
        fixed: what the other units and the first actions bring.
        stopped: whether a search met its bound.
    """

    oracle: Oracle
    core: NDArray[np.intp]
    first: NDArray[np.intp]
    pairs: NDArray[np.intp]
    gain: Floats
    once: sparse.csr_array
    uses: sparse.csr_array
    size: Floats
    room: Floats
    fixed: float
    stopped: bool = False

    @classmethod
    def of(cls, oracle: Oracle, core: NDArray[np.intp], sums: Floats) -> Core:
        """Write it down; ``sums`` is what the units outside add up to."""
        part, lines, m = oracle.units.take(core), oracle.lines, np.arange(len(core))
        allowed = part.open()
        first = allowed.argmax(axis=1)
        allowed[m, first] = False
        pairs = np.array(np.nonzero(allowed))
        n_pairs = pairs.shape[1]
        once = sparse.csr_array((np.ones(n_pairs), (pairs[0], np.arange(n_pairs))), shape=(len(core), n_pairs))
        base, start = lines.uses(part, m, first), np.asarray(part.value[m, first], dtype=np.float64)
        uses = sparse.csr_array(lines.uses(part, *pairs) - base[:, pairs[0]])
        size = abs(uses).max(axis=1).toarray().ravel() if n_pairs else np.zeros(len(lines.rows))
        size = np.exp2(np.ceil(np.log2(np.where(size > 0, size, 1.0))))
        gain = np.asarray(part.value[tuple(pairs)], dtype=np.float64) - start[pairs[0]]
        room = lines.limit - lines.used(sums) - base.sum(axis=1)
        fixed = float(sums[..., 0].sum() + start.sum())
        return cls(
            oracle, core, first, pairs, gain, once, uses.multiply(1.0 / size[:, None]).tocsr(), size, room, fixed
        )

    def divide(self) -> tuple[float, Floats] | None:
        """The best value where units may be divided, and the prices; None where there is no way."""
        if not self.gain.size:
            return self.fixed, np.zeros(len(self.room))  # whether that is allowed, allot looks
        unit = np.abs(self.gain).max() or 1.0
        answer = optimize.linprog(
            -self.gain / unit,
            A_ub=sparse.vstack([self.uses, self.once]),
            b_ub=np.concatenate([self.room / self.size, np.ones(len(self.core))]),
            bounds=(0.0, 1.0),
            method="highs",
        )
        if answer.status != 0:
            return None
        prices = np.maximum(-answer.ineqlin.marginals[: len(self.size)], 0.0) * unit / self.size
        return self.fixed - answer.fun * unit, prices

    def allot(self, action: NDArray[np.int16], gap: float, best: float) -> NDArray[np.int16] | None:
        """All actions, those of the core in them; None where none was found that holds every constraint.

        HiGHS holds a constraint to a millionth of its largest use. Where that breaks one, its limit is lowered by more
        than that, and HiGHS is asked again.

        Args:
            action: (n,) actions of the units outside the core.
            gap: to the best value that is good enough.
            best: what the core brings where it may be divided.
        """
        if not self.gain.size:
            return self._checked(action, np.empty(0, dtype=np.bool_))[0]
        room = self.room.copy()
        for _ in range(TRIES):
            answer = self.search(room, min(gap / best, 1.0) if best > 0 else 1.0)
            self.stopped |= answer.status not in (SOLVED, IMPOSSIBLE)
            if answer.x is None:
                return None
            whole, over = self._checked(action, answer.x > 0.5)
            if whole is not None:
                return whole
            room -= np.where(over > 0, np.maximum(2.0 * over, BLIND * self.size), 0.0)
        return None

    def search(self, room: Floats, gap: float) -> optimize.OptimizeResult:
        """HiGHS's answer where the others leave this room; ``gap`` is relative."""
        with quiet():
            return optimize.milp(
                -self.gain / (np.abs(self.gain).max() or 1.0),
                constraints=[
                    optimize.LinearConstraint(self.uses, -np.inf, room / self.size),
                    optimize.LinearConstraint(self.once, -np.inf, 1.0),
                ],
                integrality=np.ones(len(self.gain)),
                bounds=optimize.Bounds(0.0, 1.0),
                options={"mip_rel_gap": gap, "node_limit": NODES, "time_limit": SECONDS},
            )

    def _checked(self, action: NDArray[np.int16], chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int16] | None, Floats]:
        """All actions with the chosen pairs in them, None where they break a constraint; and by how much they do."""
        whole = action.copy()
        whole[self.core] = self.first
        whole[self.core[self.pairs[0, chosen]]] = self.pairs[1, chosen]
        over = self.oracle.lines.excess(self.oracle.tally(whole))
        return None if over.any() else whole, over
