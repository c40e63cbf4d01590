"""The running service: what its routes share, how it starts, keeps watch, and drains."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing import parent_process

import numpy as np

from persuadable.errors import PersuadableError, StoreError
from persuadable.service.access import Access, KnownKey
from persuadable.service.deployment import Lineup
from persuadable.service.intake import Answers
from persuadable.service.logs import Lines, Log, logger, route_standard_logging
from persuadable.service.metrics import Metrics
from persuadable.service.settings import Settings
from persuadable.service.store import Problem, Store, StoreFull, StoreUnavailable, Writer

__all__ = ["Service", "open_store"]

MOST_NOTES = 200
FLUSH_SECONDS = 0.2
# How often the cases that wait for a person are counted, for the metrics.
COUNT_SECONDS = 5.0
# How long a thread may keep the others waiting: the writer's answers should not wait for a whole batch to be scored.
SWITCH_SECONDS = 0.0005


def open_store(settings: Settings) -> Store:
    """The store these settings name; nothing is asked of it yet."""
    return Store.open(settings.store, timeout=settings.store_timeout_seconds)


class Service:
    """One worker's service.

    Args:
        settings: how it is set up.
        lines: where its log goes; standard output by default.
        beat: called several times a second as long as the event loop turns.

    Attributes:
        tell: logs and counts the requests seen so far; whoever observes them sets it.
    """

    def __init__(self, settings: Settings, lines: Lines | None = None, beat: Callable[[], None] | None = None) -> None:
        self.settings = settings
        self._beat = beat
        self.lines = lines or Lines()
        self.log: Log = logger(self.lines, settings.log_level, settings.log_format)
        self.metrics = Metrics()
        self.notes: deque[Problem] = deque(maxlen=MOST_NOTES)
        self.tell: Callable[[], None] = lambda: None
        self.access = Access(
            insecure=settings.insecure,
            rate=settings.rate_per_second,
            burst=settings.rate_burst,
            workers=settings.workers,
        )
        self.rng = np.random.default_rng()
        self.store = open_store(settings)
        self.writer = Writer(self.store, committed=self.metrics.committed)
        self.lineup = Lineup(
            self.store,
            Answers.of(settings.answers.model_dump(by_alias=True)),
            most_bytes=settings.max_bundle_bytes,
            folder=settings.bundles_folder,
            log=self.log,
            metrics=self.metrics,
        )
        self._watching: list[asyncio.Task[None]] = []
        self._counted = -math.inf
        self._said: str | None = None

    async def start(self) -> None:
        """Start the writer and the watch; the first bundle is warmed before this returns.

        Where the store is away, the service starts and is not ready: it will be when the store is back.

        Raises:
            PersuadableError: the deployed bundle cannot be used.
        """
        route_standard_logging(self.log)
        sys.setswitchinterval(SWITCH_SECONDS)
        self.writer.start()
        try:
            await self._look()
        except StoreError as error:
            self.log.warning("store", problem=str(error))
        self._watching = [asyncio.create_task(self._watch()), asyncio.create_task(self._flush())]

    async def stop(self) -> None:
        """Write what is waiting, then stop, also where the store is away."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        try:
            await self.writer.stop()
            self.tell()
            await asyncio.to_thread(self._note)
        except StoreError as error:
            self.log.warning("store", problem=str(error))
        finally:
            self.store.close()
            self.log.info("stopped")
            self.lines.flush()

    async def _watch(self) -> None:
        """Follow the deployment and the keys. What fails is said once, and tried again."""
        supervisor = parent_process()
        while True:
            await asyncio.sleep(self.settings.poll_seconds)
            if supervisor is not None and not supervisor.is_alive():
                os.kill(os.getpid(), signal.SIGTERM)
            self.metrics.waiting(self.writer.waiting)
            try:
                await self._look()
                await asyncio.to_thread(self._note)
                await self._count()
                self._said = None
            except PersuadableError as error:
                if str(error) != self._said:
                    self._said = str(error)
                    self.log.warning("watch", problem=self._said)
            except Exception as error:
                self.log.error("watch", error=error)

    async def _look(self) -> None:
        self.access.know(await asyncio.to_thread(self._keys))
        await self.lineup.follow()

    async def _count(self) -> None:
        """Count the cases that wait for a person."""
        if time.monotonic() >= self._counted + COUNT_SECONDS:
            self._counted = time.monotonic()
            self.metrics.waits_for_people(await asyncio.to_thread(self.store.reviews.waiting))

    def _keys(self) -> list[KnownKey]:
        if self.settings.insecure:
            return []
        keys = (key for key in self.store.keys.all() if key.revoked_at is None)
        return [KnownKey(key.key_id, key.digest, frozenset(key.roles), key.name) for key in keys]

    def _note(self) -> None:
        """Hand what went wrong to the store, where the Live page of any worker finds it.

        Raises:
            StoreUnavailable, StoreFull: what could not be written waits for the next time.
        """
        notes = deque(self.notes.popleft() for _ in range(len(self.notes)))
        try:
            self._write(notes)
        except (StoreUnavailable, StoreFull):
            while notes and len(self.notes) < MOST_NOTES:
                self.notes.appendleft(notes.pop())
            raise

    def _write(self, notes: deque[Problem]) -> None:
        """Write these and take them away; where the database refuses one, only that one is dropped."""
        try:
            self.store.note_problems(list(notes))
            notes.clear()
        except (StoreUnavailable, StoreFull):
            raise
        except StoreError:
            while notes:
                self._write_one(notes[0])
                notes.popleft()

    def _write_one(self, note: Problem) -> None:
        try:
            self.store.note_problems([note])
        except (StoreUnavailable, StoreFull):
            raise
        except StoreError as error:
            self.log.warning("not noted", status=note.status, title=note.title, problem=str(error))

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                self.tell()
            except Exception as error:
                self.log.error("observing", error=error)
            self.lines.flush()
            if self._beat is not None:
                self._beat()


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)
