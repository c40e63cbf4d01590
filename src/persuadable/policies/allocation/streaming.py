"""The same allocation of units that stand in Parquet files, a batch of them in memory at a time."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable.engine.local import LocalEngine
from persuadable.errors import ActionError, DataError, ParameterError
from persuadable.policies.allocation.allocate import allocated, checked_limits, look_at_scale
from persuadable.policies.allocation.problem import BLOCK, Problem, action_labels
from persuadable.policies.allocation.result import Allocation

if TYPE_CHECKING:
    import polars as pl

__all__ = ["allocate_parquet"]

Files = str | PathLike[str] | Sequence[str | PathLike[str]]
Columns = Mapping[str, str | float]
Ordered = tuple[str | float | None, ...]
BATCH = 16 * BLOCK  # rows; polars writes as many to a row group
SLICES = 16  # places a sample is read from
IN_MEMORY = ("caps", "constraints", "groups", "forced", "forbidden", "tolerance")  # what allocate takes beside


def allocate_parquet(
    source: Files,
    out: str | PathLike[str],
    *,
    value: Mapping[str, str],
    cost: Columns,
    budget: float | None,
    unit: str | None = None,
    eligible: Mapping[str, str] | None = None,
    roi_floor: float | None = None,
    efficiency_floor: float | None = None,
    value_stderr: Mapping[str, str] | None = None,
    cost_stderr: Mapping[str, str] | None = None,
    averse: float = 0.0,
    no_offer: str = "no offer",
    fill: bool = True,
    threads: int | None = None,
    batch: int = BATCH,
    **more: Any,
) -> Allocation:
    """One action for every row of Parquet files that need not fit into memory, written to another.

    The answer is that of :func:`~persuadable.policies.allocation.allocate.allocate` on the same numbers. The files are
    read four times, and once more in a few places for a sample; what stays in memory is a batch, two bytes per unit for
    its action, and the steps near the price. That is enough for a budget and floors, which one price decides. Caps,
    parities and other constraints have a price each, found by many passes over everybody's numbers: for those there is
    ``allocate``, which at ten million units takes some 400 MB beside them. A budget for each segment is a call for each
    segment, with files of its own.

    Args:
        source: a path, or several that are read one after another as if they were one file.
        out: Parquet file to write, with the unit and its action; it appears when it is whole.
        value: label of each offer → column of its incremental value.
        cost: label of each offer → column of its incremental cost, or one number for all units.
        budget: most total cost, ≥ 0; None where there is no limit.
        unit: column that says who a row is about; None writes the number of the row.
        eligible: label of an offer → column of True and False; offers not named may be given to all.
        roi_floor, efficiency_floor, averse, fill, threads: as for ``allocate``.
        value_stderr, cost_stderr: label of each offer → column of standard errors.
        no_offer: what doing nothing is called.
        batch: rows in memory at a time.
        more: what ``allocate`` takes beside these, to be refused by name.

    Returns:
        The allocation, its ``action`` empty.

    Raises:
        DataError: a file, a column or a number that cannot be used.
        ActionError: no offers, or offers named in one mapping and not in another.
        ParameterError: a negative budget, floor or aversion; a batch of no rows; caps or other constraints.
    """
    _refuse(more)
    limits = checked_limits(budget, roi_floor)
    for name, told in (("value", value), ("cost", cost)):
        if not isinstance(told, Mapping):
            raise ParameterError(
                f"{name} is {told!r}, not a mapping"[:160], remedy=f"Pass {name}={{label of the offer: column}}."
            )
    labels = action_labels([no_offer, *value], len(value) + 1)
    if not value:
        raise ActionError("value names no offer", remedy="Pass value={label: column}, cost={label: column or number}.")
    if not (isinstance(batch, int) and not isinstance(batch, bool) and batch >= 1):
        raise ParameterError(f"batch is {batch!r}", remedy="Pass the number of rows to hold in memory at a time.")
    if unit == "action":
        raise ParameterError("unit= is the column 'action', and so is what is written", remedy="Rename that column.")
    tables = {
        "value": _ordered(value, labels, "value"),
        "cost": _ordered(cost, labels, "cost"),
        "eligible": _ordered(eligible or {}, labels, "eligible", complete=False),
    }
    errors = {"value_stderr": value_stderr, "cost_stderr": cost_stderr}
    tables |= {name: _ordered(told, labels, name) for name, told in errors.items() if told is not None}
    files = _files(source, Path(out), tables, unit)
    stored = _Stored(files, tables, len(labels), averse, efficiency_floor, batch)
    n_threads = LocalEngine(threads).n_threads
    found = allocated(stored, limits, labels, n_threads, to_fill=fill)
    look_at_scale(stored, found, n_threads)
    _write(Path(out), stored, unit, found.action, labels)
    return replace(found, action=found.action[:0])


def _refuse(more: Mapping[str, Any]) -> None:
    """Refuse what only allocations in memory can do.

    Raises:
        ParameterError: it is one of these.
        TypeError: there is no such argument anywhere.
    """
    for name in more:
        if name not in IN_MEMORY:
            raise TypeError(f"allocate_parquet() got an unexpected keyword argument {name!r}")
        raise ParameterError(
            f"{name}= cannot be kept while reading block by block: one price decides here, for a budget and floors",
            where="allocate_parquet",
            remedy="Use allocate() on the numbers in memory; who may get what can be told by eligible= columns.",
        )


def _files(source: Files, out: Path, tables: Mapping[str, Ordered], unit: str | None) -> tuple[_File, ...]:
    """The files to read, looked at.

    Raises:
        DataError: there are none, one cannot be used or would be written over, or units are of several types.
    """
    if not isinstance(source, str | PathLike | list | tuple):
        raise ParameterError(
            f"source is {source!r}"[:160], remedy="Pass the path of a Parquet file, or a list of them."
        )
    several = [Path(source)] if isinstance(source, str | PathLike) else [Path(file) for file in source]
    if not several:
        raise DataError("There is no file to read", remedy="Pass at least one.")
    if not out.parent.is_dir():
        raise DataError(f"There is no folder {str(out.parent)!r} to write to", remedy="Make it first.")
    if out.resolve() in (file.resolve() for file in several):
        raise DataError(f"{str(out)!r} is read and would be written over", remedy="Write to another file.")
    files = tuple(_File.of(file, tables, unit) for file in several)
    if strange := [file for file in files if file.kind != files[0].kind]:
        raise DataError(
            f"Column {unit!r} holds {strange[0].kind}, in {files[0].path.name!r} {files[0].kind}",
            where=f"file {strange[0].path.name!r}",
            remedy="Store who a row is about in one type.",
        )
    return files


def _ordered(
    told: Columns, labels: Sequence[str], name: str, *, complete: bool = True
) -> tuple[str | float | None, ...]:
    """(A − 1,) columns in the order of the offers, None where none is named."""
    if strange := [label for label in told if label not in labels[1:]]:
        raise ActionError(f"{name} names {strange[0]!r}, which is no offer", remedy=f"Offers: {list(labels[1:])}.")
    if complete and (missing := [label for label in labels[1:] if label not in told]):
        raise ActionError(f"{name} names no column for {missing[0]!r}", remedy=f"Offers: {list(labels[1:])}.")
    if name != "cost" and (numbers := [column for column in told.values() if not isinstance(column, str)]):
        kind = "numbers" if complete else "True and False"
        raise ActionError(f"{name} names {numbers[0]!r}, which is no column", remedy=f"Name columns of {kind}.")
    return tuple(told.get(label) for label in labels[1:])


@dataclass(frozen=True, slots=True)
class _File:
    """A Parquet file, its number of rows, and the type of its units; None where the row's number is the unit."""

    path: Path
    n: int
    kind: Any

    @classmethod
    def of(cls, path: Path, tables: Mapping[str, Ordered], unit: str | None) -> _File:
        """With its columns looked up.

        Raises:
            DataError: the file or a column is not there, or a column does not hold what it should.
        """
        import polars as pl

        if not path.is_file():
            raise DataError(f"There is no file {str(path)!r}", remedy="Check the path.")
        try:
            scan = pl.scan_parquet(path)
            schema = scan.collect_schema()
            n = int(scan.select(pl.len()).collect().item())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _unreadable(path, error) from error
        named = [(name, column) for name, told in tables.items() for column in told if isinstance(column, str)]
        for name, column in [*named, *([("unit", unit)] if unit else [])]:
            where = f"file {path.name!r}"
            if column not in schema:
                raise DataError(f"There is no column {column!r}", where=where, remedy=f"It has {schema.names()[:40]}.")
            kind = schema[column]
            if name == "eligible" and kind != pl.Boolean:
                raise DataError(f"Column {column!r} holds {kind}", where=where, remedy="Store True and False.")
            if name not in ("eligible", "unit") and not kind.is_numeric():
                raise DataError(f"Column {column!r} holds {kind}", where=where, remedy="Convert it to numbers.")
        return cls(path, n, schema[unit] if unit else None)

    def read(self, columns: Sequence[str], first: int, rows: int) -> pl.DataFrame:
        """Some rows."""
        import polars as pl

        try:
            return pl.scan_parquet(self.path).slice(first, rows).select(columns).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _unreadable(self.path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path.name!r} cannot be read: {error}", remedy="Check that the file is whole.")


@dataclass(frozen=True, slots=True, eq=False)
class _Stored:
    """Units in Parquet files, a :class:`~persuadable.policies.allocation.problem.Population`.

    Attributes:
        files: read one after another.
        tables: "value", "cost", "eligible", … → column or number of every offer.
        n_actions: A.
        averse, floor: as for ``allocate``, not yet checked.
        batch: rows in memory at a time.
    """

    files: tuple[_File, ...]
    tables: Mapping[str, Ordered]
    n_actions: int
    told_averse: float
    told_floor: float | None
    batch: int

    @property
    def n(self) -> int:
        """Number of units."""
        return sum(file.n for file in self.files)

    @property
    def averse(self) -> float:
        """Standard errors on the safe side."""
        return float(self.told_averse)

    @property
    def efficiency_floor(self) -> float:
        """Least v/c of a pair."""
        return float(self.told_floor or 0.0)

    def parts(self) -> Iterator[tuple[int, Problem]]:
        """Batch by batch."""
        start = 0
        for file, first, rows in self._cuts():
            yield start, self._problem(file.read(self._columns(), first, rows))
            start += rows

    def sample(self, size: int) -> Problem:
        """Some rows in a row from each of a few places; everybody where there are no more."""
        if self.n <= size:
            starts, rows = [0], self.n
        else:
            rows = size // SLICES
            starts = np.linspace(0, self.n - rows, SLICES).astype(int).tolist()
        return self._gathered([(start, rows) for start in starts])

    def take(self, rows: NDArray[np.int64]) -> Problem:
        """Some units, in the order asked for; read batch by batch."""
        import polars as pl

        order = np.argsort(rows, kind="stable")
        frames, start = [self.files[0].read(self._columns(), 0, 0)], 0
        for file, first, length in self._cuts():
            here = rows[order][(rows[order] >= start) & (rows[order] < start + length)] - start
            if len(here):
                frames.append(file.read(self._columns(), first, length)[here])
            start += length
        return self._problem(pl.concat(frames, how="vertical_relaxed")).take(np.argsort(order, kind="stable"))

    def identities(self, unit: str | None) -> Iterator[pl.Series]:
        """Who each row is about, batch by batch."""
        import polars as pl

        start = 0
        for file, first, rows in self._cuts():
            if unit is None:
                yield pl.Series("row", np.arange(start, start + rows))
            else:
                yield file.read([unit], first, rows)[unit]
            start += rows

    def _gathered(self, stretches: Sequence[tuple[int, int]]) -> Problem:
        import polars as pl

        frames = []
        for wanted, length in stretches:
            start = 0
            for file in self.files:
                first, last = max(wanted - start, 0), min(wanted + length - start, file.n)
                if first < last:
                    frames.append(file.read(self._columns(), first, last - first))
                start += file.n
        frames = frames or [self.files[0].read(self._columns(), 0, 0)]
        return self._problem(pl.concat(frames, how="vertical_relaxed"))  # whole numbers in one file, others in the next

    def _cuts(self) -> Iterator[tuple[_File, int, int]]:
        for file in self.files:
            for first in range(0, file.n, self.batch):
                yield file, first, min(self.batch, file.n - first)

    def _columns(self) -> list[str]:
        named = [column for told in self.tables.values() for column in told if isinstance(column, str)]
        return list(dict.fromkeys(named))

    def _problem(self, frame: pl.DataFrame) -> Problem:
        eligible = None
        if any(column is not None for column in self.tables["eligible"]):
            eligible = np.ones((len(frame), self.n_actions), dtype=np.bool_)
            for a, column in enumerate(self.tables["eligible"], start=1):
                if isinstance(column, str):
                    eligible[:, a] = frame[column].fill_null(False).to_numpy()
        tables = {name: self._table(frame, name) for name in self.tables if name != "eligible"}
        return Problem.of(**tables, eligible=eligible, averse=self.told_averse, efficiency_floor=self.told_floor)

    def _table(self, frame: pl.DataFrame, name: str) -> NDArray[np.float64]:
        """(rows, A) columns side by side, doing nothing first; nulls as NaN, to be refused where they count."""
        table = np.zeros((len(frame), self.n_actions))
        for a, column in enumerate(self.tables[name], start=1):
            table[:, a] = frame[column].to_numpy() if isinstance(column, str) else column
        return table


def _write(out: Path, stored: _Stored, unit: str | None, action: NDArray[np.int16], labels: tuple[str, ...]) -> None:
    """Unit and action of every row, in a file that appears when it is whole."""
    import polars as pl
    from polars.io.plugins import register_io_source

    name = "row" if unit is None else unit
    kind = pl.Int64 if unit is None else stored.files[0].kind
    told = pl.Series(labels, dtype=pl.Enum(labels))

    def batches(*_: Any) -> Iterator[pl.DataFrame]:
        start = 0
        for who in stored.identities(unit):
            codes = pl.Series(action[start : start + len(who)], dtype=pl.UInt32)
            yield pl.DataFrame({name: who, "action": told.gather(codes)})
            start += len(who)

    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    try:
        register_io_source(batches, schema={name: kind, "action": told.dtype}).sink_parquet(part)
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
