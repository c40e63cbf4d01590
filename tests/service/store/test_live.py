"""The last hour is counted as it happens, by minute, action, probability and outcome."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from orders import order, proposal, reports
from sqlalchemy import text

from persuadable.service.records import Answer, OutcomeReport
from persuadable.service.store import Problem, Store
from persuadable.service.store import write as room
from persuadable.service.store.connect import Database

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
RNG = np.random.default_rng(0)


def at(monkeypatch: pytest.MonkeyPatch, time: datetime) -> None:
    """Let the store write as if it were this time."""
    monkeypatch.setattr(room.time, "time_ns", lambda: round(time.timestamp() * 1e6) * 1000)


def test_an_idle_hour_has_sixty_empty_minutes(store: Store) -> None:
    live = store.live(NOON + timedelta(seconds=59))
    assert [m.minute for m in live.minutes] == [NOON - timedelta(minutes=59 - i) for i in range(60)]
    assert {(m.decisions, m.treated) for m in live.minutes} == {(0, 0)}
    assert (live.decisions, live.treated, live.outcomes, live.actions, live.errors) == (0, 0, (), {}, ())
    assert [(b.low, b.high, b.count) for b in live.propensity_histogram][-1] == (0.9, 1.0, 0)


def test_decisions_are_counted_in_their_minute_by_all_workers(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Store.open(store_url), Store.open(store_url)
    for minutes in (0, 1, 59, 60):  # before NOON + 59 s: the last of them is out of the hour
        at(monkeypatch, NOON - timedelta(minutes=minutes))
        for store in (one, other):
            for _ in range(2):
                store.write([order(proposal("u"), proposal("v", chance=0.0))], RNG)
            store.write([order(proposal("w", treatment="call"))], RNG)
    live = one.live(NOON + timedelta(seconds=59))
    assert (live.decisions, live.treated) == (30, 18)
    assert live.actions == {"call": 6, "mail": 12, "none": 12}
    busy = {(NOON - m.minute) // timedelta(minutes=1): (m.decisions, m.treated) for m in live.minutes if m.decisions}
    assert busy == {0: (10, 6), 1: (10, 6), 59: (10, 6)}
    one.close()
    other.close()


def test_probabilities_of_treatment_fall_into_tenths(store: Store) -> None:
    chances = [0.0, 0.05, 0.1, 0.3, 0.35, 0.7, 0.999, 1.0]
    store.write([order(*(proposal(f"u{i}", chance=chance) for i, chance in enumerate(chances)))], RNG)
    counts = [b.count for b in store.live().propensity_histogram]
    assert counts == [2, 1, 0, 2, 0, 0, 0, 1, 0, 2]


def test_reported_outcomes_have_a_count_and_a_mean(store: Store) -> None:
    (answer,) = store.write([order(*(proposal(f"u{i}") for i in range(3)))], RNG)
    assert isinstance(answer, Answer)
    a, b, c = (d.decision_id or "" for d in answer.decisions)
    told = [OutcomeReport(a, "spend", 10.0), OutcomeReport(b, "spend", 20.0), OutcomeReport(c, "visit", 1.0)]
    store.write([reports(*told)], RNG)
    store.write([reports(*told[:1], OutcomeReport(a, "spend", 30.0))], RNG)
    assert [(o.name, o.count, o.mean) for o in store.live().outcomes] == [("spend", 3, 20.0), ("visit", 1, 1.0)]


def test_what_was_answered_again_is_not_counted_again(store: Store) -> None:
    for _ in range(3):
        store.write([order(key="k"), order(key="k", content="other")], RNG)
    assert store.live().decisions == 1


def test_the_last_errors_are_shown_newest_first_and_a_thousand_kept(store: Store, store_url: str) -> None:
    store.note_problems([])
    for start in range(0, 1_200, 100):
        store.note_problems(
            [Problem(NOON, 400 + i % 100, f"problem {i}", "x", "/v1") for i in range(start, start + 100)]
        )
    errors = store.live().errors
    assert [error.title for error in errors] == [f"problem {i}" for i in range(1_199, 1_179, -1)]
    assert errors[0] == Problem(NOON, 499, "problem 1199", "x", "/v1")
    store.note_problems([Problem(NOON, 500, f"late {i}", "", "/") for i in range(1_500)])
    assert store.live().errors[0].title == "late 1499"
    database = Database(store_url)
    assert database.read(lambda c: c.execute(text("SELECT count(*) FROM problems")).scalar()) == 1_000
    database.close()
