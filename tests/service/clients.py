"""The service in the test's own process: its application, started, behind a client."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from persuadable.service.api import build
from persuadable.service.core import Service, open_store
from persuadable.service.logs import Lines
from persuadable.service.serve import prepare
from persuadable.service.settings import Settings

T = TypeVar("T")


class Client:
    """A client of an application that runs in a loop of its own, in a thread; calls wait for their answer."""

    def __init__(self, settings: Settings) -> None:
        self.log = io.BytesIO()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.app = self.run(self._build(settings))
        self.service: Service = self.app.state.service
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, client=("127.0.0.1", 1)), base_url="http://127.0.0.1"
        )
        self._lifespan = self.app.router.lifespan_context(self.app)

    async def _build(self, settings: Settings) -> Any:
        return build(settings, Lines(self.log))

    def start(self) -> None:
        """Start the application."""
        self.run(self._lifespan.__aenter__())

    def close(self) -> None:
        """Stop the application and its loop."""
        self.run(self._lifespan.__aexit__(None, None, None))
        self.run(self._client.aclose())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, job: Coroutine[Any, Any, T], timeout: float = 60.0) -> T:
        """What a coroutine returns, run in the application's loop."""
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(timeout)

    def request(self, method: str, path: str, **told: Any) -> httpx.Response:
        """An answer."""
        return self.run(self._client.request(method, path, **told))

    def get(self, path: str, **told: Any) -> httpx.Response:
        """The answer to a GET."""
        return self.request("GET", path, **told)

    def post(self, path: str, **told: Any) -> httpx.Response:
        """The answer to a POST."""
        return self.request("POST", path, **told)

    def logged(self) -> str:
        """All that was logged so far."""
        self.service.tell()
        self.service.lines.flush()
        return self.log.getvalue().decode()


@contextmanager
def client(bundle: Path, folder: Path, **told: Any) -> Iterator[Client]:
    """A client of a started service with its own store."""
    settings = Settings(**{"store": f"sqlite:///{folder / 'store.db'}", "insecure": True, "poll_seconds": 0.1} | told)
    store = open_store(settings)
    store.upgrade()
    if settings.insecure:
        prepare(store, settings, bundle)
    store.close()
    opened = Client(settings)
    try:
        opened.start()
        yield opened
    finally:
        opened.close()
