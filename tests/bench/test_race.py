"""The race course, run with ours alone and tiny data; the peers run in ``persuadable bench``."""

from __future__ import annotations

import json

import pytest

from persuadable import bench
from persuadable.bench import learner_contestants, meter, race, speed
from persuadable.bench.accuracy import NAMESAKES, Against
from persuadable.errors import ParameterError

FAILING = """
def make(settings):
    raise ValueError("this one never starts")
CONTESTANTS = {"ours broken": make}
"""


@pytest.fixture
def few(monkeypatch):
    """Two contestants of the learners' race."""
    monkeypatch.setattr(speed, "LEARNERS", ("bare fit", "ours R + DR + X", "econml DR"))


@pytest.mark.usefixtures("few")
def test_learners_are_measured_in_units_of_a_bare_fit(tmp_path):
    said = []
    found = bench.learners(
        n=600, d=8, trees=4, depth=2, folds=2, threads=1, repeats=2, peers=(), out=tmp_path / "l.json", say=said.append
    )
    assert [run.name for run in found.runs] == ["bare fit", "ours R + DR + X"]
    assert found["bare fit"].ratio == 1
    assert len(said) == 4
    for run in found.runs:
        assert not run.failed
        assert len(run.cpus) == 2
        assert run.peak >= run.imported > 20
        assert run.wall > 0
    saved = json.loads((tmp_path / "l.json").read_text(encoding="utf-8"))
    assert saved["settings"]["n"] == 600
    assert saved["runs"][1]["name"] == "ours R + DR + X"
    assert "R + DR + X" in str(found)


def test_the_evaluation_race_judges_a_ranking(monkeypatch, tmp_path):
    monkeypatch.setattr(speed, "EVALUATIONS", ("ours", "scikit-uplift Qini"))
    found = bench.evaluation(n=4_000, threads=1, repeats=1, peers=())
    assert [run.name for run in found.runs] == ["ours"]
    assert found["ours"].ratio is None
    assert not found["ours"].failed


def test_accuracy_compares_with_the_truth(tmp_path):
    found = bench.accuracy(
        n=3_000, trees=20, folds=2, threads=1, peers=(), learners=("R",), surfaces=("linear",), outcome="real",
        n_test=1_000, seeds=(0, 1), out=tmp_path / "a.json",
    )  # fmt: skip
    (row,) = found.rows
    assert (row.surface, row.learner, row.contestant) == ("linear", "R", "ours R")
    assert len(row.spearman) == 2
    assert min(row.spearman) > 0.3
    assert found.behind() == {}
    assert "ours" in str(found)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["rows"][0]["spearman"] == list(row.spearman)


def test_behind_is_the_best_namesake_less_ours():
    rows = tuple(
        Against("linear", "R", name, (value,), (1.0,), failed)
        for name, value, failed in [
            ("ours R", 0.90, ""),
            ("econml NonParamDML", 0.89, ""),
            ("metalearners R", 0.93, ""),
        ]
    )
    assert bench.Accuracy({}, rows).behind() == {("linear", "R"): pytest.approx(0.03)}


def test_a_contestant_that_fails_is_told_in_the_table_and_the_race_goes_on(tmp_path):
    file = tmp_path / "contestants.py"
    file.write_text(FAILING, encoding="utf-8")
    found, results = race.race("Broken", file, ["ours broken"], {}, {"n": 1}, threads=1, repeats=2)
    assert "this one never starts" in found["ours broken"].failed
    assert results == {}
    assert "this one never starts" in str(found)


def test_everybody_named_in_a_race_is_a_contestant():
    assert set(speed.LEARNERS) <= set(learner_contestants.CONTESTANTS)
    named = {name for names in NAMESAKES.values() for name in names}
    assert named <= set(learner_contestants.CONTESTANTS)


def test_impossible_numbers_are_refused():
    with pytest.raises(ParameterError, match="repeats must be at least 1"):
        bench.learners(repeats=0, peers=())
    with pytest.raises(ParameterError, match="n must be at least 1"):
        bench.evaluation(n=0, peers=())


def test_the_meter_reads_time_and_memory():
    before = meter.cpu_seconds()
    sum(i * i for i in range(300_000))
    assert meter.cpu_seconds() > before
    assert meter.memory("VmHWM") >= meter.memory("VmRSS") > 20
    with pytest.raises(ImportError):
        meter.contestant("no such file", "ours")
