"""What happens right now: the last hour, read from the tallies and so as fast with a billion decisions as with ten."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from persuadable.service.store import problems
from persuadable.service.store.moments import MINUTE, micros, moment
from persuadable.service.store.problems import Problem
from persuadable.service.store.tables import tallies

__all__ = ["Bin", "Live", "Minute", "OutcomeMean", "live"]

MINUTES = 60
ERRORS = 20


@dataclass(frozen=True, slots=True)
class Minute:
    """Decisions of one minute, and how many of them treat; ``minute`` is its beginning."""

    minute: datetime
    decisions: int
    treated: int


@dataclass(frozen=True, slots=True)
class Bin:
    """How many decisions had a probability of treatment within [low, high); the last bin has its upper end too."""

    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class OutcomeMean:
    """Reports of an outcome that came in within the hour, corrections among them, and the mean of their values."""

    name: str
    count: int
    mean: float


@dataclass(frozen=True, slots=True)
class Live:
    """The last 60 minutes, the one that runs among them.

    Attributes:
        minutes: all 60, the oldest first.
        decisions, treated: their sums.
        propensity_histogram: decisions by their probability of treatment, ten bins.
        outcomes: what was reported in these minutes, by name.
        actions: decisions by action taken.
        errors: the last 20, newest first, however old.
    """

    minutes: tuple[Minute, ...]
    decisions: int
    treated: int
    propensity_histogram: tuple[Bin, ...]
    outcomes: tuple[OutcomeMean, ...]
    actions: dict[str, int]
    errors: tuple[Problem, ...]


def live(connection: Connection, now: datetime) -> Live:
    """The hour that ends with the minute of ``now``."""
    last = micros(now) // MINUTE * MINUTE
    first = last - (MINUTES - 1) * MINUTE
    sums = [func.sum(column).label(column.name) for column in (tallies.c.number, tallies.c.treated, tallies.c.total)]
    groups = (tallies.c.minute, tallies.c.kind, tallies.c.name, tallies.c.tenth)
    query = select(*groups, *sums).where(tallies.c.minute.between(first, last)).group_by(*groups)
    minutes = {first + i * MINUTE: [0, 0] for i in range(MINUTES)}
    tenths = [0] * 10
    actions: dict[str, int] = {}
    reported: dict[str, tuple[int, float]] = {}
    for minute, kind, name, tenth, number, treated, total in connection.execute(query):
        if kind == "outcome":
            count, so_far = reported.get(name, (0, 0.0))
            reported[name] = (count + int(number), so_far + total)
            continue
        minutes[minute][0] += int(number)
        minutes[minute][1] += int(treated)
        tenths[tenth] += int(number)
        actions[name] = actions.get(name, 0) + int(number)
    return Live(
        minutes=tuple(Minute(moment(minute), made, treated) for minute, (made, treated) in minutes.items()),
        decisions=sum(made for made, _ in minutes.values()),
        treated=sum(treated for _, treated in minutes.values()),
        propensity_histogram=tuple(Bin(i / 10, (i + 1) / 10, n) for i, n in enumerate(tenths)),
        outcomes=tuple(OutcomeMean(name, n, total / n) for name, (n, total) in sorted(reported.items())),
        actions=dict(sorted(actions.items())),
        errors=problems.latest(connection, ERRORS),
    )
