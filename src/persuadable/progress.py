"""Progress of long work, shown on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(what: str, total: int, show: bool | None = None) -> Iterator[Callable[[], None]]:
    """Yields a function to call after each of ``total`` steps.

    Args:
        what: said before the bar.
        total: number of steps.
        show: True or False; None shows it where standard error is a terminal.
    """
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=show is None) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
