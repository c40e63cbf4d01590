"""Bundles are checked, swapped, rolled back and shadowed, and no request is dropped meanwhile."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from bundles import users
from clients import Client, client

import persuadable as ps
from persuadable.service import archive, deployment
from persuadable.service.intake import Answers
from persuadable.service.ranking import RankingModel
from persuadable.service.routes import health

PEOPLE = users(20)


@pytest.fixture
def api(bundle_folder: Path, other_folder: Path, tmp_path: Path) -> Iterator[Client]:
    with client(bundle_folder, tmp_path, bundles_folder=other_folder.parent) as opened:
        yield opened


@pytest.fixture(scope="session")
def versions(bundle_folder: Path, other_folder: Path) -> tuple[str, str]:
    return ps.Bundle.load(bundle_folder).version, ps.Bundle.load(other_folder).version


def upload(api: Client, folder: Path, role: str = "champion", status: int = 201) -> Any:
    return send(api, archive.pack(folder), role, status)


def send(api: Client, packed: bytes, role: str = "champion", status: int = 201) -> Any:
    answer = api.post(f"/v1/admin/bundles?as={role}", content=packed, headers={"Content-Type": "application/zip"})
    assert answer.status_code == status, answer.text
    return answer.json()


def serves(api: Client) -> str:
    version: str = api.post("/v1/score", json={"units": PEOPLE[:1]}).json()["bundle"]
    return version


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return False


def test_a_bundle_is_activated_and_taken_back(api: Client, other_folder: Path, versions: tuple[str, str]) -> None:
    old, new = versions
    assert serves(api) == old
    told = upload(api, other_folder)
    assert (told["version"], told["champion"], told["previous"]) == (new, new, old)
    assert {bundle["version"] for bundle in told["known"]} == {old, new}
    assert serves(api) == new, "in service when it is answered"
    told = api.post("/v1/admin/bundles/rollback").json()
    assert (told["champion"], told["previous"]) == (old, new)
    assert serves(api) == old


def test_there_is_nothing_to_roll_back_to_at_first(api: Client) -> None:
    answer = api.post("/v1/admin/bundles/rollback")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")


def test_a_bundle_is_named_by_folder_or_version(api: Client, versions: tuple[str, str]) -> None:
    old, new = versions
    assert api.post("/v1/admin/bundles", json={"path": "bundle"}).json()["champion"] == new
    assert api.post("/v1/admin/bundles", json={"version": old}).json()["champion"] == old


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"path": "../bundle"}, 404),
        ({"path": "/etc"}, 404),
        ({"path": "."}, 404),
        ({"path": "absent"}, 404),
        ({"path": "é" * 255}, 404),
        ({"version": "00ff"}, 404),
        ({"path": "a", "version": "b"}, 422),
        ({}, 422),
        ({"path": ""}, 422),
        ({"path": "a\x00b"}, 422),
        ({"version": None}, 422),
        ([], 422),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(api: Client, body: Any, status: int, versions: tuple[str, str]) -> None:
    answer = api.post("/v1/admin/bundles", json=body)
    assert answer.status_code == status, answer.text
    assert serves(api) == versions[0]


def test_without_a_bundles_folder_none_is_read(bundle_folder: Path, tmp_path: Path) -> None:
    with client(bundle_folder, tmp_path) as api:
        answer = api.post("/v1/admin/bundles", json={"path": str(bundle_folder)})
        assert answer.json()["type"] == "/problems/unknown-bundle"


def test_a_damaged_bundle_changes_nothing(api: Client, other_folder: Path, versions: tuple[str, str]) -> None:
    packed = bytearray(archive.pack(other_folder))
    packed[len(packed) // 2] ^= 1
    before = api.get("/v1/admin/bundles").json()
    assert send(api, bytes(packed), status=422)["type"] == "/problems/bundle"
    assert send(api, b"no zip", status=422)["remedy"]
    assert api.get("/v1/admin/bundles").json() == before
    assert serves(api) == versions[0]


def test_a_bundle_that_is_too_large_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    with client(bundle_folder, tmp_path) as api:
        api.service.settings = api.service.settings.model_copy(update={"max_bundle_bytes": 10_000})
        assert upload(api, bundle_folder, status=413)["type"] == "/problems/too-large"


def test_what_another_process_deploys_is_followed(api: Client, other_folder: Path, versions: tuple[str, str]) -> None:
    store = api.service.store
    store.bundles.put(versions[1], archive.pack(other_folder), {"learner": "DRLearner"})
    store.deployment.activate(versions[1])
    assert eventually(lambda: serves(api) == versions[1])


def test_a_deployed_bundle_that_cannot_be_loaded_leaves_the_old_one(api: Client, versions: tuple[str, str]) -> None:
    api.service.store.bundles.put("broken", b"no zip", {})
    api.service.store.deployment.activate("broken")
    assert eventually(lambda: "no zip file" in api.logged())
    time.sleep(0.5)
    assert api.logged().count('"event":"watch"') == 1, "said once, not at every look"
    assert serves(api) == versions[0]
    assert api.get("/health/ready").status_code == 200


def repair(tmp_path: Path, version: str, packed: bytes) -> None:
    """Put the right archive in the place of a broken one."""
    with closing(sqlite3.connect(tmp_path / "store.db", timeout=10)) as database, database:
        database.execute("UPDATE bundles SET archive = ? WHERE version = ?", (packed, version))


def test_the_champion_answers_though_others_cannot_be_loaded(
    api: Client, other_folder: Path, tmp_path: Path, versions: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first start on, and what was mended is loaded later."""
    monkeypatch.setattr(deployment, "RETRY_SECONDS", 0.3)
    store = api.service.store
    for version in ("broken", versions[1]):
        store.bundles.put(version, b"no zip", {})
    for champion in ("broken", versions[0]):
        store.deployment.activate(champion)
    store.deployment.challenge(versions[1])
    second = Client(api.service.settings)
    second.start()
    try:
        assert serves(second) == versions[0]
        assert second.service.lineup.serving().by_role.keys() == {"champion"}
        time.sleep(1.0)
        assert second.logged().count('"event":"not loaded"') == 2, "each once, and not at every try"
        repair(tmp_path, versions[1], archive.pack(other_folder))
        assert eventually(lambda: "challenger" in second.service.lineup.serving().versions)
    finally:
        second.close()


def test_a_bundle_that_cannot_be_loaded_is_not_deployed(
    api: Client, other_folder: Path, tmp_path: Path, versions: tuple[str, str]
) -> None:
    """However often it is asked for; and once it can be, it is in service when that is answered."""
    api.service.store.bundles.put(versions[1], b"no zip", {})
    before = api.get("/v1/admin/bundles").json()
    for role in ("champion", "challenger", "champion"):
        answer = api.post(f"/v1/admin/bundles?as={role}", json={"version": versions[1]})
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/bundle")
        assert api.get("/v1/admin/bundles").json() == before
    repair(tmp_path, versions[1], archive.pack(other_folder))
    assert api.post("/v1/admin/bundles", json={"version": versions[1]}).status_code == 201
    assert serves(api) == versions[1]


def test_there_is_no_rollback_to_a_bundle_that_cannot_be_loaded(api: Client, versions: tuple[str, str]) -> None:
    api.service.store.bundles.put("broken", b"no zip", {})
    for champion in ("broken", versions[0]):
        api.service.store.deployment.activate(champion)
    answer = api.post("/v1/admin/bundles/rollback")
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/bundle")
    told = api.get("/v1/admin/bundles").json()
    assert (told["champion"], told["previous"]) == (versions[0], "broken")
    assert serves(api) == versions[0]


def test_what_is_uploaded_is_compiled_once(
    api: Client, other_folder: Path, monkeypatch: pytest.MonkeyPatch, versions: tuple[str, str]
) -> None:
    compiled: list[str] = []
    real = deployment.warmed

    def counting(bundle: ps.Bundle, answers: Answers) -> deployment.Serving:
        compiled.append(bundle.version)
        return real(bundle, answers)

    monkeypatch.setattr(deployment, "warmed", counting)
    upload(api, other_folder)
    assert compiled == [versions[1]]


def test_no_request_is_dropped_while_bundles_are_swapped(
    api: Client, other_folder: Path, versions: tuple[str, str]
) -> None:
    """Each answer is wholly of one bundle: its effects are that bundle's."""
    upload(api, other_folder)
    effects = {}
    for _ in range(2):
        answer = api.post("/v1/score", json={"units": PEOPLE}).json()
        effects[answer["bundle"]] = [decision["effect"] for decision in answer["decisions"]]
        api.post("/v1/admin/bundles/rollback")
    assert set(effects) == set(versions)
    assert effects[versions[0]] != effects[versions[1]]
    stop, wrong, seen = threading.Event(), list[str](), set[str]()

    def ask() -> None:
        while not stop.is_set():
            answer = api.post("/v1/decide", json={"units": PEOPLE})
            told = answer.json()
            if answer.status_code != 200 or effects[told["bundle"]] != [d["effect"] for d in told["decisions"]]:
                wrong.append(answer.text)
            seen.add(told["bundle"])

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for _ in range(10):
        assert api.post("/v1/admin/bundles/rollback").status_code == 200
        time.sleep(0.05)
    stop.set()
    for asker in askers:
        asker.join()
    assert wrong == []
    assert seen == set(versions)


def test_a_challenger_is_scored_beside_the_champion_and_both_are_recorded(
    api: Client, other_folder: Path, versions: tuple[str, str]
) -> None:
    told = upload(api, other_folder, "challenger")
    assert (told["champion"], told["challenger"]) == versions
    assert api.get("/v1/live").json()["challenger"] == versions[1]
    (decision,) = api.post("/v1/decide", json={"units": PEOPLE[:1], "budget_share": 0.2}).json()["decisions"]
    assert "shadow" not in decision, "the answer is the champion's alone"
    kept = api.get(f"/v1/decisions/{decision['decision_id']}").json()
    other = ps.Bundle.load(other_folder)
    effect = other.learner.effect(pl.DataFrame([PEOPLE[0]["features"]]))[0, 1]
    assert kept["bundle"] == versions[0]
    assert kept["shadow"]["bundle"] == versions[1]
    assert kept["shadow"]["threshold"] == other.policy.threshold_at(0.2).threshold
    assert kept["shadow"]["effect"] == pytest.approx(effect, abs=1e-6)
    api.post("/v1/admin/bundles/rollback")
    assert api.request("DELETE", "/v1/admin/bundles/challenger").status_code == 204
    (decision,) = api.post("/v1/decide", json={"units": PEOPLE[:1]}).json()["decisions"]
    assert api.get(f"/v1/decisions/{decision['decision_id']}").json()["shadow"] is None


def test_a_challenger_that_fails_harms_nobody(api: Client, other_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(api, other_folder, "challenger")

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(RankingModel, "shadow", broken)
    answer = api.post("/v1/decide", json={"units": PEOPLE})
    assert answer.status_code == 200
    kept = api.get(f"/v1/decisions/{answer.json()['decisions'][0]['decision_id']}").json()
    assert kept["shadow"] is None
    assert "persuadable_shadow_failures_total 1.0" in api.get("/metrics").text
    assert "ZeroDivisionError" in api.logged()


def test_a_challenger_of_other_actions_and_role_names(api: Client, arms_folder: Path, bundle_folder: Path) -> None:
    assert upload(api, arms_folder, "challenger")["challenger"]
    assert upload(api, bundle_folder, "challenger", 409)["type"] == "/problems/conflict"
    assert upload(api, bundle_folder, "emperor", 422)["errors"][0]["pointer"] == "as"


def test_what_was_decided_is_answered_again_under_a_contract_that_would_refuse_it(
    api: Client, wide_folder: Path, versions: tuple[str, str]
) -> None:
    """Also where a batch was refused in part at first, and is refused altogether now."""
    body, key = {"units": PEOPLE[:3]}, {"Idempotency-Key": "k"}
    first = api.post("/v1/decide", json=body, headers=key).json()
    short = {"unit": "u0", "features": {"x0": 0.1}}
    content = b"".join(json.dumps(person).encode() + b"\n" for person in (short, *PEOPLE))
    lines = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "b"}
    batch = api.post("/v1/decide/batch", content=content, headers=lines).text.splitlines()
    upload(api, wide_folder)
    assert api.post("/v1/decide", json=body).json()["type"] == "/problems/contract"
    again = api.post("/v1/decide", json=body, headers=key)
    assert (again.status_code, again.json()) == (200, first)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["bundle"] == versions[0]
    assert api.post("/v1/decide", json={"units": PEOPLE[:2]}, headers=key).json()["type"] == "/problems/idempotency"
    repeated = api.post("/v1/decide/batch", content=content, headers=lines).text.splitlines()
    assert repeated[1:] == batch[1:]
    assert json.loads(repeated[0])["problem"]["type"] == "/problems/contract"
    assert api.post("/v1/decide/batch", content=content[:-2] + b" }\n", headers=lines).status_code == 422


def test_ready_says_which_bundle_and_needs_its_store(
    api: Client, monkeypatch: pytest.MonkeyPatch, versions: tuple[str, str]
) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
    assert api.get("/health/ready").json() == {"status": "ready", "bundle": versions[0]}
    api.service.writer.check = _away  # type: ignore[method-assign]
    answer = api.get("/health/ready")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert json.loads(answer.text)["type"] == "/problems/not-ready"
    assert api.get("/health/live").status_code == 200


def _away(**_: Any) -> None:
    from persuadable.service.store import StoreUnavailable

    raise StoreUnavailable("away")
