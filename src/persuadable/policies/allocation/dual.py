"""Several constraints at once: prices by Newton's method on the softened dual, with certified bounds.

Prices μ ≥ 0 take the constraints apart into units, each of which takes argmax_a r_a, r_a = v − Σ_j μ_j u_ja. The dual
g(μ) = μ·b + Σ max_a r_a bounds every allocation from above. Its maximum is softened to τ log Σ exp(r_a/τ), which has a
gradient b − U(p) and a curvature Σ Cov_p(u)/τ with shares p ∝ exp(r/τ); a pass over all units gives all of it. At the
minimum the shares p hold every constraint, and g − V(p) = Σ (max r − Σ p r) + μ·(b − U(p)) is the gap of the bounds. It
falls with τ², because only units within τ of a tie are shared: so a few values of τ suffice, the larger ones on a
sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from persuadable.engine.local import LocalEngine
from persuadable.errors import ActionError, DataError, ParameterError
from persuadable.policies.allocation.constraints import Cells, Constraint, Ground, Row
from persuadable.policies.allocation.oracle import Lines, Oracle, Soft, Units
from persuadable.policies.allocation.result import ConstraintRow

__all__ = ["Descent", "Solved", "Start", "box_minimum", "descend", "solve"]

Floats = NDArray[np.float64]
SAMPLE = 1 << 12  # units of the sample the prices start from
SAMPLE_ROW = 64  # and so many more for each constraint
LARGER = 16  # the second sample; and a sample is drawn where there are half so many times more units
START = 0.3  # τ at the start, in mean values of a unit's best action
SAMPLE_STOP = 0.3  # τ at which a sample of one has told what it knows; it falls with √n
LEAST_TAU = 1e-11
FASTER, SLOWER = 0.2, 0.8  # τ falls to such a part of itself
FINE = 0.3  # of the tolerance: a blur that need not fall further
AHEAD = 10.0  # τ: how far a step that lowers it may move r
CENTRED = 0.2  # of the blur: what a further step may still bring when τ falls
PASSES = 80
RIDGE = 1e-10  # of the curvature if all units were shared
NOISE = 1e-13  # of the dual: its rounding
LEAST_GAIN = 1e-3  # of what a step promised
STEPS, LEAST_LENGTH, STEP_DONE = 50, 1e-6, 1e-9  # of the search for a step


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """An allocation under several constraints.

    Attributes:
        action: (n,) int16.
        value: what it brings.
        cost: what it costs, in the main cost.
        bound: no allocation brings more, not even one that divides units.
        lp_gap: (bound − the best divided allocation in hand) / bound.
        rows: the constraints.
        prices: name → price.
        passes: how often all units were gone through.
        cut_short: whether the search for whole actions met its bound before it was within the tolerance.
    """

    action: NDArray[np.int16]
    value: float
    cost: float
    bound: float
    lp_gap: float
    rows: tuple[ConstraintRow, ...]
    prices: Mapping[str, float]
    passes: int
    cut_short: bool


@dataclass(slots=True, eq=False)
class Start:
    """Where a descent begins, or ended.

    Attributes:
        prices: (J,) μ.
        tau: the softening.
        scale: mean value of a unit's best action.
        size: (J,) root mean square of the most a unit uses, among those who can use it; 0 where nobody can. A price of
            1/size moves r by about 1.
    """

    prices: Floats
    tau: float
    scale: float
    size: Floats


@dataclass(slots=True, eq=False)
class Descent:
    """Where the prices came to.

    Attributes:
        start: the last prices and τ.
        bound: the least g(μ) met, at ``best``.
        best: (J,) the prices that gave it.
        impossible: whether the bound fell under what any allocation brings, so that there is none.
    """

    start: Start
    bound: float
    best: Floats
    impossible: bool


def solve(
    value: NDArray[Any],
    cost: NDArray[Any],
    *,
    constraints: Sequence[Constraint],
    groups: Mapping[str, ArrayLike] | ArrayLike | None = None,
    eligible: NDArray[np.bool_] | None = None,
    forced: ArrayLike | None = None,
    labels: Sequence[Any] | None = None,
    threads: int | None = None,
    tolerance: float = 1e-6,
) -> Solved:
    """The best allocation under constraints: max Σ v x, one action a unit.

    Args:
        value: (n, A) finite incremental values, column 0 zero.
        cost: (n, A) finite incremental costs, column 0 zero.
        constraints: see :mod:`persuadable.policies.allocation.constraints`.
        groups: column name → (n,) labels; or one column.
        eligible: (n, A) where an action may be given; None is everywhere. An action whose value is not positive is not
            given in any case.
        forced: (n,) number of the action a unit must get whatever its value, −1 where it is free.
        labels: (A,) of the actions; None numbers them.
        threads: None takes the processors this process may use.
        tolerance: relative gap asked of the bound.

    Raises:
        Infeasible: the constraints cannot hold together; the message names those that make it so.
        ActionError: a forced action that does not exist, or a constraint on one.
        ParameterError: a constraint that makes no sense by itself.
        DataError: numbers too far out of proportion to compute with.
    """
    from persuadable.policies.allocation.infeasible import infeasible
    from persuadable.policies.allocation.rounding import round_whole

    n, n_actions = value.shape
    ground = Ground(Cells.of(groups, n), tuple(labels if labels is not None else map(str, range(n_actions))), [cost])
    for constraint in constraints:
        constraint.prepare(ground)
    rows = _named_apart([row for constraint in constraints for row in constraint.rows(ground)])
    units = Units(value, ground.costs, ground.cells.code, ground.cells.n, eligible, _forced(forced, n, n_actions))
    oracle = Oracle(units, Lines.of(rows, units.shape), LocalEngine(threads).n_threads)
    objective = np.zeros(units.shape)
    objective[..., 0] = 1.0
    with _in_proportion():
        found = _prices(oracle, objective, tolerance)
        if found.impossible:
            raise infeasible(oracle)
        whole = round_whole(oracle, objective, found, tolerance)
    sums = oracle.tally(whole.action)
    used, total = oracle.lines.used(sums), float(sums[..., 0].sum())
    divided = max(total, whole.divided)
    scale = max(abs(whole.bound), np.finfo(float).tiny)
    told = tuple(map(_told, rows, used.tolist(), whole.prices.tolist()))
    return Solved(
        whole.action,
        total,
        float(sums[..., 1].sum()),
        max(whole.bound, total),
        float(max(whole.bound - divided, 0.0) / scale),
        told,
        {row.name: row.price for row in told},
        oracle.count,
        whole.cut_short,
    )


def _named_apart(rows: Sequence[Row]) -> list[Row]:
    """The lines, of which no two have one name: the second is numbered, for a price is told by the name."""
    apart: dict[str, Row] = {}
    for row in rows:
        name, k = row.name, 1
        while name in apart:
            k += 1
            name = f"{row.name} ({k})"
        apart[name] = row if k == 1 else replace(row, name=name)
    return list(apart.values())


def _told(row: Row, used: float, price: float) -> ConstraintRow:
    sign = -1.0 if row.at_least else 1.0
    return ConstraintRow(row.name, sign * used + 0.0, sign * row.limit + 0.0, row.at_least, price, price > 0)


def _forced(forced: ArrayLike | None, n: int, n_actions: int) -> NDArray[np.int16] | None:
    """The forced actions, checked.

    Raises:
        ParameterError: another length.
        ActionError: an action that does not exist.
    """
    if forced is None:
        return None
    asked = np.asarray(forced)
    if asked.shape != (n,):
        raise ParameterError(f"forced has shape {asked.shape}, expected {(n,)}", remedy="Pass one number per unit.")
    wrong = (asked < -1) | (asked >= n_actions)
    if wrong.any():
        raise ActionError(
            f"There is no action {asked[wrong][0]} to force",
            where=f"row {int(wrong.argmax())}",
            remedy=f"Pass numbers from 0 to {n_actions - 1}, and −1 where the unit is free.",
        )
    return asked.astype(np.int16)


def _prices(oracle: Oracle, objective: Floats, tolerance: float) -> Descent:
    """Prices of all constraints: from a sample, then larger ones, then all units."""
    units, lines, start = oracle.units, oracle.lines, None
    random = np.random.default_rng(0)
    least = SAMPLE + SAMPLE_ROW * len(lines.rows)
    for size in (least, least * LARGER):
        if units.n >= size * LARGER // 2:
            index = np.sort(random.choice(units.n, size, replace=False, shuffle=False))
            sample = Oracle(units.take(index), lines.scaled(size / units.n), oracle.threads)
            stop = SAMPLE_STOP / np.sqrt(size)
            found = descend(sample, objective, tolerance, start, floor=_floor(sample.units), stop=stop)
            # A sample may be infeasible, or lack a group, where the whole does not; then it tells nothing.
            start = None if found.impossible or not found.start.size.all() else found.start
    return descend(oracle, objective, tolerance, start, floor=_floor(units))


def descend(
    oracle: Oracle,
    objective: Floats,
    tolerance: float,
    start: Start | None = None,
    *,
    floor: float,
    stop: float = LEAST_TAU,
    any_point: bool = False,
) -> Descent:
    """Minimise the dual over μ ≥ 0 by Newton steps in a box, τ falling as they succeed.

    Args:
        oracle: units and constraints.
        objective: (G, A, F) what a unit of each feature is worth before prices.
        tolerance: relative gap to stop at.
        start: where a sample came to.
        floor: no allocation brings less; a bound under it proves that there is none.
        stop: least τ, in mean values of a unit's best action.
        any_point: whether it is enough that the shares hold every constraint.
    """
    bound, n = np.inf, oracle.units.n
    start = _start(oracle, objective) if start is None else start
    best, box, size = start.prices, START * start.scale, np.where(start.size > 0, start.size, 1.0)
    here = _Point.at(oracle, objective, start.prices, start.tau)
    for _ in range(PASSES):
        if here.dual < bound:
            bound, best = here.dual, here.prices
        if here.dual < floor - tolerance * (abs(floor) + start.scale):
            return Descent(replace(start, prices=here.prices, tau=here.tau), bound, best, True)
        step, gain = here.step(size, box, n)
        gap = here.soft.blur + float(np.abs(here.slack) @ here.prices) + gain
        if (
            gap <= tolerance * abs(here.dual)
            or here.tau < stop * start.scale
            or (any_point and (here.slack >= 0).all())
        ):
            break
        aim = np.maximum(here.prices + step, 0.0)
        sharp = here.soft.blur <= FINE * tolerance * abs(here.dual)
        if gain <= NOISE * abs(here.height) or (gain <= CENTRED * here.soft.blur and not sharp):
            enough = np.sqrt(0.5 * FINE * tolerance * abs(here.dual) / max(here.soft.blur, np.finfo(float).tiny))
            faster = float(np.clip(enough, FASTER, SLOWER))
            step, _ = here.step(size, AHEAD * here.tau, n, faster)
            here = _Point.at(oracle, objective, np.maximum(here.prices + step, 0.0), here.tau * faster)
            continue
        length = float((np.abs(step) * size).max())
        trial = _Point.at(oracle, objective, aim, here.tau)
        if trial.height <= here.height - LEAST_GAIN * gain:
            here, box = trial, box * (4.0 if length >= 0.99 * box else 1.0)
        else:
            box = 0.25 * length
    return Descent(replace(start, prices=here.prices, tau=here.tau), bound, best, False)


def _start(oracle: Oracle, objective: Floats) -> Start:
    """No prices, and a τ at which most units are shared."""
    scale = abs(oracle.soften(objective, 1.0).best) / max(oracle.units.n, 1) or 1.0
    *_, squares, users = oracle.reach()
    return Start(np.zeros(len(squares)), START * scale, scale, np.sqrt(squares / np.maximum(users, 1.0)))


def _floor(units: Units) -> float:
    """Less than this no allocation brings: only forced actions may have a negative value."""
    if units.forced is None:
        return 0.0
    bound = np.flatnonzero(units.forced >= 0)
    return float(np.asarray(units.value[bound, units.forced[bound]], dtype=np.float64).sum())


@dataclass(slots=True, eq=False)
class _Point:
    """The softened dual at some prices."""

    prices: Floats
    tau: float
    soft: Soft
    slack: Floats
    dual: float
    height: float

    @classmethod
    def at(cls, oracle: Oracle, objective: Floats, prices: Floats, tau: float) -> _Point:
        soft = oracle.soften(oracle.lines.worth(objective, prices), tau)
        rent = float(oracle.lines.limit @ prices)
        slack = oracle.lines.limit - oracle.lines.used(soft.sums)
        return cls(prices, tau, soft, slack, rent + soft.best, rent + soft.soft)

    def step(self, size: Floats, box: float, n: int, faster: float = 1.0) -> tuple[Floats, float]:
        """Newton's step within μ ≥ 0 and a box of what it moves r by, and what it promises to bring.

        Where τ is to fall to a part of itself, the step goes on along the path of the minima, μ′ = −H⁻¹ ∂∇/∂τ.
        """
        if not len(self.prices):
            return self.prices, 0.0
        curvature = self.soft.curvature / size[:, None] / size
        curvature[np.diag_indices_from(curvature)] += RIDGE * (np.diag(curvature) + max(n, 1) / self.tau)
        slope = (self.slack - (1.0 - faster) * self.soft.drift) / size
        moved = box_minimum(curvature, slope, np.maximum(-self.prices * size, -box), np.full_like(size, box))
        gain = -float(slope @ moved) - 0.5 * float(moved @ curvature @ moved)
        return moved / size, max(gain, 0.0)


def box_minimum(curvature: Floats, slope: Floats, low: Floats, high: Floats) -> Floats:
    """(J,) d between low ≤ 0 and high ≥ 0 that makes slope·d + ½ d·curvature·d small.

    In turns a round of single coordinates, which finds what is held at an end, and a Newton step on the others,
    projected (Bertsekas 1982). The curvature is positive definite.

    Raises:
        DataError: it is not, or not finite, which numbers far out of proportion make of it.
    """
    d, diagonal = np.zeros_like(slope), np.diag(curvature)
    if not (np.isfinite(curvature).all() and np.isfinite(slope).all() and (diagonal > 0.0).all()):
        raise _out_of_proportion()
    for _ in range(STEPS):
        gradient = slope + curvature @ d
        if not np.isfinite(gradient).all():
            raise _out_of_proportion()
        for j in range(d.size):
            move_to = min(max(d[j] - gradient[j] / diagonal[j], low[j]), high[j])
            if move_to != d[j]:
                gradient += curvature[j] * (move_to - d[j])
                d[j] = move_to
        free = np.flatnonzero(~(((d <= low) & (gradient >= 0)) | ((d >= high) & (gradient <= 0))))
        if not free.size:
            break
        move = np.zeros_like(d)
        try:
            factor = linalg.cho_factor(curvature[np.ix_(free, free)])
        except linalg.LinAlgError as error:
            raise _out_of_proportion() from error
        move[free] = -linalg.cho_solve(factor, gradient[free])
        length = 1.0
        while True:
            change = np.clip(d + length * move, low, high) - d
            promised = -float(gradient @ change)
            if promised - 0.5 * float(change @ curvature @ change) >= 1e-4 * promised or length < LEAST_LENGTH:
                break
            length *= 0.5
        d += change
        if promised <= STEP_DONE * -float(slope @ d):
            break
    return d


@contextmanager
def _in_proportion() -> Iterator[None]:
    """Refuse numbers that overflow on the way.

    Raises:
        DataError: one did.
    """
    try:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            yield
    except FloatingPointError as error:
        raise _out_of_proportion() from error


def _out_of_proportion() -> DataError:
    return DataError(
        "No prices of the constraints can be computed: some values, costs or limits are too large for the others",
        remedy="Look at the largest of them; state amounts in a unit in which most lie between 0.001 and a million.",
    )
