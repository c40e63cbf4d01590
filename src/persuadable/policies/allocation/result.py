"""What an allocation answers: who gets what, what it brings and costs, and how close to the best possible that is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import ParameterError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ROUNDING", "Allocation", "ConstraintRow"]

SHOWN = 8  # constraints, of which a parity among four groups alone makes twelve
ROUNDING = 1e-12  # of a limit: sums of floats that pass it by no more keep it


@dataclass(frozen=True, slots=True)
class ConstraintRow:
    """One constraint, and how it came out.

    Attributes:
        name: what it is called.
        used: what the allocation comes to.
        limit: what was asked.
        at_least: whether the limit is a floor.
        price: what one more unit of room would bring, in value.
        binding: whether it has a price.
    """

    name: str
    used: float
    limit: float
    at_least: bool
    price: float
    binding: bool

    @property
    def met(self) -> bool:
        """Whether it is kept, but for rounding of a relative 1e-12."""
        over = self.limit - self.used if self.at_least else self.used - self.limit
        return not over > ROUNDING * abs(self.limit)


@dataclass(frozen=True, slots=True, eq=False)
class Allocation:
    """One action for every unit, with its price and its certificate.

    No allocation of the units, fractions of a unit among them, brings more than ``bound``; this one misses it by
    ``gap``. ``value`` and ``cost`` are predicted totals over doing nothing, in the units they were passed in.

    Attributes:
        action: (n,) int16 codes, 0 is no offer; empty where they were written to a file.
        price: λ*, the price at which every unit's decision is the argmax of v − λc: dV/dB, what the last unit of
            budget brought. With a floor on the return it is the effective price (λ + ηρ)/(1 + η).
        value, cost: predicted totals.
        bound: the most value any allocation can have, by the dual at the final prices.
        labels: (A,) names of the actions.
        counts: (A,) units per action.
        rows: the constraints, each with what it came to and its price.
        prices: name of each constraint → its price.
        marginal: rows whose action differs from the argmax at ``price``: ties that were broken, and what was filled in.
        fractional: the row of which the best fractional allocation takes a part, None where there is none.
        pruned: why pairs were out of the question → how many.
        decided_value, decided_cost: the totals that the decision was made on and the certificate is about; they differ
            from ``value`` and ``cost`` where it was averse to uncertainty.
        averse: by how many standard errors.
        efficiency_floor: least v/c of a pair.
        cut_short: whether, with several constraints, the search for whole actions met its bound on nodes or seconds
            before it was good enough. ``gap`` is right all the same, but another machine may come to another answer.
    """

    action: NDArray[np.int16]
    price: float
    value: float
    cost: float
    bound: float
    labels: tuple[str, ...]
    counts: NDArray[np.int64]
    rows: tuple[ConstraintRow, ...]
    marginal: NDArray[np.int64]
    fractional: int | None
    pruned: Mapping[str, int]
    decided_value: float
    decided_cost: float
    averse: float = 0.0
    efficiency_floor: float = 0.0
    single_price: bool = field(default=True, repr=False)
    cut_short: bool = False

    @property
    def n(self) -> int:
        """Number of units."""
        return int(self.counts.sum())

    @property
    def gap(self) -> float:
        """By how much value the bound exceeds what was decided, never below 0."""
        return max(self.bound - self.decided_value, 0.0)

    @property
    def relative_gap(self) -> float:
        """``gap`` over ``bound``; 0 where there is nothing to gain."""
        return self.gap / self.bound if self.bound > 0.0 else 0.0

    @property
    def roi(self) -> float:
        """Value per unit of cost; infinite where it costs nothing or less, NaN where nothing is brought either."""
        if self.cost > 0.0:
            return self.value / self.cost
        return math.inf if self.value > 0.0 else math.nan

    @property
    def shares(self) -> NDArray[np.float64]:
        """(A,) shares of the units per action."""
        return self.counts / max(self.n, 1)

    @property
    def prices(self) -> dict[str, float]:
        """Name of each constraint → its price."""
        return {row.name: row.price for row in self.rows}

    @property
    def budget(self) -> float:
        """What might be spent, infinite where there was no budget."""
        return next((row.limit for row in self.rows if row.name == "budget"), math.inf)

    def decide(
        self,
        value: ArrayLike,
        cost: ArrayLike,
        eligible: ArrayLike | None = None,
        *,
        value_stderr: ArrayLike | None = None,
        cost_stderr: ArrayLike | None = None,
    ) -> NDArray[np.int16]:
        """(n,) actions at the price found: what serving one unit does.

        Equals ``action`` but in ``marginal`` and where actions were forced. What was forbidden is not eligible here.

        Args:
            value, cost: (n, A) over doing nothing, column 0 zero.
            eligible: (n, A) mask.
            value_stderr, cost_stderr: (n, A), as for ``allocate`` where it was averse to uncertainty.

        Raises:
            DataError: arrays that cannot be used.
            ParameterError: several constraints were priced, or other actions are asked for.
        """
        from persuadable.policies.allocation.exact import decide_at
        from persuadable.policies.allocation.problem import Problem

        if not self.single_price:
            raise ParameterError(
                "This allocation has a price for every constraint, not one for all",
                remedy="Use its .action, or allocate with a budget and a floor on the return only.",
            )
        problem = Problem.of(
            value,
            cost,
            eligible=eligible,
            value_stderr=value_stderr,
            cost_stderr=cost_stderr,
            averse=self.averse,
            efficiency_floor=self.efficiency_floor,
        )
        if problem.n_actions != len(self.labels):
            raise ParameterError(
                f"The allocation chooses among {len(self.labels)} actions, {problem.n_actions} are asked for",
                remedy=f"Pass a column for each of {list(self.labels)}.",
            )
        return decide_at(problem, self.price)

    def frame(self) -> pl.DataFrame:
        """A row per action: label, units, share."""
        import polars as pl

        return pl.DataFrame({"action": list(self.labels), "units": self.counts, "share": self.shares})

    def summary(self) -> str:
        """The answer as a small table."""
        width = max(len(label) for label in self.labels)
        lines = [f"{self.n:,} units"]
        lines += [
            f"  {label:<{width}}  {count:>12,}  {share:>7.2%}"
            for label, count, share in zip(self.labels, self.counts.tolist(), self.shares.tolist(), strict=True)
        ]
        lines.append(f"brings {_number(self.value)} for {_number(self.cost)}" + self._return())
        if self.averse:
            lines.append(
                f"decided {self.averse:g} standard errors on the safe side: {_number(self.decided_value)} for "
                f"{_number(self.decided_cost)}"
            )
        told, idle = _shown(self.rows)
        lines += [self._told(row) for row in told]
        if idle:
            lines.append(f"{idle} more do not bind")
        lines.append(
            f"no allocation brings more than {_number(self.bound)}: at most {_number(self.gap)} "
            f"({self.relative_gap:.2g} of it) is missed"
        )
        if self.cut_short:
            lines.append("the search for whole units was cut short: some of that may still be found")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()

    def _return(self) -> str:
        return f", {_number(self.roi)} per unit of cost" if math.isfinite(self.roi) else ""

    def _told(self, row: ConstraintRow) -> str:
        words = f"{row.name}: {_number(row.used)} {'≥' if row.at_least else '≤'} {_number(row.limit)}"
        if not row.binding:
            return f"{words}, does not bind"
        if row.name == "budget":
            return f"{words}, the last unit of it brought {_number(row.price)}"
        return f"{words}, price {_number(row.price)}"


def _shown(rows: tuple[ConstraintRow, ...]) -> tuple[tuple[ConstraintRow, ...], int]:
    """The constraints to tell, all where they are few, else those that bind; and how many are left out."""
    told = rows if len(rows) <= SHOWN else tuple(row for row in rows if row.binding or not row.met)
    return told, len(rows) - len(told)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞" if value < 0 else "undefined"
    digits = 0 if abs(value) >= 100_000 else 4
    return f"{value:,.0f}" if digits == 0 else f"{value:,.{digits}g}" if abs(value) < 1000 else f"{value:,.1f}"
