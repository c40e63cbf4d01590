"""The race of off-policy estimators, run with ours alone on few rounds; obp runs in ``persuadable bench``."""

from __future__ import annotations

import json

import numpy as np
import pytest

from persuadable import bench
from persuadable.bench import ope_contestants
from persuadable.bench.ope import OPE, STREAMED, _agreement, rounds
from persuadable.errors import ParameterError, PersuadableError


def test_ours_are_measured_with_errors_with_draws_and_streamed(tmp_path):
    found = bench.ope(n=4_000, n_actions=3, repeats=1, peers=(), streamed=10_000, out=tmp_path / "ope.json")
    assert [run.name for run in found.runs] == ["ours with errors", "ours with 100 draws", "ours streamed"]
    assert all(not run.failed and run.cpu >= 0 for run in found.runs)
    saved = json.loads((tmp_path / "ope.json").read_text(encoding="utf-8"))
    assert saved["settings"]["streamed"] == 10_000
    assert saved["settings"]["n"] == 4_000
    assert "parquet" not in saved["settings"]
    with_errors = bench.ope(n=4_000, n_actions=3, repeats=1, peers=(), streamed=0)
    assert STREAMED not in [run.name for run in with_errors.runs]


def test_everybody_named_is_a_contestant():
    assert {*OPE, STREAMED} == set(ope_contestants.CONTESTANTS)


def test_the_made_up_rounds_are_rounds():
    arrays = rounds(2_000, 4)
    assert {name: array.shape for name, array in arrays.items()} == {
        "action": (2_000,), "y": (2_000,), "e": (2_000, 4), "p": (2_000, 4), "q": (2_000, 4),
    }  # fmt: skip
    for name in ("e", "p"):
        np.testing.assert_allclose(arrays[name].sum(axis=1), 1.0)
    weights = np.take_along_axis(arrays["p"] / arrays["e"], arrays["action"][:, None].astype(int), axis=1)
    assert weights.mean() == pytest.approx(1.0, abs=0.1)


def test_a_difference_from_obp_stops_the_race():
    same = {OPE[0]: np.array([1.0, 2.0]), OPE[1]: np.array([1.0, 2.0 + 1e-12])}
    assert _agreement(same)["largest difference from obp"] == pytest.approx(1e-12, rel=1e-3)
    assert _agreement({OPE[0]: np.array([1.0])}) == {}
    with pytest.raises(PersuadableError, match=r"differ by 0\.5"):
        _agreement({OPE[0]: np.array([1.0]), OPE[1]: np.array([1.5])})


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n_actions": 1}, {"threads": 0}, {"repeats": 0}])
def test_too_little_is_refused(wrong):
    with pytest.raises(ParameterError, match="is too small"):
        bench.ope(**wrong, peers=())
