"""API keys: who may call, and what for. Only a hash of each is kept, so that a key can be checked but not read."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, cast, get_args

from sqlalchemy import Connection, insert, select, update

from persuadable.errors import ParameterError
from persuadable.service.store.connect import Database
from persuadable.service.store.errors import UnknownKey
from persuadable.service.store.moments import micros, moment
from persuadable.service.store.tables import api_keys

__all__ = ["ApiKey", "Keys", "Role", "digest_of", "id_of"]

Role = Literal["decide", "outcome", "read", "review", "admin"]
PREFIX = "psk"
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key; ``digest`` is the sha256 of the whole of it."""

    key_id: str
    name: str
    roles: frozenset[Role]
    digest: bytes
    created_at: datetime
    revoked_at: datetime | None


def digest_of(key: str) -> bytes:
    """The sha256 of a key, which is what is kept. A key has 256 random bits, so that no slower hash is called for."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def id_of(key: str) -> str | None:
    """The id a key names, by which its row is found; None where it is no key of ours."""
    parts = key.split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == PREFIX else None


class Keys:
    """The API keys of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, roles: Collection[Role]) -> tuple[ApiKey, str]:
        """A new key and its text, which is shown this once.

        Raises:
            ParameterError: no name, no role, or an unknown role.
        """
        if not name.strip():
            raise ParameterError("A key needs a name", remedy="Say who or what will use it.")
        if not roles or set(roles) - set(get_args(Role)):
            raise ParameterError(f"Roles {sorted(roles)} are not roles", remedy=f"Pass some of {get_args(Role)}.")
        key_id = secrets.token_hex(6)
        told = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
        key = ApiKey(key_id, name, frozenset(roles), digest_of(told), datetime.now(UTC), None)
        row = {
            "key_id": key_id,
            "name": name,
            "roles": " ".join(sorted(roles)),
            "digest": key.digest,
            "created_at": micros(key.created_at),
        }
        self._database.write(lambda connection: connection.execute(insert(api_keys), row))
        return key, told

    def all(self) -> list[ApiKey]:
        """Every key, the revoked among them, oldest first."""
        return self._database.read(_all)

    def revoke(self, key_id: str) -> None:
        """Let a key be of no use from now on; one that was revoked stays so.

        Raises:
            UnknownKey: no key with this id.
        """
        now = micros(datetime.now(UTC))

        def write(connection: Connection) -> None:
            if connection.execute(select(api_keys.c.key_id).where(api_keys.c.key_id == key_id)).first() is None:
                raise UnknownKey(key_id)
            valid = (api_keys.c.key_id == key_id) & api_keys.c.revoked_at.is_(None)
            connection.execute(update(api_keys).where(valid).values(revoked_at=now))

        self._database.write(write)


def _all(connection: Connection) -> list[ApiKey]:
    rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.key_id))
    return [
        ApiKey(
            row.key_id,
            row.name,
            cast("frozenset[Role]", frozenset(row.roles.split())),
            bytes(row.digest),
            moment(row.created_at),
            None if row.revoked_at is None else moment(row.revoked_at),
        )
        for row in rows
    ]
