"""The measurement over splits, on one split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from persuadable import bench, datasets
from persuadable.errors import DatasetUnavailable


def test_one_split_is_measured_and_written(tmp_path: Path) -> None:
    try:
        datasets.load("hillstrom", download=False)
    except DatasetUnavailable as absent:
        pytest.skip(str(absent))
    result = bench.hillstrom("women", splits=1, threads=1, out=tmp_path / "splits.json")
    gains = {(gain.learner, gain.baseline): gain for gain in result.gains}
    assert {baseline for _, baseline in gains} == {"random", "response model", "treat none"}
    against_random = gains["XLearner", "random"]
    assert against_random.difference == pytest.approx(against_random.value - against_random.baseline_value)
    # With no e-mail .1062 visit, with one .1514 (the publisher's file): a random 30% brings .1062 + .3 × .0452 = .1198.
    assert against_random.baseline_value == pytest.approx(0.1198, abs=4 * against_random.stderr)
    assert json.loads((tmp_path / "splits.json").read_text())["splits"] == 1
    assert "XLearner" in str(result)
