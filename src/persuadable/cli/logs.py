"""How the verbs read a log: the options that say what its columns mean, and the file itself."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from persuadable.errors import ParameterError

if TYPE_CHECKING:
    from persuadable.log import DecisionLog
    from persuadable.study import Written

__all__ = [
    "COLUMNS",
    "JUDGING",
    "MONEY",
    "Action",
    "Categorical",
    "Control",
    "Data",
    "Drop",
    "FeatureColumns",
    "Learners",
    "PropensityTold",
    "Resamples",
    "SplitBy",
    "TestShare",
    "Time",
    "Unit",
    "Weight",
    "numbers",
    "propensities",
    "read",
    "say_where",
]

COLUMNS = "The columns"
JUDGING = "How it is judged"
MONEY = "Money, fairness, people"

Data = Annotated[Path, typer.Argument(metavar="FILE", help="A CSV or Parquet file, one row per decision.")]
Action = Annotated[str, typer.Option(metavar="COLUMN", help="Column of the action taken.")]
Control = Annotated[str, typer.Option(metavar="LABEL", help="The label of doing nothing, in that column.")]
Learners = Annotated[
    str, typer.Option("--learner", metavar="NAMES", help="Learners to try, of s, t, x, r, dr; comma-separated.")
]
PropensityTold = Annotated[
    str | None,
    typer.Option(
        "--propensity",
        metavar="TOLD",
        help="Probability of the treatment: a number, a column, label=number for every label, or 'estimated' from "
        "the features. Without it the log is taken as completely randomised.",
        rich_help_panel=COLUMNS,
    ),
]
FeatureColumns = Annotated[
    str | None,
    typer.Option(
        "--features",
        metavar="COLUMNS",
        help="Feature columns, comma-separated; all without another role by default.",
        rich_help_panel=COLUMNS,
    ),
]
Drop = Annotated[
    str | None,
    typer.Option(metavar="COLUMNS", help="Columns to leave out, comma-separated.", rich_help_panel=COLUMNS),
]
Categorical = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMNS", help="Numeric columns that are categories, comma-separated.", rich_help_panel=COLUMNS
    ),
]
Unit = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column that says who a decision was about.", rich_help_panel=COLUMNS),
]
Time = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column of the time of the decision.", rich_help_panel=COLUMNS),
]
Weight = Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of row weights.", rich_help_panel=COLUMNS)]
TestShare = Annotated[
    float,
    typer.Option(metavar="SHARE", help="Share of the rows held out to judge everything.", rich_help_panel=JUDGING),
]
SplitBy = Annotated[
    str | None,
    typer.Option(metavar="HOW", help="row, unit or time; unit where units repeat.", rich_help_panel=JUDGING),
]
Resamples = Annotated[
    int,
    typer.Option(
        metavar="COUNT",
        help="Half-samples behind the effect intervals of the bundle.",
        min=0,
        rich_help_panel=JUDGING,
    ),
]


ROLES: Final = ("action", "outcomes", "cost", "features", "categorical", "unit", "time", "weight")


def read(path: Path, *, drop: tuple[str, ...], **roles: Any) -> DecisionLog:
    """The file as a log."""
    from persuadable.log import DecisionLog, reading

    frame, _ = reading.read_file(path)
    unknown = [name for name in drop if name not in frame.columns]
    if unknown:
        raise ParameterError(f"There is no column {unknown[0]!r} to drop", remedy=f"The columns are {frame.columns}.")
    used = (roles.get(role) or () for role in ROLES)
    wanted = {name for told in used for name in ((told,) if isinstance(told, str) else told)}
    if twice := [name for name in drop if name in wanted]:
        raise ParameterError(f"Column {twice[0]!r} is dropped and used", remedy="Leave it out of --drop.")
    return DecisionLog.from_frame(frame.drop(drop), name=reading.stem(path), **roles)


def propensities(text: str | None) -> float | str | dict[str, float] | None:
    """What --propensity says: a number, a column, or a number for every label."""
    if text is None or text == "estimated":
        return None
    try:
        return float(text)
    except ValueError:
        return numbers(text, "--propensity", "none=0.5,mail=0.5") if "=" in text else text


def numbers(text: str, option: str, example: str) -> dict[str, float]:
    """What an option says as label=number, comma-separated, each label once and each number finite."""
    parts = [part.rpartition("=") for part in text.split(",")]
    try:
        told = {label.strip(): float(number) for label, _, number in parts}
    except ValueError:
        told = {}
    if len(told) < len(parts) or "" in told or not all(map(math.isfinite, told.values())):
        raise ParameterError(f"{option} {text!r} cannot be read", remedy=f"Write one number a label: '{example}'.")
    return told


def say_where(written: Written) -> None:
    """Where everything is, and what to do next."""
    places = (
        (written.report, "the report; open it in a browser"),
        (written.card_page, "the model card, to read"),
        (written.card, "the same for programs"),
        (written.metrics, "every number with its interval"),
        (written.bundle, "the models and the policy, for Bundle.load"),
    )
    width = max(len(str(path)) for path, _ in places)
    for path, what in places:
        typer.echo(f"  {path!s:<{width}}  {what}")
    typer.echo(f"\nTo decide with it:  persuadable serve {shlex.quote(str(written.bundle))} --insecure")
