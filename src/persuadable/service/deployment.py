"""Which bundles answer: the champion, the one before it, and a challenger in its shadow. Swapped without a pause.

The store says which versions are deployed. A worker loads, compiles and warms a version in a thread while it keeps
answering with the old one, and then replaces one reference; a request keeps the bundles it began with.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from persuadable.bundle import Bundle
from persuadable.bundle.bundle import Effects
from persuadable.effects import CalibratedEffects
from persuadable.errors import BundleError, PersuadableError
from persuadable.policies import BudgetPolicy
from persuadable.service import archive
from persuadable.service.intake import Answers, Intake
from persuadable.service.logs import Log
from persuadable.service.metrics import Metrics
from persuadable.service.models import model_of
from persuadable.service.problems import Problem
from persuadable.service.scoring import Model
from persuadable.service.store import Deployed, Store

__all__ = ["Line", "Lineup", "Serving", "facts_of", "warmed"]

# A deployed bundle that cannot be loaded is not tried again at every look.
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
    """What is deployed, as one immutable value: whoever holds it sees it whole.

    The previous bundle or the challenger is None where there is none, and where it could not be loaded.
    """

    deployed: Deployed
    champion: Serving
    previous: Serving | None
    challenger: Serving | None

    @property
    def by_role(self) -> dict[str, Serving]:
        """Those that are in service."""
        roles = {"champion": self.champion, "previous": self.previous, "challenger": self.challenger}
        return {role: one for role, one in roles.items() if one is not None}

    @property
    def versions(self) -> dict[str, str]:
        """Of those that are in service, by role."""
        return {role: one.version for role, one in self.by_role.items()}

    @property
    def is_whole(self) -> bool:
        """Whether all that is deployed is in service."""
        wanted = (self.deployed.champion, self.deployed.previous, self.deployed.challenger)
        return len(self.versions) == sum(version is not None for version in wanted)


def warmed(bundle: Bundle, answers: Answers) -> Serving:
    """A bundle made ready to answer: compiled, and every kernel run once. Takes seconds; call it in a thread."""
    model = model_of(bundle)
    model.warm()
    return Serving(
        bundle=bundle,
        model=model,
        intake=Intake(bundle.contract, answers),
        contract=orjson.dumps({"version": model.contract_version, **bundle.contract.to_dict()}),
        card=orjson.dumps(dict(bundle.card)),
        evaluation=None if bundle.evaluation is None else orjson.dumps(dict(bundle.evaluation)),
    )


def _name_of(learner: Effects) -> str:
    if isinstance(learner, CalibratedEffects):
        return f"{type(learner.learner).__name__}, calibrated"
    return type(learner).__name__


def facts_of(bundle: Bundle) -> dict[str, Any]:
    """What the list of known bundles says of one without opening it."""
    actions, policy = bundle.learner.actions_, bundle.policy
    facts: dict[str, Any] = {
        "learner": _name_of(bundle.learner),
        "control": actions.control,
        "treatments": list(actions.treatments),
        "features": len(bundle.contract.rules),
        "review_load": None if bundle.review is None else bundle.review.load,
    }
    if isinstance(policy, BudgetPolicy):
        return facts | {"outcome": policy.outcome or bundle.learner.outcomes_[0], "share": float(policy.share)}
    return facts | {"outcome": policy.value_outcome_, "share": None, "budget_per_head": policy.budget}


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
        self._tried: Deployed | None = None
        self._not_before = 0.0
        self._ailing: set[str] = set()
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

        What cannot be loaded is tried again after :data:`RETRY_SECONDS`.

        Raises:
            StoreError: the store cannot be asked.
            BundleError: the champion cannot be loaded; what was in service stays.
        """
        async with self._one_at_a_time:
            wanted = await asyncio.to_thread(self._store.deployment.read)
            if wanted.champion is None:
                return
            if self._line is not None and self._line.deployed == wanted and self._line.is_whole:
                return
            if self._tried != wanted or time.monotonic() >= self._not_before:
                await self._serve(wanted, self._held())

    async def _serve(self, wanted: Deployed, held: Versions) -> None:
        """Put what is deployed in service; what is held is warm already."""
        try:
            line = await asyncio.to_thread(self._warm_line, wanted, held)
        finally:
            self._tried, self._not_before = wanted, time.monotonic() + RETRY_SECONDS
        before, self._line = self._line, line
        if before is None or before.versions != line.versions:
            self._tell(line)

    def _warm_line(self, wanted: Deployed, held: Versions) -> Line:
        champion = self._warm(str(wanted.champion), held)
        challenger = self._beside("challenger", wanted.challenger, held)
        previous = self._beside("previous", wanted.previous, held)
        gc.collect()
        gc.freeze()  # what lives as long as the process is not looked at again by every collection
        return Line(wanted, champion, previous, challenger)

    def _held(self) -> Versions:
        line = self._line
        kept = (line.champion, line.previous, line.challenger) if line is not None else ()
        return {one.version: one for one in kept if one is not None}

    def _warm(self, version: str, held: Versions) -> Serving:
        if (known := held.get(version)) is None:
            known = self._ready(self._store.bundles.get(version))
            if known.version != version:
                raise BundleError(f"The store's bundle {version} says it is {known.version}")
            held[version] = known
        self._ailing.discard(version)
        return known

    def _beside(self, role: str, version: str | None, held: Versions) -> Serving | None:
        """A bundle that the champion can do without: where it cannot be loaded that is said, once, and no more."""
        if version is None:
            return None
        try:
            return self._warm(version, held)
        except Exception as error:
            if version not in self._ailing:
                self._log.warning("not loaded", role=role, bundle=version, problem=str(error))
            self._ailing.add(version)
            return None

    def _ready(self, packed: bytes) -> Serving:
        """A zipped bundle, compiled and warm.

        Raises:
            BundleError: it cannot be trusted, read or compiled.
        """
        bundle = archive.load(packed, self._most)
        try:
            return warmed(bundle, self._answers)
        except BundleError:
            raise
        except (PersuadableError, ValueError, KeyError, TypeError, IndexError) as error:
            raise BundleError(f"The bundle cannot be put in service: {error}") from error

    def _tell(self, line: Line) -> None:
        self._log.info("deployed", **line.versions)
        self._metrics.serves((role, one.version, one.model.contract_version) for role, one in line.by_role.items())

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
            BundleError: it cannot be trusted, read or compiled; what is deployed stays.
            StoreError: the store cannot be asked, or the deployment does not allow it.
        """
        ready = await asyncio.to_thread(self._ready, packed)
        version = ready.version
        new = await asyncio.to_thread(self._store.bundles.put, version, packed, facts_of(ready.bundle))
        # Of one that is known the store keeps the archive it has, which is what every other worker will load.
        await self._change(self._deploy, version, role, held={version: ready} if new else {})
        return version

    async def admit_folder(self, name: str, role: str) -> str:
        """As :meth:`admit`, from the folder of that name in the bundles folder.

        Raises:
            Problem: there is no bundles folder, or no such bundle in it (404).
        """
        if self._folder is None:
            raise Problem("unknown-bundle", "No bundles folder is set", remedy="Set PERSUADABLE_BUNDLES_FOLDER.")
        # os.path where pathlib would raise: for names the file system cannot have, and links that go in circles.
        root = Path(os.path.realpath(self._folder))
        path = Path(os.path.realpath(root / name))
        if not path.is_relative_to(root) or path == root or not os.path.isdir(path):
            raise Problem("unknown-bundle", f"There is no folder {name!r} in the bundles folder")
        return await self.admit(await asyncio.to_thread(archive.pack, path), role)

    async def deploy(self, version: str, role: str) -> None:
        """Make a known version the champion or the challenger, and put it in service here.

        Raises:
            BundleError: it cannot be loaded; what is deployed stays.
            StoreError: it is not known, or the store cannot be asked.
        """
        await self._change(self._deploy, version, role)

    def _deploy(self, held: Versions, version: str, role: str) -> Deployed:
        deployment = self._store.deployment
        self._warm(version, held)
        if role == "champion":
            return deployment.activate(version)
        if (champion := deployment.read().champion) is not None:
            self._warm(champion, held)
        return deployment.challenge(version)

    async def roll_back(self) -> None:
        """Make the previous champion the champion again.

        Raises:
            BundleError: it cannot be loaded; what is deployed stays.
            StoreError: there is none, the deployment was changed meanwhile, or the store cannot be asked.
        """
        await self._change(self._roll_back)

    def _roll_back(self, held: Versions) -> Deployed:
        now = self._store.deployment.read()
        if now.previous is not None:
            self._warm(now.previous, held)
        return self._store.deployment.rollback(seen=now.sequence)

    async def drop_challenger(self) -> None:
        """Stop scoring a challenger.

        Raises:
            StoreError: the store cannot be asked.
        """
        await self._change(lambda held: self._store.deployment.clear_challenger())

    async def _change(self, change: Callable[..., Deployed], *told: str, held: Versions | None = None) -> None:
        """Change the deployment, and put it in service here, at once.

        Args:
            change: is given the versions that are warm, and adds those it will need before it changes anything.
            told: what else it is given.
            held: versions that are warm besides those in service.
        """
        async with self._one_at_a_time:
            warm = self._held() | (held or {})
            await self._serve(await asyncio.to_thread(change, warm, *told), warm)
