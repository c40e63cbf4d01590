"""The deployment: which bundle decides, which did before, and which is only watched. One row that every worker reads.

Each change counts ``sequence`` up by one and is made on a locked row, so that two at once come one after the other.
Whoever read the deployment first and would not overwrite another's change passes the sequence that was read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from persuadable.service.store import bundles
from persuadable.service.store.connect import Database
from persuadable.service.store.errors import DeploymentConflict, UnknownBundle
from persuadable.service.store.moments import moment
from persuadable.service.store.tables import deployment

__all__ = ["Deployed", "Deployment"]


@dataclass(frozen=True, slots=True)
class Deployed:
    """The versions of the bundles in use.

    Attributes:
        sequence: how often it was changed.
        changed_at: when last; the epoch where never.
        champion: decides; None before the first bundle.
        previous: the champion before, to roll back to.
        challenger: is scored beside the champion and only recorded.
    """

    sequence: int
    changed_at: datetime
    champion: str | None
    previous: str | None
    challenger: str | None


class Deployment:
    """The deployment of a store. Each change returns what is deployed after it.

    Every change takes ``seen``, the sequence it is meant for, and raises DeploymentConflict where another change came
    first; None changes whatever is there.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> Deployed:
        """What is deployed."""
        return self._database.read(_read)

    def introduce(self, version: str, archive: bytes, facts: Mapping[str, Any] | None = None) -> Deployed:
        """Keep a bundle; it becomes the champion if the store never saw it, or if there is none.

        Raises:
            BundleTooLarge: the archive is above the store's bound.
        """

        def write(connection: Connection) -> Deployed:
            now = _read(connection, lock=True)
            new = bundles.put(connection, version, archive, facts or {})
            return _change(connection, now, _crowned(now, version)) if new or now.champion is None else now

        return self._database.write(write)

    def activate(self, version: str, *, seen: int | None = None) -> Deployed:
        """Make a bundle the champion, and the champion the previous one.

        Raises:
            UnknownBundle: the store does not have it.
            DeploymentConflict: another change came first.
        """
        return self._change(lambda now: _crowned(now, version), seen, version)

    def challenge(self, version: str, *, seen: int | None = None) -> Deployed:
        """Watch a bundle beside the champion.

        Raises:
            UnknownBundle: the store does not have it.
            DeploymentConflict: it is the champion itself, or another change came first.
        """

        def changed(now: Deployed) -> Deployed:
            if version == now.champion:
                raise DeploymentConflict(f"{version} is the champion", remedy="Choose another bundle as challenger.")
            return replace(now, challenger=version)

        return self._change(changed, seen, version)

    def clear_challenger(self, *, seen: int | None = None) -> Deployed:
        """Watch none.

        Raises:
            DeploymentConflict: another change came first.
        """
        return self._change(lambda now: replace(now, challenger=None), seen)

    def rollback(self, *, seen: int | None = None) -> Deployed:
        """Change champion and previous.

        Raises:
            DeploymentConflict: there is no previous one, or another change came first.
        """

        def changed(now: Deployed) -> Deployed:
            if now.previous is None:
                raise DeploymentConflict("There is no previous bundle", remedy="Activate a bundle by its version.")
            return _crowned(now, now.previous)

        return self._change(changed, seen)

    def _change(
        self, changed: Callable[[Deployed], Deployed], seen: int | None, version: str | None = None
    ) -> Deployed:
        def write(connection: Connection) -> Deployed:
            now = _read(connection, lock=True)
            if seen is not None and seen != now.sequence:
                raise DeploymentConflict(
                    "The deployment was changed by somebody else",
                    where=f"change {now.sequence}, not {seen}",
                    remedy="Look at it again, and then decide.",
                )
            if version is not None and not bundles.is_known(connection, version):
                raise UnknownBundle(version)
            return _change(connection, now, changed(now))

        return self._database.write(write)


def _crowned(now: Deployed, version: str) -> Deployed:
    if version == now.champion:
        return now
    challenger = None if now.challenger == version else now.challenger
    return replace(now, champion=version, previous=now.champion, challenger=challenger)


def _change(connection: Connection, now: Deployed, wanted: Deployed) -> Deployed:
    if wanted == now:
        return now
    changed_at = time.time_ns() // 1000
    values = {
        "champion": wanted.champion,
        "previous": wanted.previous,
        "challenger": wanted.challenger,
        "sequence": now.sequence + 1,
        "changed_at": changed_at,
    }
    connection.execute(update(deployment).where(deployment.c.id == 1).values(values))
    return replace(wanted, sequence=now.sequence + 1, changed_at=moment(changed_at))


def _read(connection: Connection, *, lock: bool = False) -> Deployed:
    query = select(deployment).where(deployment.c.id == 1)
    row = connection.execute(query.with_for_update() if lock else query).one()
    return Deployed(row.sequence, moment(row.changed_at), row.champion, row.previous, row.challenger)
