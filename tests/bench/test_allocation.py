"""The race of allocations, run with ours alone on few units; the solvers run in ``persuadable bench``."""

from __future__ import annotations

import json

import numpy as np
import pytest

from persuadable import bench
from persuadable.bench import allocation_contestants as contestants
from persuadable.bench.allocation import OURS, SOLVERS, _agreement
from persuadable.errors import ParameterError, PersuadableError


def test_ours_are_measured_against_nobody_and_as_n_grows(tmp_path):
    found = bench.allocation(3_000, (2_000, 3_000), threads=1, repeats=1, peers=(), out=tmp_path / "a.json")
    assert [run.name for run in found.against.runs] == [OURS[0]]
    assert [race.settings["n"] for race in found.growth] == [2_000, 3_000]
    for race in (found.against, *found.growth):
        assert all(not run.failed and run.cpu >= 0 for run in race.runs), [run.failed for run in race.runs]
    assert [run.name for run in found.growth[0].runs] == list(OURS)
    saved = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert saved["growth"][1]["settings"]["n"] == 3_000
    assert "As the units grow" in str(found)


def test_everybody_named_is_a_contestant():
    assert {*OURS, *SOLVERS} == set(contestants.CONTESTANTS)


def test_the_offers_are_worth_allocating():
    value, cost, segment = contestants.offers(20_000)
    assert value.shape == cost.shape == (20_000, 6)
    assert not value[:, 0].any()
    assert not cost[:, 0].any()
    assert (cost[:, 1:] > 0).all()
    assert 0.05 < (value[:, 1:].max(axis=1) <= 0).mean() < 0.5, "somebody gets nothing, most get something"
    assert set(np.unique(segment)) == {0, 1, 2, 3}
    best = np.take_along_axis(cost, value.argmax(axis=1)[:, None], axis=1).sum()
    assert contestants.budget_of(value, cost) == pytest.approx(0.2 * best)


def test_the_program_is_the_allocation():
    """Two units and a budget, by hand: the row of the budget first, then one row per unit."""
    value, cost, _ = contestants.offers(2)
    gains, matrix, right = contestants.program(value, cost, 7.0)
    np.testing.assert_array_equal(gains, value[:, 1:].ravel())
    x = np.arange(10.0)
    used = matrix @ x
    assert used[0] == pytest.approx((cost[:, 1:].ravel() * x).sum())
    np.testing.assert_allclose(used[1:], [x[:5].sum(), x[5:].sum()])
    np.testing.assert_array_equal(right, [7.0, 1.0, 1.0])


def test_a_difference_from_a_solver_stops_the_race():
    same = {OURS[0]: np.array([100.0, 99.9]), SOLVERS[0]: np.array([100.0 + 1e-6])}
    assert _agreement(same) == {"largest difference from a solver": "1.0e-08"}
    assert _agreement({OURS[0]: np.array([1.0])}) == {}
    with pytest.raises(PersuadableError, match=r"PDLP differs from our bound by 0\.1 of it"):
        _agreement({OURS[0]: np.array([100.0]), SOLVERS[1]: np.array([90.0])})


@pytest.mark.parametrize("wrong", [{"n": 0}, {"threads": 0}, {"repeats": 0}, {"sizes": (0,)}])
def test_too_little_is_refused(wrong):
    with pytest.raises(ParameterError, match="must be at least 1"):
        bench.allocation(**wrong, peers=())
