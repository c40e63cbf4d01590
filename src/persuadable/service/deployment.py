"""Which bundles answer: the champion, the one before it, and a challenger in its shadow. Swapped without a pause.

The store says which versions are deployed. A worker loads, compiles and warms a version in a thread while it keeps
answering with the old one, and then replaces one reference; a request keeps the bundles it began with.
"""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from persuadable.bundle import Bundle
from persuadable.errors import BundleError, PersuadableError
from persuadable.service import archive
from persuadable.service.intake import Answers, Intake
from persuadable.service.logs import Log
from persuadable.service.metrics import Metrics
from persuadable.service.problems import Problem
from persuadable.service.scoring import Model
from persuadable.service.store import Deployed, Store

__all__ = ["Line", "Lineup", "Serving", "facts_of", "warmed"]

# A deployed bundle that cannot be loaded is not loaded again at every look.
RETRY_SECONDS = 15.0
Versions = dict[str, "Serving"]


@dataclass(frozen=True, slots=True)
class Serving:
    """A bundle that is compiled and warm, and the documents it answers."""

    bundle: Bundle
    model: Model
    intake: Intake
    contract: bytes
    card: bytes
    evaluation: bytes | None

    @property
    def version(self) -> str:
        """The bundle's."""
        return self.bundle.version


@dataclass(frozen=True, slots=True)
class Line:
    """What is deployed, as one immutable value: whoever holds it sees it whole."""

    deployed: Deployed
    champion: Serving
    previous: Serving | None
    challenger: Serving | None


def warmed(bundle: Bundle, answers: Answers) -> Serving:
    """A bundle made ready to answer: compiled, and every kernel run once. Takes seconds; call it in a thread."""
    model = Model.of(bundle)
    model.warm()
    return Serving(
        bundle=bundle,
        model=model,
        intake=Intake(bundle.contract, answers),
        contract=orjson.dumps({"version": model.contract_version, **bundle.contract.to_dict()}),
        card=orjson.dumps(dict(bundle.card)),
        evaluation=None if bundle.evaluation is None else orjson.dumps(dict(bundle.evaluation)),
    )


def facts_of(bundle: Bundle) -> dict[str, Any]:
    """What the list of known bundles says of one without opening it."""
    actions = bundle.learner.actions_
    return {
        "learner": type(bundle.learner).__name__,
        "outcome": bundle.policy.outcome or bundle.learner.outcomes_[0],
        "control": actions.control,
        "treatments": list(actions.treatments),
        "share": float(bundle.policy.share),
        "features": len(bundle.contract.rules),
    }


class Lineup:
    """The bundles in service in this process.

    Args:
        store: says what is deployed, and keeps the bundles.
        answers: what is done with features that break the contract.
        most_bytes: bound on a bundle's size.
        folder: from which an administrator may activate bundles by name; None for no such folder.
    """

    def __init__(
        self, store: Store, answers: Answers, *, most_bytes: int, folder: Path | None, log: Log, metrics: Metrics
    ) -> None:
        self._store, self._answers, self._most, self._folder = store, answers, most_bytes, folder
        self._log, self._metrics = log, metrics
        self._line: Line | None = None
        self._failed: Deployed | None = None
        self._not_before = 0.0
        self._one_at_a_time = asyncio.Lock()

    @property
    def line(self) -> Line | None:
        """What is in service; None before the first bundle is warm."""
        return self._line

    def serving(self) -> Line:
        """What is in service.

        Raises:
            Problem: nothing yet (503).
        """
        if (line := self._line) is None:
            raise Problem("not-ready", "No bundle is in service yet")
        return line

    async def follow(self) -> None:
        """Bring what is in service to what the store says is deployed.

        Raises:
            StoreError: the store cannot be asked.
            BundleError: a deployed bundle cannot be loaded; what was in service stays.
        """
        async with self._one_at_a_time:
            wanted = await asyncio.to_thread(self._store.deployment.read)
            if wanted.champion is None or (self._line is not None and self._line.deployed == wanted):
                return
            if self._failed == wanted and time.monotonic() < self._not_before:
                return
            try:
                line = await asyncio.to_thread(self._warm_line, wanted)
            except Exception:
                self._failed, self._not_before = wanted, time.monotonic() + RETRY_SECONDS
                raise
            self._line = line
            self._tell(line)

    def _warm_line(self, wanted: Deployed) -> Line:
        held = self._held()
        champion = self._warm(str(wanted.champion), held)
        challenger = self._warm(wanted.challenger, held) if wanted.challenger else None
        previous = self._warm(wanted.previous, held) if wanted.previous else None
        gc.collect()
        gc.freeze()  # what lives as long as the process is not looked at again by every collection
        return Line(wanted, champion, previous, challenger)

    def _held(self) -> Versions:
        line = self._line
        kept = (line.champion, line.previous, line.challenger) if line is not None else ()
        return {one.version: one for one in kept if one is not None}

    def _warm(self, version: str, held: Versions) -> Serving:
        if (known := held.get(version)) is None:
            bundle = archive.load(self._store.bundles.get(version), self._most)
            if bundle.version != version:
                raise BundleError(f"The store's bundle {version} says it is {bundle.version}")
            known = held[version] = warmed(bundle, self._answers)
        return known

    def _tell(self, line: Line) -> None:
        roles = (("champion", line.champion), ("previous", line.previous), ("challenger", line.challenger))
        told = {role: one.version for role, one in roles if one is not None}
        self._log.info("deployed", **told)
        self._metrics.serves((role, one.version, one.model.contract_version) for role, one in roles if one is not None)

    async def told(self) -> dict[str, Any]:
        """What is deployed, and what the store knows, as JSON values."""
        deployed = await asyncio.to_thread(self._store.deployment.read)
        known = await asyncio.to_thread(self._store.bundles.list)
        return {
            "champion": deployed.champion,
            "previous": deployed.previous,
            "challenger": deployed.challenger,
            "known": [
                {"version": one.version, "added_at": one.added_at, "bytes": one.size, **one.facts} for one in known
            ],
        }

    async def admit(self, packed: bytes, role: str) -> str:
        """Check, keep and deploy a zipped bundle; in service here when this returns.

        Returns:
            Its version.

        Raises:
            BundleError: it cannot be trusted, read or compiled.
            StoreError: the store cannot be asked, or the deployment does not allow it.
        """
        bundle = await asyncio.to_thread(self._checked, packed)
        await asyncio.to_thread(self._store.bundles.put, bundle.version, packed, facts_of(bundle))
        await self.deploy(bundle.version, role)
        return bundle.version

    def _checked(self, packed: bytes) -> Bundle:
        """The bundle, once it has been compiled: one that cannot answer is never deployed."""
        bundle = archive.load(packed, self._most)
        try:
            warmed(bundle, self._answers)
        except BundleError:
            raise
        except (PersuadableError, ValueError, KeyError, TypeError, IndexError) as error:
            raise BundleError(f"The bundle cannot be put in service: {error}") from error
        return bundle

    async def admit_folder(self, name: str, role: str) -> str:
        """As :meth:`admit`, from the folder of that name in the bundles folder.

        Raises:
            Problem: there is no bundles folder, or no such bundle in it (404).
        """
        if self._folder is None:
            raise Problem("unknown-bundle", "No bundles folder is set", remedy="Set PERSUADABLE_BUNDLES_FOLDER.")
        root = self._folder.resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root) or path == root or not path.is_dir():
            raise Problem("unknown-bundle", f"There is no folder {name!r} in the bundles folder")
        return await self.admit(await asyncio.to_thread(archive.pack, path), role)

    async def deploy(self, version: str, role: str) -> None:
        """Make a known version the champion or the challenger, and put it in service here.

        Raises:
            StoreError: it is not known, or the store cannot be asked.
        """
        change = self._store.deployment.activate if role == "champion" else self._store.deployment.challenge
        await asyncio.to_thread(change, version)
        await self.follow()

    async def roll_back(self) -> None:
        """Make the previous champion the champion again.

        Raises:
            StoreError: there is none, or the store cannot be asked.
        """
        await asyncio.to_thread(self._store.deployment.rollback)
        await self.follow()

    async def drop_challenger(self) -> None:
        """Stop scoring a challenger.

        Raises:
            StoreError: the store cannot be asked.
        """
        await asyncio.to_thread(self._store.deployment.clear_challenger)
        await self.follow()
