"""Structured logs: one line per event, for machines as JSON or for people as text.

Lines are gathered and written together, so that a request does not wait for a terminal; warnings and errors are
written at once. Nothing that is logged holds a body, a feature, a key or a password.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, BinaryIO

import orjson
import structlog

__all__ = ["Lines", "Log", "logger", "route_standard_logging"]

Log = Any  # structlog's bound loggers are made at run time
Event = MutableMapping[str, Any]
GATHERED = 2**16
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Lines:
    """Where log lines go.

    Args:
        file: binary; standard output by default.
    """

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file = sys.stdout.buffer if file is None else file
        self._waiting = bytearray()

    def flush(self) -> None:
        """Write what has been gathered. A reader that has gone away takes no request down."""
        lines, self._waiting = self._waiting, bytearray()
        if lines:
            try:
                self._file.write(lines)
                self._file.flush()
            except (OSError, ValueError):
                return

    def info(self, line: bytes) -> None:
        """Gather a line."""
        self._waiting += line
        if len(self._waiting) > GATHERED:
            self.flush()

    def warning(self, line: bytes) -> None:
        """Write a line, and all before it, at once."""
        self._waiting += line
        self.flush()

    debug = info
    error = warning

    @property
    def is_terminal(self) -> bool:
        """Whether people read it."""
        return self._file.isatty()


def logger(lines: Lines, level: str = "info", how: str = "auto") -> Log:
    """A logger: ``log.info("event", key=value)``.

    Args:
        lines: where lines go.
        level: the least that is logged.
        how: "json", "text", or "auto" for text in a terminal.
    """
    text = how == "text" or (how == "auto" and lines.is_terminal)
    return structlog.wrap_logger(
        lines,
        processors=[_told, _as_text if text else _as_json],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        context_class=dict,
    ).bind()


def _told(_: Any, level: str, event: Event) -> Event:
    """Time, level and event come first; an exception becomes its traceback."""
    told: Event = {"time": event.pop("time", None) or time.time(), "level": level, "event": event.pop("event")}
    told.update(event)
    error = told.pop("error", None)
    if isinstance(error, BaseException):
        told["error"] = "".join(traceback.format_exception(error))
    elif error is not None:
        told["error"] = error
    return told


def _as_json(_: Any, __: str, event: Event) -> bytes:
    event["time"] = _moment(event["time"])
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # text that is no Unicode; a log line is written all the same
        return json.dumps(event, default=str).encode() + b"\n"


def _as_text(_: Any, __: str, event: Event) -> bytes:
    told = dict(event)
    moment, level, what, error = told.pop("time"), told.pop("level"), told.pop("event"), told.pop("error", None)
    clock = datetime.fromtimestamp(moment).strftime("%H:%M:%S")
    rest = " ".join(f"{name}={value}" for name, value in told.items())
    line = f"{clock} {level:<7} {what:<10} {rest}\n" + (f"{error}\n" if error else "")
    return line.encode("utf-8", "backslashreplace")


def _moment(seconds: float) -> str:
    whole = int(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1e3):03d}Z"


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class _Standard(logging.Handler):
    """What libraries log, as events of ours."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        say = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        if record.levelno < logging.WARNING:
            say = self._log.debug
        say("library", logger=record.name, message=record.getMessage(), error=error)


def route_standard_logging(log: Log) -> None:
    """Send what libraries log through ours: what they inform about is for debugging, warnings and errors stay."""
    root = logging.getLogger()
    root.handlers[:] = [_Standard(log)]
    root.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    # uvicorn writes a line for every request where somebody would read it; ours are the request's lines.
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
