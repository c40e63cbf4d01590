"""Which bundle is in use is one row: changed by one after the other, rolled back in one step, never lost."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from persuadable.service.store import (
    BundleTooLarge,
    Deployed,
    DeploymentConflict,
    Store,
    UnknownBundle,
    bundles,
)


def use(deployed: Deployed) -> tuple[str | None, str | None, str | None]:
    return deployed.champion, deployed.previous, deployed.challenger


def test_a_bundle_is_kept_byte_for_byte(store: Store) -> None:
    archive = bytes(range(256)) * 1000
    assert store.bundles.put("v1", archive, {"outcome": "visit", "ü": [1, None]})
    assert not store.bundles.put("v1", b"other", {})
    assert store.bundles.put("v2", b"")
    assert store.bundles.get("v1") == archive
    listed = store.bundles.list()
    assert [(b.version, b.size, b.facts) for b in listed] == [
        ("v1", 256_000, {"outcome": "visit", "ü": [1, None]}),
        ("v2", 0, {}),
    ]
    assert abs(listed[0].added_at - datetime.now(UTC)) < timedelta(seconds=5)
    with pytest.raises(UnknownBundle, match="no bundle 'v3'"):
        store.bundles.get("v3")


def test_a_bundle_beyond_bounds_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MOST_BYTES", 10)
    with pytest.raises(BundleTooLarge, match="11 bytes, the store keeps at most 10"):
        store.bundles.put("v1", b"x" * 11)
    with pytest.raises(BundleTooLarge):
        store.deployment.introduce("v1", b"x" * 11)
    assert store.bundles.list() == []


def test_a_new_bundle_becomes_the_champion_and_a_known_one_changes_nothing(store: Store) -> None:
    assert use(store.deployment.read()) == (None, None, None)
    assert use(store.deployment.introduce("v1", b"1")) == ("v1", None, None)
    assert use(store.deployment.introduce("v2", b"2")) == ("v2", "v1", None)
    again = store.deployment.introduce("v1", b"1")
    assert use(again) == ("v2", "v1", None)
    assert again == store.deployment.read()
    assert again.sequence == 2


def test_a_known_bundle_is_introduced_where_nothing_is_in_use(store: Store) -> None:
    store.bundles.put("v1", b"1")
    assert use(store.deployment.introduce("v1", b"1")) == ("v1", None, None)


def test_activate_roll_back_and_forth(store: Store) -> None:
    for version in ("v1", "v2", "v3"):
        store.bundles.put(version, b"")
    deployment = store.deployment
    with pytest.raises(DeploymentConflict, match="no previous"):
        deployment.rollback()
    assert use(deployment.activate("v1")) == ("v1", None, None)
    with pytest.raises(DeploymentConflict, match="no previous"):
        deployment.rollback()
    assert use(deployment.activate("v2")) == ("v2", "v1", None)
    same = deployment.activate("v2")
    assert use(same) == ("v2", "v1", None), "the champion again does not become its own predecessor"
    assert use(deployment.rollback()) == ("v1", "v2", None)
    assert use(deployment.rollback()) == ("v2", "v1", None)
    assert use(deployment.activate("v3")) == ("v3", "v2", None)
    assert deployment.read().sequence == 5
    with pytest.raises(UnknownBundle):
        deployment.activate("v9")
    assert use(deployment.read()) == ("v3", "v2", None)


def test_a_challenger_is_set_cleared_and_crowned(store: Store) -> None:
    store.deployment.introduce("v1", b"")
    store.bundles.put("v2", b"")
    assert use(store.deployment.challenge("v2")) == ("v1", None, "v2")
    assert use(store.deployment.clear_challenger()) == ("v1", None, None)
    with pytest.raises(DeploymentConflict, match="v1 is the champion"):
        store.deployment.challenge("v1")
    with pytest.raises(UnknownBundle):
        store.deployment.challenge("v9")
    store.deployment.challenge("v2")
    assert use(store.deployment.activate("v2")) == ("v2", "v1", None), "the champion challenges nobody"


def test_a_change_meant_for_another_state_is_refused(store: Store) -> None:
    for version in ("v1", "v2"):
        store.bundles.put(version, b"")
    seen = store.deployment.read().sequence
    after = store.deployment.activate("v1", seen=seen)
    assert after.sequence == seen + 1
    for change in (
        lambda: store.deployment.activate("v2", seen=seen),
        lambda: store.deployment.challenge("v2", seen=seen),
        lambda: store.deployment.clear_challenger(seen=seen),
        lambda: store.deployment.rollback(seen=seen),
    ):
        with pytest.raises(DeploymentConflict, match="changed by somebody else"):
            change()
    assert store.deployment.read() == after
    assert use(store.deployment.activate("v2", seen=after.sequence)) == ("v2", "v1", None)


def test_of_several_administrators_with_the_same_view_one_wins(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = bundles.is_known
    # Each looks at the deployment before any of them changes it, were it not for the lock.
    monkeypatch.setattr(bundles, "is_known", lambda *told: (time.sleep(0.05), plain(*told))[1])
    stores = [Store.open(store_url) for _ in range(4)]
    for i in range(4):
        stores[0].bundles.put(f"v{i}", b"")
    seen = stores[0].deployment.read().sequence

    def change(i: int) -> bool:
        try:
            stores[i].deployment.activate(f"v{i}", seen=seen)
        except DeploymentConflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(change, range(4)))
    assert sum(won) == 1
    assert use(stores[0].deployment.read()) == (f"v{won.index(True)}", None, None)
    for store in stores:
        store.close()


def test_workers_that_start_at_once_introduce_a_bundle_once(store_url: str) -> None:
    stores = [Store.open(store_url) for _ in range(4)]
    stores[0].deployment.introduce("v0", b"0")
    with ThreadPoolExecutor(4) as pool:
        deployed = list(pool.map(lambda store: store.deployment.introduce("v1", b"1"), stores))
    assert {use(d) for d in deployed} == {("v1", "v0", None)}
    assert {d.sequence for d in deployed} == {2}
    for store in stores:
        store.close()
