"""Where a store can be, what its connections promise, and what their failures are called."""

from __future__ import annotations

import builtins
import sqlite3
import stat
import traceback
from pathlib import Path

import numpy as np
import psycopg
import pytest
from databases import PostgresServer
from orders import order, proposal
from sqlalchemy import Engine, event, text

from persuadable.errors import MissingDependency, ParameterError, PersuadableError
from persuadable.service.records import Answer
from persuadable.service.store import Store, StoreError, StoreFull, StoreUnavailable
from persuadable.service.store.connect import Database

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://u:hunter2@h/d", "duckdb:///x", "x", "", "postgresql:hunter2"]
)
def test_other_places_are_refused_with_what_would_do(url: str) -> None:
    with pytest.raises(ParameterError, match=r"sqlite:///FILE\.db or postgresql://") as caught:
        Store.open(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:hunter2@127.0.0.1:1/x",
        "postgres://ada:hunter2@127.0.0.1:1/x",
        "postgresql+psycopg://127.0.0.1:1/x?user=ada&password=hunter2&sslpassword=hunter2",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    store = Store.open(url, timeout=1)
    with pytest.raises(StoreUnavailable) as caught:
        store.check()
    for shown in (repr(store), store.url, "".join(traceback.format_exception(caught.value))):
        assert "hunter2" not in shown
        assert "127.0.0.1" in shown


def test_values_do_not_show_in_errors(store: Store) -> None:
    nameless = order(proposal("Ada Lovelace"), bundle=None)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="refuses what was to be written") as caught:
        store.write([nameless], RNG)
    assert "Lovelace" not in "".join(traceback.format_exception(caught.value))


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "psycopg":
            raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
        return plain(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependency, match=r"persuadable\[service\]"):
        Store.open("postgresql://h/d")


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="unable to open database file"):
        Store.open(f"sqlite:///{tmp_path}/no/such/folder/store.db").check()
    (tmp_path / "letter.db").write_text("Dear Ada, this is no database at all, and long enough to be read as one. " * 9)
    with pytest.raises(StoreUnavailable, match="not a database"):
        Store.open(f"sqlite:///{tmp_path}/letter.db").check()


def test_sqlite_waits_for_the_disk_and_keeps_a_log(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/store.db")
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
    for name, value in wanted.items():
        assert database.read(lambda c, name=name: c.execute(text(f"PRAGMA {name}")).scalar()) == value
    database.close()


def test_postgres_waits_for_the_disk_whatever_its_default(postgres_server: PostgresServer) -> None:
    url = postgres_server.create()
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    database = Database(url, timeout=7)
    show = {"synchronous_commit": "on", "transaction_isolation": "read committed", "statement_timeout": "7s"}
    for name, value in show.items():
        assert database.write(lambda c, name=name: c.execute(text(f"SHOW {name}")).scalar()) == value
    database.close()
    postgres_server.drop(url)


def test_a_writing_transaction_on_sqlite_holds_the_lock_from_its_beginning(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/store.db", timeout=0.1)

    def nested(_: object) -> None:
        database.write(lambda connection: None)

    with pytest.raises(StoreUnavailable, match="locked"):
        database.write(nested)
    database.read(lambda _: database.write(lambda connection: None))
    database.close()


def test_a_full_disk_on_sqlite_is_said_and_survived(tmp_path: Path, sqlite_template: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(sqlite_template.read_bytes())
    store = Store.open(f"sqlite:///{path}")
    bound = {"pages": 60}

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {bound['pages']}")

    event.listen(Engine, "checkout", limit)
    try:
        asked = [order(*(proposal(f"u{i}-{j}") for j in range(20)), key=f"k{i}", cap=10**6) for i in range(60)]
        written = 0
        with pytest.raises(StoreFull, match="disk is full"):  # noqa: PT012 - which of them fails is the question
            for one in asked:
                store.write([one], RNG)
                written += 1
        assert 0 < written < 60
        store.check()
        with pytest.raises(StoreFull):
            store.check(writing=True)
        assert store.live().decisions == 20 * written
        bound["pages"] = 10**6
        store.check(writing=True)
        answers = [store.write([one], RNG)[0] for one in asked]
    finally:
        event.remove(Engine, "checkout", limit)
    assert [a.replayed for a in answers if isinstance(a, Answer)] == [True] * written + [False] * (60 - written)
    assert store.live().treated == 1200
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    store.close()


def test_a_full_disk_on_postgres_is_said_and_survived(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_with_tables()
    store = Store.open(url)
    hers = order(proposal("Ada Lovelace"), key="k", cap=1)
    full = "BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $${full}$$")
        connection.execute("CREATE TRIGGER t BEFORE INSERT ON decisions EXECUTE FUNCTION full_disk()")
        with pytest.raises(StoreFull) as caught:
            store.write([hers], RNG)
        assert "Lovelace" not in "".join(traceback.format_exception(caught.value))
        connection.execute("DROP TRIGGER t ON decisions")
    (answer,) = store.write([hers], RNG)
    assert isinstance(answer, Answer)
    assert not answer.replayed
    assert answer.decisions[0].action == "mail"
    store.close()
    postgres_server.drop(url)


def test_a_transaction_beaten_by_another_is_run_again(postgres_server: PostgresServer) -> None:
    url = postgres_server.create()
    database = Database(url)
    tries: list[int] = []

    def work(connection: object) -> str:
        tries.append(1)
        if len(tries) < 3:
            code = ["serialization_failure", "deadlock_detected"][len(tries) - 1]
            connection.execute(text(f"DO $$BEGIN RAISE EXCEPTION 'beaten' USING ERRCODE = '{code}'; END$$"))  # type: ignore[attr-defined]
        return "done"

    assert database.write(work) == "done"
    assert len(tries) == 3
    database.close()
    postgres_server.drop(url)


def test_a_commit_without_an_answer_is_not_tried_again(postgres_server: PostgresServer) -> None:
    """A deferred trigger ends its own connection while the transaction commits."""
    url = postgres_server.create()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (a int)")
        body = "BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END"
        connection.execute(f"CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
        late = "AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
        connection.execute(f"CREATE CONSTRAINT TRIGGER d {late} EXECUTE FUNCTION die()")
    database = Database(url)
    tries: list[int] = []

    def work(connection: object) -> None:
        tries.append(1)
        connection.execute(text("INSERT INTO t VALUES (1)"))  # type: ignore[attr-defined]

    with pytest.raises(StoreUnavailable):
        database.write(work)
    assert len(tries) == 1
    assert database.read(lambda c: c.execute(text("SELECT 1")).scalar()) == 1
    database.close()
    postgres_server.drop(url)


def test_all_connections_in_use_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/store.db", timeout=0.05)

    def deeper(n: int) -> None:
        database.read(lambda _: deeper(n - 1) if n else None)

    deeper(5)
    with pytest.raises(StoreUnavailable, match="all its connections are in use"):
        deeper(40)
    deeper(5)
    database.close()


def test_a_file_that_may_not_be_written_is_unavailable(tmp_path: Path, sqlite_template: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(sqlite_template.read_bytes())
    path.chmod(stat.S_IRUSR)
    store = Store.open(f"sqlite:///{path}?mode=ro&uri=true".replace("sqlite:///", "sqlite:///file:"))
    with pytest.raises(PersuadableError, match="readonly"):
        store.write([order()], RNG)
    store.close()
