"""The arithmetic against oracles: definitions over all pairs, all orders of ties, derivatives, leave-one-out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable.value import functionals as f
from persuadable.value.estimate import influence_stderr
from persuadable.value.ranks import Ranks, rank

Arrays = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]


def sample(n: int, levels: int | None, seed: int = 0) -> Arrays:
    """Scores (with ties where levels is given), Γ related to them, and weights."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n) if levels is None else rng.integers(0, levels, n).astype(float)
    return scores, rng.normal(1, 2, size=n) + 0.5 * scores, rng.uniform(0.3, 3, size=n)


def ordered(scores: Any, gamma: Any, weight: Any = None) -> tuple[Any, Ranks]:
    ranks = rank(np.asarray(scores, dtype=float), weight)
    return ranks.sort(np.asarray(gamma, dtype=float)), ranks


def above(scores: Any, weight: Any) -> Any:
    """U over all pairs."""
    table = (scores[None, :] > scores[:, None]) + 0.5 * (scores[None, :] == scores[:, None])
    return table @ (weight / weight.sum())


SIZES = [(1, None), (2, None), (9, None), (60, None), (60, 4), (60, 1), (61, 30)]


@pytest.mark.parametrize(("n", "levels"), SIZES)
@pytest.mark.parametrize("weighted", [False, True])
def test_qini_and_auuc_are_their_definitions(n: int, levels: int | None, weighted: bool) -> None:
    scores, gamma, weight = sample(n, levels)
    w = weight if weighted else np.ones(n)
    p = w / w.sum()
    u = above(scores, w)
    data = ordered(scores, gamma, weight if weighted else None)
    assert f.qini_value(*data) == pytest.approx(float(np.sum(p * gamma * (0.5 - u))), abs=1e-12)
    assert f.qini_influence(*data)[0] == pytest.approx(float(np.sum(p * gamma * (0.5 - u))), abs=1e-12)
    assert f.auuc_influence(*data)[0] == pytest.approx(float(np.sum(p * gamma * (1 - u))), abs=1e-12)
    assert f.mean_influence(*data)[0] == pytest.approx(float(np.sum(p * gamma)), abs=1e-12)


@pytest.mark.parametrize(("n", "levels"), SIZES)
def test_qini_is_the_area_between_the_curve_and_the_line(n: int, levels: int | None) -> None:
    scores, gamma, weight = sample(n, levels)
    data, ranks = ordered(scores, gamma, weight)
    curve = ranks.cumulate(data)
    area = float(np.trapezoid(curve, ranks.share))
    assert f.qini_value(data, ranks) == pytest.approx(area - curve[-1] / 2, abs=1e-12)


def autoc_over_orderings(scores: Any, gamma: Any) -> float:
    """The mean over all ways to break ties of the mean TOC over the ranks."""
    n = len(scores)
    areas = [
        np.mean([np.mean(gamma[list(order[:k])]) for k in range(1, n + 1)]) - np.mean(gamma)
        for order in itertools.permutations(range(n))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    return float(np.mean(areas))


@pytest.mark.parametrize(
    "scores", [[3, 1, 2, 5], [1, 1, 2, 2, 2, 0], [1, 1, 1, 1], [5, 4, 4, 4, 1, 1], [4, 4, 3, 2, 1, 1], [7]]
)
def test_autoc_is_the_mean_toc_over_all_orders_of_ties(scores: list[int]) -> None:
    gamma = np.random.default_rng(1).normal(size=len(scores))
    expected = autoc_over_orderings(scores, gamma)
    data = ordered(scores, gamma)
    assert f.autoc_value(*data) == pytest.approx(expected, abs=1e-12)
    assert f.autoc_influence(*data)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("levels", [None, 5])
def test_weighted_autoc_is_the_integral_of_the_toc_curve(levels: int | None) -> None:
    scores, gamma, weight = sample(40, levels)
    data, ranks = ordered(scores, gamma, weight)
    share = (np.arange(2_000_000) + 0.5) / 2_000_000
    toc = np.interp(share, ranks.share, ranks.cumulate(data)) / share - ranks.cumulate(data)[-1]
    assert f.autoc_value(data, ranks) == pytest.approx(toc.mean(), abs=1e-5)


def test_autoc_with_and_without_weights_agree_in_large_samples() -> None:
    scores, gamma, _ = sample(200_000, None)
    plain = f.autoc_influence(*ordered(scores, gamma))
    weighted = f.autoc_influence(*ordered(scores, gamma, np.ones(200_000)))
    assert weighted[0] == pytest.approx(plain[0], abs=2e-4)
    assert weighted[1].std() == pytest.approx(plain[1].std(), rel=1e-3)


@pytest.mark.parametrize(("n", "levels"), [(2, None), (12, None), (40, 6), (40, 2), (30, 1), (41, 25)])
def test_autocs_influence_is_what_leaving_a_row_out_does(n: int, levels: int | None) -> None:
    scores, gamma, _ = sample(n, levels, seed=5)
    ranks = rank(scores)
    _, psi = f.autoc_influence(ranks.sort(gamma), ranks)
    full = f.autoc_value(*ordered(scores, gamma))
    without = np.array([f.autoc_value(*ordered(np.delete(scores, i), np.delete(gamma, i))) for i in range(n)])
    pseudo = n * full - (n - 1) * without
    assert ranks.unsort(psi) == pytest.approx(pseudo - pseudo.mean(), abs=1e-9)


def derivative(value: Callable[[Any, Ranks], float], gamma: Any, ranks: Ranks, i: int) -> float:
    """The influence of row i: what a little more of its weight does, by central difference."""
    p = np.full(ranks.m, 1 / ranks.m) if ranks.p is None else ranks.p
    step = 1e-6
    point = np.zeros(ranks.m)
    point[i] = 1.0
    up = value(gamma, ranks.reweighted((1 - step) * p + step * point))
    down = value(gamma, ranks.reweighted((1 + step) * p - step * point))
    return (up - down) / (2 * step)


def top(k: float) -> Callable[[Any, Ranks], float]:
    return lambda gamma, ranks: f.top_influence(gamma, ranks, k)[0]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("levels", [None, 5])
def test_influences_are_derivatives(weighted: bool, levels: int | None) -> None:
    scores, gamma, weight = sample(40, levels, seed=2)
    data, ranks = ordered(scores, gamma, weight if weighted else None)
    pairs: list[tuple[Any, Callable[[Any, Ranks], float]]] = [
        (f.mean_influence, f.mean_value),
        (f.qini_influence, f.qini_value),
        (f.auuc_influence, lambda g, r: f.auuc_influence(g, r)[0]),
    ]
    if weighted:
        pairs.append((f.autoc_influence, f.autoc_value))
    for influence, value in pairs:
        psi = influence(data, ranks)[1]
        assert psi == pytest.approx([derivative(value, data, ranks, i) for i in range(40)], abs=1e-6)
        assert f.mean_value(psi, ranks) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_threshold_inside_a_wide_tie_group_counts_by_the_groups_mean(weighted: bool) -> None:
    rng = np.random.default_rng(3)
    scores = np.repeat([2.0, 1.0, 0.0], [40, 120, 40])
    gamma, weight = rng.normal(size=200), rng.uniform(0.9, 1.1, size=200)
    data, ranks = ordered(scores, gamma, weight if weighted else None)
    value, psi = f.top_influence(data, ranks, 0.45)
    assert psi == pytest.approx([derivative(top(0.45), data, ranks, i) for i in range(200)], abs=1e-6)
    group = scores == 1.0
    g = np.average(gamma[group], weights=weight[group] if weighted else None)
    w = weight if weighted else np.ones(200)
    first = scores == 2.0
    share = w[first].sum() / w.sum()
    assert value == pytest.approx(((w * gamma)[first].sum() / w.sum() + (0.45 - share) * g) / 0.45)


def test_the_top_share_takes_fractions_of_rows() -> None:
    data, ranks = ordered([4, 3, 2, 1], [8.0, 4.0, 2.0, 1.0])
    assert f.top_influence(data, ranks, 0.5)[0] == pytest.approx(6.0)
    assert f.top_influence(data, ranks, 0.375)[0] == pytest.approx((8 + 4 / 2) / 1.5)
    assert f.top_influence(data, ranks, 1.0)[0] == pytest.approx(15 / 4)


@pytest.mark.parametrize("levels", [None, 7])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gain", [False, True])
def test_bands_are_the_influence_functions_row_by_row(levels: int | None, weighted: bool, gain: bool) -> None:
    scores, gamma, weight = sample(150, levels, seed=4)
    data, ranks = ordered(scores, gamma, weight if weighted else None)
    sums = f.Sums.of(data, ranks)
    shares = np.array([0.0, 0.05, 0.2, 0.5, 0.77, 1.0])
    effect = f.threshold_effect(ranks, sums.above, shares)
    p = np.full(150, 1 / 150) if ranks.p is None else ranks.p
    edges = np.concatenate(
        [[0], np.cumsum([p[ranks.start[g] : ranks.start[g + 1]].sum() for g in range(len(ranks.start) - 1)])]
    )
    expected = []
    for phi, g in zip(shares, effect, strict=True):
        inside = np.empty(150)
        for j, (a, b) in enumerate(itertools.pairwise(ranks.start)):
            inside[a:b] = np.clip((phi - edges[j]) / (edges[j + 1] - edges[j]), 0, 1)
        psi = inside * data - (inside - phi) * g - (phi * data if gain else 0)
        expected.append(influence_stderr(psi - p @ psi, weight=None if ranks.p is None else p))
    found = f.curve_stderr(data, ranks, sums, shares, gain=gain)
    assert found == pytest.approx(expected, abs=1e-9)
    alone = ranks.sort(np.arange(150))
    assert f.curve_stderr(data, ranks, sums, shares, gain=gain, clusters=alone) == pytest.approx(expected, abs=1e-9)


def test_uplift_at_k_has_the_same_standard_error_by_either_way() -> None:
    scores, gamma, weight = sample(150, 20, seed=6)
    for w in (None, weight):
        data, ranks = ordered(scores, gamma, w)
        by_row = influence_stderr(f.top_influence(data, ranks, 0.3)[1], weight=ranks.p)
        by_sums = f.curve_stderr(data, ranks, f.Sums.of(data, ranks), np.array([0.3]), gain=False)[0] / 0.3
        assert by_row == pytest.approx(by_sums, rel=1e-9)


@pytest.mark.parametrize("levels", [None, 6])
@pytest.mark.parametrize("measure", ["qini", "autoc", "top", "auuc"])
@pytest.mark.parametrize("clustered", [False, True])
def test_standard_errors_agree_with_the_bootstrap(levels: int | None, measure: str, clustered: bool) -> None:
    n = 600
    scores, gamma, weight = sample(n, levels, seed=8)
    clusters = np.arange(n) // 3 if clustered else None
    if clusters is not None:
        gamma += np.random.default_rng(9).normal(size=n // 3)[clusters] * 3
    data, ranks = ordered(scores, gamma, weight)
    influence: Callable[[Any, Ranks], tuple[float, Any]] = {
        "qini": f.qini_influence,
        "autoc": f.autoc_influence,
        "auuc": f.auuc_influence,
        "top": lambda g, r: f.top_influence(g, r, 0.3),
    }[measure]
    grouped = None if clusters is None else ranks.sort(clusters)
    stderr = influence_stderr(influence(data, ranks)[1], weight=ranks.p, clusters=grouped)
    draws = f.bootstrap(
        lambda w: (influence(data, ranks.reweighted(w))[0],),
        n,
        n_resamples=800,
        rng=np.random.default_rng(10),
        weight=ranks.p,
        clusters=grouped,
    )
    assert draws.shape == (800, 1)
    # 800 draws know a standard deviation to ±2.5% (one sigma); at k the effect at the threshold is smoothed
    assert stderr == pytest.approx(draws.std(), rel=0.15 if measure == "top" else 0.1)


def test_the_bootstrap_draws_whole_clusters() -> None:
    clusters = np.repeat(np.arange(5), [1, 2, 3, 4, 5])
    seen = []
    f.bootstrap(
        lambda w: (float(seen.append(w) or 0),), 15, n_resamples=30, rng=np.random.default_rng(0), clusters=clusters
    )
    for weight in seen:
        by_cluster = [set(weight[clusters == c]) for c in range(5)]
        assert all(len(values) == 1 for values in by_cluster)
        assert sum(values.pop() for values in by_cluster) == 5


@given(
    scores=st.lists(st.integers(0, 5), min_size=2, max_size=25),
    seed=st.integers(0, 10_000),
    weighted=st.booleans(),
)
def test_row_order_changes_nothing(scores: list[int], seed: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    s = np.array(scores, dtype=float)
    gamma, weight = rng.normal(size=s.size), rng.uniform(0.1, 2, size=s.size)
    shuffle = rng.permutation(s.size)
    for influence in (f.qini_influence, f.auuc_influence, f.autoc_influence, lambda g, r: f.top_influence(g, r, 0.4)):
        first = rank(s, weight if weighted else None)
        second = rank(s[shuffle], weight[shuffle] if weighted else None)
        value_a, psi_a = influence(first.sort(gamma), first)
        value_b, psi_b = influence(second.sort(gamma[shuffle]), second)
        assert value_b == pytest.approx(value_a, abs=1e-12)
        assert second.unsort(psi_b) == pytest.approx(first.unsort(psi_a)[shuffle], abs=1e-11)


def test_curve_shares_are_exact_while_they_are_few() -> None:
    few = rank(np.repeat(np.arange(500.0), 10))
    assert f.curve_shares(few).tolist() == few.share.tolist()
    many = rank(np.arange(5000.0))
    assert f.curve_shares(many).size == 1001
    assert f.curve_shares(many, clustered=True).size == 101


def test_the_effect_at_a_threshold_is_the_slope_over_a_window_cut_at_the_ends() -> None:
    data, ranks = ordered(np.arange(1000.0), 3.0 * np.arange(1000))
    above = ranks.cumulate(data)
    half = 0.5 * 1000**-0.2
    found = f.threshold_effect(ranks, above, np.array([0.0, 0.1, 0.5, 1.0]))
    middles = [half / 2, (0.1 + half) / 2, 0.5, 1 - half / 2]
    assert found == pytest.approx([3 * 1000 * (1 - m) - 1.5 for m in middles], abs=1)
