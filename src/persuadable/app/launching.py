"""``persuadable app``: Streamlit as a child process, in the house's look, that ends when we are told to end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from types import FrameType

from persuadable.app.address import service_address, usable_key
from persuadable.app.palette import WASH
from persuadable.errors import ParameterError
from persuadable.report.theme import FONT, INK, PALETTE, RULE
from persuadable.service.loopback import is_loopback

__all__ = ["KEY", "launch"]

KEY = "PERSUADABLE_API_KEY"
SCRIPT = Path(__file__).with_name("main.py")
# Seconds that Streamlit has for its goodbyes before it is killed.
PATIENCE = 10.0
UPLOAD_MIB = 50

OPTIONS = {
    "server.headless": "true",
    "server.showEmailPrompt": "false",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "server.maxUploadSize": str(UPLOAD_MIB),
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "theme.base": "light",
    "theme.primaryColor": PALETTE[0],
    "theme.backgroundColor": "#ffffff",
    "theme.secondaryBackgroundColor": WASH,
    "theme.textColor": INK,
    "theme.linkColor": PALETTE[0],
    "theme.borderColor": RULE,
    "theme.font": FONT,
}


def launch(service: str, host: str, port: int) -> int:
    """Run the app until it is told to stop, by Ctrl-C or SIGTERM.

    The key for the service is read from the environment variable PERSUADABLE_API_KEY, by the child itself: it stands in
    no address, no command line and no log. Whoever reaches the app reads with it, so a host that is not the loopback is
    warned of on stderr.

    Args:
        service: address of ``persuadable serve``, such as http://127.0.0.1:8000.
        host: address to listen on.
        port: port to listen on.

    Returns:
        Streamlit's exit status, 0 where it was told to stop.

    Raises:
        ParameterError: no address of a service, a key that cannot be sent, or a port that is in use.
    """
    address = service_address(service)
    key = usable_key(os.environ.get(KEY))
    if not 1 <= port <= 65535:
        raise ParameterError(f"The port is {port}, not a number from 1 to 65535", remedy="Pass --port 8501.")
    if key is not None and not is_loopback(host):
        print(
            f"Warning: the app listens on {host}, and whoever reaches it sees what the key in {KEY} may read. "
            "Put it behind a sign-in, or leave --host out.",
            file=sys.stderr,
            flush=True,
        )
    _require_free(host, port)
    child = subprocess.Popen(_command(address, host, port))
    with _stopping(child) as stopped:
        status = child.wait()
    return 0 if stopped else status


def _require_free(host: str, port: int) -> None:
    """Streamlit would say that a port is taken too, but neither what to do nor with our exit status."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ParameterError(
                f"The app cannot listen on {host}:{port}: {os.strerror(error.errno or 0).lower()}",
                remedy="Pass another --port, or end what uses this one.",
            ) from None


def _command(address: str, host: str, port: int) -> list[str]:
    options = OPTIONS | {"server.address": host, "server.port": str(port)}
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(SCRIPT), *flags, "--", address]


@contextmanager
def _stopping(child: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Hand SIGTERM and Ctrl-C on to the child, and leave none behind; yields the signals received."""
    received: list[int] = []
    impatient = Timer(PATIENCE, child.kill)
    impatient.daemon = True

    def stop(number: int, frame: FrameType | None) -> None:
        child.terminate()
        if not received:
            impatient.start()
        received.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        impatient.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
        if child.poll() is None:
            child.kill()
            child.wait()
