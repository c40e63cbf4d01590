"""What more or less budget would bring, and what changes if the predictions are off by their standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.engine.local import LocalEngine
from persuadable.errors import DataError, ParameterError
from persuadable.policies.allocation.allocate import allocated, checked_limits
from persuadable.policies.allocation.exact import assigned
from persuadable.policies.allocation.problem import Problem, action_labels, checked_amount
from persuadable.policies.allocation.steps import Limits, Steps, steps_of

if TYPE_CHECKING:
    import polars as pl

__all__ = ["AllocationCurve", "Robustness", "Scenario", "allocation_curve", "robustness"]

Floats = NDArray[np.float64]
POINTS = 51


@dataclass(frozen=True, slots=True, eq=False)
class AllocationCurve:
    """The best allocation at every budget, one unit divided where the budget ends within an offer.

    Attributes:
        budget: (k,) as asked.
        price: (k,) dV/dB, what the next unit of budget would bring; 0 where there is nothing left worth buying.
        value, cost: (k,) predicted totals over doing nothing.
        no_offer: (k,) share of units that get none.
        n: number of units.
    """

    budget: Floats
    price: Floats
    value: Floats
    cost: Floats
    no_offer: Floats
    n: int

    @property
    def roi(self) -> Floats:
        """(k,) value per unit of cost; infinite where value costs nothing, NaN where there is neither."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio: Floats = self.value / self.cost
        return np.where(self.cost > 0.0, ratio, np.where(self.value > 0.0, np.inf, np.nan))

    def frame(self) -> pl.DataFrame:
        """A row per budget: budget, price, value, cost, roi, no_offer."""
        import polars as pl

        return pl.DataFrame(
            {
                "budget": self.budget,
                "price": self.price,
                "value": self.value,
                "cost": self.cost,
                "roi": self.roi,
                "no_offer": self.no_offer,
            }
        )

    def __str__(self) -> str:
        shown = sorted({round(k) for k in np.linspace(0, len(self.budget) - 1, 11)}) if len(self.budget) else []
        lines = [f"{'budget':>14}  {'price':>9}  {'value':>14}  {'ROI':>8}  {'no offer':>8}"]
        lines += [
            f"{self.budget[k]:>14,.6g}  {self.price[k]:>9.4g}  {self.value[k]:>14,.6g}  {self.roi[k]:>8.4g}  "
            f"{self.no_offer[k]:>8.1%}"
            for k in shown
        ]
        return "\n".join(lines)


def allocation_curve(
    value: ArrayLike,
    cost: ArrayLike,
    budgets: Sequence[float] | ArrayLike | None = None,
    *,
    eligible: ArrayLike | None = None,
    efficiency_floor: float | None = None,
    threads: int | None = None,
) -> AllocationCurve:
    """Price, value, cost and no-offer rate over budgets, from one sort of all hull steps.

    Args:
        value, cost: (n, A), as for ``allocate``.
        budgets: each ≥ 0; None takes 51 from 0 to what everything worth giving costs.
        eligible, efficiency_floor, threads: as for ``allocate``.

    Raises:
        DataError: numbers that cannot be used.
        ParameterError: a budget that is no number ≥ 0.
    """
    problem = Problem.of(value, cost, eligible=eligible, efficiency_floor=efficiency_floor)
    n_threads = LocalEngine(threads).n_threads
    steps = steps_of(problem, n_threads)
    walked = steps.walked()
    values, costs = np.append(steps.value, walked[0]), np.append(steps.cost, walked[1])
    asked = np.linspace(0.0, max(costs[-1], 0.0), POINTS) if budgets is None else _budgets(budgets)
    whole = np.searchsorted(costs, asked, side="right") - 1  # steps that fit whole
    more = whole < len(steps.ratio)
    price = np.where(more, np.append(steps.ratio, 0.0)[whole], 0.0)
    spent = np.where(more, asked, costs[-1])
    at_first = assigned(problem, math.inf, n_threads).action
    offered = np.count_nonzero(at_first) + np.concatenate([[0], np.cumsum(_begins(steps, at_first))])
    return AllocationCurve(
        budget=asked,
        price=price,
        value=values[whole] + price * (spent - costs[whole]),
        cost=spent,
        no_offer=1.0 - offered[whole] / max(problem.n, 1),
        n=problem.n,
    )


def _budgets(told: Sequence[float] | ArrayLike) -> Floats:
    remedy = "Pass budgets ≥ 0."
    return np.array([checked_amount(each, "a budget", remedy) for each in np.ravel(np.asarray(told)).tolist()])


def _begins(steps: Steps, at_first: NDArray[np.int16]) -> NDArray[np.bool_]:
    """(k,) whether a step leads a unit away from doing nothing, which only its first can."""
    first = np.full(len(at_first), -1, dtype=np.int64)
    first[steps.row[::-1]] = np.arange(len(steps.row))[::-1]  # of several writes the last one stays
    begins = np.zeros(len(steps.row), dtype=np.bool_)
    begins[first[(first >= 0) & (at_first == 0)]] = True
    return begins


@dataclass(frozen=True, slots=True)
class Scenario:
    """What becomes of an allocation if effects are not what was predicted.

    Attributes:
        name: what is different.
        value, cost: totals of the allocation as it was chosen, under these effects.
        best: value of the best allocation under these effects and the same limits.
        price: λ of that.
        changed: share of units whose action is another in it.
    """

    name: str
    value: float
    cost: float
    best: float
    price: float
    changed: float

    @property
    def regret(self) -> float:
        """What knowing these effects beforehand would have added; negative where the chosen one breaks a limit."""
        return self.best - self.value


@dataclass(frozen=True, slots=True, eq=False)
class Robustness:
    """An allocation under effects that are off by their standard errors.

    Attributes:
        scenarios: as predicted, all values a standard error down and up, the same of costs where they have standard
            errors, and the mean of independent draws.
        draws: each of the independent draws.
        budget: what may be spent, infinite where there is no budget.
    """

    scenarios: tuple[Scenario, ...]
    draws: tuple[Scenario, ...]
    budget: float

    def frame(self) -> pl.DataFrame:
        """A row per scenario."""
        import polars as pl

        names = ("name", "value", "cost", "best", "regret", "price", "changed")
        return pl.DataFrame({name: [getattr(one, name) for one in self.scenarios] for name in names})

    def __str__(self) -> str:
        width = max(len(one.name) for one in self.scenarios)
        lines = [f"{'':<{width}}  {'value':>12}  {'cost':>12}  {'best':>12}  {'price':>9}  {'changed':>8}"]
        lines += [
            f"{one.name:<{width}}  {one.value:>12,.6g}  {one.cost:>12,.6g}  {one.best:>12,.6g}  {one.price:>9.4g}  "
            f"{one.changed:>8.1%}"
            for one in self.scenarios
        ]
        return "\n".join(lines)


def robustness(
    value: ArrayLike,
    cost: ArrayLike,
    value_stderr: ArrayLike,
    cost_stderr: ArrayLike | None = None,
    *,
    budget: float | None,
    roi_floor: float | None = None,
    eligible: ArrayLike | None = None,
    draws: int = 20,
    random_state: int | np.random.Generator | None = 0,
    threads: int | None = None,
) -> Robustness:
    """What changes if effects are off by their standard errors.

    The allocation is chosen once on the predictions. Then the effects are moved: all values down, all up (and costs),
    and every pair by a normal draw of its own. Told are what the chosen allocation would bring and cost, and what the
    best one would that knew. All down or up is the harsher case for totals, draws for who gets what.

    Args:
        value, cost: (n, A), as for ``allocate``.
        value_stderr, cost_stderr: (n, A) standard errors, ≥ 0.
        budget, roi_floor, eligible, threads: as for ``allocate``.
        draws: independent draws; 0 for none.
        random_state: seed of the draws.

    Raises:
        DataError: numbers that cannot be used.
        ParameterError: a negative budget or floor, or a number of draws below 0.
    """
    if draws < 0:
        raise ParameterError(f"draws is {draws!r}", remedy="Pass how many independent draws to look at, 0 for none.")
    study = _Study.of(value, cost, value_stderr, cost_stderr, checked_limits(budget, roi_floor), eligible, threads)
    told = [study.scenario("as predicted", 0.0, 0.0)]
    told += [study.scenario("values 1 standard error down", -1.0, 0.0), study.scenario("values up", 1.0, 0.0)]
    if cost_stderr is not None:
        told += [study.scenario("costs 1 standard error up", 0.0, 1.0), study.scenario("costs down", 0.0, -1.0)]
    rng = np.random.default_rng(random_state)
    drawn = tuple(study.draw(f"draw {k + 1}", rng) for k in range(draws))
    if drawn:
        means = {name: math.fsum(getattr(one, name) for one in drawn) / draws for name in MEASURES}
        told.append(Scenario(f"mean of {draws} independent draws", **means))
    return Robustness(tuple(told), drawn, study.limits.budget)


MEASURES = ("value", "cost", "best", "price", "changed")


@dataclass(frozen=True, slots=True, eq=False)
class _Study:
    """The predictions, their errors, and what was chosen on them."""

    problem: Problem
    value_stderr: Floats
    cost_stderr: Floats
    cost_errors: bool
    limits: Limits
    labels: tuple[str, ...]
    threads: int
    chosen: NDArray[np.int16]

    @classmethod
    def of(
        cls,
        value: ArrayLike,
        cost: ArrayLike,
        value_stderr: ArrayLike,
        cost_stderr: ArrayLike | None,
        limits: Limits,
        eligible: ArrayLike | None,
        threads: int | None,
    ) -> _Study:
        problem = Problem.of(value, cost, eligible=eligible)
        allowed = problem.allowed(0, problem.n)
        labels, n_threads = action_labels(None, problem.n_actions), LocalEngine(threads).n_threads
        chosen = allocated(problem, limits, labels, n_threads).action
        errors = [
            _errors(told, name, problem, allowed)
            for told, name in ((value_stderr, "value_stderr"), (cost_stderr, "cost_stderr"))
        ]
        return cls(problem, errors[0], errors[1], cost_stderr is not None, limits, labels, n_threads, chosen)

    def draw(self, name: str, rng: np.random.Generator) -> Scenario:
        """Every effect moved by a normal number of its own of standard errors."""
        shape = self.problem.value.shape
        up = rng.standard_normal(shape)
        return self.scenario(name, up, rng.standard_normal(shape) if self.cost_errors else 0.0)

    def scenario(self, name: str, up: Any, costlier: Any) -> Scenario:
        """Effects moved by so many standard errors."""
        problem = self.problem
        moved = Problem(
            problem.value + up * self.value_stderr,
            problem.cost + costlier * self.cost_stderr if self.cost_errors else problem.cost,
            eligible=problem.eligible,
        )
        best = allocated(moved, self.limits, self.labels, self.threads)
        at = self.chosen[:, None].astype(np.intp)
        tables = moved.value, moved.cost
        value, cost = (np.take_along_axis(table, at, axis=1).sum(dtype=np.float64) for table in tables)
        changed = float(np.mean(best.action != self.chosen)) if problem.n else 0.0
        return Scenario(name, float(value), float(cost), best.value, best.price, changed)


def _errors(told: ArrayLike | None, name: str, problem: Problem, allowed: NDArray[np.bool_] | None) -> Floats:
    """(n, A) standard errors, zero for doing nothing and for pairs that are not allowed."""
    shape = problem.value.shape
    errors = np.zeros(shape) if told is None else np.array(told, dtype=np.float64)
    if errors.shape != shape:
        raise DataError(f"{name} has shape {errors.shape}, expected {shape}", remedy="Pass one number per value.")
    errors[:, 0] = 0.0
    if allowed is not None:
        errors[~allowed] = 0.0
    if not (np.isfinite(errors) & (errors >= 0.0)).all():
        row, column = np.argwhere(~(np.isfinite(errors) & (errors >= 0.0)))[0].tolist()
        raise DataError(
            f"{name} is {errors[row, column]}", where=f"row {row:,}, column {column}", remedy="Pass finite numbers ≥ 0."
        )
    return errors
