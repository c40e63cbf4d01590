"""The policies from no budget to all of it, as a result: points, areas, differences, a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from persuadable.errors import DataError, ParameterError, UnknownName
from persuadable.value.estimate import Estimate
from persuadable.value.paths.climb import BudgetPoint, Climb
from persuadable.value.paths.trail import Measured

if TYPE_CHECKING:
    import polars as pl

__all__ = ["AVERAGE", "BudgetPath", "amount"]

AVERAGE = "average effects"


@dataclass(frozen=True, slots=True, eq=False)
class BudgetPath:
    """The policies from no budget to all of it, and what they are worth.

    Attributes:
        name: "all actions", "only …" or "average effects".
        points: one per budget asked for.
        baselines: paths beside it, by name, on the same rows: each treatment by itself, and all treatments by their
            average effects, without looking at who somebody is.
        full: predicted cost per head of giving everybody what is predicted to bring most.
        outcome: the outcome's name.
        cost_outcome: the outcome that is the cost, or None where costs are only stated.
        actions: labels.
        alpha: intervals are meant to miss with this probability.
        n: rows it rests on.
    """

    name: str
    points: tuple[BudgetPoint, ...]
    baselines: Mapping[str, BudgetPath]
    full: float
    outcome: str
    cost_outcome: str | None
    actions: tuple[str, ...]
    alpha: float
    n: int
    climb: Climb = field(repr=False)

    def at(self, budget: float) -> BudgetPoint:
        """The policy whose predicted cost per head is the budget, priced anew for the population it will meet.

        Its price is drawn from the judged rows, so the intervals include the luck of that. A budget of ``full`` or more
        pays for all that is worth anything.

        Raises:
            ParameterError: not a number from 0 on.
        """
        return self.climb.at(amount(budget, "budget"), self.alpha)

    def at_price(self, price: float) -> BudgetPoint:
        """The policy with this very price, fixed beforehand, as a served policy's is.

        Its intervals need not include the luck of a price. What it spends is whatever the price lets it spend.

        Raises:
            ParameterError: not a finite number from 0 on.
        """
        return self.climb.at_price(amount(price, "price"), self.alpha)

    def difference(self, other: BudgetPath | str, budget: float) -> Estimate:
        """Gain of this path less that of another at the same budget per head, paired row by row.

        The budget is money planned: both paths are charged by the same predicted costs, which is what a budget is kept
        by when it is set. What they spend may differ all the same. A path that has bought all it holds worth anything
        spends no more, however much is left; and predicted costs are not equally wrong about everybody.
        ``spend_difference`` measures both. Where it is above 0 the gain was bought with more money, and counts only as
        far as it exceeds what that money is worth elsewhere.

        Args:
            other: a path of the same log and outcome, or the name of a baseline.
            budget: per head.

        Raises:
            UnknownName: no such baseline.
            DataError: a path of other rows, or of another outcome.
            ParameterError: not a number from 0 on.
        """
        theirs, at = self._other(other), amount(budget, "budget")
        ours = self.climb.gain.at_budget(at)
        return self._estimate(
            _less(ours, theirs.climb.gain.at_budget(at)), f"{self.name} − {theirs.name} at {at:.4g} per head"
        )

    def spend_difference(self, other: BudgetPath | str, budget: float) -> Estimate:
        """What this path spends per head less what another does at the same budget, as the log's cost tells it, paired.

        Args:
            other: a path of the same log and outcome, or the name of a baseline.
            budget: per head.

        Raises:
            UnknownName: no such baseline.
            DataError: a path of other rows, of another outcome or cost, or a log that tells no cost.
            ParameterError: not a number from 0 on.
        """
        theirs, at = self._other(other), amount(budget, "budget")
        ours, beside = self.climb.spend, theirs.climb.spend
        if ours is None or beside is None or self.cost_outcome != theirs.cost_outcome:
            raise DataError(
                f"The paths {self.name!r} and {theirs.name!r} were not both measured by one logged cost",
                remedy="Pass cost_outcome= the outcome that is the cost; what is only stated is not measured.",
            )
        return self._estimate(
            _less(ours.at_budget(at), beside.at_budget(at)),
            f"spend of {self.name} − {theirs.name} at {at:.4g} per head",
        )

    def area(self, lower: float = 0.0, upper: float | None = None) -> Estimate:
        """The area under the path between two budgets, divided by their distance: the gain per head averaged over them.

        Args:
            lower: where to begin, per head.
            upper: where to end; ``reach`` when None.

        Raises:
            ParameterError: budgets that are not 0 ≤ lower < upper.
        """
        limits = self._limits(lower, upper)
        return self._estimate(self.climb.gain.mean(*limits), f"mean gain of {self.name} over budgets {_span(limits)}")

    def area_difference(self, other: BudgetPath | str, lower: float = 0.0, upper: float | None = None) -> Estimate:
        """The area between this path and another, as ``area`` measures it, paired; its p-value is against none.

        Args:
            other: a path of the same log and outcome, or the name of a baseline.
            lower, upper: as for ``area``.

        Raises:
            UnknownName, DataError: as for ``difference``.
            ParameterError: as for ``area``.
        """
        theirs, limits = self._other(other), self._limits(lower, upper)
        apart = _less(self.climb.gain.mean(*limits), theirs.climb.gain.mean(*limits))
        return self._estimate(apart, f"{self.name} − {theirs.name}, mean over budgets {_span(limits)}")

    @property
    def reach(self) -> float:
        """The largest budget of the points, where areas end unless told otherwise."""
        return max(point.budget for point in self.points)

    @property
    def best_single(self) -> str:
        """The treatment by itself that predictions, not outcomes, hold to be best on average over budgets up to reach.

        Raises:
            ParameterError: no treatment has a path of its own.
        """
        single = {name: path for name, path in self.baselines.items() if name != AVERAGE}
        if not single:
            raise ParameterError(f"{self.name!r} has no paths of single actions", remedy="Ask for several treatments.")
        return max(single, key=lambda name: single[name].climb.foreseen(self.reach))

    def frame(self) -> pl.DataFrame:
        """One row per budget.

        Columns budget, price, gain, predicted_gain, predicted_spend, spend and overspend (where the log has a cost),
        offered, the share of each action, every baseline's gain, and "gain over" it and, where the log has a cost,
        "spend over" it, paired; estimates with their intervals.
        """
        import polars as pl

        rows = [
            _flat(point, self.actions) | self._beside(place, point.budget) for place, point in enumerate(self.points)
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    def _beside(self, place: int, budget: float) -> dict[str, float]:
        flat: dict[str, float] = {}
        for name, path in self.baselines.items():
            flat |= _ends(name, path.points[place].gain) | _ends(f"gain over {name}", self.difference(name, budget))
            if self.climb.spend is not None:
                flat |= _ends(f"spend over {name}", self.spend_difference(name, budget))
        return flat

    def __str__(self) -> str:
        head = f"{'budget':>9} {'λ':>9} {'treated':>8} {'spend':>9}   gain ({self.outcome} per head)"
        lines = [head, *(_line(point) for point in self.points)]
        if self.reach > 0:
            lines += ["", "Averaged over these budgets:", f"  {self.area()}"]
            lines += [f"  {self.area_difference(name)}" for name in self.baselines]
        return "\n".join(lines)

    def _other(self, other: BudgetPath | str) -> BudgetPath:
        if isinstance(other, str):
            if other not in self.baselines:
                raise UnknownName(f"There is no path {other!r} beside this one", remedy=f"Try {list(self.baselines)}.")
            return self.baselines[other]
        if not np.array_equal(self.climb.rows, other.climb.rows):
            raise DataError("The two paths were judged on different rows", remedy="Judge both on the same log.")
        if self.outcome != other.outcome:
            raise DataError(
                f"One path was judged by {self.outcome!r}, the other by {other.outcome!r}",
                remedy="Pass the same outcome= to both.",
            )
        return other

    def _limits(self, lower: float, upper: float | None) -> tuple[float, float]:
        low, high = amount(lower, "lower"), self.reach if upper is None else amount(upper, "upper")
        if low < high:
            return low, high
        why = "nothing is predicted to be worth its cost" if self.full <= 0 else "that is no stretch of budgets"
        raise ParameterError(
            f"The area from {low:.4g} to {high:.4g} per head was asked for: {why}", remedy="Pass lower < upper."
        )

    def _estimate(self, measured: Measured, name: str) -> Estimate:
        return self.climb.logged.estimate(measured.value, measured.psi, self.alpha, name)


def amount(given: Any, what: str) -> float:
    """A finite number from 0 on.

    Raises:
        ParameterError: it is none.
    """
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0.0 <= number < np.inf:
        raise ParameterError(f"{what} is {given!r}", remedy="Pass a finite number from 0 on, per head.")
    return number


def _less(ours: Measured, theirs: Measured) -> Measured:
    return Measured(ours.value - theirs.value, ours.psi - theirs.psi)


def _span(limits: tuple[float, float]) -> str:
    return f"{limits[0]:.4g} to {limits[1]:.4g}"


def _flat(point: BudgetPoint, actions: Sequence[str]) -> dict[str, float]:
    flat = {"budget": point.budget, "price": point.price} | _ends("gain", point.gain)
    flat |= {"predicted_gain": point.predicted_gain, "predicted_spend": point.predicted_spend}
    if point.spend is not None and point.overspend is not None:
        flat |= _ends("spend", point.spend) | _ends("overspend", point.overspend)
    shares = {f"share of {label}": share for label, share in zip(actions, point.shares, strict=True)}
    return flat | {"offered": point.offered} | shares


def _ends(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_lower": estimate.interval[0], f"{name}_upper": estimate.interval[1]}


def _line(point: BudgetPoint) -> str:
    low, high = point.gain.interval
    spent = point.predicted_spend if point.spend is None else point.spend.value
    return (
        f"{point.budget:9.4g} {point.price:9.4g} {point.offered:8.1%} {spent:9.4g}   "
        f"{point.gain.value:+.4g} ({low:+.4g} to {high:+.4g})"
    )
