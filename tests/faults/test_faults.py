"""Faults in small; ``python -m tests.faults.campaign`` runs them at length."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from tests.faults import reviews, rig, scenarios

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that is quick to load."""
    return scenarios.small_bundle(tmp_path_factory.mktemp("faults"))


TAMPERINGS = {
    "DELETE FROM outcomes WHERE arrival = (SELECT min(arrival) FROM outcomes)": "outcomes lost",
    "UPDATE outcomes SET value = value + 1 WHERE arrival = (SELECT max(arrival) FROM outcomes)": "outcomes changed",
    "UPDATE decisions SET effect = effect + 1 WHERE decision_id = (SELECT max(decision_id) FROM decisions)": "changed",
    "UPDATE campaigns SET spent = spent + 1": "ledger differs",
    "DELETE FROM requests WHERE first_id = (SELECT min(first_id) FROM requests)": "keys lost",
    "DELETE FROM decisions WHERE decision_id = (SELECT min(decision_id) FROM decisions)": "decisions lost",
}


def test_the_audit_sees_what_is_missing_changed_or_too_much(bundle: Path) -> None:
    with (
        rig.scratch() as folder,
        rig.database("sqlite", folder) as (url, _),
        rig.serve(bundle, url, folder, workers=1) as service,
    ):
        with rig.Crew(service, 4, seed=3, pause=0.02) as crew:
            enough = lambda: len(crew.ledger.outcomes) > 20 and any(crew.ledger.charged.values())  # noqa: E731
            rig.until(lambda: enough() or crew.enough.is_set(), 60, "load")
        rig.audit(url, service, crew.ledger)
        with (
            contextlib.closing(sqlite3.connect(folder / "store.db", timeout=10)) as store,
            contextlib.closing(sqlite3.connect(folder / "kept.db")) as kept,
        ):
            store.backup(kept)
            for tampering, noticed in TAMPERINGS.items():
                store.execute(tampering)
                store.commit()
                with pytest.raises(AssertionError, match=noticed):
                    rig.audit(url, service, crew.ledger)
                kept.backup(store)
        rig.audit(url, service, crew.ledger)


@pytest.mark.parametrize("kind", DATABASES)
def test_killed_workers_lose_and_double_nothing(kind: str, bundle: Path) -> None:
    figures = scenarios.kills(kind, bundle, times=5)
    assert figures["kills"] >= 5
    assert figures["decisions"] >= 50
    assert figures["outcomes"] > 0


def test_a_stopped_database_is_a_503_and_the_service_recovers_by_itself(bundle: Path) -> None:
    figures = scenarios.stopped_database(bundle, times=2)
    assert figures["requests refused with 503"] == 20
    assert figures["slowest refusal, seconds"] < 10


def test_a_full_disk_is_said_and_spoils_nothing(bundle: Path) -> None:
    figures = scenarios.full_disk(bundle)
    assert figures["integrity when full"] == figures["integrity afterwards"] == "ok"
    assert figures["decisions"] > figures["decisions acknowledged before it was full"] > 20


def test_without_the_right_to_mount_sqlite_is_made_to_say_it_is_full(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenarios.shutil, "which", lambda _: None)
    assert "max_page_count" in scenarios.full_disk(bundle)["disk"]


@pytest.mark.parametrize("kind", DATABASES)
def test_a_budget_of_exactly_n_is_never_exceeded_by_one(kind: str, bundle: Path) -> None:
    figures = scenarios.exact_budget(kind, bundle, budget=57, rounds=1)
    assert figures["treated"] == 57


@pytest.fixture(scope="session")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that leaves decisions to people."""
    return reviews.reviewed_bundle(tmp_path_factory.mktemp("reviewed"))


@pytest.mark.parametrize("kind", DATABASES)
def test_of_people_who_claim_one_case_at_once_exactly_one_has_it(kind: str, reviewed: Path) -> None:
    figures = reviews.claims(kind, reviewed, rounds=5)
    assert (figures["claims that lost"], figures["decisions made"]) == (25, 5)


@pytest.mark.parametrize("kind", DATABASES)
def test_people_lose_and_double_nothing_when_workers_are_killed(kind: str, reviewed: Path) -> None:
    figures = reviews.queue(kind, reviewed, times=3)
    assert figures["kills"] >= 3
    assert figures["decided by people"] >= 12
    assert figures["cases"] >= figures["decided by people"]
