"""One sort, from which every ranking measure is read; tied scores are one group."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import DataError
from persuadable.value.estimate import Codes, Floats

__all__ = ["Ranks", "checked_scores", "rank", "share_above"]


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """Rows from the highest score to the lowest, in groups of equal scores.

    Attributes:
        order: (m,) row at each rank, the highest score first.
        start: (G + 1,) where each group begins in ``order``; the last entry is m.
        share: (G + 1,) share of the population (of the weight) ranked above each ``start``: from 0 to 1.
        p: (m,) share of the weight each row in ``order`` holds, or None where every row holds 1/m.
    """

    order: Codes
    start: Codes
    share: Floats
    p: Floats | None = None

    @property
    def m(self) -> int:
        """Rows ranked."""
        return int(self.order.shape[0])

    @property
    def tied(self) -> bool:
        """Whether any two rows share a score."""
        return len(self.start) <= self.m

    @property
    def middle(self) -> Floats:
        """(G,) share ranked above a group, its own members counting half: the mid-rank U of its rows."""
        return (self.share[1:] + self.share[:-1]) / 2

    def sort(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values by row, in rank order."""
        return np.take(values, self.order, axis=0)

    def unsort(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values in rank order, by row."""
        back = np.empty_like(values)
        back[self.order] = values
        return back

    def expand(self, by_group: NDArray[Any]) -> NDArray[Any]:
        """(m,) values of each row's group, in rank order."""
        return np.repeat(by_group, np.diff(self.start)) if self.tied else by_group

    def mass(self, values: Floats) -> Floats:
        """(m,) each row's part in a population mean, in rank order."""
        return values / self.m if self.p is None else values * self.p

    def cumulate(self, values: Floats) -> Floats:
        """(G + 1,) population mean of values (m,) in rank order over the rows above each ``start``."""
        return self.running(self.mass(values))

    def running(self, parts: Floats) -> Floats:
        """(G + 1,) sums of parts (m,) in rank order above each ``start``."""
        total = np.empty(self.m + 1)
        total[0] = 0.0
        np.cumsum(parts, out=total[1:])
        return total[self.start] if self.tied else total

    def reweighted(self, weight: Floats) -> Ranks:
        """The same ranking with other row weights (m,), given in rank order."""
        p = weight / weight.sum()
        ranks = replace(self, p=p)
        share = ranks.running(p)
        share /= share[-1]
        return replace(ranks, share=share)


def rank(scores: NDArray[Any], weight: Floats | None = None) -> Ranks:
    """Rank rows by score, the highest first, equal scores as one group.

    Args:
        scores: (m,) numbers without NaN.
        weight: (m,) row weights; equal when None.
    """
    m = scores.shape[0]
    order = np.argsort(scores)[::-1]
    ordered = np.take(scores, order)
    new = ordered[1:] != ordered[:-1]
    if np.count_nonzero(new) == m - 1:
        start = np.arange(m + 1, dtype=np.intp)
    else:
        start = np.concatenate([[0], np.flatnonzero(new) + 1, [m]]).astype(np.intp)
    ranks = Ranks(order=order, start=start, share=start / m)
    return ranks if weight is None else ranks.reweighted(np.take(weight, order))


def share_above(scores: NDArray[Any], weight: Floats | None = None) -> Floats:
    """(m,) U_i, the share of (weighted) rows scoring above row i, ties and the row itself counting half.

    It is the mid-rank: U lies in (0, 1), its mean is ½, and tied rows have the same U.
    """
    ranks = rank(scores, weight)
    return np.asarray(ranks.unsort(ranks.expand(ranks.middle)))


def checked_scores(scores: Any, n: int) -> NDArray[Any]:
    """Scores as (n,) numbers.

    Raises:
        DataError: not one number per row, or not finite.
    """
    if hasattr(scores, "effect"):
        kind = type(scores).__name__
        raise DataError(f"A {kind} is not a ranking", remedy="Pass its effects: learner.effect(log.features)[:, 1].")
    values = np.asarray(scores)
    if values.ndim != 1:
        raise DataError(
            f"scores has shape {values.shape}",
            remedy="Pass one number per row; of an (n, A) effect pass the treatment's column, such as tau[:, 1].",
        )
    if values.shape[0] != n:
        raise DataError(
            f"There are {values.shape[0]:,} scores for {n:,} rows",
            remedy="Score exactly the rows of the log, in its order.",
        )
    if values.dtype.kind not in "fiub":
        raise DataError(f"scores has type {values.dtype}", remedy="Pass numbers, such as float64.")
    if values.dtype.kind == "b":
        return values.view(np.uint8)
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(
            f"A score is {values[row]}",
            where=f"row {row}",
            remedy="Rank every row; give rows without a score the lowest one.",
        )
    return values
