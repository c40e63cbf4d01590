"""Who may do what, and how fast: API keys with roles, and a token bucket for each."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from persuadable.service.problems import Problem
from persuadable.service.store.keys import digest_of, id_of

__all__ = ["ANYBODY", "Access", "Buckets", "Caller", "KnownKey"]

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="persuadable"'}
# Compared with where the key's id is unknown, so that an unknown id takes as long as a wrong secret.
NOBODY = digest_of("")
# Idle callers beyond this many are forgotten; their buckets are full anyway.
MOST_BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        id: the id of its key, or its address where no keys are needed.
        roles: what it may do.
        key: the id of its key; empty where no keys are needed.
        name: what its key was called when it was created; empty where no keys are needed.
    """

    id: str
    roles: frozenset[str]
    key: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What is known of a key: the sha256 of the whole key, never the key."""

    id: str
    digest: bytes
    roles: frozenset[str]
    name: str = ""


ANYBODY = frozenset({"decide", "outcome", "read", "review", "admin"})


class Access:
    """Checks every request's key and rate.

    Args:
        insecure: answer without keys; who sent a request is then its address.
        rate: requests per second for each caller; 0 is without limit.
        burst: requests a caller may make at once.
        workers: among which rate and burst are shared out evenly.
    """

    def __init__(self, *, insecure: bool, rate: float = 0.0, burst: int = 100, workers: int = 1) -> None:
        self.insecure, self._rate = insecure, rate
        self._buckets = Buckets(rate / workers, max(1, burst // workers)) if rate > 0 else None
        self._keys: Mapping[str, KnownKey] | None = None

    def know(self, keys: Iterable[KnownKey]) -> None:
        """Replace all known keys, in one step."""
        self._keys = {key.id: key for key in keys}

    def admit(self, authorization: str | None, address: str, roles: frozenset[str]) -> Caller:
        """The caller, who may do this now.

        Args:
            authorization: the Authorization header.
            address: where the request came from.
            roles: any of these may; an administrator may everything.

        Raises:
            Problem: no key, an unknown one (401), another role (403), too many requests (429), or the keys have not
                been read yet (503).
        """
        caller = Caller(address, ANYBODY) if self.insecure else self._holder(authorization)
        if self._buckets is not None and (wait := self._buckets.take(caller.id)) > 0.0:
            raise Problem(
                "too-many-requests",
                f"The limit is {self._rate:g} requests per second",
                retry_after=int(wait) + 1,
            )
        if roles.isdisjoint(caller.roles) and "admin" not in caller.roles:
            wanted = " or ".join(repr(role) for role in sorted(roles))
            raise Problem("role", f"This needs a key with the role {wanted}")
        return caller

    def _holder(self, authorization: str | None) -> Caller:
        if authorization is None:
            raise Problem("no-key", "The request has no Authorization header", headers=CHALLENGE)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Problem("no-key", "The Authorization header is not 'Bearer' and a key", headers=CHALLENGE)
        if self._keys is None:
            raise Problem("not-ready", "The API keys have not been read from the store yet")
        token = token.strip()
        known, digest = self._keys.get(id_of(token) or ""), digest_of(token)
        same = hmac.compare_digest(digest, NOBODY if known is None else known.digest)
        if known is None or not same:
            raise Problem("unknown-key", "The API key is not known, or was revoked", headers=CHALLENGE)
        return Caller(known.id, known.roles, known.id, known.name)


class Buckets:
    """A token bucket for each caller, in this process's memory.

    Args:
        rate: tokens that flow in per second.
        burst: tokens a bucket holds.
        now: the clock, in seconds.
    """

    def __init__(self, rate: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self._now = rate, float(burst), now
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> float:
        """Take one token; 0 where there was one, else the seconds until there is."""
        now = self._now()
        level, since = self._levels.pop(caller, (self.burst, now))
        level = min(self.burst, level + (now - since) * self.rate)
        wait = 0.0 if level >= 1.0 else (1.0 - level) / self.rate
        # Re-inserted last: the first of the dictionary is who has been idle longest.
        self._levels[caller] = (level - 1.0 if wait == 0.0 else level, now)
        if len(self._levels) > MOST_BUCKETS:
            del self._levels[next(iter(self._levels))]
        return wait
