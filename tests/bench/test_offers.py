"""The real trials, on one halving of the smallest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from persuadable import bench, datasets
from persuadable.errors import DatasetUnavailable, ParameterError


def test_one_halving_is_studied_and_written(tmp_path: Path) -> None:
    try:
        datasets.load("thornton")
    except DatasetUnavailable as absent:
        pytest.skip(str(absent))
    found = bench.offers(1, ("thornton",), threads=1, out=tmp_path / "o.json")
    (run,) = found.trials["thornton"]["halvings"]
    value, lower, upper = run["gain"]
    assert lower < value < upper
    # Cash of any amount raises collection by some .43 (Thornton 2008, table 4); half a dollar a head buys most of it.
    assert 0.1 < value < 0.6
    assert run["offered"] > 0.5
    assert run["left_out"] == ("over $2",)
    assert json.loads((tmp_path / "o.json").read_text())["splits"] == 1
    assert "thornton" in str(found)


def test_an_unknown_trial_is_refused() -> None:
    with pytest.raises(ParameterError, match="no trial 'moon'"):
        bench.offers(1, ("moon",))
    with pytest.raises(ParameterError, match="splits is 0"):
        bench.offers(0)
