"""Is it alive, is it ready, and what has it counted."""

from __future__ import annotations

import asyncio
import math
import time

from starlette.responses import Response

from persuadable.errors import StoreError
from persuadable.service.core import Service
from persuadable.service.metrics import CONTENT_TYPE
from persuadable.service.problems import Problem
from persuadable.service.routes.route import json_of
from persuadable.service.store import StoreFull

__all__ = ["Health"]

# Anybody may ask, and as often as they like; the store is asked once in so many seconds.
FRESH_SECONDS = 1.0


class Health:
    """The endpoints that machines ask."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._asking = asyncio.Lock()
        self._asked = -math.inf
        self._failure: StoreError | None = None

    async def health_live(self) -> Response:
        """The process answers. Says nothing about the store or the model."""
        return json_of({"status": "alive"})

    async def health_ready(self) -> Response:
        """A bundle is warm and the store can be written."""
        version = self._service.lineup.serving().champion.version
        if (failure := await self._store_failure()) is not None:
            why = "has no room left" if isinstance(failure, StoreFull) else "cannot be reached"
            raise Problem("not-ready", f"The store {why}") from failure
        return json_of({"status": "ready", "bundle": version})

    async def _store_failure(self) -> StoreError | None:
        """Why the store cannot be written, as of a moment ago."""
        async with self._asking:
            if time.monotonic() >= self._asked + FRESH_SECONDS:
                try:
                    await asyncio.to_thread(self._service.writer.check)
                    self._failure = None
                except StoreError as error:
                    self._failure = error
                self._asked = time.monotonic()
            return self._failure

    async def metrics(self) -> Response:
        """Counters and timings in Prometheus' text format."""
        self._service.tell()
        body = await asyncio.to_thread(self._service.metrics.render)
        return Response(body, headers={"Content-Type": CONTENT_TYPE})
