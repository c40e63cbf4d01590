"""The log back out: decisions and what came of them, as the Parquet file a DecisionLog is read from.

It is written page by page from one snapshot of the database, in memory that does not grow with the number of rows.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import orjson
from sqlalchemy import ColumnElement, Connection, Row, and_, select, true

from persuadable.errors import ParameterError
from persuadable.features import Column, label_text
from persuadable.log.exchange import ROLES, roles_document
from persuadable.service.store import ids
from persuadable.service.store.connect import Database
from persuadable.service.store.errors import MixedExport, StoreError, StoreFull
from persuadable.service.store.moments import micros
from persuadable.service.store.outcomes import in_force
from persuadable.service.store.tables import decisions, outcomes, reviews

if TYPE_CHECKING:
    import polars as pl

__all__ = ["MadeBy", "Missing", "Which", "export"]

Missing = Literal["null", "zero", "drop"]
MadeBy = Literal["policy", "queue", "person"]

PAGE = 10_000  # decisions held in memory at a time
LARGEST = float(np.finfo(np.float32).max)  # as far as a feature goes
# What the store knows of a row, and what it knows only of one that people had to do with.
PLAIN = ("decision_id", "time", "unit", "action", "reason", "bundle", "campaign")
PEOPLES = ("made_by", "proposed", "codes", "case", "replaced_by", "reviewer", "why")
# Who decided, by the reason: the policy, unless it left it to the queue, or a person did.
MADE_BY: Mapping[str, MadeBy] = {"review": "queue", "approved": "person", "overridden": "person"}


@dataclass(frozen=True, slots=True)
class Which:
    """Which decisions: from ``since`` on, before ``until``, of a bundle, in a campaign, made by whom; None is any."""

    since: datetime | None = None
    until: datetime | None = None
    bundle: str | None = None
    campaign: str | None = None
    made_by: MadeBy | None = None

    def condition(self) -> ColumnElement[bool]:
        """The same in SQL. Times are looked up by the ids, which begin with them."""
        its = decisions.c
        said: list[ColumnElement[bool]] = [true()]
        if self.since is not None:
            since = micros(self.since)
            said += [its.decision_id >= ids.first_at(since), its.made_at >= since]
        if self.until is not None:
            until = micros(self.until)
            said += [its.decision_id < ids.first_at(until + 1000), its.made_at < until]
        if self.bundle is not None:
            said.append(its.bundle == self.bundle)
        if self.campaign is not None:
            said.append(its.campaign == self.campaign)
        if self.made_by == "policy":
            said.append(its.reason.not_in(list(MADE_BY)))
        elif self.made_by is not None:
            said.append(its.reason.in_([reason for reason, by in MADE_BY.items() if by == self.made_by]))
        return and_(*said)


@dataclass(frozen=True, slots=True)
class Layout:
    """The file's columns.

    Attributes:
        features: the model's, under their own names.
        ours: what the store calls a column → what the file does; a "_" is added to a name that is taken.
        propensities: action → its column, the control first.
        proposing: action → the column of the probability that the policy proposed it.
        outcomes: outcome → its column.
    """

    features: tuple[Column, ...]
    ours: Mapping[str, str]
    propensities: Mapping[str, str]
    proposing: Mapping[str, str]
    outcomes: Mapping[str, str]

    @classmethod
    def of(cls, features: Sequence[Column], actions: Sequence[str], reported: Sequence[str]) -> Layout:
        """A layout in which every column has a name of its own."""
        taken = {column.name for column in features}

        def free(name: str) -> str:
            while name in taken:
                name += "_"
            taken.add(name)
            return name

        return cls(
            features=tuple(features),
            outcomes={name: free(name) for name in reported},
            ours={name: free(name) for name in (*PLAIN, *PEOPLES)},
            propensities={action: free(f"propensity of {action}") for action in actions},
            proposing={action: free(f"propensity of proposing {action}") for action in actions},
        )

    def roles(self) -> str:
        """What ``DecisionLog.read`` needs to know."""
        return roles_document(
            action=self.ours["action"],
            control=next(iter(self.propensities)),
            outcomes=list(self.outcomes.values()),
            features=[column.name for column in self.features],
            categorical=[column.name for column in self.features if column.kind == "category"],
            propensity=self.propensities,
            unit=self.ours["unit"],
            time=self.ours["time"],
        )

    def frame(self, rows: Sequence[Row[Any]], values: Mapping[str, Sequence[float | None]], missing: Missing) -> Any:
        """A page of decisions, with the values of their outcomes, as a polars frame."""
        import polars as pl

        told = [orjson.loads(row.features) for row in rows]
        chances = [orjson.loads(row.propensities) for row in rows]
        for row, chance in zip(rows, chances, strict=True):
            if chance.keys() != self.propensities.keys():
                raise MixedExport([row.bundle])
        kinds = {"time": pl.Datetime("us", "UTC")}
        by_people = [_of_people(row, chance) for row, chance in zip(rows, chances, strict=True)]
        series = []
        for name in PLAIN:
            read_of = attrgetter("made_at" if name == "time" else name)
            series.append(pl.Series(self.ours[name], map(read_of, rows), dtype=kinds.get(name, pl.String)))
        for name in PEOPLES:
            series.append(pl.Series(self.ours[name], [its[name] for its in by_people], dtype=pl.String))
        for column in self.features:
            read, kind = (_label, pl.String) if column.kind == "category" else (_number, pl.Float64)
            series.append(pl.Series(column.name, [read(f.get(column.name)) for f in told], dtype=kind))
        for action, name in self.propensities.items():
            series.append(pl.Series(name, [chance[action] for chance in chances], dtype=pl.Float64))
        for action, name in self.proposing.items():
            drawn_with = [its["propensities"].get(action) for its in by_people]
            series.append(pl.Series(name, drawn_with, dtype=pl.Float64))
        for outcome, name in self.outcomes.items():
            series.append(pl.Series(name, values[outcome], dtype=pl.Float64))
        frame = pl.DataFrame(series)
        reported = list(self.outcomes.values())
        if missing == "zero":
            return frame.with_columns(pl.col(reported).fill_null(0.0)) if reported else frame
        return frame.drop_nulls(reported) if missing == "drop" and reported else frame


def _of_people(row: Row[Any], chances: Mapping[str, float]) -> dict[str, Any]:
    """What a row says of ``PEOPLES``, and the "propensities" of what the policy proposed: its own, if it decided."""
    told = dict.fromkeys(PEOPLES) | {"made_by": MADE_BY.get(row.reason, "policy")}
    if told["made_by"] == "policy":
        return told | {"proposed": row.action, "propensities": chances}
    review = orjson.loads(row.review)
    # Of what was held before it was noted, nobody knows the probabilities.
    told |= {"proposed": review.get("proposed"), "propensities": review.get("propensities") or {}}
    if told["made_by"] == "person":
        return told | {"case": review["case"], "reviewer": review["by"], "why": review["why"]}
    codes = " ".join(review["codes"])
    return told | {"codes": codes, "case": row.decision_id, "replaced_by": row.replaced_by}


def export(
    database: Database,
    path: str | os.PathLike[str],
    which: Which,
    *,
    columns: Sequence[Column],
    actions: Sequence[str],
    contract: str,
    missing: Missing = "null",
    primary: str | None = None,
) -> int:
    """Write decisions to a Parquet file that ``DecisionLog.read`` reads without arguments; how many rows.

    See :meth:`persuadable.service.store.Store.export`.
    """
    if missing not in get_args(Missing):
        raise ParameterError(f"missing={missing!r} is unknown", remedy=f"Choose one of {get_args(Missing)}.")
    target = Path(path)

    def work(connection: Connection) -> tuple[int, Layout]:
        database.take_your_time(connection)
        _require_one_contract(connection, which, contract)
        layout = Layout.of(columns, actions, _reported(connection, which, primary))
        frames = (
            layout.frame(rows, _values(connection, which, rows, layout.outcomes), missing)
            for rows in _pages(connection, which)
        )
        return _write(folder, frames, layout), layout

    try:
        with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".export-") as made:
            folder = Path(made)
            n, layout = database.read(work)
            _join(folder, target, layout)
            return n
    except OSError as error:
        if error.errno == 28:
            raise StoreFull() from error
        raise StoreError(f"The export cannot be written: {error.strerror}", where=str(target)) from error


def _require_one_contract(connection: Connection, which: Which, contract: str) -> None:
    made_by = select(decisions.c.bundle, decisions.c.contract).where(which.condition()).distinct()
    pairs = [(row.bundle, row.contract) for row in connection.execute(made_by)]
    if any(other != contract for _, other in pairs):
        raise MixedExport(sorted({bundle for bundle, _ in pairs}))


def _reported(connection: Connection, which: Which, primary: str | None) -> list[str]:
    """Names of the outcomes reported for these decisions, the primary one first, the others by name."""
    joined = outcomes.join(decisions, outcomes.c.decision_id == decisions.c.decision_id)
    query = select(outcomes.c.name).select_from(joined).where(which.condition()).distinct()
    return sorted(connection.execute(query).scalars(), key=lambda name: (name != primary, name))


def _pages(connection: Connection, which: Which) -> Iterator[Sequence[Row[Any]]]:
    ours = ("decision_id", "made_at", "unit", "action", "reason", "bundle", "campaign", "review")
    columns: list[ColumnElement[Any]] = [decisions.c[name] for name in (*ours, "propensities", "features")]
    columns.append(reviews.c.resolution.label("replaced_by"))
    joined = decisions.outerjoin(reviews, reviews.c.decision_id == decisions.c.decision_id)
    query = select(*columns).select_from(joined)
    query = query.where(which.condition()).order_by(decisions.c.decision_id).limit(PAGE)
    last = ""
    while rows := connection.execute(query.where(decisions.c.decision_id > last)).all():
        yield rows
        last = rows[-1].decision_id


def _values(
    connection: Connection, which: Which, rows: Sequence[Row[Any]], reported: Iterable[str]
) -> dict[str, list[float | None]]:
    """The values in force of a page's decisions, by outcome."""
    joined = outcomes.join(decisions, outcomes.c.decision_id == decisions.c.decision_id)
    these = outcomes.c.decision_id.between(rows[0].decision_id, rows[-1].decision_id)
    found = connection.execute(select(outcomes).select_from(joined).where(these, which.condition()))
    place = {row.decision_id: i for i, row in enumerate(rows)}
    values: dict[str, list[float | None]] = {name: [None] * len(rows) for name in reported}
    for row in in_force(found):
        values[row.name][place[row.decision_id]] = row.value
    return values


def _write(folder: Path, frames: Iterable[pl.DataFrame], layout: Layout) -> int:
    """Write each frame to a file of its own, the first an empty one; how many rows."""
    layout.frame([], {name: [] for name in layout.outcomes}, "null").write_parquet(folder / f"{0:09}.part")
    n = 0
    for i, frame in enumerate(frames, start=1):
        frame.write_parquet(folder / f"{i:09}.part", compression="lz4")
        n += len(frame)
    return n


def _join(folder: Path, target: Path, layout: Layout) -> None:
    """Gather the frames' rows in one file, which appears under its name when it is whole."""
    import polars as pl

    whole = folder / "whole.parquet"
    pl.scan_parquet(sorted(folder.glob("*.part"))).sink_parquet(whole, metadata={ROLES: layout.roles()})
    whole.replace(target)


def _number(value: Any) -> float | None:
    """A feature's value as a number; None where it is missing, or none."""
    if isinstance(value, int | float):
        return min(max(float(value), -LARGEST), LARGEST)
    return None


def _label(value: Any) -> str | None:
    return label_text(value) if isinstance(value, str | int | float) else None
