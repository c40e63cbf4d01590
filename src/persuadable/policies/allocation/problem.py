"""What is to be allocated: who may get what, what it brings and what it costs, checked and read block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import ActionError, DataError, ParameterError

__all__ = ["BLOCK", "Population", "Problem", "ScaleWarning", "action_labels", "checked_amount", "in_blocks"]

BLOCK = 16_384  # rows: small enough for a cache, large enough for a thread
Floats = NDArray[np.float64]
Codes = NDArray[np.int16]
Flags = NDArray[np.bool_]
T = TypeVar("T")

BASELINE = "Values and costs are over doing nothing: subtract column 0 from every column."
NO_CODES = np.empty(0, dtype=np.int16)


class ScaleWarning(UserWarning):
    """Costs and budget look as if they were in different units."""


class Population(Protocol):
    """Units that are read part by part, in memory or from a file.

    Attributes:
        n: number of units.
        n_actions: A.
        averse, efficiency_floor: as in :class:`Problem`.
    """

    @property
    def n(self) -> int: ...

    @property
    def n_actions(self) -> int: ...

    @property
    def averse(self) -> float: ...

    @property
    def efficiency_floor(self) -> float: ...

    def parts(self) -> Iterable[tuple[int, Problem]]:
        """First row and units of each part, in order; all but the last are whole blocks."""
        ...

    def sample(self, size: int) -> Problem:
        """About ``size`` units from all over; all of them where there are no more."""
        ...

    def take(self, rows: NDArray[np.int64]) -> Problem:
        """Some units, in the order asked for."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Units in memory.

    Attributes:
        value, cost: (n, A) of any float type, over doing nothing.
        eligible, forbidden: (n, A) masks, or None.
        forced: (n,) int16 codes, −1 where free; empty where none is forced.
        value_stderr, cost_stderr: (n, A) standard errors, or None.
        averse: standard errors taken off values and added to costs before anything is decided.
        efficiency_floor: pairs with v < floor · c are never given.
    """

    value: NDArray[Any]
    cost: NDArray[Any]
    eligible: Flags | None = None
    forbidden: Flags | None = None
    forced: Codes = field(default_factory=lambda: NO_CODES)
    value_stderr: NDArray[Any] | None = None
    cost_stderr: NDArray[Any] | None = None
    averse: float = 0.0
    efficiency_floor: float = 0.0

    @classmethod
    def of(
        cls,
        value: ArrayLike,
        cost: ArrayLike,
        *,
        eligible: ArrayLike | None = None,
        forbidden: ArrayLike | None = None,
        forced: ArrayLike | None = None,
        value_stderr: ArrayLike | None = None,
        cost_stderr: ArrayLike | None = None,
        averse: float = 0.0,
        efficiency_floor: float | None = None,
    ) -> Self:
        """Check shapes and types; numbers are looked at when they are first read.

        Raises:
            DataError: arrays of another shape or kind.
            ActionError: masks or forced actions that do not fit.
            ParameterError: an aversion or a floor that is no number ≥ 0, or an aversion without standard errors.
        """
        v, c = _table(value, "value"), _table(cost, "cost")
        if v.ndim != 2 or v.shape[1] < 1:
            raise DataError(f"value has shape {v.shape}", remedy="Pass one row per unit and one column per action.")
        if c.shape != v.shape:
            raise DataError(f"cost has shape {c.shape}, value {v.shape}", remedy="Pass a cost for every value.")
        z = checked_amount(averse, "averse", "Pass how many standard errors to stay on the safe side, 1 for example.")
        floor = checked_amount(
            efficiency_floor or 0.0, "efficiency_floor", "Pass the least value per unit of cost a pair must bring."
        )
        if z > 0.0 and value_stderr is None and cost_stderr is None:
            raise ParameterError(
                "averse= needs standard errors", remedy="Pass value_stderr=, cost_stderr= or both, of value's shape."
            )
        masks = _mask(eligible, v.shape, "eligible"), _mask(forbidden, v.shape, "forbidden")
        if masks[1] is not None and masks[1][:, 0].any():
            raise ActionError(
                "Doing nothing cannot be forbidden",
                where=f"row {int(masks[1][:, 0].argmax())}",
                remedy="Leave column 0 of forbidden False; name the action a unit must get in forced=.",
            )
        return cls(
            v,
            c,
            *masks,
            forced=_forced(forced, v.shape, *masks),
            value_stderr=_like(value_stderr, v.shape, "value_stderr") if z > 0.0 else None,
            cost_stderr=_like(cost_stderr, v.shape, "cost_stderr") if z > 0.0 else None,
            averse=z,
            efficiency_floor=floor,
        )

    @property
    def n(self) -> int:
        """Number of units."""
        return int(self.value.shape[0])

    @property
    def n_actions(self) -> int:
        """A, doing nothing among them."""
        return int(self.value.shape[1])

    def parts(self) -> Iterator[tuple[int, Problem]]:
        """All units at once."""
        yield 0, self

    def sample(self, size: int) -> Problem:
        """About ``size`` units, one from each of as many equal stretches; always the same ones."""
        stride = -(-self.n // size) if size else self.n
        if stride <= 1:
            return self
        starts = np.arange(0, self.n, stride)
        rows = starts + np.random.default_rng(0).integers(0, stride, size=len(starts))
        return self.take(rows[rows < self.n])

    def take(self, rows: NDArray[np.int64] | slice) -> Problem:
        """Some units, in the order asked for."""

        def part(table: NDArray[Any] | None) -> Any:
            return None if table is None else table[rows]

        return replace(
            self,
            value=self.value[rows],
            cost=self.cost[rows],
            eligible=part(self.eligible),
            forbidden=part(self.forbidden),
            forced=self.forced[rows] if self.forced.size else self.forced,
            value_stderr=part(self.value_stderr),
            cost_stderr=part(self.cost_stderr),
        )

    def block(self, first: int, last: int) -> tuple[Floats, Floats, Codes]:
        """Value, cost and forced codes of some rows as the decision sees them: float64, pairs not allowed at zero."""
        v, c = self.plain(first, last)
        if self.value_stderr is not None:
            v = v - _margin(self.value_stderr[first:last], self.averse)
        if self.cost_stderr is not None:
            c = c + _margin(self.cost_stderr[first:last], self.averse)
        if (allowed := self.allowed(first, last)) is not None:
            v, c = np.where(allowed, v, 0.0), np.where(allowed, c, 0.0)
        return v, c, self.forced[first:last]

    def decided(self) -> tuple[NDArray[Any], NDArray[Any], Flags | None]:
        """Value, cost and allowed pairs of all rows as the decision sees them, the floor applied; views where possible.

        Raises:
            DataError: a number that is not finite, or a column 0 that is not zero.
        """
        for first in range(0, self.n, BLOCK):
            last = min(first + BLOCK, self.n)
            v, c, _ = self.block(first, last)
            if not (np.isfinite(v).all() and np.isfinite(c).all()) or v[:, 0].any() or c[:, 0].any():
                self.refuse(first, last)
        allowed = self.allowed(0, self.n)
        if allowed is None and not self.averse and not self.efficiency_floor:
            return self.value, self.cost, None
        v, c, _ = self.block(0, self.n)
        if self.efficiency_floor:
            enough = v >= self.efficiency_floor * c
            allowed = enough if allowed is None else allowed & enough
            allowed[:, 0] = True
            rows = np.flatnonzero(self.forced > 0) if self.forced.size else self.forced[:0]
            allowed[rows, self.forced[rows]] = True
        return v, c, allowed

    def plain(self, first: int, last: int) -> tuple[Floats, Floats]:
        """Value and cost of some rows as they were passed, float64."""
        return (
            np.ascontiguousarray(self.value[first:last], dtype=np.float64),
            np.ascontiguousarray(self.cost[first:last], dtype=np.float64),
        )

    def allowed(self, first: int, last: int) -> Flags | None:
        """(rows, A) pairs that may be given by eligibility and what is forbidden; None where all may."""
        if self.eligible is None and self.forbidden is None:
            return None
        mask = np.ones((last - first, self.n_actions), dtype=np.bool_)
        if self.eligible is not None:
            mask &= self.eligible[first:last]
        if self.forbidden is not None:
            mask &= ~self.forbidden[first:last]
        mask[:, 0] = True
        return mask

    def refuse(self, first: int, last: int, offset: int = 0) -> NoReturn:
        """Say which number among some rows cannot be used.

        Raises:
            DataError: always.
        """
        allowed = self.allowed(first, last)
        tables = {"value": self.value, "cost": self.cost}
        errors = {"value_stderr": self.value_stderr, "cost_stderr": self.cost_stderr}
        for name, table in (tables | errors).items():
            if table is None:
                continue
            part = np.asarray(table[first:last], dtype=np.float64)
            odd = ~np.isfinite(part) | (part < 0.0) if name in errors else ~np.isfinite(part)
            if allowed is not None:
                odd &= allowed
            if name in errors:
                odd[:, 0] = False
            if odd.any():
                row, column = np.argwhere(odd)[0].tolist()
                raise DataError(
                    f"{name} is {part[row, column]}",
                    where=f"row {offset + first + row:,}, column {column}",
                    remedy="Pass finite numbers (standard errors ≥ 0); set eligible False where a pair is impossible.",
                )
            if name in tables and part[:, 0].any():
                row = int(np.flatnonzero(part[:, 0])[0])
                raise DataError(
                    f"{name} of doing nothing is {part[row, 0]:g}, not 0",
                    where=f"row {offset + first + row:,}, column 0",
                    remedy=BASELINE,
                )
        raise DataError("A total overflows", where=f"rows from {offset + first:,}", remedy="Use another unit.")


def in_blocks(problem: Problem, function: Callable[[int, int], T], threads: int) -> Iterator[T]:
    """``function(first, last)`` of every block of rows, several at a time; results in order whatever the threads.

    Args:
        problem: units whose rows are cut.
        function: reads rows first … last − 1, and releases the GIL for most of its time.
        threads: how many at a time.
    """
    edges = [*range(0, problem.n, BLOCK), problem.n]
    if threads == 1 or len(edges) <= 2:
        yield from map(function, edges[:-1], edges[1:])
        return
    with ThreadPoolExecutor(min(threads, len(edges) - 1)) as pool:
        yield from pool.map(function, edges[:-1], edges[1:])


def action_labels(actions: Sequence[Any] | None, n_actions: int) -> tuple[str, ...]:
    """(A,) labels; "no offer", "1", "2", … where none were told.

    Raises:
        ActionError: another number of labels, or one label twice.
    """
    if actions is None:
        return ("no offer", *(str(a) for a in range(1, n_actions)))
    labels = tuple(str(label) for label in actions)
    if len(labels) != n_actions or len(set(labels)) != len(labels):
        raise ActionError(
            f"actions names {len(labels)} actions, {len(set(labels))} different; value has {n_actions} columns",
            remedy="Pass one label per column, doing nothing first.",
        )
    return labels


def checked_amount(amount: Any, name: str, remedy: str) -> float:
    """A finite number ≥ 0.

    Raises:
        ParameterError: it is none.
    """
    known = isinstance(amount, int | float | np.number) and not isinstance(amount, bool)
    if not (known and 0.0 <= amount < math.inf):
        raise ParameterError(f"{name} is {amount!r}", remedy=remedy)
    return float(amount)


def _margin(stderr: NDArray[Any], averse: float) -> Floats:
    """What is taken off for uncertainty; NaN, which is refused later, where a standard error is negative."""
    margin: Floats = averse * np.where(stderr >= 0.0, stderr, np.nan).astype(np.float64)
    margin[:, 0] = 0.0
    return margin


def _table(values: ArrayLike, name: str) -> NDArray[Any]:
    if np.ma.is_masked(values):
        raise DataError(f"{name} is masked in places", remedy="Pass every number; set eligible False where none is.")
    try:
        table = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{name} has rows of different lengths", remedy="Pass an (n, A) array of numbers.") from error
    if table.dtype.kind not in "iufb":
        raise DataError(f"{name} holds {table.dtype}, not numbers", remedy="Pass an (n, A) array of numbers.")
    return table


def _like(values: ArrayLike | None, shape: tuple[int, ...], name: str) -> NDArray[Any] | None:
    if values is None:
        return None
    table = _table(values, name)
    if table.shape != shape:
        raise DataError(f"{name} has shape {table.shape}, expected {shape}", remedy="Pass one number per value.")
    return table


def _mask(told: ArrayLike | None, shape: tuple[int, ...], name: str) -> Flags | None:
    if told is None:
        return None
    mask = np.asarray(told)
    if mask.shape != shape:
        raise ActionError(
            f"{name} has shape {mask.shape}, expected {shape}",
            remedy="Pass one row per unit and one column per action, doing nothing first.",
        )
    if mask.dtype != np.bool_:
        if mask.dtype.kind not in "iuf" or not ((mask == 0) | (mask == 1)).all():
            raise ActionError(f"{name} holds other than True and False", remedy="Pass an (n, A) mask.")
        mask = mask.astype(np.bool_)
    return mask


def _forced(told: ArrayLike | None, shape: tuple[int, ...], eligible: Flags | None, forbidden: Flags | None) -> Codes:
    if told is None:
        return NO_CODES
    codes = np.asarray(told)
    if codes.shape != (shape[0],) or codes.dtype.kind not in "iu":
        raise ActionError(
            f"forced has shape {codes.shape} and type {codes.dtype}, expected {(shape[0],)} whole numbers",
            remedy="Pass an action code per unit, −1 where the unit is free.",
        )
    strange = (codes < -1) | (codes >= shape[1])
    if strange.any():
        row = int(strange.argmax())
        raise ActionError(
            f"There is no action {int(codes[row])} to force",
            where=f"row {row:,}",
            remedy=f"Codes: −1 … {shape[1] - 1}.",
        )
    rows = np.flatnonzero(codes > 0)
    barred = np.zeros(len(rows), dtype=np.bool_)
    if eligible is not None:
        barred |= ~eligible[rows, codes[rows]]
    if forbidden is not None:
        barred |= forbidden[rows, codes[rows]]
    if barred.any():
        row = int(rows[barred.argmax()])
        raise ActionError(
            f"Action {int(codes[row])} is forced and not allowed for the same unit",
            where=f"row {row:,}",
            remedy="Force only actions that are eligible and not forbidden.",
        )
    return codes.astype(np.int16)
