"""SQL for what is done in every group: text that both databases take, run past SQLAlchemy's compiler.

Compiling a statement's parameters row by row costs as much as inserting the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult

__all__ = ["Statement"]


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

    def run_many(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> CursorResult[Any]:
        """Run it with each of the rows; the result's ``rowcount`` is that of all of them."""
        return connection.exec_driver_sql(self._texts[connection.dialect.paramstyle], list(rows))
