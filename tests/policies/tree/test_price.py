"""The budget: against linear programming, and against every tree of two levels on small data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from persuadable.features import Column, Features
from persuadable.policies.tree.grow import Limits, grow
from persuadable.policies.tree.price import Grown, spend, within_budget
from persuadable.policies.tree.rules import route
from persuadable.policies.tree.scores import Stakes


def best_spending(worth, charge, share):
    """The linear program, by somebody else's solver: one row of probabilities per leaf, one budget."""
    leaves, actions = worth.shape
    one_each = np.kron(np.eye(leaves), np.ones(actions))
    done = linprog(-worth.ravel(), charge.ravel()[None], [share], one_each, np.ones(leaves), bounds=(0, 1))
    return -done.fun


tables = st.integers(1, 4).flatmap(
    lambda leaves: st.integers(2, 4).flatmap(
        lambda actions: st.tuples(
            st.lists(st.integers(-9, 9), min_size=leaves * actions, max_size=leaves * actions),
            st.lists(st.integers(0, 9), min_size=leaves * actions, max_size=leaves * actions),
        ).map(lambda t: tuple(np.array(part, dtype=float).reshape(leaves, actions) for part in t))
    )
)


@settings(max_examples=200, deadline=None)
@given(table=tables, share=st.floats(0, 1))
def test_spending_is_the_linear_programs(table, share):
    worth, charge = table
    charge[:, 0] = 0.0
    # Who may not be treated is worth what doing nothing is: where an action uses nothing it changes nothing.
    worth = np.where(charge == 0, worth[:, :1], worth)
    charge = charge / max(charge.max(axis=1).sum(), 1.0)
    p = spend(worth, charge, share)
    assert p.sum(axis=1) == pytest.approx(np.ones(len(p)))
    assert (p >= 0).all()
    assert (p * charge).sum() <= share + 1e-9
    assert (p * worth).sum() == pytest.approx(best_spending(worth, charge, share), abs=1e-7)
    assert np.count_nonzero((p > 0) & (p < 1), axis=1).astype(bool).sum() <= 1


def test_spending_by_hand():
    """Two leaves of a half each: the first gains 4 per unit treated, the second 2."""
    worth = np.array([[1.0, 3.0], [1.0, 2.0]])
    charge = np.array([[0.0, 0.5], [0.0, 0.5]])
    assert spend(worth, charge, 0.5).tolist() == [[0, 1], [1, 0]]
    assert spend(worth, charge, 0.75).tolist() == [[0, 1], [0.5, 0.5]]
    assert spend(worth, charge, 0.0).tolist() == [[1, 0], [1, 0]]
    assert spend(worth, charge, 1.0).tolist() == [[0, 1], [0, 1]]


def problem(seed, eligible=False, weight=False):
    rng = np.random.default_rng(seed)
    n = 24
    x = rng.integers(0, 3, size=(n, 2)).astype(np.float32)
    scores = rng.normal(size=(n, 3)).round(2)
    allowed = rng.random((n, 3)) < 0.7 if eligible else None
    if allowed is not None:
        allowed[:, 0] = True
    stakes = Stakes.of(scores, rng.uniform(0.5, 2, n) if weight else None, allowed)
    return Features(x, (Column("a"), Column("b"))), stakes


def grower(features, stakes, depth=2):
    def at(price):
        tree, leaves, coarse = grow(features, stakes.at(price), Limits(depth, 2, 1, None))
        return Grown(tree, *stakes.by_leaf(route(tree, features.values), leaves), coarse)

    return at


def every_partition(x, depth):
    """(n,) leaf codes of every tree of at most this depth."""
    yield np.zeros(len(x), dtype=np.intp)
    if depth == 0:
        return
    for j in range(x.shape[1]):
        for cut in np.unique(x[:, j])[:-1]:
            left = x[:, j] <= cut
            for a in every_partition(x[left], depth - 1):
                for b in every_partition(x[~left], depth - 1):
                    leaf = np.empty(len(x), dtype=np.intp)
                    leaf[left], leaf[~left] = a, b + a.max() + 1
                    yield leaf


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_holds_for_every_tree(seed):
    """Known optimum: every partition by a tree of two levels, its budget spent by the linear program."""
    features, stakes = problem(seed, eligible=seed % 2 == 1, weight=seed > 3)
    at = grower(features, stakes)
    free = at(0.0).at(0.0)[1]
    for share in (0.2 * free, 0.5 * free, 0.9 * free):
        found = within_budget(at, share)
        best = max(
            float((spend(*sums, share) * sums[0]).sum())
            for leaf in every_partition(features.values, 2)
            for sums in [stakes.by_leaf(leaf, int(leaf.max()) + 1)]
        )
        assert found.worth <= best + 1e-9 <= found.bound + 2e-9
        assert found.share <= share + 1e-9
        assert found.price > 0
        assert (found.probabilities * found.grown.charge).sum() == pytest.approx(found.share)
        # The trees met on the way are nearly all that matter: within a tenth of the best here.
        assert found.worth >= best - 0.1 * abs(best)


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_is_the_least_over_all_prices(seed):
    features, stakes = problem(seed)
    at = grower(features, stakes)
    share = 0.4 * at(0.0).at(0.0)[1]

    def dual(price):
        worth, used = at(price).at(price)
        return worth - price * used + price * share

    found = within_budget(at, share)
    assert found.bound <= min(dual(price) for price in np.linspace(0, 5, 201)) + 1e-9
    assert found.bound == pytest.approx(dual(found.price))


def test_a_budget_that_does_not_bind_changes_nothing():
    features, stakes = problem(0)
    at = grower(features, stakes)
    free = at(0.0)
    found = within_budget(at, 1.0)
    assert found.price == 0.0
    assert found.worth == pytest.approx(free.at(0.0)[0])
    assert found.bound == pytest.approx(found.worth)
    assert set(found.probabilities.ravel()) <= {0.0, 1.0}


def test_no_budget_treats_nobody():
    features, stakes = problem(1)
    found = within_budget(grower(features, stakes), 0.0)
    assert found.share == 0.0
    assert found.probabilities[:, 0].tolist() == [1.0] * len(found.probabilities)
    assert found.worth == pytest.approx(stakes.control.sum())


def test_more_budget_is_never_worse():
    features, stakes = problem(2)
    bounds = [within_budget(grower(features, stakes), share).bound for share in np.linspace(0, 1, 11)]
    assert (np.diff(bounds) >= -1e-12).all()


def test_sums_of_rounded_gains_are_exact_in_any_order():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(10_000, 3)) * np.exp(rng.normal(size=(10_000, 1)) * 5)
    net = Stakes.of(scores, None, None).at(0.123)
    order = rng.permutation(10_000)
    assert net.sum(axis=1).tolist() == net[:, order].sum(axis=1).tolist() == np.cumsum(net, axis=1)[:, -1].tolist()
    plain = (scores[:, 1:] - scores[:, :1] - 0.123).T / 10_000
    assert np.abs(net - plain).max() < 1e-12 * np.abs(plain).max()
