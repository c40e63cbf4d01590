"""Several worker processes on one socket: a dead one is replaced, a silent one killed, and all are stopped together."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

from persuadable.errors import PersuadableError

__all__ = ["COULD_NOT_START", "Beat", "run"]

COULD_NOT_START = 3  # the status uvicorn ends with
LOOK_SECONDS = 0.5
SILENT_SECONDS = 60.0
EARLY_SECONDS = 5.0  # a worker that dies sooner than this after its start may do so again and again
PAUSE_SECONDS = 1.0
COUNTS = "PROMETHEUS_MULTIPROC_DIR"
# Neither threads nor locks of this process go on in a worker.
_context = get_context("spawn")

Beat = Callable[[], None]
Work = Callable[[socket.socket, Beat], None]


@dataclass(slots=True)
class _Worker:
    """A worker process, when it last said that it lives (0 before it first did), and when it was started."""

    process: SpawnProcess
    beat: Any
    started: float


def run(work: Work, number: int, listening: socket.socket, drain_seconds: float) -> None:
    """Serve with so many processes until SIGTERM or SIGINT; each then finishes what is under way.

    Args:
        work: what a worker does with the socket; it calls its second argument again and again as long as it is well.
            It can be pickled.
        number: of workers.
        listening: the socket they share.
        drain_seconds: how long they may take at the end.

    Raises:
        PersuadableError: no worker could start.
    """
    with tempfile.TemporaryDirectory(prefix="persuadable-metrics-", ignore_cleanup_errors=True) as counts:
        os.environ[COUNTS] = counts
        workers = _Workers(work, number, listening)
        try:
            workers.watch()
        finally:
            listening.close()
            workers.stop(drain_seconds)
            del os.environ[COUNTS]
    if workers.failed:
        raise PersuadableError("No worker could start", remedy="Its own words are above.")


class _Workers:
    """The supervisor's view of its workers."""

    def __init__(self, work: Work, number: int, listening: socket.socket) -> None:
        self._work, self._number, self._listening = work, number, listening
        self._workers: list[_Worker] = []
        self._proven = self.failed = False
        self._not_before = 0.0
        self._stop = threading.Event()
        for asked in (signal.SIGTERM, signal.SIGINT):
            signal.signal(asked, lambda *_: self._stop.set())

    def watch(self) -> None:
        """Start the workers, and replace those that end, until told to stop."""
        while not (self._stop.is_set() or self.failed):
            while len(self._workers) < self._number and time.monotonic() >= self._not_before:
                self._workers.append(self._started())
            wait([worker.process.sentinel for worker in self._workers], timeout=LOOK_SECONDS)
            for worker in list(self._workers):
                if worker.process.exitcode is not None:
                    self._workers.remove(worker)
                    self._bury(worker)
                elif worker.beat.value:
                    self._proven = True
                    if time.monotonic() - worker.beat.value > SILENT_SECONDS:
                        worker.process.kill()

    def stop(self, seconds: float) -> None:
        """Let every worker finish, but no longer than so many seconds."""
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + seconds + 5.0
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            worker.process.kill()
            worker.process.join()

    def _started(self) -> _Worker:
        beat = _context.Value("d", 0.0, lock=False)
        process = _context.Process(target=_worker, args=(self._work, self._listening, beat))
        process.start()
        return _Worker(process, beat, time.monotonic())

    def _bury(self, worker: _Worker) -> None:
        """Forget a dead worker. One that was well is replaced at once, one that hardly lived after a pause; where none
        could ever start, none is started again."""
        from prometheus_client.multiprocess import mark_process_dead

        process = worker.process
        mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
        if self._stop.is_set():
            return
        if process.exitcode == COULD_NOT_START:
            self.failed = not self._proven
        if not worker.beat.value or time.monotonic() - worker.started < EARLY_SECONDS:
            self._not_before = time.monotonic() + PAUSE_SECONDS
        code = process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"status {code}"
        print(f"Worker {process.pid} ended ({how}).", file=sys.stderr, flush=True)


def _worker(work: Work, listening: socket.socket, beat: Any) -> None:
    def alive() -> None:
        beat.value = time.monotonic()

    work(listening, alive)
