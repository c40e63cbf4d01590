"""Dean Karlan and John List's fund-raising experiment (American Economic Review, 2007).

A charity wrote to 50,083 people who had given before. A third got its usual letter; in the others' a member promised to
match every dollar given with one, two or three. How much at most would be matched, and which gift the letter suggested,
were drawn as well.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.datasets.columns import chosen_outcomes
from persuadable.datasets.store import FOLDER_VARIABLE, in_folder
from persuadable.errors import DataError, DatasetUnavailable, ParameterError
from persuadable.features import Column, Features
from persuadable.log import DecisionLog

if TYPE_CHECKING:
    import polars as pl

__all__ = ["FEATURES", "FOLDERS", "PAGE", "PATTERNS", "file", "load_karlan_list", "locate_karlan_list"]

Values = NDArray[np.float64]

FOLDERS: Final = ("karlan-list", "karlan_list", "charitable")
PATTERNS: Final = ("charitable.parquet", "charitable_withdummyvariables.csv")
FEATURES: Final = (
    "hpa", "ltmedmra", "freq", "years", "year5", "mrm2", "dormant", "female", "couple",
    "state50one", "nonlit", "cases", "statecnt", "perbush", "close25", "red0", "blue0", "redcty", "bluecty",
    "pwhite", "pblack", "page18_39", "ave_hh_sz", "median_hhincome", "powner", "psch_atlstba", "pop_propurban",
)  # fmt: skip
_OUTCOMES: Final = {"gave": "out_gavedum", "amount": "out_amountgive"}
_ARMS: Final = ("treatment", "treat_ratio2", "treat_ratio3")
_MISSING: Final = -999.0
_LABELS: Final = {"ratios": ("no match", "1:1", "2:1", "3:1"), "any": ("no match", "match")}
_DESIGN: Final = {"ratios": (1 / 3, 2 / 9, 2 / 9, 2 / 9), "any": (1 / 3, 2 / 3)}
PAGE: Final = "https://github.com/gsbDBI/ExperimentData/tree/master/Charitable"


def load_karlan_list(
    *,
    arms: Literal["ratios", "any"] = "ratios",
    outcome: str | Sequence[str] = "gave",
    cost: Literal["matched"] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> DecisionLog:
    """The fund-raising experiment as a log; see `persuadable.datasets.load`.

    Raises:
        DatasetUnavailable: no folder holds the file.
        DataError: a file that is not the experiment's in its columns, values or arms.
        ParameterError: an unknown selection of arms, outcome or cost.
    """
    if arms not in _LABELS:
        raise ParameterError(f"arms={arms!r} is not known", where="karlan-list", remedy="Choose 'ratios' or 'any'.")
    if cost not in ("matched", None):
        raise ParameterError(f"cost={cost!r} is not known", where="karlan-list", remedy="Choose 'matched' or None.")
    outcomes = chosen_outcomes(outcome, tuple(_OUTCOMES), "karlan-list")
    path = file(data_dir)
    frame = _read(path)
    if cost or "amount" in outcomes:
        frame = frame.filter(frame["out_amountgive"].is_not_null())
    ratio = _ratio(frame, path)
    log = DecisionLog.from_arrays(
        _features(frame),
        ratio if arms == "ratios" else np.minimum(ratio, 1),
        {name: frame[_OUTCOMES[name]].to_numpy() for name in outcomes}
        | ({"matched": ratio * frame["out_amountgive"].to_numpy()} if cost else {}),
        action_names=_LABELS[arms],
        propensity=dict(zip(_LABELS[arms], _DESIGN[arms], strict=True)),
        cost=cost,
        name="karlan-list" if arms == "ratios" else "karlan-list any match",
    )
    _check_shares(log, arms, path)
    return log


def locate_karlan_list(data_dir: str | os.PathLike[str] | None = None) -> tuple[Path, str] | None:
    """The file and the place it was found in, or None."""
    told, place = (data_dir, "data_dir") if data_dir is not None else (os.environ.get(FOLDER_VARIABLE), FOLDER_VARIABLE)
    path = in_folder(FOLDERS, PATTERNS, Path(told).expanduser()) if told else None
    return (path, place) if path else None


def file(data_dir: str | os.PathLike[str] | None) -> Path:
    """The file, wherever it lies.

    Raises:
        DatasetUnavailable: no folder holds it.
    """
    found = locate_karlan_list(data_dir)
    if found:
        return found[0]
    told = data_dir if data_dir is not None else os.environ.get(FOLDER_VARIABLE)
    why = f"the folder {os.fspath(told)!r} holds no file of it" if told else f"{FOLDER_VARIABLE} is not set"
    raise DatasetUnavailable(
        f"The data set 'karlan-list' is not available: {why}",
        remedy=f"Get {PATTERNS[1]} (it lies under {PAGE}) and put it into {FOLDERS[0]}/ of the folder that "
        f"{FOLDER_VARIABLE} names.",
    )


def _read(path: Path) -> pl.DataFrame:
    """The columns needed, as numbers; −999 stays."""
    import polars as pl

    wanted = (*_ARMS, *_OUTCOMES.values(), *FEATURES)
    try:
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema_length=None)
        missing = [name for name in wanted if name not in frame.columns]
        if missing:
            raise DataError(f"{path.name} has no column {missing[0]!r}", where=str(path), remedy=_get_it_anew())
        frame = frame.select(pl.col(wanted).cast(pl.Float64))
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{path.name} cannot be read: {str(error).splitlines()[0]}", where=str(path), remedy=_get_it_anew()
        ) from error
    unknown = [name for name in wanted if name != "out_amountgive" and frame[name].null_count()]
    if unknown:
        raise DataError(f"Column {unknown[0]!r} has empty cells", where=str(path), remedy=_get_it_anew())
    return frame


def _get_it_anew() -> str:
    return f"Get {PATTERNS[1]} anew; it lies under {PAGE}."


def _ratio(frame: pl.DataFrame, path: Path) -> NDArray[np.int16]:
    """(n,) dollars promised for each dollar given, 0 to 3."""
    treated, two, three = (frame[name].to_numpy() for name in _ARMS)
    ratio = treated + two + 2 * three
    if not (np.isin([treated, two, three], (0.0, 1.0)).all() and (two + three <= treated).all()):
        raise DataError(
            f"The match ratios in {path.name} contradict one another", where=str(path), remedy=_get_it_anew()
        )
    return np.asarray(ratio, dtype=np.int16)


def _features(frame: pl.DataFrame) -> Features:
    values = frame.select(FEATURES).to_numpy().astype(np.float32)
    values[values == _MISSING] = np.nan
    return Features(values, tuple(Column(name) for name in FEATURES))


def _check_shares(log: DecisionLog, arms: str, path: Path) -> None:
    """Refuse rows that are no random part of the experiment: its design would be the wrong propensity for them."""
    design = np.array(_DESIGN[arms])
    shares = np.bincount(log.action, minlength=design.size) / log.n
    off = np.abs(shares - design) / np.sqrt(design * (1 - design) / log.n)
    if off.max() > 5.0:
        worst = int(off.argmax())
        raise DataError(
            f"{shares[worst]:.3f} of the rows of {path.name} have {log.actions.names[worst]!r}, by design "
            f"{design[worst]:.3f} do",
            where=str(path),
            remedy="Use the whole file, or a part drawn at random.",
        )
