"""Trees as rules: splits, where a row ends up, and how a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable.features import Column

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Branch",
    "Leaf",
    "Node",
    "Rule",
    "Rules",
    "Split",
    "draw",
    "in_words",
    "joined",
    "numbered",
    "paths",
    "route",
]

Values = NDArray[np.float32]
Floats = NDArray[np.float64]
MOST_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Split:
    """A question about one feature, yes to the left.

    Attributes:
        column: the feature's place.
        threshold: left at or below it, compared in float32; None for a category, or to ask whether the value is known.
        categories: codes of the categories that go left; None for a number.
        missing_left: whether a missing value goes left.
        missing_seen: whether there was one among the rows the split was drawn from; where there was none, the side is
            that of more rows.
    """

    column: int
    threshold: float | None
    categories: tuple[int, ...] | None
    missing_left: bool
    missing_seen: bool = False

    def goes_left(self, values: Values) -> NDArray[np.bool_]:
        """(n,) which rows of the feature matrix (n, d) go left."""
        x = values[:, self.column]
        missing = np.isnan(x)
        if self.threshold is not None:
            left = x <= np.float32(self.threshold)
        elif self.categories is not None:
            left = np.isin(x, np.array(self.categories, dtype=np.float32))
        else:
            left = ~missing
        return np.where(missing, self.missing_left, left)


@dataclass(frozen=True, slots=True)
class Leaf:
    """Where rows end up; the index says which of the tree's leaves, from the left."""

    index: int = 0


@dataclass(frozen=True, slots=True)
class Branch:
    """A split with what follows on either side."""

    split: Split
    left: Node
    right: Node


Node = Branch | Leaf
Path = Sequence[tuple[Split, bool]]


def numbered(tree: Node) -> tuple[Node, int]:
    """The tree with its leaves numbered from the left, and how many there are."""

    def number(node: Node, first: int) -> tuple[Node, int]:
        if isinstance(node, Leaf):
            return Leaf(first), first + 1
        left, after = number(node.left, first)
        right, last = number(node.right, after)
        return Branch(node.split, left, right), last

    return number(tree, 0)


def joined(tree: Node, probabilities: Floats) -> tuple[Node, Floats]:
    """The tree without the questions whose two answers lead to the same action, and its leaves' probabilities.

    A budget can leave neighbours doing the same that were apart for another price.

    Args:
        tree: its leaves numbered.
        probabilities: (L, A) of the actions in each leaf.
    """
    kept: list[int] = []

    def join(node: Node) -> Node:
        if isinstance(node, Leaf):
            kept.append(node.index)
            return node
        left, right = join(node.left), join(node.right)
        if isinstance(left, Leaf) and isinstance(right, Leaf):
            same = bool((probabilities[kept[-2]] == probabilities[kept[-1]]).all())
            if same:
                kept.pop()
                return left
        return Branch(node.split, left, right)

    return numbered(join(tree))[0], probabilities[kept]


def route(tree: Node, values: Values) -> NDArray[np.intp]:
    """(n,) index of the leaf each row of the feature matrix (n, d) ends up in."""
    leaf = np.empty(values.shape[0], dtype=np.intp)

    def send(node: Node, rows: NDArray[np.intp]) -> None:
        if isinstance(node, Leaf):
            leaf[rows] = node.index
            return
        left = node.split.goes_left(values[rows])
        send(node.left, rows[left])
        send(node.right, rows[~left])

    send(tree, np.arange(values.shape[0]))
    return leaf


def paths(tree: Node) -> Iterator[Path]:
    """For each leaf, from the left: the splits on the way and whether they were answered with yes."""

    def walk(node: Node, way: Path) -> Iterator[Path]:
        if isinstance(node, Leaf):
            yield way
            return
        yield from walk(node.left, [*way, (node.split, True)])
        yield from walk(node.right, [*way, (node.split, False)])

    return walk(tree, [])


# -- words -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """One leaf of a tree, in words.

    Attributes:
        conditions: who it is about; empty where it is about everybody.
        action: label of its action; the likelier one where it draws lots.
        probabilities: (A,) probability of each action.
        share: (weighted) share of the people the tree was fitted on.
        rows: how many rows those were.
        does: the action, lots included, in words.
    """

    conditions: tuple[str, ...]
    action: str
    probabilities: tuple[float, ...]
    share: float
    rows: int
    does: str

    @property
    def who(self) -> str:
        """The conditions as one phrase."""
        return " and ".join(self.conditions) or "everybody"

    def __str__(self) -> str:
        return f"{self.who}: {self.does} ({self.share:.1%})"


@dataclass(frozen=True, slots=True)
class Rules(Sequence[Rule]):
    """The leaves of a tree as rules; each person is met by exactly one.

    Attributes:
        rules: from the leftmost leaf to the rightmost.
    """

    rules: tuple[Rule, ...]

    def __len__(self) -> int:
        return len(self.rules)

    def __getitem__(self, i: Any) -> Any:
        return self.rules[i]

    def frame(self) -> pl.DataFrame:
        """One row per rule."""
        import polars as pl

        return pl.DataFrame(
            {
                "rule": range(1, len(self) + 1),
                "who": [rule.who for rule in self.rules],
                "does": [rule.does for rule in self.rules],
                "share": [rule.share for rule in self.rules],
                "rows": [rule.rows for rule in self.rules],
            }
        )

    def __str__(self) -> str:
        wide, does = (max(len(getattr(rule, part)) for rule in self.rules) for part in ("who", "does"))
        return "\n".join(
            f"{i:3d}  {rule.who:{wide}}  {rule.does:{does}}  {rule.share:6.1%} of {sum(r.rows for r in self.rules):,}"
            for i, rule in enumerate(self.rules, 1)
        )


def in_words(way: Path, columns: Sequence[Column]) -> tuple[str, ...]:
    """The conditions of a leaf, those on the same feature joined."""
    by_column: dict[int, list[tuple[Split, bool]]] = {}
    for step in way:
        by_column.setdefault(step[0].column, []).append(step)
    return tuple(_of(steps, columns[column]) for column, steps in by_column.items())


def _of(steps: Path, column: Column) -> str:
    """Everything a path says of one feature; of missing values only where there were any."""
    seen = any(split.missing_seen for split, _ in steps)
    missing = all(split.missing_left == yes for split, yes in steps)
    if column.kind == "category":
        return _of_categories(steps, column, seen, missing)
    if any(split.threshold is None and not yes for split, yes in steps):
        return f"{column.name} is missing"
    lower = [split.threshold for split, yes in steps if not yes and split.threshold is not None]
    upper = [split.threshold for split, yes in steps if yes and split.threshold is not None]
    low, high = max(lower, default=None), min(upper, default=None)
    if low is None and high is None:
        return f"{column.name} is known"
    if low is None or high is None:
        words = f"{column.name} ≤ {high:.9g}" if low is None else f"{column.name} > {low:.9g}"
    else:
        words = f"{low:.9g} < {column.name} ≤ {high:.9g}"
    return f"({words} or missing)" if seen and missing else words


def _of_categories(steps: Path, column: Column, seen: bool, missing: bool) -> str:
    codes = set(range(len(column.categories)))
    for split, yes in steps:
        left = set(split.categories or ())
        codes = codes & left if yes else codes - left
    inside = [label for code, label in enumerate(column.categories) if code in codes]
    outside = [label for code, label in enumerate(column.categories) if code not in codes]
    if seen:
        (inside if missing else outside).append("missing")
    if len(inside) > len(outside) > 0:
        return f"{column.name} is {'not' if len(outside) == 1 else 'none of'} {_listed(outside)}"
    return f"{column.name} is {_listed(inside)}"


def _listed(labels: Sequence[str]) -> str:
    shown = [*labels[:MOST_SHOWN], *([f"{len(labels) - MOST_SHOWN} more"] if len(labels) > MOST_SHOWN else [])]
    return " or ".join(shown)


def draw(tree: Node, columns: Sequence[Column], leaves: Sequence[str]) -> str:
    """The tree as indented text, yes first; ``leaves`` says what stands at each leaf."""
    lines: list[str] = []

    def walk(node: Node, depth: int, lead: str) -> None:
        indent = "   " * depth
        if isinstance(node, Leaf):
            lines.append(f"{indent}{lead}{leaves[node.index]}")
            return
        lines.append(f"{indent}{lead}{in_words([(node.split, True)], columns)[0]}?")
        walk(node.left, depth + 1, "yes: ")
        walk(node.right, depth + 1, "no:  ")

    walk(tree, 0, "")
    return "\n".join(lines)
