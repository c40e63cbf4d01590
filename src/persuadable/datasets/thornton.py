"""Rebecca Thornton's cash-incentive experiment in Malawi (American Economic Review, 2008).

People tested for HIV drew, one by one, a token that fixed what they would be paid for collecting their result: nothing,
or up to three dollars. In two of the three districts they drew twice (once more for other tests), so the amounts, and
the chance of an amount above 0, differ between districts; within a district they are random.

The data lie in the Python package causaldata, read here without importing it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.datasets.columns import chosen_outcomes
from persuadable.datasets.stata import read_stata
from persuadable.datasets.store import FOLDER_VARIABLE, in_folder
from persuadable.errors import DataError, DatasetUnavailable, ParameterError
from persuadable.features import Column, Features
from persuadable.log import DecisionLog

__all__ = ["FOLDERS", "PATTERNS", "file", "load_thornton", "locate_thornton"]

Values = NDArray[np.float64]

FOLDERS: Final = ("thornton", "thornton_hiv")
PATTERNS: Final = ("thornton_hiv.dta",)
_OUTCOMES: Final = ("got", "paid", "offered")
_VARIABLES: Final = ("villnum", "got", "distvct", "tinc", "any", "age")
_ONE_DRAW: Final = 100.0  # villages from this number on drew once
_DISTRICTS: Final = ("two draws", "one draw")
_EDGES: Final = (0.0, 0.5, 1.0, 2.0)  # dollars; a level is (edge, next edge]
_LEVELS: Final = ("no cash", "up to $0.50", "$0.51 to $1", "$1.01 to $2", "over $2")


def load_thornton(
    *,
    arms: Literal["any", "levels"] = "any",
    outcome: str | Sequence[str] = "got",
    cost: Literal["paid", "offered"] | None = "paid",
    data_dir: str | os.PathLike[str] | None = None,
) -> DecisionLog:
    """Thornton's experiment as a log; see `persuadable.datasets.load`.

    Raises:
        DatasetUnavailable: the package causaldata is not installed and no folder holds the file.
        DataError: a file without the expected variables.
        ParameterError: an unknown selection of arms, outcome or cost.
    """
    if arms not in ("any", "levels"):
        raise ParameterError(f"arms={arms!r} is not known", where="thornton", remedy="Choose 'any' or 'levels'.")
    if cost not in ("paid", "offered", None):
        raise ParameterError(f"cost={cost!r} is not known", where="thornton", remedy="Choose 'paid' or 'offered'.")
    outcomes = chosen_outcomes(outcome, _OUTCOMES, "thornton")
    data = _usable(_read(file(data_dir)))
    names = ("no cash", "cash") if arms == "any" else _LEVELS
    action = _levels(data["tinc"]) if arms == "levels" else (data["tinc"] > 0.0).astype(np.int16)
    one_draw = data["villnum"] >= _ONE_DRAW
    columns = {"got": data["got"], "paid": data["tinc"] * data["got"], "offered": data["tinc"]}
    kept = dict.fromkeys((*outcomes, cost) if cost else outcomes)
    return DecisionLog.from_arrays(
        _features(data, one_draw),
        action,
        {name: columns[name] for name in kept},
        action_names=names,
        propensity=stratum_shares(action, one_draw, len(names)),
        cost=cost,
        name="thornton" if arms == "any" else "thornton levels",
    )


def locate_thornton(data_dir: str | os.PathLike[str] | None = None) -> tuple[Path, str] | None:
    """The file and the place it was found in, or None."""
    told = os.environ.get(FOLDER_VARIABLE)
    for folder, place in ((data_dir, "data_dir"), (told if data_dir is None else None, FOLDER_VARIABLE)):
        path = in_folder(FOLDERS, PATTERNS, Path(folder).expanduser()) if folder else None
        if path:
            return path, place
    if data_dir is not None:
        return None
    spec = find_spec("causaldata")  # does not import it, nor the pandas it would pull in
    for home in (spec.submodule_search_locations or ()) if spec else ():
        path = in_folder(FOLDERS, PATTERNS, Path(home))
        if path:
            return path, "package causaldata"
    return None


def file(data_dir: str | os.PathLike[str] | None) -> Path:
    """The file, wherever it lies.

    Raises:
        DatasetUnavailable: the package causaldata is not installed and no folder holds the file.
    """
    found = locate_thornton(data_dir)
    if found:
        return found[0]
    missing = f"the folder {os.fspath(data_dir)!r} holds no file of it" if data_dir is not None else None
    why = missing or "the package causaldata is not installed"
    raise DatasetUnavailable(
        f"The data set 'thornton' is not available: {why}",
        remedy=f"Install it (pip install causaldata), or put {PATTERNS[0]} into {FOLDERS[0]}/ of the folder "
        f"that {FOLDER_VARIABLE} names.",
    )


def stratum_shares(action: NDArray[np.int16], stratum: NDArray[np.bool_], n_actions: int) -> Values:
    """(n, A) shares of the actions within each row's stratum."""
    shares = np.stack([np.bincount(action[stratum == s], minlength=n_actions) for s in (False, True)]).astype(float)
    shares /= shares.sum(axis=1, keepdims=True)
    return np.asarray(shares[stratum.astype(np.intp)])


def _read(path: Path) -> dict[str, Values]:
    data = read_stata(path)
    missing = [name for name in _VARIABLES if name not in data]
    if missing:
        raise DataError(
            f"{path.name} has no variable {missing[0]!r}", where=str(path), remedy=f"Expected are {list(_VARIABLES)}."
        )
    return {name: data[name] for name in _VARIABLES}


def _usable(data: dict[str, Values]) -> dict[str, Values]:
    """Rows of people who drew a token, were tested and live in a known village."""
    known = ~(np.isnan(data["got"]) | np.isnan(data["tinc"]) | np.isnan(data["villnum"]))
    return {name: values[known] for name, values in data.items()}


def _levels(amount: Values) -> NDArray[np.int16]:
    """0 for no cash, then the level whose (lower, upper] holds the amount; amounts are whole cents."""
    return np.searchsorted(np.array(_EDGES), np.round(amount, 2), side="left").astype(np.int16)


def _features(data: dict[str, Values], one_draw: NDArray[np.bool_]) -> Features:
    values = np.stack([data["age"], data["distvct"], one_draw], axis=1).astype(np.float32)
    return Features(values, (Column("age"), Column("distance_km"), Column("district", "category", _DISTRICTS)))
