"""What every verb shares: the application, its options, and errors said as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from persuadable import __version__
from persuadable.errors import PersuadableError

__all__ = ["Budget", "Out", "Seed", "Threads", "app", "escaped", "names", "refusals"]

app = typer.Typer(
    name="persuadable",
    help="Whom to treat, when treating costs something: from a logged experiment to a budgeted decision.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
Budget = Annotated[float, typer.Option(help="Share of the population that can be treated, e.g. 0.3.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
Threads = Annotated[int | None, typer.Option(help="Threads to use; all processors by default.", min=1)]


@contextmanager
def refusals() -> Iterator[None]:
    """Errors the package raises on purpose end the command with their message, not with a traceback."""
    try:
        yield
    except PersuadableError as error:
        Console(stderr=True, highlight=False).print(f"[bold red]Error:[/] {escaped(str(error))}")
        raise typer.Exit(2) from None


def escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"persuadable {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Whom to treat, when treating costs something."""


def names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()
