"""The real service, the real app and a real browser, for tests and for the pictures of the documents."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from playwright.sync_api import BrowserContext, Locator, Page, TimeoutError, expect, sync_playwright

from persuadable import Bundle

__all__ = [
    "app",
    "banner",
    "browser",
    "cells",
    "choose",
    "console_of",
    "flawless",
    "free_port",
    "go",
    "page_of",
    "press",
    "service",
    "serving",
    "settled",
    "wait_for",
]

# Seconds that a server may take to come up, or to end, on a slow machine.
PATIENCE = 60


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextmanager
def service(bundle: Path, folder: Path, port: int, **environment: str) -> Iterator[str]:
    """``persuadable serve`` on a store of its own in ``folder``; yields its address once it is ready."""
    command = [sys.executable, "-m", "persuadable.cli", "serve", str(bundle), "--insecure", "--port", str(port)]
    command += ["--store", f"sqlite:///{folder / 'store.db'}"]
    with _running(command, folder / "service.log", environment):
        wait_for(f"http://127.0.0.1:{port}/health/ready")
        yield f"http://127.0.0.1:{port}"


@contextmanager
def app(address: str, folder: Path, **environment: str) -> Iterator[str]:
    """``persuadable app`` for a service; yields its address, at which it will answer soon."""
    port = free_port()
    command = [sys.executable, "-m", "persuadable.cli", "app", "--service", address, "--port", str(port)]
    with _running(command, folder / "app.log", environment):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def serving(folder: Path, build: Callable[[], Bundle]) -> Iterator[tuple[httpx.Client, str]]:
    """A bundle's service and the app on top of it; yields a client of the service and the app's address.

    Args:
        folder: an empty one, for what they write.
        build: makes the bundle, while the app starts.
    """
    port = free_port()
    with app(f"http://127.0.0.1:{port}", folder) as started:
        build().save(folder / "bundle")
        with (
            service(folder / "bundle", folder, port) as address,
            httpx.Client(base_url=address, trust_env=False) as client,
        ):
            yield client, started


@contextmanager
def browser() -> Iterator[BrowserContext]:
    """Chromium without a window; its pages share what was loaded."""
    found = shutil.which("chromium")
    if found is None:
        raise RuntimeError("The tests of the app need Chromium. Install it with 'make browser'.")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield started.new_context()
        started.close()


def page_of(chromium: BrowserContext, address: str, *, width: int = 1280) -> Page:
    """The app's first page."""
    wait_for(f"{address}/_stcore/health")
    page = chromium.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.set_default_timeout(20_000)
    page.goto(address)
    page.get_by_role("heading", level=1).wait_for()
    return page


@contextmanager
def flawless(address: str) -> Iterator[Page]:
    """The app's first page in a browser of its own; in the end nothing must have gone wrong in it."""
    with browser() as chromium:
        opened = page_of(chromium, address)
        wrong = console_of(opened)
        yield opened
        assert wrong == []
        assert "Traceback" not in opened.get_by_role("main").inner_text()


def console_of(page: Page) -> list[str]:
    """What goes wrong in a page from now on: errors on the console, requests that fail or leave this machine."""
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if not _local(request.url) else None)
    return wrong


def _local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))


def banner(page: Page, text: str) -> Locator:
    """What a page tells that has this text in it."""
    return page.get_by_role("status").filter(has_text=text)


def cells(page: Page, table: str) -> dict[str, list[str]]:
    """A table's rows by their first cell."""
    page.get_by_role("table", name=table).wait_for()
    rows = page.get_by_role("table", name=table).locator("tbody tr").all()
    read = [[cell.inner_text() for cell in row.locator("td").all()] for row in rows]
    return {row[0]: row[1:] for row in read}


def settled(page: Page) -> None:
    """Wait until no run of the page is under way: what is pressed in between may be lost."""
    expect(page.locator("[data-test-script-state=notRunning]")).to_be_attached()


def press(page: Page, label: str) -> None:
    """Press a button, once the page has settled."""
    settled(page)
    page.get_by_role("button", name=label).click()


def choose(page: Page, label: str, option: str) -> None:
    """Choose from a list; one that a run of the page closes in between is opened again."""
    wanted = page.get_by_role("option", name=option, exact=True)
    for _ in range(10):
        settled(page)
        page.get_by_role("combobox", name=label, exact=True).click()
        with suppress(TimeoutError):
            wanted.click(timeout=2_000)
            return
        page.keyboard.press("Escape")
    raise AssertionError(f"{label} does not offer {option}")


def go(page: Page, title: str) -> None:
    """Open a page of the app by the menu."""
    page.get_by_role("link", name=title).click()
    page.get_by_role("heading", level=1, name=title).wait_for()


@contextmanager
def _running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[None]:
    with log.open("ab") as written:
        child = subprocess.Popen(command, stdout=written, stderr=written, env=os.environ | environment)
    try:
        yield
    except NotUp as error:
        raise RuntimeError(f"{error}\n{log.read_text()}") from error
    finally:
        child.terminate()
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise


def wait_for(ready: str) -> None:
    """Wait until an address answers well."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            if httpx.get(ready, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise NotUp(f"Nobody answers at {ready}")


class NotUp(RuntimeError):
    """A server did not come up."""
