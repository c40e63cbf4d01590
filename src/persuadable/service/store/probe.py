"""Whether there is space: as much is written as a large group takes, and deleted again."""

from __future__ import annotations

import os

from sqlalchemy import Connection, delete, insert

from persuadable.service.store.connect import Database
from persuadable.service.store.tables import probes

__all__ = ["probe"]

SIZE = 2**20  # bytes, random, so that no database makes less of them


def probe(database: Database) -> None:
    """Commit a mebibyte and remove it.

    Raises:
        StoreUnavailable, StoreFull: it could not be written.
    """
    name = os.urandom(16).hex()
    row = {"probe": name, "filling": os.urandom(SIZE)}

    def write(connection: Connection) -> None:
        connection.execute(delete(probes))  # left by a worker that died between the two
        connection.execute(insert(probes), row)

    database.write(write)
    database.write(lambda connection: connection.execute(delete(probes).where(probes.c.probe == name)))
