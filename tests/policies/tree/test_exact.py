"""The search finds the best tree there is: held against every tree of two levels, tried one by one."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persuadable.features import Column, Features
from persuadable.policies.tree.axes import lay_out, plain_between
from persuadable.policies.tree.exact import best_pair, best_stump
from persuadable.policies.tree.grow import Limits, grow
from persuadable.policies.tree.rules import Branch, Leaf, route


def every_split(x: np.ndarray, category: bool) -> list[np.ndarray]:
    """(n,) masks of what goes left: each threshold or subset, missing values on either side."""
    known = ~np.isnan(x)
    values = np.unique(x[known])
    if category:
        values = [*values, np.nan] if not known.all() else list(values)
        same = [np.isnan(x) if np.isnan(v) else x == v for v in values]
        chosen = [c for size in range(1, len(values)) for c in combinations(range(len(values)), size)]
        return [np.any([same[i] for i in c], axis=0) for c in chosen]
    below = [x <= v for v in values]
    return below if known.all() else [*below, *[mask | ~known for mask in below], ~known]


def best_by_hand(x: np.ndarray, categories: list[bool], gain: np.ndarray, depth: int, min_leaf: int) -> float:
    """The worth of the best tree, by trying all of them (gain is (A − 1, n))."""

    def search(rows: np.ndarray, levels: int) -> float:
        best = max(0.0, *(gain[a][rows].sum() for a in range(len(gain))))
        if levels == 0:
            return best
        for j, category in enumerate(categories):
            for left in every_split(x[:, j], category):
                yes, no = rows & left, rows & ~left
                if min(yes.sum(), no.sum()) >= min_leaf:
                    best = max(best, search(yes, levels - 1) + search(no, levels - 1))
        return best

    return search(np.ones(len(x), dtype=bool), depth)


def worth_of(tree, features: Features, gain: np.ndarray) -> float:
    leaf = route(tree, features.values)
    sums = np.array([np.bincount(leaf, g, leaf.max() + 1) for g in gain])
    return float(np.maximum(sums, 0.0).max(axis=0).sum()) if len(gain) else 0.0


def made(x: np.ndarray, categories: list[bool]) -> Features:
    labels = tuple("abcdefghij")
    columns = [Column(f"f{j}", *(("category", labels) if c else ())) for j, c in enumerate(categories)]
    return Features(x.astype(np.float32), tuple(columns))


@st.composite
def problems(draw):
    n = draw(st.integers(2, 14))
    categories = draw(st.lists(st.booleans(), min_size=1, max_size=2))
    arms = draw(st.integers(1, 3))
    cells = st.one_of(st.integers(0, 3), st.just(np.nan)) if draw(st.booleans()) else st.integers(0, 3)
    x = np.array([[draw(cells) for _ in categories] for _ in range(n)], dtype=float)
    gain = np.array([[draw(st.integers(-5, 5)) for _ in range(n)] for _ in range(arms)], dtype=float)
    return x, categories, gain, draw(st.integers(1, 3))


@pytest.mark.parametrize("depth", [1, 2])
@settings(max_examples=150, deadline=None)
@given(problem=problems())
def test_no_tree_is_better(depth, problem):
    x, categories, gain, min_leaf = problem
    features = made(x, categories)
    tree, n_leaves, coarse = grow(features, gain, Limits(depth, 2, min_leaf, None))
    assert worth_of(tree, features, gain) == best_by_hand(x, categories, gain, depth, min_leaf)
    assert coarse == ()
    assert n_leaves == 1 or np.bincount(route(tree, features.values)).min() >= min_leaf


@pytest.mark.parametrize("cells", [3, 40, 1 << 16])
def test_blocks_of_thresholds_give_the_same(cells, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2)).round(1)
    x[rng.random(x.shape) < 0.1] = np.nan
    gain = rng.integers(-5, 6, size=(2, 40)).astype(float)
    monkeypatch.setattr("persuadable.policies.tree.exact.CELLS", cells)
    features = made(x, [False, False])
    tree, *_ = grow(features, gain, Limits(2, 2, 1, None))
    assert worth_of(tree, features, gain) == best_by_hand(x, [False, False], gain, 2, 1)


def test_blocks_of_many_categories_give_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    labels = tuple(f"c{i}" for i in range(40))
    code = rng.integers(0, 40, (300, 2)).astype(np.float32)
    gain = rng.normal(size=(2, 300)) + np.sin(code[:, 0])
    features = Features(code, (Column("zip", "category", labels), Column("shop", "category", labels)))
    whole = grow(features, gain, Limits(2, 2, 5, None))[0]
    monkeypatch.setattr("persuadable.policies.tree.exact.CELLS", 100)
    assert grow(features, gain, Limits(2, 2, 5, None))[0] == whole


def test_every_subset_of_a_category_is_tried():
    """Gains that no order of the labels puts side by side: only the set {a, c, e} against the rest finds them."""
    x = np.tile(np.arange(6.0), 10)[:, None]
    gain = np.where(np.isin(x[:, 0], [0, 2, 4]), 1.0, -1.0)[None]
    tree, *_ = grow(made(x, [True]), gain, Limits(1, 2, 1, None))
    assert isinstance(tree, Branch)
    assert set(tree.split.categories) in ({0, 2, 4}, {1, 3, 5, 6, 7, 8, 9})


def test_many_categories_are_split_along_each_treatments_mean_gain():
    rng = np.random.default_rng(1)
    labels = tuple(f"c{i}" for i in range(30))
    code = rng.integers(0, 30, 600).astype(np.float32)
    good = rng.permutation(30)[:11]
    gain = np.where(np.isin(code, good), 1.0, -1.0)[None] + rng.normal(size=600) * 0.01
    features = Features(code[:, None], (Column("zip", "category", labels),))
    tree, _, coarse = grow(features, gain, Limits(1, 2, 1, None))
    found = np.isin(np.arange(30), tree.split.categories)
    assert set(np.flatnonzero(found)) == set(good.tolist()) or set(np.flatnonzero(~found)) == set(good.tolist())
    assert coarse == (0,)
    axes, _ = lay_out(features.values, features.columns, np.vstack([gain, -gain]), 5)
    assert [axis.n_bins for axis in axes] == [5, 5]
    assert axes[0].bins[0] != axes[1].bins[0]


def test_a_grid_is_of_quantiles_and_says_so():
    x = np.random.default_rng(0).exponential(size=(10_000, 1)).astype(np.float32)
    axes, coarse = lay_out(x, (Column("spend"),), np.zeros((1, 10_000)), 16)
    assert coarse == (0,)
    assert axes[0].n_splits == 15
    below = [(x[:, 0] <= np.float32(cut)).mean() for cut in axes[0].cuts]
    assert below == pytest.approx(np.arange(1, 16) / 16, abs=0.001)
    assert lay_out(x.round(0), (Column("spend"),), np.zeros((1, 10_000)), 16)[1] == ()


def test_a_constant_or_unknown_feature_asks_nothing():
    x = np.column_stack([np.full(5, np.nan), np.ones(5), np.zeros(5)]).astype(np.float32)
    columns = (Column("a"), Column("b"), Column("c", "category", ("x", "y")))
    assert lay_out(x, columns, np.ones((1, 5)), None) == ([], ())
    assert grow(Features(x, columns), np.ones((1, 5)), Limits(2, 2, 1, None))[0] == Leaf(0)


def test_two_levels_see_what_one_does_not():
    """Exclusive or: no single question gains anything."""
    x = np.array(list(product([0, 1], [0, 1])) * 5, dtype=float)
    gain = np.where(x[:, 0] == x[:, 1], 1.0, -1.0)[None]
    features = made(x, [False, False])
    for lookahead, worth in ((1, 0.0), (2, 10.0)):
        tree, *_ = grow(features, gain, Limits(2, lookahead, 1, None))
        assert worth_of(tree, features, gain) == worth


def test_looking_further_ahead_is_never_worse_at_two_levels_and_greedy_is_by_hand():
    rng = np.random.default_rng(3)
    for _ in range(10):
        x = rng.integers(0, 4, size=(60, 3)).astype(float)
        gain = rng.normal(size=(2, 60)).round(2)
        features = made(x, [False] * 3)
        trees = [grow(features, gain, Limits(2, ahead, 3, None))[0] for ahead in (1, 2)]
        greedy, exact = (worth_of(tree, features, gain) for tree in trees)
        first = best_by_hand(x, [False] * 3, gain, 1, 3)
        assert first - 1e-9 <= greedy <= exact + 1e-9
        root = greedy_root(x, gain, 3)
        assert (root is None) == isinstance(trees[0], Leaf)
        if root is not None:
            assert root == pytest.approx(first)


def greedy_root(x, gain, min_leaf):
    """The worth of the best single question, None where it gains nothing."""
    alone = max(0.0, *gain.sum(axis=1))
    best = best_by_hand(x, [False] * x.shape[1], gain, 1, min_leaf)
    return best if best > alone + 1e-12 else None


@pytest.mark.parametrize(("depth", "lookahead"), [(3, 1), (3, 2), (5, 2)])
def test_deeper_trees_keep_to_their_limits(depth, lookahead):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 3))
    gain = rng.normal(size=(2, 400))
    features = made(x, [False] * 3)
    tree, n_leaves, _ = grow(features, gain, Limits(depth, lookahead, 10, 32))
    sizes = np.bincount(route(tree, features.values), minlength=n_leaves)
    assert sizes.min() >= 10
    assert levels(tree) == depth
    assert worth_of(tree, features, gain) > worth_of(grow(features, gain, Limits(2, 2, 10, 32))[0], features, gain)


def levels(node):
    return 0 if isinstance(node, Leaf) else 1 + max(levels(node.left), levels(node.right))


@given(st.data())
def test_thresholds_are_short_and_lie_between(data):
    numbers = st.floats(-1e6, 1e6, width=32)
    low, high = sorted((data.draw(numbers), data.draw(numbers)))
    if low < high:
        t = np.float32(plain_between(low, high))
        assert np.float32(low) <= t < np.float32(high)


def test_thresholds_read_well():
    assert plain_between(5.0, 6.0) == 5.0
    assert plain_between(float(np.float32(0.1)), 0.2) == 0.1
    assert plain_between(29.99, 45.01) == 40.0
    assert plain_between(1234.0, 1235.0) == 1234.0


def test_stump_is_the_best_of_one_level():
    rng = np.random.default_rng(5)
    x, gain = rng.normal(size=(30, 2)), rng.integers(-9, 9, size=(1, 30)).astype(float)
    axes, _ = lay_out(x.astype(np.float32), made(x, [False, False]).columns, gain, None)
    one, two = best_stump(axes, gain, 1), best_pair(axes, gain, 1)
    left = one.split.goes_left(x.astype(np.float32))
    assert np.maximum([gain[0][left].sum(), gain[0][~left].sum()], 0).sum() == best_by_hand(x, [False] * 2, gain, 1, 1)
    assert two is not None
