"""Migrations: from whatever tables the database has to those of this version."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text

from persuadable.service.store.connect import Database
from persuadable.service.store.errors import StoreError

__all__ = ["is_at_head", "upgrade"]

MIGRATIONS = Path(__file__).parent / "migrations"
OURS = 0x7065727375616465  # "persuade": the advisory lock of whoever upgrades, on PostgreSQL
_alone = threading.Lock()  # Alembic keeps what it is doing in module-level state


def upgrade(database: Database) -> None:
    """Bring the tables to this version's, in one transaction; of several at once, one does it and the others wait.

    Raises:
        StoreUnavailable: the database cannot be reached.
        StoreError: a newer version has been here.
    """

    def migrate(connection: Connection) -> None:
        if not database.is_sqlite:
            database.take_your_time(connection)
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": OURS})
        config = _config()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise StoreError(
                "The store's tables were made by a newer version",
                where=database.shown,
                remedy="Install that version of persuadable, or a later one.",
            ) from error

    with _alone:
        database.write(migrate)


def is_at_head(connection: Connection) -> bool:
    """Whether the tables are those of this version."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [_head()]


@cache
def _head() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
