"""Bundles: the archives every worker and every host loads its models from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Connection, select, text

from persuadable.service.store.connect import Database
from persuadable.service.store.errors import BundleTooLarge, UnknownBundle
from persuadable.service.store.moments import micros, moment
from persuadable.service.store.tables import bundles

__all__ = ["MOST_BYTES", "Bundles", "StoredBundle", "is_known", "put"]

MOST_BYTES = 256 * 2**20
PUT = text(
    "INSERT INTO bundles (version, added_at, size, facts, archive) "
    "VALUES (:version, :added_at, :size, :facts, :archive) ON CONFLICT (version) DO NOTHING"
)


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """What is told of a bundle without opening it; ``size`` is its archive's, in bytes."""

    version: str
    added_at: datetime
    size: int
    facts: Mapping[str, Any]


class Bundles:
    """The bundles of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, version: str, archive: bytes, facts: Mapping[str, Any] | None = None) -> bool:
        """Keep a bundle's archive; whether it was new. One that is known stays as it is.

        Args:
            version: the bundle's version, which names its content.
            archive: the bundle's folder as a zip file.
            facts: JSON values to tell about it.

        Raises:
            BundleTooLarge: above 256 MiB.
        """
        return self._database.write(lambda connection: put(connection, version, archive, facts or {}))

    def get(self, version: str) -> bytes:
        """A bundle's archive.

        Raises:
            UnknownBundle: the store does not have it.
        """
        query = select(bundles.c.archive).where(bundles.c.version == version)
        archive = self._database.read(lambda connection: connection.execute(query).scalar())
        if archive is None:
            raise UnknownBundle(version)
        return bytes(archive)

    def list(self) -> list[StoredBundle]:
        """Every bundle, oldest first."""
        columns = (bundles.c.version, bundles.c.added_at, bundles.c.size, bundles.c.facts)
        query = select(*columns).order_by(bundles.c.added_at, bundles.c.version)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [StoredBundle(r.version, moment(r.added_at), r.size, orjson.loads(r.facts)) for r in rows]


def put(connection: Connection, version: str, archive: bytes, facts: Mapping[str, Any]) -> bool:
    """Keep an archive, in the connection's transaction; whether it was new."""
    if len(archive) > MOST_BYTES:
        raise BundleTooLarge(len(archive), MOST_BYTES)
    row = {
        "version": version,
        "added_at": micros(datetime.now(UTC)),
        "size": len(archive),
        "facts": orjson.dumps(facts).decode(),
        "archive": archive,
    }
    return connection.execute(PUT, row).rowcount == 1


def is_known(connection: Connection, version: str) -> bool:
    """Whether the store has a bundle."""
    return connection.execute(select(bundles.c.version).where(bundles.c.version == version)).first() is not None
