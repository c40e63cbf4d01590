"""Who may do what: keys, roles, and how fast."""

from __future__ import annotations

import hmac

import pytest

from persuadable.service import access as room
from persuadable.service.access import Access, Buckets, KnownKey
from persuadable.service.problems import Problem
from persuadable.service.store import digest_of

READ, DECIDE = frozenset({"read"}), frozenset({"decide"})
KEY = "psk_abc123_" + "s" * 43


def known(key: str = KEY, roles: frozenset[str] = READ) -> KnownKey:
    return KnownKey(key.split("_")[1], digest_of(key), roles)


def guarded(*keys: KnownKey) -> Access:
    access = Access(insecure=False)
    access.know(keys)
    return access


def refusal(access: Access, authorization: str | None, roles: frozenset[str] = READ) -> Problem:
    with pytest.raises(Problem) as caught:
        access.admit(authorization, "10.0.0.1", roles)
    return caught.value


def test_a_known_key_with_the_role_is_admitted() -> None:
    caller = guarded(known()).admit(f"Bearer {KEY}", "10.0.0.1", READ)
    assert (caller.id, caller.key, caller.roles) == ("abc123", "abc123", READ)
    assert guarded(known()).admit(f"bearer  {KEY} ", "10.0.0.1", READ).id == "abc123"


@pytest.mark.parametrize(
    ("authorization", "slug"),
    [
        (None, "no-key"),
        ("", "no-key"),
        ("Bearer", "no-key"),
        (f"Basic {KEY}", "no-key"),
        (KEY, "no-key"),
        (f"Bearer {KEY}x", "unknown-key"),
        (f"Bearer {KEY[:-1]}", "unknown-key"),
        ("Bearer psk_abc123_", "unknown-key"),
        ("Bearer psk_other_" + "s" * 43, "unknown-key"),
        ("Bearer abc123", "unknown-key"),
        ("Bearer \udcff", "unknown-key"),
    ],
)
def test_anything_else_is_refused_with_a_challenge(authorization: str | None, slug: str) -> None:
    problem = refusal(guarded(known()), authorization)
    assert (problem.kind.slug, problem.kind.status) == (slug, 401)
    assert problem.headers["WWW-Authenticate"].startswith("Bearer")
    assert KEY not in problem.detail


def test_a_key_may_do_what_its_roles_say_and_an_administrator_everything() -> None:
    problem = refusal(guarded(known()), f"Bearer {KEY}", DECIDE)
    assert (problem.kind.slug, problem.kind.status) == ("role", 403)
    assert "'decide'" in problem.detail
    guarded(known(roles=frozenset({"admin"}))).admit(f"Bearer {KEY}", "10.0.0.1", DECIDE)
    guarded(known()).admit(f"Bearer {KEY}", "10.0.0.1", READ | DECIDE)


def test_before_the_keys_were_read_none_is_called_unknown() -> None:
    problem = refusal(Access(insecure=False), f"Bearer {KEY}")
    assert (problem.kind.slug, problem.kind.status, problem.headers["Retry-After"]) == ("not-ready", 503, "1")
    assert refusal(Access(insecure=False), None).kind.slug == "no-key"


def test_a_revoked_key_is_forgotten() -> None:
    access = guarded(known())
    access.admit(f"Bearer {KEY}", "10.0.0.1", READ)
    access.know([])
    assert refusal(access, f"Bearer {KEY}").kind.slug == "unknown-key"


def test_an_unknown_id_is_compared_as_a_wrong_secret_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of equal length, by the comparison that takes as long whatever they hold."""
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    access = guarded(known())
    for key in (KEY, KEY + "x", "psk_other_" + "s" * 43):
        try:
            access.admit(f"Bearer {key}", "10.0.0.1", READ)
        except Problem:
            continue
    assert [(len(one), len(other)) for one, other in compared] == [(32, 32)] * 3


def test_without_keys_everybody_may_and_is_known_by_address() -> None:
    caller = Access(insecure=True).admit(None, "127.0.0.1", frozenset({"admin"}))
    assert (caller.id, caller.key) == ("127.0.0.1", "")


def test_a_bucket_holds_its_burst_and_fills_at_its_rate() -> None:
    clock = [0.0]
    buckets = Buckets(rate=2.0, burst=3, now=lambda: clock[0])
    assert [buckets.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert buckets.take("a") == pytest.approx(0.5), "a token flows in every half second"
    assert buckets.take("b") == 0.0, "everybody has a bucket of their own"
    clock[0] = 0.5
    assert buckets.take("a") == 0.0
    assert buckets.take("a") > 0.0
    clock[0] = 100.0
    assert [buckets.take("a") > 0.0 for _ in range(4)] == [False, False, False, True], "never more than the burst"


def test_the_rate_is_shared_out_among_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four workers together let through what was set."""
    made: list[tuple[float, float]] = []
    monkeypatch.setattr(room, "Buckets", lambda rate, burst: made.append((rate, burst)) or Buckets(rate, burst))
    access = Access(insecure=True, rate=2.0, burst=9, workers=4)
    assert made == [(0.5, 2)]
    for _ in range(2):
        access.admit(None, "10.0.0.1", READ)
    assert "2 requests per second" in refusal(access, None).detail
    Access(insecure=True, rate=2.0, burst=3, workers=4).admit(None, "10.0.0.1", READ)


def test_too_fast_is_told_when_to_come_again() -> None:
    access = Access(insecure=True, rate=0.25, burst=1)
    access.admit(None, "10.0.0.1", READ)
    problem = refusal(access, None)
    assert (problem.kind.slug, problem.kind.status) == ("too-many-requests", 429)
    assert int(problem.headers["Retry-After"]) in (4, 5)
    access.admit(None, "10.0.0.2", READ)


def test_idle_callers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_BUCKETS", 3)
    buckets = Buckets(rate=1.0, burst=1, now=lambda: 0.0)
    for caller in "abcd":
        buckets.take(caller)
    assert list(buckets._levels) == ["b", "c", "d"]
