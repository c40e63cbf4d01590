"""Numbers in words: expected texts were written by hand."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable.report.words import cell, column, interval, level, number, p_phrase, p_value, percent, plain, wrapped


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (64000, "64,000"),
        (2133.0, "2,133"),
        (-1234.5678, "−1,235"),
        (0.171234, "0.1712"),
        (0.00012346, "0.0001235"),
        (1.5e-9, "1.500e-09"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (math.nan, "–"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(min_value=-1e6, max_value=1e6))
def test_a_number_reads_back_to_four_digits(value: float) -> None:
    read = float(number(value).replace("−", "-").replace(",", ""))
    assert read == pytest.approx(value, rel=5.1e-4, abs=0)


def test_intervals_have_ends_of_equal_precision() -> None:
    assert interval(0.01, 0.0254) == "0.0100 to 0.0254"
    assert interval(-0.00004, 0.0254) == "0.0000 to 0.0254"
    assert interval(-12.34, 1234.5) == "−12 to 1,234"
    assert interval(-math.inf, math.inf) == "−∞ to ∞"


def test_a_column_has_one_precision() -> None:
    assert column([0.0812, 0.05, None, -0.00371]) == ["0.0812", "0.0500", "", "−0.0037"]
    assert column([1, 64000, None]) == ["1", "64,000", ""]
    assert column([2133.0, 10.0]) == ["2,133", "10"]
    assert column([(-0.01, 0.2), (0.012, 0.123), None]) == ["−0.010 to 0.200", "0.012 to 0.123", ""]
    assert column([0.5, math.nan, "n/a", True]) == ["0.500", "–", "n/a", "yes"]
    assert column([-0.00001, 0.5]) == ["0.000", "0.500"]


def test_small_words() -> None:
    assert percent(0.3) == "30.0%"
    assert percent(-0.051) == "−5.1%"
    assert level(0.05) == "95% interval"
    assert level(0.1) == "90% interval"
    assert [p_value(p) for p in (0.0, 0.0004, 0.0123, 0.5, math.nan)] == ["< 0.001", "< 0.001", "0.012", "0.50", "–"]
    assert p_phrase(0.0001) == "p < 0.001"
    assert p_phrase(0.04) == "p = 0.040"
    assert cell(None) == ""
    assert cell(False) == "no"


@given(st.text(max_size=200))
def test_labels_hold_no_tags_but_line_breaks(text: str) -> None:
    assert not re.search("[<>]", plain(text))
    assert not re.search("[<>]", wrapped(text).replace("<br>", ""))


def test_long_labels_are_cut() -> None:
    label = wrapped("a rather long name of a feature with its category = something else altogether", width=20, lines=2)
    assert label == "a rather long name<br>of a feature with …"
