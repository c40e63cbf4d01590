"""One sort: mid-ranks, tie groups, weights, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable.errors import DataError
from persuadable.value.ranks import checked_scores, rank, share_above


def share_above_by_hand(scores: Any, weight: Any) -> list[float]:
    total = sum(weight)
    return [
        sum(w * (1.0 if other > own else 0.5 if other == own else 0.0) for other, w in zip(scores, weight, strict=True))
        / total
        for own in scores
    ]


tied = st.lists(st.integers(-4, 4), min_size=1, max_size=30)


@given(scores=tied, seed=st.integers(0, 99))
def test_mid_ranks_are_the_definition(scores: list[int], seed: int) -> None:
    weight = np.random.default_rng(seed).uniform(0.1, 3, size=len(scores))
    s = np.array(scores)
    assert share_above(s) == pytest.approx(np.array(share_above_by_hand(scores, np.ones(len(s)))))
    assert share_above(s, weight) == pytest.approx(np.array(share_above_by_hand(scores, weight)))
    assert share_above(s).mean() == pytest.approx(0.5)
    assert np.average(share_above(s, weight), weights=weight) == pytest.approx(0.5)


@given(scores=tied)
def test_groups_are_exactly_the_equal_scores(scores: list[int]) -> None:
    s = np.array(scores, dtype=np.float32)
    ranks = rank(s)
    ordered = ranks.sort(s)
    assert (np.diff(ordered) <= 0).all()
    groups = [ordered[a:b] for a, b in zip(ranks.start[:-1], ranks.start[1:], strict=True)]
    assert [g[0] for g in groups] == sorted(set(scores), reverse=True)
    assert all((g == g[0]).all() for g in groups)
    assert ranks.tied == (len(set(scores)) < len(scores))
    assert ranks.unsort(ordered).tolist() == s.tolist()
    assert ranks.share[0] == 0
    assert ranks.share[-1] == 1


def test_minus_zero_ties_with_zero() -> None:
    assert share_above(np.array([0.0, -0.0])).tolist() == [0.5, 0.5]


def test_a_row_twice_is_a_row_of_weight_two() -> None:
    s = np.array([3.0, 1.0, 2.0, 1.0])
    copies = np.array([2, 1, 3, 1])
    once = share_above(s, copies.astype(float))
    assert np.repeat(once, copies) == pytest.approx(share_above(np.repeat(s, copies)))


def test_running_means_stop_at_group_edges() -> None:
    ranks = rank(np.array([1.0, 5.0, 1.0, 3.0]))
    gamma = ranks.sort(np.array([1.0, 2.0, 4.0, 8.0]))
    assert ranks.cumulate(gamma).tolist() == [0.0, 2 / 4, 10 / 4, 15 / 4]
    weighted = ranks.reweighted(np.array([1.0, 2.0, 0.5, 0.5]))
    assert weighted.share.tolist() == [0, 0.25, 0.75, 1.0]
    assert weighted.cumulate(gamma)[1:3].tolist() == [0.5, 4.5]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i8", "u4", "?"])
def test_every_kind_of_number_ranks(dtype: str) -> None:
    scores = np.array([0, 1, 1, 0]).astype(dtype)
    assert share_above(checked_scores(scores, 4)).tolist() == [0.75, 0.25, 0.25, 0.75]


def test_lists_and_series_rank_too() -> None:
    import polars as pl

    assert checked_scores([1, 2], 2).tolist() == [1, 2]
    assert checked_scores(pl.Series([1.5, 2.0]), 2).tolist() == [1.5, 2.0]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((3, 2)), r"shape \(3, 2\)\. Pass one number per row; of an \(n, A\) effect .* tau\[:, 1\]"),
        (np.zeros(4), r"4 scores for 3 rows\. Score exactly the rows of the log"),
        (np.array(["a", "b", "c"]), r"scores has type <U1\. Pass numbers"),
        (np.array([0, 1, None]), r"scores has type object"),
        (np.array([0, np.nan, 1]), r"A score is nan \(row 1\)"),
        (np.array([0, 1, -np.inf], dtype=np.float32), r"A score is -inf \(row 2\)"),
        (np.array([0, 1, 1e9], dtype=np.complex128), r"type complex128"),
    ],
)
def test_what_is_refused(scores: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        checked_scores(scores, 3)
