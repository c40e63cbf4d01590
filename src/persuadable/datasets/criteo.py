"""Criteo's uplift data, version 2.1: 13,979,592 users of several advertising trials, 85% of them treated.

The file is read as a stream into one float32 matrix, so that the whole of it needs less than twice the matrix.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from persuadable.datasets.columns import chosen_outcomes
from persuadable.datasets.store import Source, find
from persuadable.errors import DataError, FeatureError, ParameterError
from persuadable.features import Column, Features
from persuadable.log import DecisionLog
from persuadable.log.checks import known_before

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SAMPLES", "SOURCE", "TREATED_SHARE", "load_criteo"]

Matrix = NDArray[np.float32]
Flags = NDArray[np.uint8]

_WHOLE: Final = (
    "criteo-research-uplift-v2.1.csv.gz",
    "criteo-uplift-v2.1.csv.gz",
    "criteo*uplift*v2.1.parquet",
    "criteo*uplift*v2.1.csv",
)
SAMPLES: Final = ("criteo*uplift*v2.1*sample*.parquet", "criteo*uplift*v2.1*sample*.csv*")
SOURCE: Final = Source(
    name="criteo",
    folders=("criteo", "criteo_uplift"),
    patterns=_WHOLE + SAMPLES,
    url="https://criteostorage.blob.core.windows.net/criteo-research-datasets/criteo-uplift-v2.1.csv.gz",
    sha256="2716e1bf0fd157a93b5bf86924d9088419dfbac2022c6cd90030220634f616dc",
    size=311_422_618,
    page="https://ailab.criteo.com/criteo-uplift-prediction-dataset/",
)

TREATED_SHARE: Final = 0.85  # the publisher's treatment ratio
_FEATURES: Final = tuple(f"f{i}" for i in range(12))
_OUTCOMES: Final = ("visit", "conversion", "exposure")
_BLOCK_BYTES: Final = 4 << 20
_FIRST_ROWS: Final = 1 << 20
_GROWTH: Final = 1.05


@dataclass(frozen=True, slots=True)
class _Wish:
    """Which rows of the file: the first ``rows``, each with probability ``sample``, or all."""

    features: tuple[str, ...]
    outcomes: tuple[str, ...]
    rows: int | None
    sample: float | None
    rng: np.random.Generator

    @property
    def flags(self) -> tuple[str, ...]:
        """The 0/1 columns to read."""
        return ("treatment", *self.outcomes)

    def keep(self, n: int) -> NDArray[np.bool_] | None:
        """(n,) which of the next n rows to keep; None for all. Draws one number a row, so blocks do not matter."""
        return None if self.sample is None else self.rng.random(n) < self.sample


class _Table:
    """Rows appended to one array, which grows in small steps.

    A list of blocks joined at the end would hold everything twice. Growing by realloc moves pages instead of copying
    them, and the part not yet written to takes no memory.
    """

    def __init__(self, width: int, dtype: type[np.generic]) -> None:
        self._array: NDArray[Any] = np.empty((_FIRST_ROWS, width), dtype=dtype)
        self.n = 0

    def add(self, rows: NDArray[Any]) -> None:
        end = self.n + len(rows)
        if end > len(self._array):
            self._resize(max(end, int(len(self._array) * _GROWTH)))
        self._array[self.n : end] = rows
        self.n = end

    def whole(self) -> NDArray[Any]:
        """(n, width) what was added; nothing may be added afterwards."""
        self._resize(self.n)
        return self._array

    def _resize(self, n: int) -> None:
        # No view of the array is ever handed out before the end, so NumPy need not count references.
        self._array.resize((n, self._array.shape[1]), refcheck=False)


def load_criteo(
    *,
    outcome: str | Sequence[str] = "visit",
    features: Sequence[str] | None = None,
    rows: int | None = None,
    sample: float | None = None,
    random_state: int | np.random.Generator = 0,
    whole: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> DecisionLog:
    """Criteo's uplift data as a log; see `persuadable.datasets.load`.

    Raises:
        DatasetUnavailable: the file is neither here nor to be had.
        DataError: a file without the expected columns, with values that cannot be, or whose treated share is not the
            publisher's.
        FeatureError: a feature that came about after the action (exposure, visit, conversion), or that is not there.
        ParameterError: an unknown outcome, rows < 2, sample outside (0, 1], or both given.
    """
    outcomes = chosen_outcomes(outcome, _OUTCOMES, "criteo")
    wish = _Wish(
        _checked_features(features),
        outcomes,
        _checked_rows(rows),
        _checked_sample(sample, rows),
        np.random.default_rng(random_state),
    )
    path = find(_whole_only() if whole else SOURCE, data_dir, download=download).path
    matrix, flags = _read(path, wish)
    _check_share(flags, path, rows)
    return DecisionLog.from_arrays(
        Features(matrix, tuple(Column(name) for name in wish.features)),
        flags[:, 0],
        {name: flags[:, i] for i, name in enumerate(outcomes, start=1)},
        action_names=("control", "treatment"),
        propensity=TREATED_SHARE,
        name=_name(path, wish),
    )


def _whole_only() -> Source:
    from dataclasses import replace

    return replace(SOURCE, patterns=_WHOLE)


def _name(path: Path, wish: _Wish) -> str:
    """What was read: a sample file must not pass for the whole."""
    part = f"first {wish.rows:,} rows" if wish.rows else f"{wish.sample:g} of the rows" if wish.sample else ""
    sampled = "sample file" if "sample" in path.name else ""
    said = ", ".join(s for s in (sampled, part) if s)
    return f"criteo ({said})" if said else "criteo"


def _checked_features(asked: Sequence[str] | None) -> tuple[str, ...]:
    """The features asked for, all by default."""
    if asked is None:
        return _FEATURES
    chosen = (asked,) if isinstance(asked, str) else tuple(dict.fromkeys(asked))
    known_before(chosen, _OUTCOMES)
    unknown = [name for name in chosen if name not in _FEATURES]
    if unknown or not chosen:
        said = f"There is no feature {unknown[0]!r}" if unknown else "No feature was asked for"
        raise FeatureError(said, where="criteo", remedy=f"Choose among {list(_FEATURES)}, or leave features= out.")
    return chosen


def _checked_rows(rows: int | None) -> int | None:
    if rows is not None and rows < 2:
        raise ParameterError(f"rows={rows} is too few", where="criteo", remedy="Ask for 2 or more, or None for all.")
    return rows


def _checked_sample(sample: float | None, rows: int | None) -> float | None:
    if sample is None:
        return None
    if rows is not None:
        raise ParameterError("rows= and sample= exclude each other", where="criteo", remedy="Give one of them.")
    if not 0.0 < sample <= 1.0:
        raise ParameterError(f"sample={sample} is not a share", where="criteo", remedy="Give a share in (0, 1].")
    return float(sample)


def _check_share(flags: Flags, path: Path, rows: int | None) -> None:
    """Refuse a file that is not a random part of the publisher's, for which the propensity would be wrong."""
    n, share = len(flags), float(flags[:, 0].mean())
    error = np.sqrt(TREATED_SHARE * (1.0 - TREATED_SHARE) / n)
    if abs(share - TREATED_SHARE) > 5.0 * error + 1e-3:
        raise DataError(
            f"{path.name} has a treated share of {share:.4f} in {n:,} rows, the publisher's is {TREATED_SHARE}",
            where=str(path),
            remedy=(
                "Use sample= instead of rows=; the file may be sorted."
                if rows
                else "It is not a random part of version 2.1: read it with DecisionLog.read and its own propensity."
            ),
        )


# -- reading ---------------------------------------------------------------------------------------------------------


def _read(path: Path, wish: _Wish) -> tuple[Matrix, Flags]:
    """(n, 12) features and (n, 1 + outcomes) flags, treatment first."""
    import polars as pl

    try:
        return _read_parquet(path, wish) if path.suffix == ".parquet" else _read_csv(path, wish)
    except (EOFError, OSError, zlib.error, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{path.name} cannot be read: {str(error).splitlines()[0]}",
            where=str(path),
            remedy=f"Get it anew from {SOURCE.url}",
        ) from error


def _read_csv(path: Path, wish: _Wish) -> tuple[Matrix, Flags]:
    """Blocks of text, each parsed into float32 at once."""
    table, flags = _Table(len(wish.features), np.float32), _Table(len(wish.flags), np.uint8)
    with _opened(path) as file:
        header = file.readline().decode("utf-8-sig").strip().split(",")
        _require(header, wish, path)
        for text in _blocks(file):
            features, marks = _arrays(_parsed(text, header, wish, path), wish, path)
            rows = _chosen(len(features), table.n, wish)
            table.add(features[rows])
            flags.add(marks[rows])
            if table.n == wish.rows:
                break
    if not table.n:
        raise DataError(f"{path.name} holds no rows", where=str(path), remedy=f"Get it anew from {SOURCE.url}")
    return table.whole(), flags.whole()


def _chosen(n: int, before: int, wish: _Wish) -> NDArray[np.bool_] | slice:
    """Which of a block's n rows to keep, ``before`` having been kept already."""
    kept = wish.keep(n)
    if kept is not None:
        return kept
    return slice(None if wish.rows is None else wish.rows - before)


def _read_parquet(path: Path, wish: _Wish) -> tuple[Matrix, Flags]:
    """Column by column, so that no more than one column is held beside the matrix."""
    import polars as pl

    scan = pl.scan_parquet(path)
    _require(scan.collect_schema().names(), wish, path)
    n = int(scan.select(pl.len()).collect().item())
    n = n if wish.rows is None else min(n, wish.rows)
    kept = wish.keep(n)
    matrix = np.empty((n if kept is None else int(kept.sum()), len(wish.features)), dtype=np.float32)
    for i, name in enumerate(wish.features):
        column = _column(path, name, n)
        matrix[:, i] = column if kept is None else column[kept]
    _require_finite(matrix, path)
    flags = np.stack([_flag(_column(path, name, n), name, path) for name in wish.flags], axis=1)
    return matrix, flags if kept is None else flags[kept]


def _column(path: Path, name: str, n: int) -> Matrix:
    import polars as pl

    frame = pl.scan_parquet(path).select(pl.col(name).cast(pl.Float32)).head(n).collect()
    return np.asarray(frame.to_series().to_numpy())


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Whole lines, about ``_BLOCK_BYTES`` at a time."""
    rest = b""
    while block := file.read(_BLOCK_BYTES):
        cut = block.rfind(b"\n") + 1
        if cut == 0:
            rest += block
            continue
        yield rest + block[:cut]
        rest = block[cut:]
    if rest.strip():
        yield rest


def _parsed(text: bytes, header: list[str], wish: _Wish, path: Path) -> pl.DataFrame:
    import polars as pl

    try:
        frame = pl.read_csv(text, has_header=False, new_columns=header, schema_overrides=[pl.Float32()] * len(header))
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{path.name} holds a line that is not {len(header)} numbers: {str(error).splitlines()[0]}",
            where=str(path),
            remedy=f"Get it anew from {SOURCE.url}",
        ) from error
    return frame.select(*wish.features, *wish.flags)


def _arrays(frame: pl.DataFrame, wish: _Wish, path: Path) -> tuple[Matrix, Flags]:
    features = np.ascontiguousarray(frame.select(wish.features).to_numpy())
    _require_finite(features, path)
    return features, np.stack([_flag(frame[name].to_numpy(), name, path) for name in wish.flags], axis=1)


def _flag(values: Matrix, name: str, path: Path) -> Flags:
    wrong = (values != 0.0) & (values != 1.0)
    if wrong.any():
        raise DataError(
            f"Column {name!r} of {path.name} holds {values[wrong][0]}",
            where=str(path),
            remedy="It must hold 0 and 1 only.",
        )
    return values.astype(np.uint8)


def _require(header: Sequence[str], wish: _Wish, path: Path) -> None:
    missing = [name for name in (*wish.features, *wish.flags) if name not in header]
    if missing:
        raise DataError(
            f"{path.name} has no column {missing[0]!r}",
            where=str(path),
            remedy=f"Expected are {', '.join((*wish.features, *wish.flags))}, found {list(header)[:20]}.",
        )


def _require_finite(features: Matrix, path: Path) -> None:
    if not np.isfinite(features.sum(dtype=np.float64)):
        raise DataError(
            f"{path.name} holds a missing or infinite feature", where=str(path), remedy=f"Get it anew from {SOURCE.url}"
        )
