"""Migrations lead from nothing to the tables the code works with, also when two workers start at once."""

from __future__ import annotations

import subprocess
import sys
import time
from threading import Thread

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from databases import PostgresServer
from sqlalchemy import Engine, create_engine, insert, inspect, select, text

from persuadable.service.store import Store, StoreError, StoreUnavailable
from persuadable.service.store.connect import Database
from persuadable.service.store.tables import metadata, probes
from persuadable.service.store.upgrade import OURS


@pytest.fixture
def engine(empty_url: str):
    """A connection to the database that is none of ours."""
    made = create_engine(empty_url.replace("postgresql://", "postgresql+psycopg://"))
    yield made
    made.dispose()


def versions(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


def test_the_migrated_tables_are_those_of_the_code(empty_url: str, engine: Engine) -> None:
    store = Store.open(empty_url)
    store.upgrade()
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    names = set(inspect(engine).get_table_names())
    assert names == {*metadata.tables, "alembic_version"}
    assert {"ix_decisions_unit"} == {index["name"] for index in inspect(engine).get_indexes("decisions")}
    store.close()


def test_a_second_upgrade_changes_nothing(empty_url: str, engine: Engine) -> None:
    store = Store.open(empty_url)
    store.upgrade()
    key, _ = store.keys.create("a", ["read"])
    store.upgrade()
    assert store.keys.all() == [key]
    assert len(versions(engine)) == 1
    store.close()


def test_a_store_without_tables_says_what_to_do(empty_url: str) -> None:
    store = Store.open(empty_url)
    for ask in (store.check, store.live, store.keys.all, lambda: store.erase("u")):
        with pytest.raises(StoreUnavailable, match="persuadable store upgrade"):
            ask()
    store.upgrade()
    store.check()
    store.check(writing=True)
    store.close()


def test_a_store_of_a_newer_version_is_left_alone(empty_url: str, engine: Engine) -> None:
    store = Store.open(empty_url)
    store.upgrade()
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreUnavailable, match="not those of this version"):
        store.check()
    with pytest.raises(StoreError, match="newer version"):
        store.upgrade()
    assert versions(engine) == ["9999"]
    store.close()


def test_trying_whether_there_is_space_leaves_nothing_behind(store: Store, store_url: str) -> None:
    database = Database(store_url)
    left = insert(probes).values(probe="of a worker that died", filling=b"x")
    database.write(lambda connection: connection.execute(left))
    store.check(writing=True)
    assert database.read(lambda connection: connection.execute(select(probes)).all()) == []
    database.close()


def test_who_upgrades_waits_for_whoever_does_so_already(postgres_server: PostgresServer) -> None:
    url = postgres_server.create()
    store = Store.open(url, timeout=30)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (OURS,))
        thread = Thread(target=store.upgrade)
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while other.execute(waiting).fetchone() == (0,):
            assert thread.is_alive()
            time.sleep(0.01)
        assert other.execute("SELECT to_regclass('decisions')").fetchone() == (None,)
        other.execute("SELECT pg_advisory_unlock(%s)", (OURS,))
        thread.join()
    store.check()
    store.close()
    postgres_server.drop(url)


def test_two_workers_and_two_threads_upgrade_at_once(empty_url: str, engine: Engine) -> None:
    code = f"from persuadable.service.store import Store; Store.open({empty_url!r}).upgrade()"
    workers = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    stores = [Store.open(empty_url) for _ in range(2)]
    threads = [Thread(target=store.upgrade) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        assert (worker.communicate(timeout=60)[1], worker.returncode) == ("", 0)
    assert len(versions(engine)) == 1
    for store in stores:
        store.check(writing=True)
        store.close()
