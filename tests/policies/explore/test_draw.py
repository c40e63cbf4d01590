"""Lots that can be drawn again: exact, uniform, independent between salts."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy.stats import binom, chisquare, kstest

from persuadable.errors import DataError, ParameterError
from persuadable.log import DecisionLog
from persuadable.policies.explore import draw, lots, replay


def test_the_documented_algorithm_by_another_road():
    """The first 53 binary digits after the point are those of the digest, as ``sha256sum`` prints it."""
    # printf '5:march:customer 7' | sha256sum, and so on
    digests = {
        ("customer 7", "march"): "566da4d1984a8fd3b4294ae2a2dd1efe29c1c5083a24387dba24391e86aa9b33",
        (7, "a"): "c6b944aff14c02820f295a1d6c5d185560277bbb3c24f843cfe8b6e9b2067b7a",
        ("Käthe", "märz"): "0409acdafd5ea1317685f42e938219476f78533cb55f0ae769714129043f87c5",
    }
    for (unit, salt), digest in digests.items():
        bits = f"{int(digest, 16):0256b}"[:53]
        assert lots([unit], salt)[0] == sum(int(bit) * 2.0 ** -(i + 1) for i, bit in enumerate(bits))


def test_a_salts_length_keeps_it_apart_from_the_unit():
    assert lots(["c"], "ab")[0] != lots(["bc"], "a")[0]
    assert lots(["2:b:c"], "a")[0] != lots(["c"], "a:2:b")[0]


def test_whole_numbers_are_the_same_however_they_are_held():
    wanted = lots(["3", "4"], "s").tolist()
    for units in ([3, 4], np.array([3.0, 4.0]), np.array([3, 4], dtype=np.uint8), np.array(["3", "4"], dtype=object)):
        assert lots(units, "s").tolist() == wanted


def test_lots_are_uniform_and_independent_between_salts_and_units():
    n = 20_000
    first, second = lots(np.arange(n), "round 1"), lots(np.arange(n), "round 2")
    assert kstest(first, "uniform").pvalue > 1e-3
    assert kstest(second, "uniform").pvalue > 1e-3
    cells, *_ = np.histogram2d(first, second, bins=8)
    assert chisquare(cells.ravel()).pvalue > 1e-3
    neighbours, *_ = np.histogram2d(first[:-1], first[1:], bins=8)
    assert chisquare(neighbours.ravel()).pvalue > 1e-3


def test_actions_come_as_often_as_they_should():
    p = np.tile([0.2, 0.0, 0.5, 0.3], (20_000, 1))
    counts = np.bincount(draw(p, np.arange(20_000), "salt"), minlength=4)
    assert counts[1] == 0
    assert chisquare(counts[[0, 2, 3]], 20_000 * np.array([0.2, 0.5, 0.3])).pvalue > 1e-3


def test_the_action_is_where_the_running_sum_passes_the_lot():
    u = lots(["customer 7"], "march")[0]  # 0.3376
    assert 0.33 < u < 0.34
    for row, action in (([0.34, 0.66], 0), ([0.33, 0.67], 1), ([0.1, 0.2, 0.7], 2), ([0.1, 0.24, 0.66], 1)):
        assert draw([row], ["customer 7"], "march").tolist() == [action]


def test_an_old_salt_would_make_the_propensities_wrong():
    """A second round treats the formerly treated with 0.8: with the old salt all of them are, with a new one 80%."""
    units, half = np.arange(4_000), np.full((4_000, 2), 0.5)
    before = draw(half, units, "round 1")
    chance = np.where(before == 1, 0.8, 0.2)
    p = np.column_stack([1 - chance, chance])
    treated = before == 1
    assert (draw(p, units, "round 1")[treated] == 1).all()
    again = int((draw(p, units, "round 2")[treated] == 1).sum())
    low, high = binom.interval(0.999, int(treated.sum()), 0.8)
    assert low <= again <= high


def test_percentages_are_recognised():
    with pytest.raises(DataError, match=r"are no distribution \(row 1\).*are they percentages\? Divide by 100"):
        draw([[0.4, 0.6], [40.0, 60.0]], ["a", "b"], "may")
    with pytest.raises(DataError, match=r"are no distribution \(row 0\)\. Probabilities lie in \[0, 1\][^?]*$"):
        draw([[0.2, 0.3]], ["a"], "may")


def test_a_log_is_replayed_and_what_was_changed_is_found():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1], size=200)
    who = np.array([f"u{i}" for i in range(200)])
    action = draw(p, who, "may")
    log = DecisionLog.from_arrays(rng.normal(size=(200, 2)), action, action * 1.0, propensity=p, unit=who)
    found = replay(log, "may")
    assert found.differ.size == 0
    assert str(found) == "All 200 decisions are those their propensities, units and salt lead to."
    forged = action.copy()
    forged[[3, 17]] = 1 - forged[[3, 17]]
    bad = DecisionLog.from_arrays(rng.normal(size=(200, 2)), forged, action * 1.0, propensity=p, unit=who)
    found = replay(bad, "may")
    assert found.differ.tolist() == [3, 17]
    assert str(found).startswith("2 of 200 decisions differ from what was logged, the first in row 3. Check the salt,")
    assert "do not rely on these propensities" in str(found)
    assert replay(log, "june").differ.size > 0


def test_a_replay_needs_units_and_propensities():
    rng = np.random.default_rng(0)
    x, a = rng.normal(size=(20, 2)), np.arange(20) % 2
    with pytest.raises(DataError, match=r"has no units.*unit="):
        replay(DecisionLog.from_arrays(x, a, a, propensity=0.5), "may")
    with pytest.raises(DataError, match=r"has no propensities.*propensity="):
        replay(DecisionLog.from_arrays(x, a, a, unit=np.arange(20)), "may")


@pytest.mark.parametrize("salt", ["", 3, None])
def test_a_salt_is_a_text(salt):
    with pytest.raises(ParameterError, match="salt is"):
        lots([1], salt)


@pytest.mark.parametrize("unit", [None, float("nan"), 0.5, True, b"7"])
def test_units_that_cannot_be_told_apart_for_sure_are_refused(unit):
    with pytest.raises(DataError, match=r"cannot be given a lot \(row 1\)"):
        lots(np.array(["a", unit], dtype=object), "may")


def test_one_row_of_probabilities_per_unit():
    with pytest.raises(DataError, match=r"shape \(2, 2\) for 3 units"):
        draw(np.full((2, 2), 0.5), [1, 2, 3], "may")


@pytest.mark.parametrize("row", [[np.nan, np.nan], [1.5, -0.5], [0.5, 0.4]])
def test_what_is_no_distribution_draws_nothing(row):
    with pytest.raises(DataError, match=r"are no distribution \(row 1\)"):
        draw([[0.5, 0.5], row], [1, 2], "may")


def test_it_is_this_hash():
    assert int.from_bytes(hashlib.sha256(b"1:a:7").digest()[:7], "big") / 2**56 == pytest.approx(lots([7], "a")[0])
