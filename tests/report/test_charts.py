"""Intervals that are not symmetric keep their sides, and long lines are thinned with their ends kept."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable.report.charts import POINTS, Series, curves, intervals_across, intervals_along

SKEWED = Series("a", np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.array([0.9, 1.5]), np.array([1.4, 4.0]))


def test_upper_ends_are_above_and_lower_ends_below() -> None:
    along = intervals_along([SKEWED], x="x", y="y").data[0].error_y
    across = intervals_across(["first", "second"], [SKEWED], x="x").data[0].error_x
    for reach in (along, across):
        assert list(reach.array) == pytest.approx([0.4, 2.0])
        assert list(reach.arrayminus) == pytest.approx([0.1, 0.5])


def test_a_long_line_is_thinned_and_keeps_its_ends() -> None:
    x = np.linspace(0, 1, 10_001)
    band, line = curves([Series("long", x, x**2, x**2 - 1, x**2 + 1)], x="x", y="y").data
    assert len(line.x) == POINTS
    assert (line.x[0], line.x[-1]) == (0.0, 1.0)
    assert np.allclose(line.y, np.asarray(line.x) ** 2)
    assert len(band.x) == 2 * POINTS


def test_rows_stand_from_top_to_bottom_and_leave_room_for_their_names() -> None:
    short = intervals_across(["a", "b"], [SKEWED], x="x")
    long = intervals_across(
        ["a", "a category with a name that needs three lines at the very least"] * 9, [SKEWED], x="x"
    )
    assert short.layout.yaxis.range[0] > short.layout.yaxis.range[1]
    assert long.layout.height > 18 * 50
