"""Is it alive, is it ready, and what has it counted."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from persuadable.errors import StoreError
from persuadable.service.core import Service
from persuadable.service.metrics import CONTENT_TYPE
from persuadable.service.problems import Problem
from persuadable.service.routes.route import json_of
from persuadable.service.store import StoreFull

__all__ = ["Health"]


class Health:
    """The endpoints that machines ask."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def health_live(self) -> Response:
        """The process answers. Says nothing about the store or the model."""
        return json_of({"status": "alive"})

    async def health_ready(self) -> Response:
        """A bundle is warm and the store can be written."""
        version = self._service.lineup.serving().champion.version
        try:
            await asyncio.to_thread(self._service.writer.check)
        except StoreError as error:
            why = "has no room left" if isinstance(error, StoreFull) else "cannot be reached"
            raise Problem("not-ready", f"The store {why}") from error
        return json_of({"status": "ready", "bundle": version})

    async def metrics(self) -> Response:
        """Counters and timings in Prometheus' text format."""
        self._service.tell()
        body = await asyncio.to_thread(self._service.metrics.render)
        return Response(body, headers={"Content-Type": CONTENT_TYPE})
