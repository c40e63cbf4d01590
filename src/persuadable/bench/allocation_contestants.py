"""The allocations that compete: the same made-up offers, by us and by solvers of linear programs.

Everybody makes the offers from one seed, outside the clock and block by block, so that the peak of memory is that of
the work and not of random numbers; the solvers are given their sparse matrix, outside the clock too. Ours check their
input, and answer with an action for every unit and a certificate; the others with a fractional optimum.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Settings = dict[str, Any]
Arrays = dict[str, Any]
Contestant = Callable[[Settings], Callable[[Arrays], Callable[[], Any]]]

OFFERS = 5
SHARE = 0.2  # of what the best offer to everybody would cost
BLOCK = 1 << 18
WARM = 2_000
SEED = 0


def offers(n: int, seed: int = SEED) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int8]]:
    """Made-up incremental values and costs (n, 1 + OFFERS) of deeper and deeper offers, and one of four segments (n,).

    An offer of depth d brings a saturating share of a unit's potential and is paid where it is redeemed, by people who
    would have bought anyway too; for about one unit in five a contact does harm.
    """
    value, cost = np.zeros((n, 1 + OFFERS)), np.zeros((n, 1 + OFFERS))
    segment = np.empty(n, dtype=np.int8)
    depth = np.arange(1, 1 + OFFERS) / OFFERS
    rng = np.random.default_rng(seed)
    for start in range(0, n, BLOCK):
        rows = slice(start, min(start + BLOCK, n))
        m = rows.stop - rows.start
        potential, pace = rng.gamma(2.0, 5.0, (m, 1)), rng.uniform(0.5, 4.0, (m, 1))
        redeemed = rng.uniform(0.05, 0.6, (m, 1))
        value[rows, 1:] = potential * (1.0 - np.exp(-pace * depth)) - rng.exponential(1.5, (m, 1))
        value[rows, 1:] += rng.normal(scale=0.3, size=(m, OFFERS))
        cost[rows, 1:] = 20.0 * depth * redeemed * rng.uniform(0.8, 1.25, (m, OFFERS)) + 0.1
        segment[rows] = rng.integers(0, 4, m)
    return value, cost, segment


def budget_of(value: NDArray[np.float64], cost: NDArray[np.float64]) -> float:
    """The budget everybody gets: a share of what each unit's most valuable offer would cost."""
    total = 0.0
    for start in range(0, len(value), BLOCK):
        rows = slice(start, start + BLOCK)
        best = value[rows].argmax(axis=1)
        total += float(np.take_along_axis(cost[rows], best[:, None], axis=1).sum())
    return SHARE * total


def made(s: Settings) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int8], float]:
    """The offers of the meter's small run, or of the real one, and their budget."""
    n = WARM if "trees" in s else int(s["n"])  # "trees" is in the settings of the small run alone
    value, cost, segment = offers(n)
    return value, cost, segment, budget_of(value, cost)


def one_budget(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
    """Our allocation under one budget."""
    allocate = import_module("persuadable.policies").allocate

    def prepare(a: Arrays) -> Callable[[], Any]:
        value, cost, _, budget = made(s)

        def work() -> list[float]:
            found = allocate(value, cost, budget=budget, threads=s["threads"])
            return [found.bound, found.value, found.cost, found.gap]

        return work

    return prepare


def six_constraints(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
    """Our allocation under a budget, two caps, a floor, a parity and a return."""
    policies = import_module("persuadable.policies")

    def prepare(a: Arrays) -> Callable[[], Any]:
        value, cost, segment, budget = made(s)
        constraints = six(policies, len(value))

        def work() -> list[float]:
            found = policies.allocate(
                value, cost, budget=budget, constraints=constraints, groups=segment, threads=s["threads"]
            )
            return [found.bound, found.value, found.cost, found.gap]

        return work

    return prepare


def six(policies: Any, n: int) -> list[Any]:
    """What is asked besides the budget."""
    return [
        policies.Cap(0.05 * n, actions=[5], name="deepest offer"),
        policies.Cap(0.06 * n, groups=[0], name="contacts in segment 0"),
        policies.AtLeast(0.14 * n, groups=[3], name="contacts in segment 3"),
        policies.AtLeast(0.10 * n, actions=[1, 2], name="small offers"),
        policies.RoiFloor(3.0),
    ]


def program(value: NDArray[np.float64], cost: NDArray[np.float64], budget: float) -> tuple[Any, ...]:
    """The linear program: gains (m,), the matrix (1 + n, m) and its right side; one row is the budget, n are units."""
    from scipy.sparse import coo_array

    n, m = len(value), len(value) * OFFERS
    pair = np.arange(m)
    rows = np.concatenate([np.zeros(m, dtype=np.int64), 1 + pair // OFFERS])
    entries = np.concatenate([cost[:, 1:].ravel(), np.ones(m)])
    matrix = coo_array((entries, (rows, np.concatenate([pair, pair]))), shape=(1 + n, m)).tocsc()
    return value[:, 1:].ravel(), matrix, np.concatenate([[budget], np.ones(n)])


def highs(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
    """HiGHS's interior-point method, with its crossover off: the faster of the two."""
    highspy = import_module("highspy")

    def prepare(a: Arrays) -> Callable[[], Any]:
        value, cost, _, budget = made(s)
        gains, matrix, right = program(value, cost, budget)
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = gains.size, right.size
        model.sense_ = highspy.ObjSense.kMaximize
        model.col_cost_, model.col_lower_ = gains, np.zeros(gains.size)
        model.col_upper_ = np.full(gains.size, highspy.kHighsInf)
        model.row_lower_, model.row_upper_ = np.full(right.size, -highspy.kHighsInf), right
        model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        model.a_matrix_.start_, model.a_matrix_.index_ = matrix.indptr, matrix.indices
        model.a_matrix_.value_ = matrix.data

        def work() -> list[float]:
            solver = highspy.Highs()
            options = {"solver": "ipm", "run_crossover": "off", "threads": s["threads"], "output_flag": False}
            for name, option in options.items():
                solver.setOptionValue(name, option)
            solver.passModel(model)
            solver.run()
            return [solver.getInfo().objective_function_value]

        return work

    return prepare


def pdlp(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
    """OR-tools' first-order method, to a relative accuracy of 1e-6."""
    solvers_pb2, solver = import_module("ortools.pdlp.solvers_pb2"), import_module("ortools.pdlp.python.pdlp")

    def prepare(a: Arrays) -> Callable[[], Any]:
        value, cost, _, budget = made(s)
        gains, matrix, right = program(value, cost, budget)
        model = solver.QuadraticProgram()
        model.objective_vector = -gains
        model.constraint_matrix = matrix.tocsc()
        model.constraint_lower_bounds, model.constraint_upper_bounds = np.full(right.size, -np.inf), right
        model.variable_lower_bounds = np.zeros(gains.size)
        model.variable_upper_bounds = np.full(gains.size, np.inf)
        options = solvers_pb2.PrimalDualHybridGradientParams(num_threads=s["threads"])
        accuracy = options.termination_criteria.simple_optimality_criteria
        accuracy.eps_optimal_relative, accuracy.eps_optimal_absolute = 1e-6, 1e-6

        def work() -> list[float]:
            return [float(gains @ solver.primal_dual_hybrid_gradient(model, options).primal_solution)]

        return work

    return prepare


def clarabel(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
    """Clarabel's interior-point method."""
    solver = import_module("clarabel")
    from scipy.sparse import csc_array, eye_array, vstack

    def prepare(a: Arrays) -> Callable[[], Any]:
        value, cost, _, budget = made(s)
        gains, matrix, right = program(value, cost, budget)
        stacked = vstack([matrix, -eye_array(gains.size)]).tocsc()
        limits = np.concatenate([right, np.zeros(gains.size)])
        none = csc_array((gains.size, gains.size))
        options = solver.DefaultSettings()
        options.verbose = False
        options.max_threads = s["threads"]

        def work() -> list[float]:
            cones = [solver.NonnegativeConeT(limits.size)]
            return [float(gains @ solver.DefaultSolver(none, -gains, stacked, limits, cones, options).solve().x)]

        return work

    return prepare


CONTESTANTS: dict[str, Contestant] = {
    "ours one budget": one_budget,
    "ours six constraints": six_constraints,
    "highspy interior point": highs,
    "ortools PDLP": pdlp,
    "clarabel interior point": clarabel,
}
