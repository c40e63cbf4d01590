"""Fingerprints: the same rows are recognised wherever they turn up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable import DecisionLog, fingerprint
from persuadable.fingerprint import Fingerprint, row_identities, unit_identities


def a_log(n: int = 200, seed: int = 0, **roles: object) -> DecisionLog:
    rng = np.random.default_rng(seed)
    return DecisionLog.from_arrays(
        rng.normal(size=(n, 2)),
        np.arange(n) % 2,
        rng.normal(size=n),
        **roles,  # type: ignore[arg-type]
    )


def test_the_same_data_read_twice_are_the_same_rows() -> None:
    assert a_log().fingerprint.digest == a_log().fingerprint.digest
    assert a_log().fingerprint.overlap(a_log().fingerprint) == 200


def test_other_data_are_other_rows() -> None:
    assert a_log(seed=1).fingerprint.overlap(a_log(seed=0).fingerprint) == 0


def test_a_split_and_its_reloaded_source_overlap_by_the_part() -> None:
    train, test = a_log().split(0.3, random_state=1)
    assert train.fingerprint.overlap(test.fingerprint) == 0
    assert a_log().fingerprint.overlap(train.fingerprint) == train.n == 60
    assert a_log().split(0.3, random_state=1)[0].fingerprint.digest == train.fingerprint.digest


def test_the_order_of_rows_does_not_matter() -> None:
    log = a_log()
    assert log.take(np.random.default_rng(0).permutation(log.n)).fingerprint.digest == log.fingerprint.digest


@pytest.mark.parametrize("kind", ["int", "str", "float", "date"])
def test_units_are_recognised_in_other_data(kind: str) -> None:
    def units(low: int, high: int) -> np.ndarray:
        codes = np.arange(low, high)
        days = np.datetime64("2026-01-01") + codes
        return {"int": codes, "str": codes.astype(str), "float": codes.astype(float), "date": days}[kind]

    first, second = a_log(seed=0, unit=units(0, 200)), a_log(seed=1, unit=units(150, 350))
    assert first.fingerprint.overlap(second.fingerprint) == 50


def test_units_keep_their_identity_when_a_null_elsewhere_made_them_floats() -> None:
    codes = np.arange(50)
    assert np.array_equal(unit_identities(codes), unit_identities(codes.astype(np.float64)))
    assert np.array_equal(unit_identities(codes), unit_identities(codes.astype(np.int16)))


def test_repeated_units_count_once() -> None:
    log = a_log(unit=np.arange(200) // 4)
    assert log.fingerprint.ids.size == 50
    assert log.fingerprint.n == 200


def test_identities_do_not_collide() -> None:
    assert np.unique(row_identities(300_000, seed=2**64 - 5)).size == 300_000
    assert np.unique(unit_identities(np.arange(-1000, 100_000))).size == 101_000


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 300))
def test_overlap_counts_common_rows(start: int, other: int, size: int) -> None:
    ids = row_identities(1000, seed=3)
    one, two = Fingerprint.of(ids[start : start + size]), Fingerprint.of(ids[other : other + size])
    expected = len(set(range(start, start + size)) & set(range(other, other + size)))
    assert one.overlap(two) == two.overlap(one) == expected


def test_above_the_sketch_limit_overlaps_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = row_identities(100_000, seed=4)
    exact = Fingerprint.of(ids[:60_000])
    monkeypatch.setattr(fingerprint, "SKETCH_ROWS", 5_000)
    sketch = Fingerprint.of(ids[:60_000])
    assert sketch.digest == exact.digest
    # The sketch keeps a binomial number of rows: 5,000 ± 5 standard deviations of about 68.
    assert abs(sketch.ids.size - 5_000) < 340
    for other in (Fingerprint.of(ids[30_000:]), Fingerprint.of(ids[30_000:34_000])):
        truth = len(range(30_000, 60_000)) if other.n > 5_000 else 4_000
        share = min(sketch.keep_below, other.keep_below) / 2**64
        spread = np.sqrt(truth * (1 - share) / share)
        assert abs(sketch.overlap(other) - truth) < 5 * spread
    assert sketch.overlap(Fingerprint.of(row_identities(50_000, seed=5))) == 0


def test_a_union_overlaps_with_both_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = row_identities(30_000, seed=6)
    one, two = Fingerprint.of(ids[:10_000]), Fingerprint.of(ids[10_000:20_000])
    both = one.union(two)
    assert both.overlap(one) == both.overlap(two) == 10_000
    assert both.overlap(Fingerprint.of(ids[20_000:])) == 0
    assert both.digest == two.union(one).digest
    monkeypatch.setattr(fingerprint, "SKETCH_ROWS", 2_000)
    sketch = Fingerprint.of(ids[:20_000])
    joined = one.union(sketch)
    assert joined.keep_below == sketch.keep_below
    spread = np.sqrt(10_000 / (sketch.keep_below / 2**64))
    assert abs(joined.overlap(two) - 10_000) < 5 * spread


def test_repr_is_short() -> None:
    assert repr(a_log().fingerprint).endswith("…, n=200)")


def test_the_same_units_with_fewer_rows_are_other_rows() -> None:
    units = unit_identities(np.array([1, 1, 2, 3]))
    whole, part = Fingerprint.of(units), Fingerprint.of(units[1:])
    assert whole.digest == part.digest
    assert not whole.same_rows(part)
    assert whole.same_rows(Fingerprint.of(units[::-1]))
    assert not whole.same_rows(Fingerprint.of(unit_identities(np.array([1, 1, 2, 4]))))


def test_a_fingerprint_comes_back_from_what_was_saved() -> None:
    seen = Fingerprint.of(unit_identities(np.arange(5)))
    told = {"digest": seen.digest, "keep_below": seen.keep_below, "n": seen.n}
    assert Fingerprint.read(seen.ids, told).same_rows(seen)
    for ids, change in [
        (seen.ids[::-1], {}),
        (seen.ids.astype(np.int64), {}),
        (seen.ids[None], {}),
        (seen.ids, {"n": -1}),
        (seen.ids, {"n": 5.0}),
        (seen.ids, {"keep_below": 2**64 + 1}),
        (seen.ids, {"digest": None}),
        (seen.ids, {"more": 1}),
    ]:
        with pytest.raises((ValueError, TypeError)):
            Fingerprint.read(ids, told | change)


def test_a_log_finds_its_rows_once_and_its_parts_find_their_own() -> None:
    rng = np.random.default_rng(0)
    log = DecisionLog.from_arrays(rng.normal(size=(60, 2)), rng.integers(0, 2, 60), np.zeros(60))
    assert log.fingerprint is log.fingerprint
    part = log.take(slice(0, 20))
    assert (log.fingerprint.n, part.fingerprint.n) == (60, 20)
    assert log.fingerprint.overlap(part.fingerprint) == 20
