"""Outcomes come late, twice, out of order and corrected; the history keeps them, and one of each name is in force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from orders import order, proposal, reports

from persuadable.service.records import Answer, OutcomeReport, Receipt
from persuadable.service.store import Store, UnknownDecisions

RNG = np.random.default_rng(0)
NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def made(store: Store) -> list[str]:
    """Ids of three decisions."""
    (answer,) = store.write([order(*(proposal(f"u{i}") for i in range(3)))], RNG)
    assert isinstance(answer, Answer)
    return [d.decision_id or "" for d in answer.decisions]


def say(store: Store, *told: OutcomeReport) -> Receipt:
    (receipt,) = store.write([reports(*told)], RNG)
    assert isinstance(receipt, Receipt), receipt
    return receipt


def in_force(store: Store, decision: str) -> dict[str, float]:
    values = [(o.name, o.value) for o in store.decision(decision)[1] if o.in_force]
    assert len(dict(values)) == len(values)
    return dict(values)


def test_new_repeated_and_corrected_reports_are_counted(store: Store, made: list[str]) -> None:
    a, b, _ = made
    visit = OutcomeReport(a, "visit", 1.0, NOON)
    assert say(store, visit, OutcomeReport(a, "spend", 10.0), OutcomeReport(b, "visit", 0.0)) == Receipt(3, 0, 0)
    assert say(store, visit, OutcomeReport(a, "spend", 10.0)) == Receipt(0, 2, 0)
    assert say(store, OutcomeReport(a, "spend", 12.0), visit, OutcomeReport(b, "spend", 1.0)) == Receipt(2, 1, 1)
    assert [(o.name, o.value) for o in store.decision(a)[1]] == [("visit", 1.0), ("spend", 10.0), ("spend", 12.0)]


def test_within_one_request_too(store: Store, made: list[str]) -> None:
    a = made[0]
    told = [OutcomeReport(a, "spend", v) for v in (1.0, 1.0, 2.0, -0.0, 0.0)]
    assert say(store, *told) == Receipt(recorded=3, repeated=2, corrected=2)
    assert in_force(store, a) == {"spend": 0.0}


def test_another_time_of_observation_is_another_report(store: Store, made: list[str]) -> None:
    a = made[0]
    assert say(store, OutcomeReport(a, "visit", 1.0)) == Receipt(1, 0, 0)
    assert say(store, OutcomeReport(a, "visit", 1.0, NOON)) == Receipt(1, 0, 1)
    same = NOON.astimezone(timezone(timedelta(hours=5)))
    assert say(store, OutcomeReport(a, "visit", 1.0, same)) == Receipt(0, 1, 0)


def test_what_was_observed_last_is_in_force_in_whatever_order_it_came(store: Store, made: list[str]) -> None:
    a = made[0]
    for minutes, value in ((5, 2.0), (9, 3.0), (1, 1.0), (9, 4.0), (7, 5.0)):
        say(store, OutcomeReport(a, "spend", value, NOON + timedelta(minutes=minutes)))
    assert in_force(store, a) == {"spend": 4.0}, "of the two at minute 9, the one that arrived last"


def test_without_a_time_of_observation_the_time_of_arrival_counts(store: Store, made: list[str]) -> None:
    a, b, _ = made
    now = datetime.now(UTC)
    say(store, OutcomeReport(a, "spend", 1.0, now - timedelta(days=1)), OutcomeReport(a, "spend", 2.0))
    say(store, OutcomeReport(b, "spend", 1.0, now + timedelta(days=1)), OutcomeReport(b, "spend", 2.0))
    assert (in_force(store, a), in_force(store, b)) == ({"spend": 2.0}, {"spend": 1.0})
    told = {o.value: o for o in store.decision(a)[1]}
    assert told[1.0].observed_at == now - timedelta(days=1)
    assert told[2.0].observed_at is None
    assert now - timedelta(seconds=1) <= told[2.0].received_at <= datetime.now(UTC)


def test_a_request_with_an_unknown_decision_records_nothing_and_names_all(store: Store, made: list[str]) -> None:
    strange = ["01890a5d-ac96-774b-bcce-b302099a8057", "nonsense"]
    named = (made[0], strange[0], made[1], strange[1], strange[0])
    told = [OutcomeReport(decision, "visit", 1.0) for decision in named]
    refused, good = store.write([reports(*told), reports(OutcomeReport(made[2], "visit", 1.0))], RNG)
    assert isinstance(refused, UnknownDecisions)
    assert refused.ids == tuple(strange)
    assert good == Receipt(1, 0, 0)
    assert [in_force(store, decision) for decision in made] == [{}, {}, {"visit": 1.0}]


def test_two_requests_of_one_batch_with_the_same_report(store: Store, made: list[str]) -> None:
    same = reports(OutcomeReport(made[0], "visit", 1.0))
    assert store.write([same, same], RNG) == [Receipt(1, 0, 0), Receipt(0, 1, 0)]


def test_thousands_of_reports_at_once(store: Store) -> None:
    (answer,) = store.write([order(*(proposal(f"u{i}") for i in range(1_300)))], RNG)
    assert isinstance(answer, Answer)
    told = [OutcomeReport(d.decision_id or "", name, 1.0) for d in answer.decisions for name in ("visit", "spend")]
    assert say(store, *told) == Receipt(2_600, 0, 0)
    assert say(store, *reversed(told)) == Receipt(0, 2_600, 0)
    (refused,) = store.write([reports(*told, OutcomeReport("nobody", "visit", 1.0))], RNG)
    assert isinstance(refused, UnknownDecisions)
    assert refused.ids == ("nobody",)


def test_times_keep_their_microseconds(store: Store, made: list[str]) -> None:
    times = [datetime(1, 1, 1, tzinfo=UTC), NOON.replace(microsecond=123_457), datetime.max.replace(tzinfo=UTC)]
    for time in times:
        say(store, OutcomeReport(made[0], "visit", 1.0, time))
    assert [o.observed_at for o in store.decision(made[0])[1]] == times
