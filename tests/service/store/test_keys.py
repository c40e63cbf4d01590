"""Keys are shown once, kept as hashes, and of no use once revoked."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from persuadable.errors import ParameterError
from persuadable.service.store import Store, digest_of, id_of
from persuadable.service.store.connect import Database
from persuadable.service.store.errors import UnknownKey


def test_a_key_is_kept_as_its_hash_alone(store: Store, store_url: str) -> None:
    key, told = store.keys.create("shop", ["decide", "outcome"])
    assert re.fullmatch(rf"psk_{key.key_id}_[A-Za-z0-9_-]{{43}}", told)
    assert key.digest == hashlib.sha256(told.encode()).digest() == digest_of(told)
    assert id_of(told) == key.key_id
    assert store.keys.all() == [key]
    assert (key.name, key.roles, key.revoked_at) == ("shop", {"decide", "outcome"}, None)
    assert abs(key.created_at - datetime.now(UTC)) < timedelta(seconds=5)
    database = Database(store_url)
    row = database.read(lambda c: tuple(c.execute(text("SELECT * FROM api_keys")).one()))
    database.close()
    assert told[-43:] not in repr(row)
    assert told not in repr(key)


def test_no_two_keys_are_alike(store: Store) -> None:
    keys = [store.keys.create("same name", ["read"]) for _ in range(20)]
    assert len({told for _, told in keys}) == len({key.key_id for key, _ in keys}) == 20
    assert sorted(k.key_id for k in store.keys.all()) == sorted(key.key_id for key, _ in keys)


def test_a_revoked_key_stays_listed_and_revoked(store: Store) -> None:
    (kept, _), (lost, _) = store.keys.create("a", ["read"]), store.keys.create("b", ["admin"])
    store.keys.revoke(lost.key_id)
    first = {key.key_id: key.revoked_at for key in store.keys.all()}
    assert first[kept.key_id] is None
    assert first[lost.key_id] is not None
    store.keys.revoke(lost.key_id)
    assert {key.key_id: key.revoked_at for key in store.keys.all()} == first
    with pytest.raises(UnknownKey, match="no key 'nobody'"):
        store.keys.revoke("nobody")


@pytest.mark.parametrize(("name", "roles"), [("", ["read"]), ("  ", ["read"]), ("a", []), ("a", ["root"])])
def test_a_key_needs_a_name_and_known_roles(store: Store, name: str, roles: list[str]) -> None:
    with pytest.raises(ParameterError):
        store.keys.create(name, roles)  # type: ignore[arg-type]
    assert store.keys.all() == []


@pytest.mark.parametrize("text", ["", "psk", "psk_", "psk_1", "abc_1_2", "Bearer psk_1_2"])
def test_what_is_no_key_of_ours_has_no_id(text: str) -> None:
    assert id_of(text) is None


def test_any_text_has_a_digest() -> None:
    assert digest_of("psk_1_\udcff") != digest_of("psk_1_ÿ")
