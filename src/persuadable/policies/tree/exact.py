"""The best tree of one or two levels, over every question there is.

With gains g_a(i) over doing nothing, a leaf is worth max(0, max_a Σ g_a). For two features j and k the sums of every
pair of bins are counted once; running sums along j give what each question of j sends left, running sums of those along
k what each question of k makes of either side. So d features of b bins take d²·(n + b²) additions, where trying every
pair of questions on every row would take d²·b²·n.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persuadable.policies.base import Floats
from persuadable.policies.tree.axes import Axis, Groups, running
from persuadable.policies.tree.rules import Split

__all__ = ["Found", "best_pair", "best_stump"]

CELLS = 1 << 16  # of one block of sums: half a megabyte per action, which caches hold
Codes = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Found:
    """The best tree: its first question, and the second one on either side where it pays to ask."""

    split: Split
    left: Split | None = None
    right: Split | None = None


@dataclass(slots=True, eq=False)
class Side:
    """For each first question, the best worth of one of its sides, and the second question that gives it."""

    worth: Floats
    axis: NDArray[np.intp]
    index: NDArray[np.intp]

    @classmethod
    def of_leaves(cls, sums: Floats) -> Side:
        """Sides that ask nothing more, from their sums (A, s)."""
        n = sums.shape[1]
        return cls(_worth(sums[:-1]), np.full(n, -1), np.zeros(n, dtype=np.intp))

    def improve(self, first: int, axis: int, worth: Floats, index: NDArray[np.intp]) -> None:
        """Take a second question where it is strictly better."""
        part = slice(first, first + worth.size)
        better = worth > self.worth[part]
        self.worth[part][better] = worth[better]
        self.axis[part][better] = axis
        self.index[part][better] = index[better]

    def split(self, index: int, axes: Sequence[Axis]) -> Split | None:
        """The second question after the first one of this index."""
        return None if self.axis[index] < 0 else axes[self.axis[index]].split(int(self.index[index]))


def best_stump(axes: Sequence[Axis], net: Floats, min_leaf: int) -> Found | None:
    """The best single question; None where none is strictly better than one leaf.

    Args:
        axes: the features.
        net: (A − 1, n) gains of the treatments.
        min_leaf: least rows on either side.
    """
    best, found = _leaf_worth(net), None
    for axis in axes:
        total = _sums(axis.codes, axis.n_bins, net)[:, None]
        worth, index = _best_question(axis.left(total, 2), total.sum(axis=2), min_leaf)
        if worth[0] > best:
            best, found = float(worth[0]), Found(axis.split(int(index[0])))
    return found


def best_pair(axes: Sequence[Axis], net: Floats, min_leaf: int) -> Found | None:
    """The best tree of two levels; None where none is strictly better than one leaf. Arguments as ``best_stump``."""
    best, found = _leaf_worth(net), None
    everything = np.append(net.sum(axis=1), net.shape[1])[:, None]
    alone = [axis.left(_sums(axis.codes, axis.n_bins, net), 1) for axis in axes]
    for axis, left in zip(axes, alone, strict=True):
        right = everything - left
        sides = Side.of_leaves(left), Side.of_leaves(right)
        order = np.argsort(axis.codes, kind="stable")
        codes, sorted_net = axis.codes[order], net[:, order]
        for k, (other, asked) in enumerate(zip(axes, alone, strict=True)):
            for first, sums in _first_answers(axis, codes, other, other.codes[order], sorted_net):
                part = slice(first, first + sums.shape[1])
                yes = other.left(sums, 2)
                sides[0].improve(first, k, *_best_question(yes, left[:, part], min_leaf))
                # What goes left of those on the right is what goes left of all, less of those on the left.
                sides[1].improve(first, k, *_best_question(asked[:, None] - yes, right[:, part], min_leaf))
        worth = sides[0].worth + sides[1].worth
        worth[(left[-1] < min_leaf) | (right[-1] < min_leaf)] = -np.inf
        chosen = int(worth.argmax())
        if worth[chosen] > best:
            best = float(worth[chosen])
            found = Found(axis.split(chosen), sides[0].split(chosen, axes), sides[1].split(chosen, axes))
    return found


def _leaf_worth(net: Floats) -> float:
    return max(0.0, float(net.sum(axis=1).max(initial=0.0)))


def _worth(sums: Floats) -> Floats:
    """max(0, max_a Σ g_a) over the first axis."""
    best: Floats = np.maximum(sums[0], 0.0)
    for more in sums[1:]:
        np.maximum(best, more, out=best)
    return best


def _sums(cells: Codes, n_cells: int, net: Floats) -> Floats:
    """(A, cells): the sum of each treatment's gains in each cell, and last the number of rows."""
    sums = np.empty((net.shape[0] + 1, n_cells))
    for out, gain in zip(sums, net, strict=False):
        out[:] = np.bincount(cells, gain, n_cells)
    sums[-1] = np.bincount(cells, minlength=n_cells)
    return sums


def _best_question(yes: Floats, total: Floats, min_leaf: int) -> tuple[Floats, NDArray[np.intp]]:
    """For each of s parts, the worth of its best question and which that is.

    Args:
        yes: (A, s, questions) sums of what goes left.
        total: (A, s) sums of the parts.
        min_leaf: least rows on either side.
    """
    no = total[..., None] - yes
    worth = _worth(yes[:-1])
    worth += _worth(no[:-1])
    np.putmask(worth, np.minimum(yes[-1], no[-1]) < min_leaf, -np.inf)
    index = worth.argmax(axis=1)
    return np.take_along_axis(worth, index[:, None], axis=1)[:, 0], index


def _first_answers(axis: Axis, codes: Codes, other: Axis, others: Codes, net: Floats) -> Iterator[tuple[int, Floats]]:
    """Blocks of first questions: the first's index, and (A, s, bins of the other axis) sums of what each sends left.

    Args:
        axis: of the first question.
        codes: (n,) its bins, rising.
        other: of the second question.
        others: (n,) its bins, the rows in the same order.
        net: (A − 1, n) gains, the rows in the same order.
    """
    width = other.n_bins
    if isinstance(axis, Groups) or axis.n_bins * width <= CELLS:
        table = _sums(codes * width + others, axis.n_bins * width, net)
        yield 0, axis.left(table.reshape(-1, axis.n_bins, width), 1)
        return
    known = axis.known
    starts = np.searchsorted(codes, np.arange(axis.n_bins + 1))
    last = slice(int(starts[known]), codes.size)
    missing = _sums(others[last], width, net[:, last])[:, None]
    before = np.zeros((net.shape[0] + 1, 1, width))
    step = max(1, CELLS // width)
    for first in range(0, known, step):
        end = min(first + step, known)
        rows = slice(int(starts[first]), int(starts[end]))
        cells = (codes[rows] - first) * width + others[rows]
        upto = running(_sums(cells, (end - first) * width, net[:, rows]).reshape(-1, end - first, width), 1)
        upto += before
        before = upto[:, -1:].copy()
        kept = upto if end < known or axis.missing else upto[:, :-1]
        if kept.shape[1]:
            yield first, kept
        if axis.missing and (finite := upto if end < known else upto[:, :-1]).shape[1]:
            yield known + first, finite + missing
