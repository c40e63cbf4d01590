"""Kevin Hillstrom's MineThatData e-mail experiment (2008): 64,000 customers, three arms.

Customers who had bought within twelve months were drawn to get an e-mail about men's merchandise, one about women's,
or none, a third each; visits, conversions and spend were recorded over the two weeks after.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from persuadable.datasets.columns import chosen_outcomes
from persuadable.datasets.store import Source, find
from persuadable.errors import DataError, ParameterError
from persuadable.log import DecisionLog

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CONTROL", "SOURCE", "load_hillstrom"]

SOURCE: Final = Source(
    name="hillstrom",
    folders=("hillstrom",),
    patterns=("hillstrom.csv", "*MineThatData*.csv", "hillstrom*.csv"),
    url="http://www.minethatdata.com/Kevin_Hillstrom_MineThatData_E-MailAnalytics_DataMiningChallenge_2008.03.20.csv",
    sha256="ff9e59285e9dc3f5fa3e0975419e6631ea5bdccd65d818991473d2367e02979c",
    size=3_964_975,
    page="https://blog.minethatdata.com/2008/03/minethatdata-e-mail-analytics-and-data.html",
)

CONTROL: Final = "No E-Mail"
_ARMS: Final = {
    "all": (CONTROL, "Mens E-Mail", "Womens E-Mail"),
    "men": (CONTROL, "Mens E-Mail"),
    "women": (CONTROL, "Womens E-Mail"),
}
_FEATURES: Final = ("recency", "history_segment", "history", "mens", "womens", "zip_code", "newbie", "channel")
_OUTCOMES: Final = ("visit", "conversion", "spend")
_TEXT: Final = ("history_segment", "zip_code", "channel", "segment")


def load_hillstrom(
    *,
    arms: Literal["all", "women", "men"] = "all",
    outcome: str | Sequence[str] = "visit",
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> DecisionLog:
    """The Hillstrom e-mail experiment as a log; see `persuadable.datasets.load`.

    Raises:
        DatasetUnavailable: the file is neither here nor to be had.
        DataError: a file that is not the publisher's in its columns or arms.
        ParameterError: an unknown arm selection or outcome.
    """
    if arms not in _ARMS:
        raise ParameterError(f"arms={arms!r} is not known", where="hillstrom", remedy=f"Choose one of {list(_ARMS)}.")
    outcomes = chosen_outcomes(outcome, _OUTCOMES, "hillstrom")
    path = find(SOURCE, data_dir, download=download).path
    frame = _read(path)
    labels = _ARMS[arms]
    if arms != "all":
        frame = frame.filter(frame["segment"].is_in(labels))
    return DecisionLog.from_frame(
        frame.select("segment", *_FEATURES, *outcomes),
        action="segment",
        control=CONTROL,
        outcomes=outcomes,
        features=_FEATURES,
        propensity=dict.fromkeys(labels, 1.0 / len(labels)),
        name="hillstrom" if arms == "all" else f"hillstrom {arms}",
    )


def _read(path: Path) -> pl.DataFrame:
    """The publisher's file, its columns and arms checked."""
    import polars as pl

    wanted = (*_FEATURES, "segment", *_OUTCOMES)
    types = {name: pl.String() if name in _TEXT else pl.Float64() for name in wanted}
    try:
        frame = pl.read_csv(path, schema_overrides=types)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{path.name} cannot be read as Hillstrom's file: {str(error).splitlines()[0]}",
            where=str(path),
            remedy=f"Get it anew from {SOURCE.url}",
        ) from error
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise DataError(
            f"{path.name} has no column {missing[0]!r}", where=str(path), remedy=f"Expected are {list(wanted)}."
        )
    found = set(frame["segment"].unique().to_list())
    if found != set(_ARMS["all"]):
        raise DataError(
            f"{path.name} has the arms {sorted(map(str, found))}, not {sorted(_ARMS['all'])}",
            where=f"{path}, column 'segment'",
            remedy=f"Get the publisher's file from {SOURCE.url}",
        )
    return frame
