"""The floor: the nearest distribution that has it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable.errors import ParameterError
from persuadable.policies.explore import fill


def by_bisection(p, floor, allowed):
    """max(floor, c·p) with the c that sums to 1, found by halving: slow, and another way."""
    low, high = 0.0, 1.0  # c is at most 1: lifting takes from the others
    for _ in range(200):
        c = (low + high) / 2
        low, high = (c, high) if np.where(allowed, np.maximum(floor, c * p), 0.0).sum() < 1.0 else (low, c)
    return np.where(allowed, np.maximum(floor, high * p), 0.0)


@st.composite
def rows(draw):
    k = draw(st.integers(2, 6))
    raw = np.array(draw(st.lists(st.sampled_from([0.0, 1e-9, 0.01, 0.3, 1.0, 7.0]), min_size=k, max_size=k)))
    allowed = np.array([True, *draw(st.lists(st.booleans(), min_size=k - 1, max_size=k - 1))])
    raw = np.where(allowed, raw, 0.0)
    raw[0] += raw.sum() == 0
    floor = draw(st.sampled_from([0.0, 0.001, 0.02, 0.1, 0.5, 0.99])) / allowed.sum()
    return raw / raw.sum(), floor, allowed


@given(rows())
def test_it_is_the_level_that_bisection_finds(row):
    p, floor, allowed = row
    filled = fill(p[None], floor, allowed[None])[0]
    assert filled.sum() == pytest.approx(1.0, abs=1e-15)
    assert (filled[allowed] >= floor - 1e-15).all()
    assert (filled[~allowed] == 0).all()
    assert filled == pytest.approx(by_bisection(p, floor, allowed), abs=1e-12)


@given(rows(), st.integers(0, 2**32 - 1))
def test_no_other_distribution_with_the_floor_is_nearer(row, seed):
    p, floor, allowed = row
    filled = fill(p[None], floor, allowed[None])[0]
    rng = np.random.default_rng(seed)
    other = np.where(allowed, floor + (1 - allowed.sum() * floor) * rng.dirichlet(np.ones(p.size)), 0.0)
    other[allowed] += (1 - other.sum()) / allowed.sum()
    p = np.where(allowed, np.maximum(p, 1e-12), 1.0)  # a zero would make every distance infinite

    def distance(q):
        return float((q * np.log(np.where(q > 0, q, 1.0) / p)).sum())

    assert distance(filled) <= distance(other) + 1e-6


def test_by_hand():
    assert fill(np.array([[1.0, 0.0, 0.0]]), 0.02)[0] == pytest.approx([0.96, 0.02, 0.02])
    # The one at 0 is lifted to 0.1; the others keep their odds of 3 to 6.
    assert fill(np.array([[0.3, 0.6, 0.1, 0.0]]), 0.1)[0] == pytest.approx([0.8 / 3, 1.6 / 3, 0.1, 0.1])
    # Lifting the first lets the second sink under the floor too: 0.3 · (0.7/0.9) = 0.233.
    assert fill(np.array([[0.1, 0.27, 0.63]]), 0.25)[0] == pytest.approx([0.25, 0.25, 0.5])


def test_what_has_the_floor_already_is_left_alone():
    p = np.array([[0.3, 0.7], [0.02, 0.98]])
    assert fill(p, 0.02) is p


def test_a_unit_with_one_eligible_action_keeps_it():
    assert fill(np.array([[1.0, 0.0]]), 0.4, np.array([[True, False]])).tolist() == [[1.0, 0.0]]


def test_the_highest_floor_is_the_plain_lottery():
    assert fill(np.array([[0.9, 0.1, 0.0]]), 1 / 3)[0] == pytest.approx([1 / 3] * 3, abs=1e-15)


@pytest.mark.parametrize("floor", [-0.01, 0.34, float("nan"), "a tenth"])
def test_a_floor_that_three_actions_cannot_have_is_refused(floor):
    with pytest.raises(ParameterError, match=r"floor is .*3 eligible actions cannot each.*from 0 to 0\.3333"):
        fill(np.full((2, 3), 1 / 3), floor)
    p = fill(np.array([[0.5, 0.5, 0.0]]), 0.4, np.array([[True, True, False]]))
    assert p.tolist() == [[0.5, 0.5, 0.0]], "0.4 is possible where only two are eligible"
