"""SQL for what is done in every group: text that both databases take, run past SQLAlchemy's compiler.

Compiling a statement's parameters row by row costs as much as inserting the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection, CursorResult

__all__ = ["Insert", "Statement"]

MOST_ROWS = 64  # in one statement: SQLite takes 32,766 values, PostgreSQL 65,535


class Statement:
    """One statement, its values marked by ``?``.

    Args:
        text: the SQL. Values are never part of it.
        lock: what PostgreSQL needs at its end to lock the rows it reads; on SQLite the transaction has the lock.
    """

    def __init__(self, text: str, *, lock: str = "") -> None:
        self._texts = {"qmark": text, "pyformat": text.replace("?", "%s") + lock}

    def run(self, connection: Connection, values: Sequence[Any]) -> CursorResult[Any]:
        """Run it with these values."""
        return connection.exec_driver_sql(self._texts[connection.dialect.paramstyle], tuple(values))


class Insert:
    """Rows into a table, many in one statement.

    A thread that runs a statement gives up Python's lock, and waits to get it back from the thread that answers
    requests: once for many rows, instead of once for each.

    Args:
        table: its name.
        columns: names of the columns, in the order of a row's values.
        conflict: what is done about a row that is there: the SQL after ON CONFLICT.
    """

    def __init__(self, table: str, columns: Sequence[str], *, conflict: str = "") -> None:
        self._head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
        self._width, self._tail = len(columns), f" ON CONFLICT {conflict}" if conflict else ""
        self._text = lru_cache(maxsize=None)(self._written)

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """Insert the rows in their order; how many rows were inserted or changed."""
        mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
        return sum(
            connection.exec_driver_sql(
                self._text(mark, len(some)), tuple(chain.from_iterable(some))
            ).rowcount
            for some in _parts(rows)
        )

    def _written(self, mark: str, n_rows: int) -> str:
        row = f"({', '.join([mark] * self._width)})"
        return self._head + ", ".join([row] * n_rows) + self._tail


def _parts(rows: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """The rows in parts of a power of two, so that a database has few statements to prepare and keep."""
    start = 0
    while left := len(rows) - start:
        size = min(1 << left.bit_length() - 1, MOST_ROWS)
        yield rows[start : start + size]
        start += size
