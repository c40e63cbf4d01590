"""Memory of a server under load, over time: does it grow?"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from persuadable.bench.servers import Server, load
from persuadable.errors import ParameterError

__all__ = ["Memory", "drift", "soak"]

SETTLING = 0.2  # share of the time that caches and arenas are given to fill
EVERY = 1.0
SPANS = 12
QUANTILE = 2.2281  # 97.5% of Student's t with SPANS − 2 degrees of freedom


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory a server held while it was under load.

    Attributes:
        seconds: how long.
        per_second: requests per second.
        requests: how many in all.
        first, last: MB held before and at the end.
        most: MB held at most.
        drift: MB per hour, a line through the samples after the first fifth.
        low, high: its 95% interval.
        samples: MB at every tenth of the time.
        p99: latency in milliseconds, over all of it.
    """

    seconds: float
    per_second: float
    requests: int
    first: float
    last: float
    most: float
    drift: float
    low: float
    high: float
    samples: tuple[float, ...]
    p99: float

    def __str__(self) -> str:
        return (
            f"memory over {self.seconds:,.0f} s at {self.per_second:,.0f} requests/s: {self.first:.0f} MB before, "
            f"{self.last:.0f} MB after, drift {self.drift:+.1f} MB per hour ({self.low:+.1f} to {self.high:+.1f})"
        )


def soak(server: Server, requests: Sequence[str], *, rate: float, seconds: float, connections: int) -> Memory:
    """Keep a server under an even load and watch its memory.

    Args:
        server: running.
        requests: sent in turn.
        rate: requests per second.
        seconds: how long; at least 20 samples, one a second, are needed.
        connections: at most in use.

    Raises:
        ParameterError: fewer than 20 seconds.
        PersuadableError: an answer that was not 200.
    """
    if seconds < 20 * EVERY:
        raise ParameterError(f"Memory is watched for at least {20 * EVERY:.0f} s, got {seconds!r}")
    before = server.resident()
    times: list[float] = []
    held: list[float] = []
    over = threading.Event()

    def watch() -> None:
        start = time.monotonic()
        while not over.wait(EVERY):
            times.append(time.monotonic() - start)
            held.append(server.resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        told: Any = load(
            server, requests, connections=connections, seconds=seconds, rate=rate, first=10**10, most=10**9
        )
    finally:
        over.set()
        watcher.join()
    start = int(SETTLING * len(held))
    slope, low, high = drift(times[start:], held[start:])
    tenths = held[:: max(1, len(held) // 10)]
    return Memory(
        seconds=told["seconds"],
        per_second=rate,
        requests=told["answered"],
        first=round(before, 1),
        last=round(held[-1], 1),
        most=round(max(held), 1),
        drift=round(slope * 3600, 2),
        low=round(low * 3600, 2),
        high=round(high * 3600, 2),
        samples=tuple(round(x, 1) for x in tenths),
        p99=told["latency_ms"]["p99"],
    )


def drift(times: ArrayLike, values: ArrayLike) -> tuple[float, float, float]:
    """Slope of a line through the means of twelve equal spans, and its 95% interval from the scatter about it.

    Memory moves in steps, so that neighbouring samples resemble each other and say less than their number; means over
    spans that are long beside the steps are nearly independent (the method of batch means).

    Args:
        times, values: (n,) in order of time, with n ≥ 12.

    Returns:
        slope, lower and upper bound, in units of values per unit of time.
    """
    spans = np.array_split(np.arange(np.size(times)), SPANS)
    t, y = (np.array([np.asarray(side, dtype=np.float64)[span].mean() for span in spans]) for side in (times, values))
    t = t - t.mean()
    slope = float(t @ y / (t @ t))
    residual = y - y.mean() - slope * t
    half = QUANTILE * float(np.sqrt(residual @ residual / (SPANS - 2) / (t @ t)))
    return slope, slope - half, slope + half
