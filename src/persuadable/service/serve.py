"""Serving: what is checked before, the processes, and the end, at which everything under way is finished."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn
from sqlalchemy import make_url

from persuadable.bundle import Bundle
from persuadable.errors import ParameterError, PersuadableError
from persuadable.service import archive, workers
from persuadable.service.core import open_store
from persuadable.service.deployment import facts_of
from persuadable.service.protocol import Protocol
from persuadable.service.settings import Configured, Settings
from persuadable.service.store import Deployed, Store, masked_url
from persuadable.service.workers import Beat

__all__ = ["check", "is_new_file", "prepare", "serve"]

KEEP_ALIVE_SECONDS = 75
BACKLOG = 2048
STARTUP_FAILED = "Application startup failed. Exiting."


def serve(configured: Configured, folder: Path | None) -> None:
    """Serve until asked to stop; then finish what is under way.

    Args:
        configured: the settings.
        folder: a saved bundle, which becomes the champion if the store never saw it; None for what is deployed.

    Raises:
        PersuadableError: the bundle, the store or the address cannot be used, or nobody could call.
    """
    settings = configured.settings
    store = open_store(settings)
    try:
        store.upgrade()
        deployed = prepare(store, settings, folder)
    finally:
        store.close()
    listening = _listen(settings.host, settings.port)
    _banner(settings, listening.getsockname()[1], deployed)
    if settings.workers > 1:
        workers.run(partial(_work, settings), settings.workers, listening, settings.drain_seconds)
        return
    try:
        _work(settings, listening)
    except SystemExit as end:
        if end.code:
            raise PersuadableError("The service could not start", remedy="Its own words are above.") from None


def prepare(store: Store, settings: Settings, folder: Path | None) -> Deployed:
    """Introduce the bundle, and make sure that somebody can be answered.

    Raises:
        BundleError: the folder holds no whole bundle.
        ParameterError: nothing to serve, or nobody has a key.
        StoreError: the store cannot be used.
    """
    if not settings.insecure:
        _require_keys(settings, store)
    if folder is None:
        deployed = store.deployment.read()
    else:
        bundle = Bundle.load(folder)
        deployed = store.deployment.introduce(bundle.version, archive.pack(folder), facts_of(bundle))
    if deployed.champion is None:
        raise _nothing()
    return deployed


def check(configured: Configured, folder: Path | None) -> Iterator[str]:
    """The settings line by line, and then whether the service could start with them. Changes nothing.

    Raises:
        PersuadableError: it could not.
    """
    settings = configured.settings
    yield from configured.lines()
    if folder is not None:
        yield f"\nThe bundle in {folder} is whole: {Bundle.load(folder).version}"
    store, shown = open_store(settings), masked_url(settings.store)
    try:
        new = is_new_file(settings.store) or not store.is_current()
        if not settings.insecure:
            _require_keys(settings, None if new else store)
        if folder is None and (new or store.deployment.read().champion is None):
            raise _nothing()
    finally:
        store.close()
    if new:
        yield f"The store {shown} has no tables of this version yet; they are made at the start."
    else:
        yield f"The store can be reached: {shown}"


def is_new_file(url: str) -> bool:
    """Whether the store is a SQLite file that is not there yet; looking into it would make it.

    Raises:
        ParameterError: its folder is not there either.
    """
    parsed = make_url(url)
    if parsed.drivername != "sqlite" or parsed.database is None or Path(parsed.database).exists():
        return False
    if not Path(parsed.database).resolve().parent.is_dir():
        raise ParameterError(f"The folder of the store {parsed.database!r} does not exist", remedy="Make it.")
    return True


def _require_keys(settings: Settings, store: Store | None) -> None:
    if store is None or not any(key.revoked_at is None for key in store.keys.all()):
        raise ParameterError(
            f"Nobody could call the service: there are no API keys in {masked_url(settings.store)}",
            remedy="Create one with 'persuadable keys create NAME --role admin' and the same --store, "
            "or serve on this machine alone with --insecure.",
        )


def _nothing() -> ParameterError:
    return ParameterError("There is no bundle to serve", remedy="Name one: persuadable serve BUNDLE.")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, UnicodeError) as error:
        listening.close()
        raise ParameterError(
            f"Cannot listen on {host} port {port}: {error}", remedy="Choose another with --host and --port."
        ) from None
    listening.set_inheritable(True)
    return listening


def _banner(settings: Settings, port: int, deployed: Deployed) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{port}"
    workers = "" if settings.workers == 1 else f", {settings.workers} workers"
    keys = "none needed (--insecure)" if settings.insecure else "needed: Authorization: Bearer psk_…"
    told = f"""persuadable starts at {url}{workers}; {url}/health/ready says when it is ready
  docs    {url}/docs
  bundle  {deployed.champion}
  store   {masked_url(settings.store)}
  keys    {keys}
"""
    print(told, file=sys.stderr, flush=True)


def _config(settings: Settings, beat: Beat | None) -> uvicorn.Config:
    return uvicorn.Config(
        partial(_build, settings, beat),
        factory=True,
        loop="auto" if sys.platform == "win32" else "uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.drain_seconds,
        # A proxy's word about who calls is taken only where it was told to take it.
        proxy_headers="FORWARDED_ALLOW_IPS" in os.environ,
    )


def _build(settings: Settings, beat: Beat | None) -> object:
    from persuadable.service.api import build

    return build(settings, beat=beat)


def _work(settings: Settings, listening: socket.socket, beat: Beat | None = None) -> None:
    """What one process does: answer until asked to stop, then finish."""
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    with _stopping_is_success():
        uvicorn.Server(_config(settings, beat)).run(sockets=[listening])


def _is_news(record: logging.LogRecord) -> bool:
    """Whether uvicorn's log line tells anything new: where the service could not start, its own words did already."""
    return not isinstance(sys.exc_info()[1], SystemExit) and record.getMessage() != STARTUP_FAILED


@contextmanager
def _stopping_is_success() -> Iterator[None]:
    """uvicorn drains, and then raises the signal again that asked it to; by then there is nothing left to stop."""

    def ignore(signum: int, frame: FrameType | None) -> None:
        return

    before = {number: signal.signal(number, ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
