"""Migrations lead from nothing to the tables the code works with, also when two workers start at once."""

from __future__ import annotations

import subprocess
import sys
import time
from threading import Thread

import numpy as np
import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from databases import PostgresServer
from orders import order, proposal
from sqlalchemy import Connection, Engine, create_engine, insert, inspect, select, text

from persuadable.service.store import Store, StoreError, StoreUnavailable
from persuadable.service.store.connect import Database
from persuadable.service.store.tables import metadata, probes
from persuadable.service.store.upgrade import OURS, _config

RNG = np.random.default_rng(0)


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


def test_what_an_earlier_version_kept_is_still_there(empty_url: str, engine: Engine) -> None:
    store = Store.open(empty_url)
    database = Database(empty_url)
    database.write(lambda connection: _to(connection, "0001"))
    decision = {
        "decision_id": "01936f2e-5c00-7a3b-9d41-2f6c80a1b2c3", "made_at": 1, "position": 0, "bundle": "b",
        "contract": "c", "campaign": "spring", "unit": "u", "action": "mail", "treatment": "mail", "reason": "treated",
        "effect": 0.1, "net_effect": 0.1, "propensities": '{"none":0.0,"mail":1.0}', "features": "{}",
    }  # fmt: skip
    places = ", ".join(f":{name}" for name in decision)
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO decisions ({', '.join(decision)}) VALUES ({places})"), decision)
        connection.execute(text("INSERT INTO campaigns (campaign, spent) VALUES ('spring', 7)"))
    with pytest.raises(StoreUnavailable, match="persuadable store upgrade"):
        store.check()
    store.upgrade()
    kept, _ = store.decision(decision["decision_id"])
    assert (kept.unit, kept.action, kept.priced, kept.eligible) == ("u", "mail", None, None)
    (answer,) = store.write([order(proposal(cost=1.0), proposal(cost=1.0), cap=8, campaign="spring")], RNG)
    assert sum(d.action != "none" for d in answer.decisions) == 1, "seven of eight had been given"
    with engine.connect() as connection:
        assert connection.execute(text("SELECT spent, committed FROM campaigns")).one() == (8, 1_000_000)
    database.close()
    store.close()


def test_decisions_of_the_version_before_wait_for_nobody(empty_url: str) -> None:
    store = Store.open(empty_url)
    database = Database(empty_url)
    database.write(lambda connection: _to(connection, "0002"))
    decision = {
        "decision_id": "01936f2e-5c00-7a3b-9d41-2f6c80a1b2c3", "made_at": 1, "position": 0, "bundle": "b",
        "contract": "c", "campaign": "spring", "unit": "u", "action": "mail", "treatment": "mail", "reason": "treated",
        "effect": 0.1, "net_effect": 0.1, "propensities": '{"none":0.0,"mail":1.0}', "features": "{}",
        "cost_effect": 0.5, "price": 2.0,
    }  # fmt: skip
    places = ", ".join(f":{name}" for name in decision)
    sql = text(f"INSERT INTO decisions ({', '.join(decision)}) VALUES ({places})")
    database.write(lambda connection: connection.execute(sql, decision))
    with pytest.raises(StoreUnavailable, match="persuadable store upgrade"):
        store.check()
    store.upgrade()
    assert store.decision(decision["decision_id"])[0].review is None
    assert (store.reviews.waiting(), store.reviews.list("open")) == (0, ([], None))
    database.close()
    store.close()


def _to(connection: Connection, revision: str) -> None:
    """The tables as a version made them."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


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
