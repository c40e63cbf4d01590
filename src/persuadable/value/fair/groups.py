"""Who belongs together: named columns, labels, or the ranges of a signal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import DataError, FeatureError, ParameterError

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["MISSING", "MOST_GROUPS", "Segment", "segments_of"]

MISSING = "missing"
MOST_GROUPS = 50
COLUMN = "group"  # the name of labels that were given without one
Segments = str | ArrayLike | Mapping[str, str | ArrayLike]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The rows of a log, parted into groups.

    Attributes:
        name: of the column.
        labels: (G,) the groups that occur.
        code: (n,) the group of each row.
    """

    name: str
    labels: tuple[str, ...]
    code: NDArray[np.intp]

    def named(self) -> NDArray[np.str_]:
        """(n,) the label of each row."""
        return np.asarray(self.labels, dtype=np.str_)[self.code]


def segments_of(log: DecisionLog, segments: Segments, bins: int = 4) -> tuple[Segment, ...]:
    """The columns of groups that are asked for.

    A category or labels are groups as they stand. A number that takes more than ``bins`` different values is cut at its
    quantiles into as many ranges. Rows without a value are a group of their own, "missing".

    Args:
        log: n rows.
        segments: the name of a feature; (n,) labels or numbers; or a name for each of several of these.
        bins: ranges that a number is cut into.

    Raises:
        FeatureError: no such feature.
        DataError: another number of labels than rows, or one group only.
        ParameterError: no segments, more than 50 groups, or fewer than 2 bins.
    """
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or not 2 <= bins <= MOST_GROUPS:
        raise ParameterError(f"bins is {bins!r}", remedy=f"Pass a whole number from 2 to {MOST_GROUPS}.")
    if isinstance(segments, Mapping):
        wanted: dict[str, Any] = {str(name): column for name, column in segments.items()}
    else:
        wanted = {segments if isinstance(segments, str) else COLUMN: segments}
    if not wanted:
        raise ParameterError("No segments were named", remedy="Name a feature, or pass one label per row.")
    return tuple(_segment(log, name, column, int(bins)) for name, column in wanted.items())


def _segment(log: DecisionLog, name: str, column: Any, bins: int) -> Segment:
    labels, code = _feature(log, column, bins) if isinstance(column, str) else _given(name, column, log.n, bins)
    present, place = np.unique(code, return_inverse=True)
    if len(present) < 2:
        raise DataError(
            f"All rows are of one group, {labels[int(present[0])]!r}, of the segment {name!r}",
            remedy="Fairness compares groups: leave the segment out, or use a log with several.",
        )
    if len(present) > MOST_GROUPS:
        raise ParameterError(
            f"The segment {name!r} has {len(present):,} groups, more than {MOST_GROUPS}",
            remedy="Pool them into fewer; numbers are cut into ranges when they are passed as floats.",
        )
    return Segment(name, tuple(labels[int(i)] for i in present), place.astype(np.intp).reshape(-1))


def _feature(log: DecisionLog, name: str, bins: int) -> tuple[list[str], NDArray[np.intp]]:
    if name not in log.features.names:
        raise FeatureError(
            f"There is no feature {name!r} to segment by",
            remedy=f"There are {log.features.names}; what the model must not see is passed as (n,) labels.",
        )
    at = log.features.names.index(name)
    column, values = log.features.columns[at], log.features.values[:, at]
    if column.kind == "number":
        return _ranges(values.astype(np.float64), bins)
    known = len(column.categories)
    return [*column.categories, MISSING], np.where(np.isnan(values), known, values).astype(np.intp)


def _given(name: str, column: Any, n: int, bins: int) -> tuple[list[str], NDArray[np.intp]]:
    values = np.asarray(column)
    if values.shape != (n,):
        raise DataError(
            f"The segment {name!r} has shape {values.shape}, expected {(n,)}", remedy="Pass one label per row."
        )
    if values.dtype.kind == "f":
        if np.isinf(values).any():
            raise DataError(
                f"The segment {name!r} is infinite",
                where=f"row {int(np.flatnonzero(np.isinf(values))[0])}",
                remedy="Pass finite numbers, or NaN for what is missing.",
            )
        return _ranges(values.astype(np.float64), bins)
    if values.dtype.kind == "O":
        values = np.array([MISSING if _absent(value) else str(value) for value in values.tolist()], dtype=np.str_)
    distinct, code = np.unique(values, return_inverse=True)
    return [str(label) for label in distinct.tolist()], code.astype(np.intp).reshape(-1)


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value)) or str(value) in ("NaT", "<NA>")


def _ranges(values: NDArray[np.float64], bins: int) -> tuple[list[str], NDArray[np.intp]]:
    """Labels and codes of a number: its values where there are few, else quantile ranges, open below."""
    known = ~np.isnan(values)
    distinct = np.unique(values[known])
    if len(distinct) <= bins:
        labels = [f"{value:g}" for value in distinct]
        code = np.searchsorted(distinct, values)
    else:
        inner = np.quantile(values[known], np.arange(1, bins) / bins)
        edges = np.unique(inner[inner < distinct[-1]])  # a quantile at the largest value parts nobody off
        labels = _named_ranges(edges)
        code = np.searchsorted(edges, values, side="left")
    return [*labels, MISSING], np.where(known, code, len(labels)).astype(np.intp)


def _named_ranges(edges: NDArray[np.float64]) -> list[str]:
    if not len(edges):
        return ["all"]
    told = next(
        (short for digits in (3, 4, 6, 9) if len(set(short := [f"{edge:.{digits}g}" for edge in edges])) == len(edges)),
        [repr(float(edge)) for edge in edges],
    )
    between = [f"{low} to {high}" for low, high in pairwise(told)]
    return [f"up to {told[0]}", *between, f"above {told[-1]}"]
