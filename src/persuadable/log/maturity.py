"""Outcomes that take their time: which decisions are old enough for theirs to be known."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import DataError, OutcomeError, ParameterError
from persuadable.log.views import standing_for_all

if TYPE_CHECKING:
    from persuadable.log.decisions import DecisionLog

__all__ = ["Matured", "matured"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Matured:
    """The decisions of a log whose outcome is known, the others told apart by time.

    Attributes:
        log: the decisions whose outcome is known.
        rows: (m,) their places in the log given.
        n: decisions in the log given.
        horizon: how long an outcome takes.
        as_of: when the outcomes were read.
        censored: decisions left out: younger than the horizon, nothing reported yet.
        early: decisions younger than the horizon that are in, because their outcome was reported.
        late: outcomes that came after the horizon and count as none within it.
    """

    log: DecisionLog
    rows: NDArray[np.intp]
    n: int
    horizon: Any
    as_of: Any
    censored: int
    early: int = 0
    late: int = 0

    def __str__(self) -> str:
        early = f", {self.early:,} of them younger than that" if self.early else ""
        late = f"; {self.late:,} outcomes came later and count as none" if self.late else ""
        horizon = str(self.horizon).removesuffix(", 0:00:00")
        return (
            f"What came within {horizon} is known of {self.log.n:,} of {self.n:,} decisions as of {self.as_of}{early}; "
            f"{self.censored:,} are too young and left out{late}"
        )


def matured(
    log: DecisionLog, horizon: Any, as_of: Any, *, reported: ArrayLike | None = None, outcome: str | None = None
) -> Matured:
    """The decisions old enough for their outcome to be known; "not yet" is never counted as "no".

    A decision of time t is mature if t + horizon ≤ as_of. What the log holds for the younger ones is a part of what
    will come, so they are left out, whatever it is. Leaving out by time alone takes no side, provided that people and
    effects of the later decisions are like those of the earlier ones, or that one asks about the earlier ones. The
    outcome must be what came within the horizon: an older decision had no more time than a younger one.

    With ``reported`` young decisions count as soon as their outcome is in, and every decision kept is weighted by the
    inverse of the chance that it would be, 1/G(min(delay, horizon)), G(u) the share of decisions of age u or more
    (inverse probability of censoring: Robins and Rotnitzky 1992; Bang and Tsiatis 2000. The age of every decision is
    known, so that the Kaplan-Meier estimate of G is this share). That is for outcomes that are final once reported,
    a conversion or a redeemed voucher, and needs times of decision that say nothing about outcome or delay.

    Args:
        log: decisions with a time; those after ``as_of`` count as not yet mature.
        horizon: how long an outcome takes, above 0: a timedelta (numpy's or datetime's) for dates, else a number.
        as_of: when the outcomes were read: a date, time or ISO text for dates, else a number.
        reported: (n,) when each outcome came, missing (NaT or NaN) where none has; one that came after the horizon
            counts as none, 0. The log returned has this outcome alone.
        outcome: the outcome that ``reported`` is about; the first when None.

    Raises:
        ParameterError: a log without times, or a horizon or ``as_of`` that does not go with them.
        DataError: no decision is mature, or ``reported`` contradicts the log.
    """
    time = _times(log)
    end, span = _as_of(as_of, time), _horizon(horizon, time)
    age = end - time
    mature = np.asarray(age >= span)
    if not mature.any():
        raise DataError(
            f"None of the {log.n:,} decisions is {horizon} old as of {as_of}; the oldest was taken at {time.min()}",
            where=f"log {log.name!r}",
            remedy="Wait, shorten the horizon, or judge by an outcome that comes sooner.",
        )
    if reported is None:
        rows = np.flatnonzero(mature)
        return Matured(log.take(rows), rows, log.n, horizon, as_of, log.n - rows.size)
    name = log.primary if outcome is None else outcome
    delay, came = _delays(log.outcome(name), time, reported)
    within = came & (delay <= span)
    known = mature | (within & (delay <= age))
    late = mature & came & ~within
    rows = np.flatnonzero(known)
    chance = _share_older(age, np.where(within, delay, span)[rows], log.weight)
    kept = log.take(rows)
    y = np.where(late[rows], 0.0, kept.outcome(name))
    kept = replace(kept, outcomes={name: y}, cost_name=None, weight=standing_for_all(kept.weight, chance))
    early, gone = int((known & ~mature).sum()), log.n - rows.size
    return Matured(kept, rows, log.n, horizon, as_of, gone, early, int(late.sum()))


def _times(log: DecisionLog) -> NDArray[Any]:
    if log.time is None:
        raise ParameterError(
            f"The log {log.name!r} has no times, so nothing tells which outcomes are not in yet",
            where="matured",
            remedy="Give time= when making the log.",
        )
    if log.time.dtype.kind not in "Miuf":
        raise ParameterError(
            f"The times of the log {log.name!r} are of type {log.time.dtype}",
            where="matured",
            remedy="Make the log with dates, times or numbers as its time.",
        )
    return log.time.astype(np.float64) if log.time.dtype.kind in "iu" else log.time


def _as_of(told: Any, time: NDArray[Any]) -> Any:
    """The moment in the type of the log's times."""
    dates = time.dtype.kind == "M"
    if dates and isinstance(told, datetime.datetime) and told.tzinfo is not None:
        told = told.astimezone(datetime.UTC).replace(tzinfo=None)
    try:
        moment = np.datetime64(told) if dates else float(told)
    except (TypeError, ValueError):
        moment = np.datetime64("NaT") if dates else np.nan
    known = not (isinstance(told, int | float) or np.isnat(moment)) if dates else bool(np.isfinite(moment))
    if not known:
        raise ParameterError(
            f"as_of is {told!r}",
            where="matured",
            remedy=f"Pass a {'date or time, such as 2026-03-31' if dates else 'number'}, as the log's times are.",
        )
    return moment


def _horizon(told: Any, time: NDArray[Any]) -> Any:
    """The span in the type of the differences of the log's times."""
    span: Any = None
    if time.dtype.kind == "M" and isinstance(told, datetime.timedelta | np.timedelta64):
        length = np.timedelta64(told)
        fixed = np.can_cast(length.dtype, "timedelta64[us]", "same_kind")  # months and years have no fixed length
        if fixed and np.datetime_data(length.dtype)[0] != "generic":
            span = length.astype("timedelta64[us]")
    elif time.dtype.kind == "f" and isinstance(told, int | float | np.integer | np.floating):
        span = None if isinstance(told, bool) else float(told)
    if span is not None and span > 0 * span:
        return span
    raise ParameterError(
        f"horizon is {told!r}",
        where="matured",
        remedy="Pass a length above 0"
        + (", such as datetime.timedelta(days=90)." if time.dtype.kind == "M" else ", a number as the times are."),
    )


def _delays(y: NDArray[Any], time: NDArray[Any], reported: ArrayLike) -> tuple[NDArray[Any], Mask]:
    """(n,) from decision to report, and (n,) whether anything was reported."""
    when = np.asarray(reported)
    if when.shape != y.shape:
        raise DataError(
            f"reported has shape {when.shape}, expected {y.shape}", remedy="Give a time for every row, NaT for none."
        )
    fits = when.dtype.kind == "M" if time.dtype.kind == "M" else when.dtype.kind in "iuf"
    if not fits:
        raise DataError(
            f"reported is of type {when.dtype}, the times of the log are {time.dtype}", remedy="Give both alike."
        )
    came = ~(np.isnat(when) if when.dtype.kind == "M" else np.isnan(when.astype(np.float64)))
    delay = when - time
    for wrong, told in (
        (came & (delay < 0 * delay), "was reported before its decision"),
        (~came & (y != 0), "has an outcome and no time at which it was reported"),
    ):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise OutcomeError(
                f"A decision {told}",
                where=f"row {row} and {int(wrong.sum()) - 1:,} more",
                remedy="Correct the times, or leave reported= out.",
            )
    return delay, came


def _share_older(age: NDArray[Any], spans: NDArray[Any], weight: NDArray[Any] | None) -> NDArray[np.float64]:
    """G: the (weighted) share of the decisions taken so far that are at least as old as each span."""
    decided = age >= 0 * age
    order = np.argsort(age[decided], kind="stable")
    mass = np.ones(order.size) if weight is None else np.asarray(weight, dtype=np.float64)[decided][order]
    older = np.append(np.cumsum(mass[::-1])[::-1], 0.0)
    return np.asarray(older[np.searchsorted(age[decided][order], spans, side="left")] / older[0])
