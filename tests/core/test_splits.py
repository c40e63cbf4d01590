"""Splits and folds part a log without losing, doubling or leaking a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from persuadable import DecisionLog
from persuadable.errors import ParameterError
from persuadable.log.views import half_sample


def a_log(n: int, arms: int = 2, units: int | None = None, seed: int = 0) -> DecisionLog:
    rng = np.random.default_rng(seed)
    action = np.concatenate([np.arange(arms), rng.integers(arms, size=n - arms)])
    unit = None if units is None else rng.integers(units, size=n)
    time = rng.permutation(n) if n % 2 else np.datetime64("2026-01-01") + rng.permutation(n)
    return DecisionLog.from_arrays(np.arange(n)[:, None], action, np.arange(n), unit=unit, time=time)


def which(log: DecisionLog) -> list[int]:
    return log.features.values[:, 0].astype(int).tolist()


@given(n=st.integers(40, 200), arms=st.integers(2, 4), share=st.floats(0.2, 0.8), seed=st.integers(0, 99))
def test_a_split_by_row_is_a_partition_that_keeps_the_shares_of_the_arms(
    n: int, arms: int, share: float, seed: int
) -> None:
    log = a_log(n, arms, seed=seed)
    train, test = log.split(share, random_state=seed)
    assert sorted(which(train) + which(test)) == list(range(n))
    for arm in range(arms):  # each arm is cut on its own, to the nearest row
        assert abs(train.arm(arm).n - share * log.arm(arm).n) <= 0.5 + 1e-9
    assert which(log.split(share, random_state=seed)[0]) == which(train)
    assert train.fingerprint.overlap(test.fingerprint) == 0


@given(n=st.integers(40, 150), units=st.integers(5, 30), share=st.floats(0.3, 0.7), seed=st.integers(0, 99))
def test_a_split_by_unit_parts_no_unit(n: int, units: int, share: float, seed: int) -> None:
    log = a_log(n, units=units, seed=seed)
    train, test = log.split(share, by="unit", random_state=seed)
    assert sorted(which(train) + which(test)) == list(range(n))
    assert not set(train.unit.tolist()) & set(test.unit.tolist())
    present = len(set(log.unit.tolist()))
    assert len(set(train.unit.tolist())) == round(share * present)
    assert log.clusters is not None
    assert which(log.split(share, random_state=seed)[0]) == which(train), "where units repeat, None splits by unit"


def test_a_cut_in_time_through_a_unit_is_refused() -> None:
    """Unit 7 comes back on day 3; before that, and without it, the days can be parted."""
    log = DecisionLog.from_arrays(
        np.arange(6)[:, None], [0, 1, 0, 1, 0, 1], np.zeros(6), unit=[7, 7, 8, 7, 9, 9], time=[1, 1, 2, 3, 4, 4]
    )
    match = r"1 of the 3 units have rows before and after the cut in time. Split by='unit', or keep one row of each"
    with pytest.raises(ParameterError, match=match):
        log.split(0.5, by="time")
    early, late = log.split(4 / 6, by="time")
    assert (which(early), which(late)) == ([0, 1, 2, 3], [4, 5])


@given(n=st.integers(20, 100), share=st.floats(0.1, 0.9), seed=st.integers(0, 99))
def test_a_split_by_time_puts_the_earliest_first(n: int, share: float, seed: int) -> None:
    log = a_log(n, seed=seed)
    assume(0 < round(share * n) < n)
    train, test = log.split(share, by="time", random_state=seed)
    assert train.time.max() < test.time.min()
    assert train.n == round(share * n)


def test_rows_of_the_same_moment_stay_together() -> None:
    time = np.repeat([1, 2, 3], 10)
    log = DecisionLog.from_arrays(np.zeros((30, 1)), np.arange(30) % 2, np.zeros(30), time=time)
    train, test = log.split(0.5, by="time")
    assert set(train.time.tolist()) == {1, 2}
    assert set(test.time.tolist()) == {3}


def test_splits_differ_by_seed_and_take_a_generator() -> None:
    log = a_log(100)
    assert which(log.split(0.5, random_state=1)[0]) != which(log.split(0.5, random_state=2)[0])
    generator = np.random.default_rng(1)
    assert which(log.split(0.5, random_state=generator)[0]) == which(log.split(0.5, random_state=1)[0])


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_is_within_0_and_1(share: float) -> None:
    with pytest.raises(ParameterError, match=r"share must lie within \(0, 1\), got .*Pass e.g. 0.5"):
        a_log(20).split(share)


@pytest.mark.parametrize(
    ("roles", "by", "match"),
    [
        ({}, "unit", "The log names no unit to split by. Give unit="),
        ({}, "time", "The log has no time to split by. Give time="),
        ({}, "colour", "by must be 'row', 'unit' or 'time', got 'colour'"),
        ({"time": np.ones(20)}, "time", "A share of 0.5 of 20 rows leaves a part empty"),
        ({"unit": np.ones(20, dtype=int)}, "unit", "leaves a part empty"),
    ],
)
def test_splits_that_cannot_be(roles: dict[str, Any], by: Any, match: str) -> None:
    log = DecisionLog.from_arrays(np.zeros((20, 1)), np.arange(20) % 2, np.zeros(20), **roles)
    with pytest.raises(ParameterError, match=match):
        log.split(0.5, by=by)


@given(n=st.integers(40, 200), arms=st.integers(2, 4), k=st.integers(2, 5), seed=st.integers(0, 99))
def test_folds_spread_every_arm_evenly(n: int, arms: int, k: int, seed: int) -> None:
    log = a_log(n, arms, seed=seed)
    counts = np.bincount(log.action)
    assume(counts.min() >= k)
    folds = log.folds(k, seed)
    assert set(folds.tolist()) == set(range(k))
    for arm in range(arms):
        sizes = np.bincount(folds[log.action == arm], minlength=k)
        assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(folds, log.folds(k, seed))


@given(n=st.integers(60, 200), units=st.integers(10, 40), k=st.integers(2, 5), seed=st.integers(0, 99))
def test_no_unit_is_in_two_folds(n: int, units: int, k: int, seed: int) -> None:
    log = a_log(n, units=units, seed=seed)
    assume(np.bincount(log.action).min() >= k)
    folds = log.folds(k, seed)
    unit_folds = [set(folds[log.unit == u].tolist()) for u in set(log.unit.tolist())]
    assert all(len(f) == 1 for f in unit_folds)
    sizes = np.bincount([f.pop() for f in unit_folds], minlength=k)
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("k", [0, 1, 11])
def test_folds_that_cannot_be(k: int) -> None:
    log = DecisionLog.from_arrays(np.zeros((40, 1)), np.arange(40) % 4 == 0, np.zeros(40))
    with pytest.raises(
        ParameterError, match=f"{k} folds cannot be made where the smallest arm has 10 rows. Use at least 2"
    ):
        log.folds(k)


@given(n=st.integers(20, 100), seed=st.integers(0, 99))
def test_a_half_sample_halves_every_arm(n: int, seed: int) -> None:
    log = a_log(n, 3, seed=seed)
    half = half_sample(log, np.random.default_rng(seed))
    for arm in range(3):
        assert abs(int(half[log.action == arm].sum()) - (log.action == arm).sum() / 2) <= 0.5


def test_a_half_sample_halves_the_units_where_they_repeat() -> None:
    log = a_log(100, units=20)
    half = half_sample(log, np.random.default_rng(0))
    present = set(log.unit.tolist())
    assert all(len(set(half[log.unit == u].tolist())) == 1 for u in present)
    assert len(set(log.unit[half].tolist())) == (len(present) + 1) // 2


def test_clusters_are_the_units_where_they_repeat() -> None:
    log = a_log(50, units=7)
    codes = log.clusters
    assert codes is not None
    assert len(set(zip(codes.tolist(), log.unit.tolist(), strict=True))) == len(set(log.unit.tolist()))
    assert a_log(50).clusters is None
