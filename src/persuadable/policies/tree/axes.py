"""The questions a tree may ask of a feature, laid out so that all of them are answered in one sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from persuadable.features import Column
from persuadable.policies.base import Floats
from persuadable.policies.tree.rules import Split

__all__ = ["Axis", "Groups", "Numbers", "Ordered", "lay_out", "running"]

Codes = NDArray[np.intp]
MOST_GROUPED = 8  # bins of which every subset is tried: 127 questions


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """A number: is it at or below a threshold? Missing values are tried on both sides, and asked for by themselves.

    Attributes:
        column: the feature's place.
        codes: (n,) bin of each row; missing values have the last.
        cuts: thresholds between the bins, rising.
        missing: whether there are missing values.
    """

    column: int
    codes: Codes
    cuts: tuple[float, ...]
    missing: bool

    @property
    def known(self) -> int:
        """Bins in order: one more than thresholds."""
        return len(self.cuts) + 1

    @property
    def n_bins(self) -> int:
        """Those, and one for missing values."""
        return self.known + self.missing

    @property
    def n_splits(self) -> int:
        """Each threshold; with missing values twice, and whether the value is known."""
        return 2 * len(self.cuts) + 1 if self.missing else len(self.cuts)

    def left(self, table: Floats, axis: int) -> Floats:
        """Running sums; those with missing values on the left come last."""
        m = self.known
        upto = running(table[_at(axis, slice(0, m - 1 + self.missing))], axis)
        if not self.missing:
            return upto
        with_missing = upto[_at(axis, slice(0, m - 1))] + table[_at(axis, slice(m, m + 1))]
        return np.concatenate([upto, with_missing], axis=axis)

    def split(self, index: int) -> Split:
        """The question."""
        m = len(self.cuts)
        if index < m:
            return Split(self.column, self.cuts[index], None, False, self.missing)
        if index == m:
            return Split(self.column, None, None, False, True)
        return Split(self.column, self.cuts[index - m - 1], None, True, True)


def _at(axis: int, part: slice) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, part)


def running(table: Floats, axis: int) -> Floats:
    """Running sums along an axis."""
    if axis == table.ndim - 1:
        return np.cumsum(table, axis=axis)
    # NumPy's own take five times as long along any axis but the last.
    sums = np.moveaxis(table.copy(), axis, 0)
    for before, after in pairwise(sums):
        after += before
    return np.moveaxis(sums, 0, axis)


@dataclass(frozen=True, slots=True, eq=False)
class Ordered:
    """A category with many values, put in an order: is it among the first?

    Attributes:
        column: the feature's place.
        codes: (n,) bin of each row.
        bins: the categories of each bin, −1 for a missing value.
    """

    column: int
    codes: Codes
    bins: tuple[tuple[int, ...], ...]
    missing: ClassVar[bool] = False  # a missing value is one more category

    @property
    def known(self) -> int:
        """Bins in order: all."""
        return len(self.bins)

    @property
    def n_bins(self) -> int:
        """Groups of categories."""
        return len(self.bins)

    @property
    def n_splits(self) -> int:
        """One fewer than bins."""
        return len(self.bins) - 1

    def left(self, table: Floats, axis: int) -> Floats:
        """Running sums."""
        return running(table[_at(axis, slice(0, self.n_splits))], axis)

    def split(self, index: int) -> Split:
        """The question."""
        return _of_categories(self.column, [c for group in self.bins[: index + 1] for c in group], self.bins)


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """A category with few values: is it in this subset? Every subset is tried.

    Attributes:
        column: the feature's place.
        codes: (n,) bin of each row.
        bins: the category of each bin, −1 for a missing value.
        members: (2^(b−1) − 1, b) which bins each question sends left; the first bin never, as it is the complement.
    """

    column: int
    codes: Codes
    bins: tuple[tuple[int, ...], ...]
    members: Floats

    @property
    def n_bins(self) -> int:
        """Categories there are."""
        return len(self.bins)

    @property
    def n_splits(self) -> int:
        """Subsets up to complement."""
        return int(self.members.shape[0])

    def left(self, table: Floats, axis: int) -> Floats:
        """Sums over subsets."""
        return np.ascontiguousarray(np.moveaxis(np.moveaxis(table, axis, -1) @ self.members.T, -1, axis))

    def split(self, index: int) -> Split:
        """The question."""
        chosen = np.flatnonzero(self.members[index])
        return _of_categories(self.column, [c for i in chosen for c in self.bins[i]], self.bins)


# A feature cut into bins, codes (n,) that say which one a row is in, and questions that send some bins left.
Axis = Numbers | Ordered | Groups


def _of_categories(column: int, chosen: Sequence[int], bins: Sequence[Sequence[int]]) -> Split:
    seen = any(-1 in group for group in bins)
    return Split(column, None, tuple(sorted(c for c in chosen if c >= 0)), -1 in chosen, seen)


def lay_out(
    values: NDArray[np.float32], columns: Sequence[Column], gain: Floats, grid: int | None
) -> tuple[list[Axis], tuple[int, ...]]:
    """The axes of a feature matrix (n, d), and the columns whose questions are only some of those possible.

    Numbers are cut at every value, or with more than ``grid`` values at that many quantiles. Up to eight categories are
    split into any two groups. More are put in the order of each treatment's mean gain (A − 1, n), an axis each: to
    choose between that treatment and doing nothing no other subset is better than the best of the first ones. More than
    ``grid`` of them are joined into that many bins.
    """
    axes: list[Axis] = []
    coarse = []
    for j, column in enumerate(columns):
        x = np.ascontiguousarray(values[:, j])
        if column.kind == "category":
            found, thinned = _category_axes(j, x, len(column.categories), gain, grid)
            axes += found
        else:
            number, thinned = _numbers(j, x, grid)
            axes += [number] if number.n_splits else []
        if thinned:
            coarse.append(j)
    return axes, tuple(coarse)


def _numbers(column: int, x: NDArray[np.float32], grid: int | None) -> tuple[Numbers, bool]:
    known = ~np.isnan(x)
    whole = bool(known.all())
    distinct, counts = np.unique(x if whole else x[known], return_counts=True)
    thinned = grid is not None and distinct.size > grid
    last = _ends(counts, grid) if grid is not None and thinned else np.arange(distinct.size)
    upper = distinct[last]
    cuts = tuple(plain_between(float(distinct[i]), float(distinct[i + 1])) for i in last[:-1])
    codes = np.searchsorted(upper, x).astype(np.intp)
    if not whole:
        codes[~known] = upper.size
    return Numbers(column, codes, cuts, not whole and upper.size > 0), thinned


def _ends(counts: NDArray[np.intp], grid: int) -> NDArray[np.intp]:
    """The last distinct value of each of about ``grid`` bins with equally many rows."""
    upto = np.cumsum(counts)
    bin_of = (upto - 1) * grid // upto[-1]
    return np.flatnonzero(np.append(np.diff(bin_of) != 0, True))


def plain_between(low: float, high: float) -> float:
    """A number t with few digits and low ≤ t < high in float32, ``low`` itself where it is as short."""
    middle = low + (high - low) / 2
    for digits in range(1, 9):
        for told in (low, middle):
            t = float(f"{told:.{digits}g}")
            if low <= float(np.float32(t)) < high and (told == middle or np.float32(t) == np.float32(low)):
                return t
    return float(f"{low:.9g}")


def _category_axes(
    column: int, x: NDArray[np.float32], n_categories: int, gain: Floats, grid: int | None
) -> tuple[list[Axis], bool]:
    label = np.where(np.isnan(x), -1.0, x).astype(np.intp)
    present = np.flatnonzero(np.bincount(label + 1, minlength=n_categories + 1)) - 1
    if present.size < 2:
        return [], False
    place = np.searchsorted(present, label)
    if present.size <= MOST_GROUPED:
        bins = tuple((int(c),) for c in present)
        return [Groups(column, place, bins, _subsets(present.size))], False
    counts = np.bincount(place)
    axes = [_ordered(column, present, place, counts, order, grid) for order in _orders(place, counts, gain)]
    return list(axes), True


def _subsets(b: int) -> Floats:
    """(2^(b−1) − 1, b) every subset of b bins but the empty one, of those without the first."""
    number = np.arange(1, 2 ** (b - 1))
    return np.column_stack([np.zeros(number.size), (number[:, None] >> np.arange(b - 1)) & 1]).astype(np.float64)


def _orders(place: Codes, counts: NDArray[np.intp], gain: Floats) -> Iterator[Codes]:
    """Places of the categories in the order of each treatment's mean gain."""
    for values in gain:
        yield np.argsort(np.bincount(place, values) / counts, kind="stable")


def _ordered(
    column: int, present: Codes, place: Codes, counts: NDArray[np.intp], order: Codes, grid: int | None
) -> Ordered:
    if grid is None or order.size <= grid:
        bin_of = np.arange(order.size)
    else:
        ends = _ends(counts[order], grid)
        bin_of = np.searchsorted(ends, np.arange(order.size))
    bins = tuple(tuple(int(present[i]) for i in order[bin_of == b]) for b in range(int(bin_of[-1]) + 1))
    bin_of_place = np.empty(order.size, dtype=np.intp)
    bin_of_place[order] = bin_of
    return Ordered(column, bin_of_place[place], bins)
