"""What is erased is gone, from the tables and from the file; what is not meant stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from databases import PostgresServer
from orders import order, proposal, reports
from sqlalchemy import text

from persuadable.service.records import Answer, OutcomeReport, Shadow
from persuadable.service.store import Erased, Erasure, KeyReused, Problem, Store, UnknownDecisions, claims
from persuadable.service.store import write as room
from persuadable.service.store.connect import Database
from persuadable.service.store.tables import metadata

RNG = np.random.default_rng(0)
ADA = "ada@example.org"
NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
LATER = datetime.now(UTC) + timedelta(days=400)


def decide(store: Store, *orders) -> list[str]:
    answers = store.write(orders, RNG)
    assert all(isinstance(answer, Answer) for answer in answers)
    return [d.decision_id or "" for answer in answers for d in answer.decisions]  # type: ignore[union-attr]


def gone(store: Store, decision: str) -> bool:
    try:
        store.decision(decision)
    except UnknownDecisions:
        return True
    return False


def everything(url: str) -> str:
    """All the store holds, as text."""
    database = Database(url)
    rows = database.read(
        lambda c: [tuple(row) for table in metadata.sorted_tables for row in c.execute(table.select())]
    )
    database.close()
    return repr(rows)


def test_a_unit_is_forgotten_and_the_others_are_not(store: Store, store_url: str) -> None:
    shadow = Shadow("b", "call", "call", 0.1, 0.1, None, {"none": 0.0, "mail": 0.0, "call": 1.0})
    hers = proposal(ADA, features={"name": "Lovelace"}, shadow=shadow)
    ids = decide(store, order(hers, proposal("bob"), key=f"key of {ADA}"), order(proposal("bob"), key="k"), order(hers))
    told = [OutcomeReport(decision, "visit", 1.0) for decision in ids] + [OutcomeReport(ids[0], "spend", 99.0)]
    store.write([reports(*told)], RNG)
    now = datetime.now(UTC)
    store.note_problems(
        [
            Problem(now, 422, "No", f"unit {ADA} is odd", "/v1/decide"),
            Problem(now, 422, "Or", "", f"/v1/{ADA}"),
            Problem(now, 500, "Oh", f"unit {ADA[:-1]} and unit x{ADA[1:]}", "/"),
        ]
    )
    assert ADA in everything(store_url)
    assert store.erase(ADA) == Erasure(decisions=2, outcomes=3)
    left = everything(store_url)
    assert ADA not in left
    assert "Lovelace" not in left
    assert [gone(store, decision) for decision in ids] == [True, False, False, True]
    assert [problem.title for problem in store.live().errors] == ["Oh"]
    assert store.erase(ADA) == Erasure(0, 0)
    (refused,) = store.write([reports(*told)], RNG)
    assert isinstance(refused, UnknownDecisions)
    assert set(refused.ids) == {ids[0], ids[3]}


def test_a_request_whose_decisions_were_erased_is_not_decided_again(store: Store) -> None:
    asked = order(proposal(ADA), proposal("bob"), key="k")
    decide(store, asked)
    store.erase(ADA)
    for content in (None, "something else"):
        (refused,) = store.write([order(proposal(ADA), proposal("bob"), key="k", content=content)], RNG)
        assert isinstance(refused, Erased)
        assert refused.key == "k"
    assert store.live().decisions == 2


def test_a_request_erased_while_it_is_answered_again_is_not_answered_by_half(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_server.create_with_tables()
    one, other = Store.open(url), Store.open(url)
    asked = order(proposal(ADA), proposal("bob"), key="k")
    decide(one, asked)
    plain = claims.ids.after  # is called when the key has been read, and the decisions have not

    def late(*told: Any) -> str:
        monkeypatch.undo()
        other.erase(ADA)
        return plain(*told)

    monkeypatch.setattr(claims.ids, "after", late)
    (refused,) = one.write([asked], RNG)
    assert isinstance(refused, Erased)
    one.close()
    other.close()
    postgres_server.drop(url)


def test_what_was_spent_stays_spent(store: Store) -> None:
    decide(store, order(proposal(ADA), cap=1))
    store.erase(ADA)
    (answer,) = store.write([order(proposal(ADA), cap=1)], RNG)
    assert isinstance(answer, Answer)
    assert answer.decisions[0].reason == "budget-spent"


def test_nothing_of_the_unit_is_left_in_the_files(tmp_path: Path, sqlite_template: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(sqlite_template.read_bytes())
    store = Store.open(f"sqlite:///{path}")

    def found() -> int:
        return sum(file.read_bytes().count(ADA.encode()) for file in tmp_path.iterdir())

    for i in range(40):
        decide(store, order(proposal(f"u{i}"), proposal(ADA, features={"note": ADA * 300})))
    assert found() > 0
    store.erase(ADA)
    assert found() == 0
    store.close()


def test_large_erasures_go_in_steps(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = decide(store, *(order(*(proposal(ADA) for _ in range(600)), key=f"k{i}") for i in range(2)))
    store.write([reports(*(OutcomeReport(decision, "visit", 1.0) for decision in ids))], RNG)
    steps: list[int] = []
    plain = Database.write
    monkeypatch.setattr(Database, "write", lambda self, work, **told: (steps.append(1), plain(self, work, **told))[1])
    assert store.erase(ADA) == Erasure(1_200, 1_200)
    assert len(steps) >= 4
    del steps[:]
    decide(store, *(order(key=f"l{i}") for i in range(1_100)))
    assert store.retain(LATER) == Erasure(1_100, 0)
    assert len(steps) >= 3 + 3
    assert len(decide(store, order(key="l0", content="another"), order(key="k0", content="another"))) == 2


def at(monkeypatch: pytest.MonkeyPatch, time: datetime) -> None:
    """Let the store write as if it were this time."""
    monkeypatch.setattr(room.time, "time_ns", lambda: round(time.timestamp() * 1e6) * 1000)


def test_what_is_older_goes_with_its_outcomes_and_keys(
    store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = LATER, LATER + timedelta(seconds=1)
    at(monkeypatch, old)
    before = decide(store, order(proposal("a"), proposal("b"), key="old"), order(key="erased"))
    at(monkeypatch, new)
    after = decide(store, order(proposal("a"), key="new"))
    monkeypatch.undo()
    store.write([reports(*(OutcomeReport(decision, "visit", 1.0) for decision in before + after))], RNG)
    store.note_problems([Problem(old, 500, "old", "", "/"), Problem(new, 500, "new", "", "/")])
    assert store.retain(new) == Erasure(decisions=3, outcomes=3)
    assert [gone(store, decision) for decision in before + after] == [True, True, True, False]
    assert [problem.title for problem in store.live().errors] == ["new"]
    fresh, reused = store.write([order(key="old", content="new"), order(key="new", content="other")], RNG)
    assert isinstance(fresh, Answer)
    assert not fresh.replayed
    assert isinstance(reused, KeyReused)
    database = Database(store_url)
    minutes = database.read(lambda c: c.execute(text("SELECT count(*) FROM tallies WHERE kind = 'decision'")).scalar())
    database.close()
    assert minutes is not None
    assert minutes <= 2, "the minute of what is left, and that of the fresh decision"


def test_the_minute_that_runs_is_still_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in (-1, 0, 20, 40):
        at(monkeypatch, NOON + timedelta(seconds=seconds))
        decide(store, order())
    assert store.retain(NOON + timedelta(seconds=30)) == Erasure(3, 0)
    assert store.live(NOON + timedelta(seconds=40)).decisions == 3, "of the minute before nothing, of this one all"


def test_retaining_nothing_of_the_future(store: Store) -> None:
    ids = decide(store, order(key="k"))
    assert store.retain(datetime.now(UTC) - timedelta(days=1)) == Erasure(0, 0)
    assert not gone(store, ids[0])
    assert store.retain(LATER) == Erasure(1, 0)
    assert gone(store, ids[0])
    assert store.live().decisions == 0
