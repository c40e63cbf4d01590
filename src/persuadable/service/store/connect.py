"""The database behind the store: how it is reached, what a transaction is, and what its failures mean.

SQLite keeps a write-ahead log and waits for the disk at every commit (``synchronous=FULL``); a writing transaction
takes its lock at the beginning (``BEGIN IMMEDIATE``), so that what it reads stays true until it commits. PostgreSQL
runs at READ COMMITTED with explicit row locks, and never with ``synchronous_commit`` off.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from persuadable.errors import MissingDependency, ParameterError
from persuadable.service.store.errors import Beaten, StoreError, StoreFull, StoreUnavailable

__all__ = ["Database", "masked_url"]

T = TypeVar("T")
URLS = "Pass sqlite:///FILE.db or postgresql://USER@HOST/DATABASE."
POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")
PAUSE = 0.001  # seconds before a transaction that lost against another one is run again

# PostgreSQL's codes, https://www.postgresql.org/docs/current/errcodes-appendix.html
BEATEN = ("40001", "40P01", sqlite3.SQLITE_BUSY)
DISK_FULL, NO_TABLE = "53100", ("42P01", "42703")  # a table or a column
AT_FAULT = ("21", "22", "23", "42", "54")  # classes of errors that lie in the statement or its values
SQLITE_AT_FAULT = (
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
)


class Database:
    """One database, and the pool of connections to it.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://…``.
        timeout: seconds a transaction may wait for a lock or an answer.

    Raises:
        ParameterError: a URL of another kind.
        MissingDependency: the driver is not installed.
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        parsed = _parsed(url)
        self.shown, self.timeout, self.is_sqlite = _masked(parsed), timeout, parsed.drivername == "sqlite"
        options = _sqlite_options() if self.is_sqlite else _postgres_options(parsed, timeout)
        try:
            self._engine = create_engine(parsed, hide_parameters=True, pool_timeout=timeout, **options)
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"The store needs {error.name}", remedy="Install it with: pip install 'persuadable[service]'."
            ) from error
        if self.is_sqlite:
            event.listen(self._engine, "connect", _open_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        else:
            event.listen(self._engine, "connect", _postgres_opener(timeout))
        self._writing = self._engine.execution_options(writes=True)
        self._snapshot = (
            self._engine
            if self.is_sqlite  # where every transaction reads one snapshot
            else self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        )

    def __repr__(self) -> str:
        return f"Database({self.shown!r})"

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()

    @property
    def is_at_rest(self) -> bool:
        """Whether it is SQLite, and no transaction of this process is under way."""
        return self.is_sqlite and self._engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    def read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` returns, in a transaction that sees one state of the database.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        return self._run(self._snapshot, work, self.timeout)

    def write(self, work: Callable[[Connection], T], *, patient: bool = True) -> T:
        """What ``work`` returns, once everything it wrote is on the disk.

        A transaction beaten by another one, and one whose pooled connection turned out to be dead, is run again.
        One whose commit was left without an answer is not: whether it happened is not known.

        Args:
            work: what is done.
            patient: whether to run it again.

        Raises:
            Beaten: another transaction is in the way, and it is not run again.
            StoreUnavailable, StoreFull: nothing may be taken as written.
            StoreError: the database refuses the values.
        """
        return self._run(self._writing, work, self.timeout if patient else 0.0)

    def take_your_time(self, connection: Connection) -> None:
        """Let this transaction's statements, which read or change much, take longer than the timeout."""
        if not self.is_sqlite:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")

    def compact(self) -> None:
        """Let nothing deleted linger in SQLite's write-ahead log; where somebody reads it, it goes with a later one.

        Writers wait meanwhile, so readers are not waited for longer than a moment.

        Raises:
            StoreUnavailable: the log could not be emptied.
        """
        if not self.is_sqlite:
            return
        try:
            connection = self._engine.raw_connection()
            cursor = connection.cursor()
            try:
                cursor.execute("PRAGMA busy_timeout = 100")
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                cursor.execute("PRAGMA busy_timeout = 0")
                connection.close()
        except (sqlite3.Error, DBAPIError, PoolTimeout) as error:
            raise self._unavailable(str(getattr(error, "orig", None) or error)) from error

    def _run(self, engine: Any, work: Callable[[Connection], T], patience: float) -> T:
        deadline, reconnected = time.monotonic() + patience, False
        while True:
            committing = False
            try:
                with engine.connect() as connection, connection.begin() as transaction:
                    result = work(connection)
                    committing = True
                    transaction.commit()
                    return result
            except PoolTimeout as error:
                raise self._unavailable("all its connections are in use") from error
            except DBAPIError as error:
                lost = error.connection_invalidated and not committing and not reconnected
                if (lost or _beaten(error)) and time.monotonic() < deadline:
                    reconnected = reconnected or lost
                    time.sleep(PAUSE)
                    continue
                if _beaten(error) and not patience:
                    raise Beaten("Another transaction is in the way", where=self.shown) from error
                raise self._meaning(error) from (None if _lies_in_values(error) else error)
            except SQLAlchemyError as error:
                raise StoreError(f"The database cannot take this: {type(error).__name__}", where=self.shown) from error

    def _meaning(self, error: DBAPIError) -> StoreError:
        code, told = _code(error), str(error.orig).strip()
        if code in (sqlite3.SQLITE_FULL, DISK_FULL):
            return StoreFull()
        if code in NO_TABLE or "no such table" in told or "no such column" in told:
            return self.not_ready()
        if _lies_in_values(error):
            return StoreError(
                f"The database refuses what was to be written ({type(error.orig).__name__})",
                where=self.shown,
                remedy="Check for text that is too long or holds NUL, and for numbers that are not finite.",
            )
        return self._unavailable(told.splitlines()[0] if told else "no answer")

    def not_ready(self) -> StoreUnavailable:
        """The error of a database whose tables are not those this version works with."""
        return StoreUnavailable(
            "The store's tables are not those of this version",
            where=self.shown,
            remedy="Run: persuadable store upgrade.",
        )

    def _unavailable(self, why: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"The store cannot be reached: {why.rstrip('.')}",
            where=self.shown,
            remedy="Nothing was acknowledged. Ask again once the database is back; where it never was, check that it "
            "runs, and that the store's URL names a database, or a folder, that exists.",
        )


def masked_url(url: str) -> str:
    """A database's URL without its passwords.

    Raises:
        ParameterError: it cannot be read.
    """
    return _masked(_read(url))


def _read(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ParameterError("The store's URL cannot be read", remedy=URLS) from None
    if "@" in (parsed.host or "") or (parsed.host and "@" in (parsed.database or "")):
        # What follows the first '@' would be taken, and shown, as the host: it may be the rest of a password.
        raise ParameterError(
            "The store's URL has an '@' too many", remedy="Write one that belongs to a user or password as %40."
        )
    return parsed


def _parsed(url: str) -> URL:
    parsed = _read(url)
    if parsed.drivername in POSTGRES:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "sqlite":
        raise ParameterError(f"The store cannot be kept in {parsed.drivername!r}", remedy=URLS)
    if parsed.database in (None, "", ":memory:"):
        raise ParameterError("The store needs a file, a database in memory would forget", remedy=URLS)
    return parsed


def _masked(url: URL) -> str:
    secrets = [name for name in url.query if "pass" in name.lower()]
    return url.difference_update_query(secrets).render_as_string(hide_password=True)


def _sqlite_options() -> dict[str, Any]:
    # We wait for a lock by trying again: SQLite's own waiting sleeps up to 100 ms a time, and starves.
    return {"connect_args": {"timeout": 0}}


def _postgres_options(url: URL, timeout: float) -> dict[str, Any]:
    wanted = {
        "application_name": "persuadable",
        "connect_timeout": max(2, round(timeout)),
        "tcp_user_timeout": round(timeout * 1000),  # a host that vanished does not hold us for minutes
    }
    told = {name: value for name, value in wanted.items() if name not in url.query}
    return {"connect_args": told, "isolation_level": "READ COMMITTED"}


def _open_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not by the driver
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        _to_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA cache_size=-32768")  # KiB: idempotency keys fall on pages all over their index
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")  # what is erased is overwritten


def _to_wal(connection: Any) -> None:
    """Change the file to a write-ahead log; another process may be doing the same, and then SQLite does not wait."""
    for attempt in range(200):
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt == 199:
                raise
            time.sleep(PAUSE)
        else:
            if mode != "wal":
                raise sqlite3.OperationalError("its folder or file system does not allow a write-ahead log")
            return


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgres_opener(timeout: float) -> Callable[[Any, Any], None]:
    settings = {
        "statement_timeout": str(round(timeout * 1000)),
        "lock_timeout": str(round(timeout * 1000)),
        # A worker that stands still in a transaction does not hold the budget of the others for ever.
        "idle_in_transaction_session_timeout": str(round(timeout * 3000)),
    }
    durable = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"

    def opened(connection: Any, _: Any) -> None:
        with connection.cursor() as cursor:
            for name, value in settings.items():
                cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
            cursor.execute(durable)
        connection.commit()

    return opened


def _code(error: DBAPIError) -> int | str | None:
    """SQLite's primary result code, the low byte of the extended one, or PostgreSQL's SQLSTATE."""
    if isinstance(error.orig, sqlite3.Error):
        told = getattr(error.orig, "sqlite_errorcode", None)
        return None if told is None else told & 0xFF
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


def _beaten(error: DBAPIError) -> bool:
    """Whether the transaction was undone because of another one, and may be run again."""
    return _code(error) in BEATEN


def _lies_in_values(error: DBAPIError) -> bool:
    """Whether the statement or its values are at fault. PostgreSQL's words may then repeat the values."""
    code = _code(error)
    if isinstance(code, str):
        return code.startswith(AT_FAULT)
    if code is None:  # the driver refused before the database was asked, or the database never answered
        return not isinstance(error, OperationalError)
    return code in SQLITE_AT_FAULT
