"""Which action for whom: the best use of a budget, with a proof of how good it is."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from persuadable.engine.local import LocalEngine
from persuadable.errors import ActionError, ParameterError
from persuadable.policies.allocation.exact import Answer, Totals, answer, totals_of
from persuadable.policies.allocation.problem import Population, Problem, ScaleWarning, action_labels, checked_amount
from persuadable.policies.allocation.result import Allocation, ConstraintRow
from persuadable.policies.allocation.steps import Limits, blocks_of_steps

if TYPE_CHECKING:
    from persuadable.policies.allocation.constraints import Constraint

__all__ = ["allocate", "allocated", "checked_limits", "look_at_scale"]

MANY = 100  # units worth an offer: so many at a budget that pays for none, or for a hundred times all, are no accident
FAR_OFF = 100.0
TOLERANCE = "Pass the relative gap that is good enough, above 0 and at most 1, 1e-6 for example."


def allocate(
    value: ArrayLike,
    cost: ArrayLike,
    *,
    budget: float | None,
    eligible: ArrayLike | None = None,
    roi_floor: float | None = None,
    efficiency_floor: float | None = None,
    caps: Mapping[Any, float] | None = None,
    constraints: Sequence[Constraint] = (),
    groups: Mapping[str, ArrayLike] | ArrayLike | None = None,
    forced: ArrayLike | None = None,
    forbidden: ArrayLike | None = None,
    value_stderr: ArrayLike | None = None,
    cost_stderr: ArrayLike | None = None,
    averse: float = 0.0,
    actions: Sequence[Any] | None = None,
    fill: bool = True,
    threads: int | None = None,
    tolerance: float = 1e-6,
) -> Allocation:
    """One action for every unit: the largest Σv with Σc ≤ budget.

    Values and costs are predicted totals over doing nothing. A pair that brings nothing (v ≤ 0) is never given, even
    where it would save money; one that brings something for nothing always may be. With a budget and a floor on the
    return the answer is exact on the hull: nothing beats it by more than the value of one unit. With caps or other
    constraints it is found by prices, and its gap is told. A limit is kept if sums of floats pass it by no more than a
    relative 1e-12.

    Args:
        value: (n, A) incremental value of each action for each unit, column 0 (no offer) zero.
        cost: (n, A) incremental cost caused by assigning it, column 0 zero, in the unit of the budget.
        budget: most total cost, ≥ 0; None or infinity where there is none.
        eligible: (n, A) mask of pairs that may be given; no offer always may. Numbers elsewhere are not looked at.
        roi_floor: ρ: total value must be at least ρ times total cost.
        efficiency_floor: pairs that bring less than this much value per unit of cost are never given.
        caps: label or index of an action → most units that get it.
        constraints: further ones: ``Spend``, ``Cap``, ``AtLeast``, ``Parity``, ``RoiFloor``.
        groups: (n,) labels, or name → labels, that constraints refer to.
        forced: (n,) action that a unit must get whatever it brings, −1 where it is free.
        forbidden: (n, A) pairs that may not be given.
        value_stderr, cost_stderr: (n, A) standard errors of the predictions.
        averse: decide on value − averse · value_stderr and cost + averse · cost_stderr.
        actions: (A,) labels.
        fill: whether what a whole offer leaves of the budget goes to further units.
        threads: None takes the processors this process may use; the answer does not depend on it.
        tolerance: relative gap at which several constraints count as solved.

    Returns:
        The allocation and its certificate.

    Raises:
        DataError: NaN or infinite numbers, shapes that differ, a column 0 that is not zero.
        ActionError: masks, labels, caps or forced actions that do not fit.
        ParameterError: a negative budget, floor or aversion.
        Infeasible: constraints that cannot be kept together, by name.

    Warns:
        ScaleWarning: costs and budget look as if they were in different units.

    Sources: Sinha and Zoltners (1979), The multiple-choice knapsack problem; Zemel (1984), An O(n) algorithm for the
    linear multiple choice knapsack problem; Pisinger (1995), A minimal algorithm for the multiple-choice knapsack
    problem.
    """
    limits = checked_limits(budget, roi_floor)
    problem = Problem.of(
        value,
        cost,
        eligible=eligible,
        forbidden=forbidden,
        forced=forced,
        value_stderr=value_stderr,
        cost_stderr=cost_stderr,
        averse=averse,
        efficiency_floor=efficiency_floor,
    )
    labels = action_labels(actions, problem.n_actions)
    n_threads = LocalEngine(threads).n_threads
    if not isinstance(caps or {}, Mapping):
        raise ParameterError(f"caps is {caps!r}"[:160], remedy="Pass {label of the action: most units}.")
    if not 0.0 < checked_amount(tolerance, "tolerance", TOLERANCE) <= 1.0:
        raise ParameterError(f"tolerance is {tolerance!r}", remedy=TOLERANCE)
    if caps or constraints:
        return _by_prices(problem, limits, labels, caps or {}, constraints, groups, n_threads, tolerance)
    if groups is not None:
        raise ParameterError(
            "groups= is given, and no constraint refers to it", remedy="Pass constraints=, or leave groups out."
        )
    found = allocated(problem, limits, labels, n_threads, to_fill=fill)
    if not all(row.met for row in found.rows):
        # Forced actions keep the return under its floor, and the rest of the walk did not make up for it.
        return _by_prices(problem, limits, labels, {}, (), None, n_threads, tolerance)
    look_at_scale(problem, found, n_threads)
    return found


def checked_limits(budget: float | None, roi_floor: float | None) -> Limits:
    """The budget and the floor on the return.

    Raises:
        ParameterError: one of them is no number ≥ 0.
    """
    told = math.inf if budget is None else budget
    if not (isinstance(told, int | float | np.number) and told == math.inf):
        told = checked_amount(told, "budget", "Pass the most that may be spent, ≥ 0; None where there is no limit.")
    floor = checked_amount(roi_floor or 0.0, "roi_floor", "Pass the least value per unit of cost, 1.5 for example.")
    return Limits(float(told), floor)


def allocated(
    population: Population, limits: Limits, labels: tuple[str, ...], threads: int, *, to_fill: bool = True
) -> Allocation:
    """The exact allocation of units in memory or in a file under a budget and a floor on the return.

    Raises:
        DataError: numbers that cannot be used.
        Infeasible: forced actions cost more than the budget.
    """
    found = answer(population, limits, threads, to_fill=to_fill)
    totals = totals_of(population, found.action, threads)
    return _told(found, totals, labels, population)


def _told(found: Answer, totals: Totals, labels: tuple[str, ...], population: Population) -> Allocation:
    limits, value, cost = found.limits, totals.decided_value, totals.decided_cost
    rows = []
    if math.isfinite(limits.budget):
        paid = found.price if found.binds == "budget" else 0.0
        used = min(cost, limits.budget) if cost <= limits.spendable() else cost  # what is forgiven is not told
        rows.append(ConstraintRow("budget", used, limits.budget, False, paid, found.binds == "budget"))
    if limits.roi > 0.0:
        used = value / cost if cost > 0.0 else math.inf if value >= 0.0 else -math.inf
        used = max(used, limits.roi) if limits.slack(value, cost) >= 0.0 else used
        # At λ = 0 the effective price ηρ/(1 + η) is found.price, so η = price/(ρ − price).
        eta = found.price / (limits.roi - found.price) if found.binds == "roi" else 0.0
        rows.append(ConstraintRow("ROI floor", used, limits.roi, True, eta, found.binds == "roi"))
    return Allocation(
        action=found.action,
        price=found.price,
        value=totals.value,
        cost=totals.cost,
        bound=found.bound,
        labels=labels,
        counts=totals.counts,
        rows=tuple(rows),
        marginal=found.marginal,
        fractional=found.fractional,
        pruned=totals.pruned,
        decided_value=totals.decided_value,
        decided_cost=totals.decided_cost,
        averse=population.averse,
        efficiency_floor=population.efficiency_floor,
    )


def _by_prices(
    problem: Problem,
    limits: Limits,
    labels: tuple[str, ...],
    caps: Mapping[Any, float],
    constraints: Sequence[Constraint],
    groups: Any,
    threads: int,
    tolerance: float,
) -> Allocation:
    """The allocation under any constraints."""
    from persuadable.policies.allocation.constraints import Cap, RoiFloor, Spend
    from persuadable.policies.allocation.dual import solve

    _require_constraints(constraints)
    asked: list[Constraint] = [Cap(most, actions=_label(key, labels)) for key, most in caps.items()]
    if math.isfinite(limits.budget):
        asked.insert(0, Spend(limits.budget))
    if limits.roi > 0.0:
        asked.append(RoiFloor(limits.roi))
    v, c, allowed = problem.decided()
    solved = solve(
        v,
        c,
        constraints=[*asked, *constraints],
        groups=groups,
        eligible=allowed,
        forced=problem.forced if problem.forced.size else None,
        labels=labels,
        threads=threads,
        tolerance=tolerance,
    )
    totals = totals_of(problem, solved.action, threads)
    return Allocation(
        action=solved.action,
        price=solved.prices.get("budget", 0.0),
        value=totals.value,
        cost=totals.cost,
        bound=solved.bound,
        labels=labels,
        counts=totals.counts,
        rows=solved.rows,
        marginal=np.empty(0, dtype=np.int64),
        fractional=None,
        pruned=totals.pruned,
        decided_value=totals.decided_value,
        decided_cost=totals.decided_cost,
        averse=problem.averse,
        efficiency_floor=problem.efficiency_floor,
        single_price=False,
        cut_short=solved.cut_short,
    )


def _require_constraints(told: Any) -> None:
    """Refuse what is no list of constraints.

    Raises:
        ParameterError: naming what was passed.
    """
    several = told if isinstance(told, list | tuple) else [None]
    wrong = [one for one in several if not (hasattr(one, "prepare") and hasattr(one, "rows"))]
    if wrong:
        what = told if wrong == [None] and not isinstance(told, list | tuple) else wrong[0]
        raise ParameterError(
            f"constraints holds {what!r}"[:160], remedy="Pass a list of Spend, Cap, AtLeast, Parity or RoiFloor."
        )


def _label(key: Any, labels: tuple[str, ...]) -> str:
    """The action that a key of caps means: a label comes before an index, for labels may be whole numbers."""
    if str(key) in labels:
        return str(key)
    if isinstance(key, int | np.integer) and not isinstance(key, bool) and 0 <= key < len(labels):
        return labels[int(key)]
    raise ActionError(f"caps names {key!r}, which is no action", remedy=f"The actions are {list(labels)}.")


def look_at_scale(population: Population, found: Allocation, threads: int) -> None:
    """Warn where a budget pays for nobody, or for a hundred times everybody, among very many worth an offer.

    Warns:
        ScaleWarning: in the name of the caller's caller.
    """
    budget, spent, what = found.budget, found.decided_cost, ""
    if not 0.0 < budget < math.inf:
        return
    if found.price > 0.0 and spent <= 0.0:
        count, least = 0, math.inf
        for _, (_, dc, _, _) in blocks_of_steps(population, 0.0, math.inf, threads):
            count, least = count + len(dc), min(least, float(dc.min(initial=math.inf)))
        if count >= MANY and least > budget:
            what = f"The budget of {budget:,.6g} pays for no offer at all: the cheapest costs {least:,.6g}"
    elif found.price == 0.0 and found.counts[1:].sum() >= MANY and 0.0 < FAR_OFF * spent < budget:
        what = f"The budget of {budget:,.6g} is over {FAR_OFF:g} times what all offers worth giving cost ({spent:,.6g})"
    if what:
        remedy = "Are costs and budget in the same unit? Pass budget=None where there is no limit."
        warnings.warn(f"{what}. {remedy}", ScaleWarning, stacklevel=3)
