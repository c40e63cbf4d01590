"""What every verb shares: the application, its options, and errors said as sentences."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from persuadable import __version__
from persuadable.errors import PersuadableError

__all__ = ["Budget", "Out", "Seed", "Threads", "app", "escaped", "in_options", "names", "refusals", "say"]

# Arguments of Python whose options are called otherwise; every other is the same with dashes.
CALLED = {"n_resamples": "resamples", "outcomes": "outcome", "learners": "learner", "random_state": "seed"}
# Arguments that messages name with an equals sign.
ASKED = (
    "value_per_conversion", "cost_per_contact", "break_even", "n_resamples", "test_share", "split_by", "random_state",
    "propensity", "control", "outcomes", "segments", "features", "categorical", "learners", "through", "review", "unit",
    "cost", "budget", "roi_floor",
)  # fmt: skip
# Arguments that messages name in a sentence, and that no English word is mistaken for.
UNMISTAKABLE = "|".join(name for name in ASKED if "_" in name)

app = typer.Typer(
    name="persuadable",
    help="Whom to treat, when treating costs something: from a logged experiment to a budgeted decision.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the results.")]
Budget = Annotated[float, typer.Option(metavar="SHARE", help="Share of the population that can be treated, e.g. 0.3.")]
Seed = Annotated[int, typer.Option(metavar="NUMBER", help="Seed of everything random.", min=0)]
Threads = Annotated[int | None, typer.Option(metavar="COUNT", help="Threads to use; all processors by default.", min=1)]


@contextmanager
def refusals() -> Iterator[None]:
    """Errors the package raises on purpose end the command with their message, not with a traceback."""
    try:
        yield
    except PersuadableError as error:
        console = Console(stderr=True, highlight=False)
        told = _filled(f"Error: {in_options(str(error))}", console.width).removeprefix("Error:")
        console.print(f"[bold red]Error:[/]{escaped(told)}", soft_wrap=True)
        raise typer.Exit(2) from None


def in_options(message: str) -> str:
    """A message about arguments of Python as one about options: ``test_share=0.5`` is ``--test-share 0.5``."""
    asked = rf"(?<![\w(])({'|'.join(ASKED)})="
    message = re.sub(rf"{asked}(?=[\w'\[{{-])", lambda found: f"{_option(found[1])} ", message)
    message = re.sub(asked, lambda found: _option(found[1]), message)
    return re.sub(rf"(?<![\w'-])({UNMISTAKABLE})(?![\w'])", lambda found: _option(found[1]), message)


def _option(name: str) -> str:
    return f"--{CALLED.get(name, name).replace('_', '-')}"


def say(text: str) -> None:
    """A result's own text: its tables as they are, its sentences broken to the width of the terminal.

    A line with two spaces in a row is taken for a row of a table.
    """
    width = shutil.get_terminal_size().columns
    for line in text.splitlines():
        prose = len(line) > width and "  " not in line.strip()
        typer.echo(_filled(line, width) if prose else line)
    typer.echo()


def _filled(text: str, width: int) -> str:
    """Text in lines of a width; addresses and paths stay whole, so that they can be copied."""
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


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
