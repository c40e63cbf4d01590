"""The writer: it commits in groups.

While one group commits, whatever else is asked gathers and is the next group, so that waiting for the disk is shared
by all who wait. A group is answered only after its commit.

Groups are written by a thread, so that requests are read and scored while the disk or the database is waited for.
Where the last group took no more than milliseconds the event loop writes the next one itself: two threads that pass
Python's lock to and fro cost more than such a wait.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np

from persuadable.errors import ParameterError
from persuadable.service.records import Answer, Order, Outcomes, Receipt
from persuadable.service.store.errors import Beaten, StoreBusy, StoreFull, StoreUnavailable
from persuadable.service.store.store import Store
from persuadable.service.store.write import Item, Result

__all__ = ["Writer"]

QUICK_SECONDS = 0.005  # for which the event loop may stand still
FEW_UNITS = 64

Answers = Sequence[tuple["asyncio.Future[Result]", Result | Exception]]


class _Waiting(NamedTuple):
    item: Item
    units: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Result]


class Writer:
    """Takes orders and outcomes from coroutines, and writes them in groups.

    Args:
        store: where they are written.
        rng: where lots come from; fresh entropy for None.
        most_units: units (and reports) in one group; a larger request is a group of its own.
        most_waiting: units that may wait; what comes on top of them is refused.
        committed: is told, by whoever wrote it, of each group that was committed: its requests and its seconds.

    Attributes:
        failure: why the last group could not be written, None where it was.
    """

    def __init__(
        self,
        store: Store,
        *,
        rng: np.random.Generator | None = None,
        most_units: int = 2_000,
        most_waiting: int = 20_000,
        committed: Callable[[int, float], None] | None = None,
    ) -> None:
        if most_units < 1 or most_waiting < 1:
            raise ParameterError("A group and a queue hold at least one unit", remedy="Pass positive numbers.")
        self._store, self._rng = store, np.random.default_rng() if rng is None else rng
        self._most_units, self._most_waiting = most_units, most_waiting
        self._committed = committed
        self._queue: deque[_Waiting] = deque()
        self._units = 0
        self._changed = threading.Condition(threading.Lock())
        self._turn = threading.Lock()  # to take a group and write it: in the order in which it was asked
        self._last_seconds = math.inf
        self._stopping = False
        self.failure: StoreUnavailable | StoreFull | None = None
        self._thread = threading.Thread(target=self._run, name="persuadable-writer", daemon=True)

    @property
    def waiting(self) -> int:
        """Units that wait to be taken into a group."""
        return self._units

    def check(self) -> None:
        """Make sure that the next group can be written, as far as that can be told.

        It reads; only where the last group could not be written does it try to write, and then as much as a group.

        Raises:
            StoreUnavailable, StoreFull: it cannot.
        """
        failure = self.failure
        self._store.check(writing=failure is not None)
        if self.failure is failure:
            self.failure = None

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    async def stop(self) -> None:
        """Write what waits, and end; from now on everything else is refused."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)

    async def decide(self, order: Order) -> Answer:
        """The order's decisions, once they are on the disk.

        Raises:
            KeyReused, Erased: what the order's key holds.
            StoreBusy: too much is waiting.
            StoreUnavailable, StoreFull: nothing was acknowledged; the same key may be sent again.
        """
        return cast(Answer, await self._ask(order, len(order.proposals)))

    async def record(self, outcomes: Outcomes) -> Receipt:
        """What became of the reported outcomes, once they are on the disk.

        Raises:
            UnknownDecisions: none was recorded.
            StoreBusy, StoreUnavailable, StoreFull: as for :meth:`decide`.
        """
        return cast(Receipt, await self._ask(outcomes, len(outcomes.reports)))

    def _ask(self, item: Item, units: int) -> asyncio.Future[Result]:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(item, units, loop, loop.create_future())
        with self._changed:
            if self._stopping:
                raise StoreUnavailable("The service is shutting down", remedy="Ask another worker, or again soon.")
            if self._queue and self._units + units > self._most_waiting:
                raise StoreBusy(self._units)
            if not self._queue or self._queue[-1].loop is not loop:
                # Two turns of the loop from now every request that has arrived by then has been read: one group.
                loop.call_soon(loop.call_soon, self._close_group)
            self._queue.append(waiting)
            self._units += units
        return waiting.future

    def _close_group(self) -> None:
        """Write what waits at once if that takes a moment, and leave it to the thread otherwise."""
        quick = self._last_seconds <= QUICK_SECONDS and self._units <= FEW_UNITS and self._store.is_at_rest
        if quick and not self._stopping and self._turn.acquire(blocking=False):
            try:
                if self._write_at_once():
                    return
            finally:
                self._turn.release()
        with self._changed:
            self._changed.notify()

    def _write_at_once(self) -> bool:
        """Write what waits without waiting for others; false where the thread has to do it."""
        with self._changed:
            group = self._next_group()
        if group:
            try:
                results = self._attempt([waiting.item for waiting in group], patient=False)
            except Exception:
                with self._changed:
                    self._queue.extendleft(reversed(group))
                    self._units += sum(waiting.units for waiting in group)
                return False
            _hand_over(group, results, asyncio.get_running_loop())
        return not self._queue

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._stopping:
                    self._changed.wait()
            with self._turn:
                # What somebody else was writing is written by now, or waits again.
                with self._changed:
                    group, last = self._next_group(), self._stopping
                results = self._write([waiting.item for waiting in group]) if group else []
            _hand_over(group, results)
            if last and not group:
                return

    def _next_group(self) -> list[_Waiting]:
        """What is written together next, without those who gave up waiting."""
        group, units = [], 0
        while self._queue and (not units or units + self._queue[0].units <= self._most_units):
            waiting = self._queue.popleft()
            self._units -= waiting.units
            if not waiting.future.cancelled():
                group.append(waiting)
                units += waiting.units
        return group

    def _write(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        """A result for every item. Where one makes the whole group fail, the others are written without it."""
        try:
            return self._attempt(items, patient=True)
        except Exception as error:
            if len(items) == 1:
                return [error]
            return [result for item in items for result in self._write([item])]

    def _attempt(self, items: Sequence[Item], *, patient: bool) -> Sequence[Result | Exception]:
        """A result for every item.

        Raises:
            Exception: the store refuses some item, or somebody is in the way and not waited for: nothing was written.
        """
        began, self._last_seconds = time.perf_counter(), math.inf
        try:
            results = self._store.write(items, self._rng, patient=patient)
        except Beaten:
            raise
        except (StoreUnavailable, StoreFull) as error:
            self.failure = error
            return [error] * len(items)
        self.failure, self._last_seconds = None, time.perf_counter() - began
        self._note(len(items), self._last_seconds)
        return results

    def _note(self, requests: int, seconds: float) -> None:
        """Tell whoever counts; what is committed is answered even if counting fails."""
        if self._committed is not None:
            try:
                self._committed(requests, seconds)
            except Exception:
                logging.getLogger(__name__).exception("A committed group could not be counted")


def _hand_over(
    group: Sequence[_Waiting],
    results: Sequence[Result | Exception],
    here: asyncio.AbstractEventLoop | None = None,
) -> None:
    """Tell everybody what became of what they asked, each on the loop they wait on; ``here`` is the one that runs."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Result], Result | Exception]]] = {}
    for waiting, result in zip(group, results, strict=True):
        by_loop.setdefault(waiting.loop, []).append((waiting.future, result))
    for loop, answers in by_loop.items():
        if loop is here:
            _answer(answers)
        else:
            _tell(loop, answers)


def _tell(
    loop: asyncio.AbstractEventLoop, answers: Sequence[tuple[asyncio.Future[Result], Result | Exception]]
) -> None:
    """Hand the answers over, in one call for all of them; a loop that has ended has nobody waiting."""
    try:
        loop.call_soon_threadsafe(_answer, answers)
    except RuntimeError:
        if not loop.is_closed():
            raise


def _answer(answers: Answers) -> None:
    for future, result in answers:
        if future.cancelled():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
