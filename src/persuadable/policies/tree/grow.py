"""Growing a tree: exactly as deep as the search looks ahead, and below that one level at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from persuadable.features import Features
from persuadable.policies.base import Floats
from persuadable.policies.tree.axes import lay_out
from persuadable.policies.tree.exact import best_pair, best_stump
from persuadable.policies.tree.rules import Branch, Leaf, Node, Split, numbered

__all__ = ["Limits", "grow"]

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a tree may grow.

    Attributes:
        depth: levels of questions.
        lookahead: levels searched together, 1 or 2: a tree no deeper is the best there is, a deeper one takes the first
            question of the best tree of that many levels and goes on below it.
        min_leaf: least rows of a leaf.
        grid: most thresholds per number; None for all.
    """

    depth: int
    lookahead: int
    min_leaf: int
    grid: int | None


def grow(features: Features, net: Floats, limits: Limits) -> tuple[Node, int, tuple[int, ...]]:
    """A tree for gains (A − 1, n), how many leaves it has, and the features of which only some questions were tried."""
    coarse: set[int] = set()

    def below(rows: Rows, depth: int) -> Node:
        if depth == 0 or rows.size < 2 * limits.min_leaf:
            return Leaf()
        values, gain = features.values[rows], net[:, rows]
        axes, thinned = lay_out(values, features.columns, gain, limits.grid)
        coarse.update(thinned)
        ahead = min(depth, limits.lookahead)
        found = (best_stump if ahead == 1 else best_pair)(axes, gain, limits.min_leaf)
        if found is None:
            return Leaf()
        split, left = settled(found.split, values, features.columns[found.split.column].categories)
        if depth > ahead:
            return Branch(split, below(rows[left], depth - 1), below(rows[~left], depth - 1))
        sides = [_last(second, values[side]) for second, side in ((found.left, left), (found.right, ~left))]
        return Branch(split, *sides)

    def _last(split: Split | None, values: NDArray[np.float32]) -> Node:
        if split is None:
            return Leaf()
        return Branch(settled(split, values, features.columns[split.column].categories)[0], Leaf(), Leaf())

    tree, n_leaves = numbered(below(np.arange(len(features)), limits.depth))
    return tree, n_leaves, tuple(sorted(coarse))


def settled(split: Split, values: NDArray[np.float32], categories: Sequence[str]) -> tuple[Split, NDArray[np.bool_]]:
    """The split with a side for what these rows (n, d) do not show, that of more rows; and which rows go left."""
    left = split.goes_left(values)
    more = bool(2 * np.count_nonzero(left) >= left.size)
    x = values[:, split.column]
    seen = bool(np.isnan(x).any())
    split = replace(split, missing_left=split.missing_left if seen else more, missing_seen=seen)
    if split.categories is not None and more:
        absent = set(range(len(categories))) - set(np.unique(x[~np.isnan(x)]).astype(np.intp).tolist())
        split = replace(split, categories=tuple(sorted(absent.union(split.categories))))
    elif split.categories is not None:
        shown = np.isin(split.categories, x)
        split = replace(split, categories=tuple(np.array(split.categories)[shown].tolist()))
    return split, left
