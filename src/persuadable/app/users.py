"""A file of users: read, checked against the contract, scored in chunks, and the list to treat written."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from persuadable.app.client import Service, ServiceRefused
from persuadable.app.fields import Field
from persuadable.app.spending import Money, Spending
from persuadable.errors import DataError

__all__ = [
    "CHUNK",
    "MOST_ROWS",
    "UNIT",
    "Users",
    "UsersError",
    "formulas",
    "read_users",
    "score_users",
    "template",
    "to_treat",
]

UNIT = "unit"
MOST_ROWS = 200_000
MOST_COLUMNS = 2_000
CHUNK = 500
SEPARATORS = (",", ";", "\t")
# The header as Polars finds it: after blank lines, and with the line breaks inside its quotes.
HEADER = re.compile(rb'(?:\xef\xbb\xbf)?[\r\n]*+((?:[^"\n]++|"[^"]*+(?:"|\Z))*+)')
# A cell that begins so is a formula to a spreadsheet.
FORMULA = "^[=+\\-@\\t\\r\\n]"
# Words that mean "no number" in a column of numbers; a category may well be called NA.
NO_NUMBER = ("NA", "N/A", "NaN", "nan", "null", "None")


class UsersError(DataError):
    """A file of users that cannot be scored."""


@dataclass(frozen=True, slots=True, eq=False)
class Users:
    """Users read from a file.

    Attributes:
        units: (n,) who, as text.
        features: (n, d) Float64, or text for categories, in the model's order; null is not known.
        ignored: columns of the file that are no features.
        numbered: whether the file named no units, so that they are called by their line.
    """

    units: pl.Series
    features: pl.DataFrame
    ignored: tuple[str, ...]
    numbered: bool

    def __len__(self) -> int:
        return self.units.len()

    @property
    def repeated(self) -> int:
        """How many rows name a unit that an earlier row named."""
        return len(self) - self.units.n_unique()


def template(listed: Sequence[Field]) -> str:
    """A CSV with the columns that are asked for and two rows that show what goes in."""
    columns: dict[str, list[Any]] = {UNIT: ["user-1", "user-2"]}
    for field in listed:
        if field.kind == "number":
            columns[field.name] = [field.start, field.high]
        else:
            columns[field.name] = [field.start, field.categories[-1] if field.categories else None]
    return pl.DataFrame(columns, strict=False).write_csv()


def read_users(raw: bytes, listed: Sequence[Field], *, most: int = MOST_ROWS) -> Users:
    """Read a CSV with a header line; commas, semicolons or tabs between the columns.

    Args:
        raw: the file.
        listed: the features the model needs. A column "unit" says who; others are ignored.
        most: rows it may have.

    Raises:
        UsersError: no CSV, a feature without a column, a value that is no number, no rows, or too many.
    """
    table = _table(raw)
    missing = [field.name for field in listed if field.name not in table.columns]
    if missing:
        raise UsersError(
            f"The file has no column {_listed(missing)}",
            remedy="Every feature of the model needs its column, under the same name; the template has them all.",
        )
    if not table.height:
        raise UsersError("The file has a header and no users below it", remedy="Add a line for every user.")
    if table.height > most:
        raise UsersError(
            f"The file has {table.height:,} users, {most:,} at most are scored here",
            remedy="Send the rest in a second file, or use the service's /v1/decide/batch.",
        )
    numbered = UNIT not in table.columns
    units = pl.Series(UNIT, [f"line {i}" for i in range(2, table.height + 2)]) if numbered else _units(table[UNIT])
    features = pl.DataFrame([_column(table[field.name], field) for field in listed])
    known = {UNIT, *features.columns}
    return Users(units, features, tuple(name for name in table.columns if name not in known), numbered)


def score_users(
    service: Service,
    users: Users,
    budget: Spending,
    said: Callable[[int, int], None] = lambda done, all_: None,
) -> tuple[pl.DataFrame, str]:
    """What the service would do with every user, the largest net effects first, and by which bundle.

    Args:
        service: where to ask.
        users: whom to ask about.
        budget: a share of users, or money per head.
        said: told (users done, users in all) after every chunk.

    Returns:
        unit, action, effect, low, high, net effect, threshold, probability of treatment, reason and flags per user,
        and its expected cost where the budget is money;
        the version of the one bundle that scored them all.

    Raises:
        UsersError: the service refused a user, and the message says in which line of the file; or it was given another
            bundle on the way, so that net effects would be sorted that cannot be compared.
        ServiceError: it could not be asked.
    """
    rows: list[dict[str, Any]] = []
    bundle = ""
    for start in range(0, len(users), CHUNK):
        chunk = zip(
            users.units[start : start + CHUNK], users.features.slice(start, CHUNK).iter_rows(named=True), strict=True
        )
        units = [{"unit": unit, "features": features} for unit, features in chunk]
        try:
            decisions, version = service.score(units, budget)
        except ServiceRefused as refused:
            raise _located(refused, start) from refused
        if bundle and version != bundle:
            raise UsersError("The bundle was changed while the list was scored", remedy="Score again.")
        bundle = version
        rows += map(_row, decisions)
        said(len(rows), len(users))
    schema = SCHEMA | {"cost": pl.Float64} if isinstance(budget, Money) else SCHEMA
    scored = pl.DataFrame(rows, schema=schema)
    return scored.sort("net_effect", descending=True, maintain_order=True), bundle


SCHEMA = {
    "unit": pl.String,
    "action": pl.String,
    "treatment": pl.String,
    "effect": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "net_effect": pl.Float64,
    "threshold": pl.Float64,
    "probability": pl.Float64,
    "reason": pl.String,
    "flags": pl.String,
}


def to_treat(scored: pl.DataFrame, control: str) -> pl.DataFrame:
    """Those to be treated, with what to do and why, ready for a CSV."""
    return scored.filter(pl.col("action") != control).drop("treatment", "reason", "threshold")


def formulas(listed: pl.DataFrame) -> int:
    """How many rows hold a text that a spreadsheet may take for a formula; names stay as they are for machines."""
    return listed.filter(pl.any_horizontal(pl.col(pl.String).str.contains(FORMULA).fill_null(False))).height


def _row(decision: dict[str, Any]) -> dict[str, Any]:
    low, high = decision.get("interval") or (None, None)
    its = decision.get("options", {}).get(decision["action"])
    if its is not None and its["effect"] and decision["action"] != decision["treatment"]:
        # A lot between two offers fell on the other one.
        decision = decision | {name: its[name] for name in ("effect", "cost_effect", "net_effect")}
        low = high = None
    return {
        "unit": decision["unit"],
        "action": decision["action"],
        "treatment": decision["treatment"],
        "effect": decision["effect"],
        "low": low,
        "high": high,
        "net_effect": decision["net_effect"],
        "threshold": decision.get("threshold"),
        "probability": decision["propensities"][decision["treatment"]],
        "reason": decision["reason"],
        "flags": "; ".join(f"{flag['feature']}: {flag['code']}" for flag in decision.get("flags") or ()),
    } | ({"cost": decision["cost_effect"]} if "cost_effect" in decision else {})


def _table(raw: bytes) -> pl.DataFrame:
    """Every cell as text; an empty one is null."""
    try:
        head = next(HEADER.finditer(raw))[1].decode()
        separator = max(SEPARATORS, key=head.count)
        if (columns := head.count(separator) + 1) > MOST_COLUMNS:
            # Refused before it is parsed: a column costs kilobytes, however empty it is.
            raise UsersError(
                f"The file has {columns:,} columns, {MOST_COLUMNS:,} at most are read here",
                remedy="Keep the column “unit” and the features of the model.",
            )
        return pl.read_csv(io.BytesIO(raw), separator=separator, infer_schema=False, null_values=[""])
    except UnicodeDecodeError as error:
        raise UsersError("The file is not text in UTF-8", remedy="Save it as “CSV UTF-8” and try again.") from error
    except pl.exceptions.PolarsError as error:
        raise UsersError(
            f"The file cannot be read as CSV: {str(error).splitlines()[0].rstrip('. ')}",
            remedy="Pass a header line and one line per user, saved as “CSV UTF-8”.",
        ) from error


def _units(column: pl.Series) -> pl.Series:
    nobody = column.is_null()
    if nobody.any():
        line = int(nobody.arg_true()[0]) + 2
        raise UsersError(f"Line {line} has no unit", remedy="Say who every user is, or leave the column out.")
    return column


def _column(texts: pl.Series, field: Field) -> pl.Series:
    if field.kind == "category":
        return texts
    plain = texts.str.strip_chars()
    plain = plain.set(plain.is_in([*NO_NUMBER, ""]).fill_null(False), None)
    numbers = plain.cast(pl.Float64, strict=False)
    wrong = (numbers.is_null() & plain.is_not_null()) | ~numbers.is_finite().fill_null(True)
    if wrong.any():
        place = int(wrong.arg_true()[0])
        more = int(wrong.sum()) - 1
        raise UsersError(
            f"Line {place + 2}: {field.name} is {texts[place]!r}, which is no number"
            + (f" ({more} more like it)" if more else ""),
            remedy="Write numbers with a point, such as 12.5, and leave empty what is not known.",
        )
    return numbers


def _located(refused: ServiceRefused, start: int) -> UsersError:
    """A refusal of a chunk, with the line of the file instead of the place in the request."""
    told = []
    for pointer, detail in refused.errors[:5]:
        parts = pointer.split("/")
        line = f"line {int(parts[2]) + start + 2}" if len(parts) > 2 and parts[2].isdigit() else "the file"
        told.append(f"{line}: {detail.rstrip('. ')}")
    more = len(refused.errors) - len(told)
    where = "; ".join(told) + (f"; and {more} more" if more > 0 else "")
    return UsersError(refused.what, where=where or None, remedy=refused.remedy)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
