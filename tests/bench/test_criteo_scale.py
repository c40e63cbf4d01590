"""The stand-in has the columns, the discreteness and the shares of its sample, and the study runs on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import persuadable as ps
from persuadable.bench import criteo_scale
from persuadable.bench.criteo_scale import FILE, stand_in
from persuadable.errors import ParameterError

ROWS = 20_000


@pytest.fixture(scope="module")
def sample() -> ps.DecisionLog:
    """f0 is continuous beside one value that a third have; f1 takes four values."""
    rng = np.random.default_rng(0)
    n = 4_000
    features = rng.normal(size=(n, 12)).astype(np.float32)
    features[rng.random(n) < 1 / 3, 0] = 0.25
    features[:, 1] = rng.integers(0, 4, n)
    action = (rng.random(n) < 0.85).astype(np.int16)
    visit = rng.random(n) < 0.05 + 0.1 * (features[:, 1] == 3) * (1 + action)
    outcomes = {"visit": visit.astype(float), "conversion": (visit & (rng.random(n) < 0.3)).astype(float)}
    return ps.DecisionLog.from_arrays(features, action, outcomes, propensity=0.85)


@pytest.fixture(scope="module")
def made(sample: ps.DecisionLog, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("scale")
    return folder, stand_in(sample, ROWS, folder / "criteo" / FILE)


def test_it_is_read_as_the_whole_file_would_be(made: tuple[Path, dict[str, float]], sample: ps.DecisionLog) -> None:
    folder, truth = made
    log = ps.datasets.load("criteo", outcome=["visit", "conversion", "exposure"], data_dir=folder, whole=True)
    assert (log.n, log.name) == (ROWS, "criteo")
    visit, conversion, exposure = (log.outcome(name) for name in ("visit", "conversion", "exposure"))
    assert not (conversion > visit).any()
    assert not exposure[log.action == 0].any()
    assert exposure[log.action == 1].mean() == pytest.approx(0.036, abs=0.01)
    assert visit.mean() == pytest.approx(sample.outcome("visit").mean(), abs=0.02)
    for name, y in (("visit", visit), ("conversion", conversion)):
        arms = [y[log.action == a] for a in range(2)]
        apart = arms[1].mean() - arms[0].mean()
        error = np.sqrt(sum(arm.var() / arm.size for arm in arms))
        assert abs(apart - truth[name]) < 4 * error


def test_it_is_as_discrete_as_its_sample(made: tuple[Path, dict[str, float]], sample: ps.DecisionLog) -> None:
    values = ps.datasets.load("criteo", data_dir=made[0]).features.values
    assert set(np.unique(values[:, 1])) == {0, 1, 2, 3}
    often = float(np.mean(values[:, 0] == np.float32(0.25)))
    assert often == pytest.approx(float(np.mean(sample.features.values[:, 0] == np.float32(0.25))), abs=0.02)
    assert np.unique(values[:, 0]).size > 0.9 * (1 - often) * ROWS, "many more values than the sample has"
    assert values[:, 0].min() >= sample.features.values[:, 0].min()
    assert values[:, 0].max() <= sample.features.values[:, 0].max()


def test_the_same_seed_draws_the_same_rows(sample: ps.DecisionLog, tmp_path: Path) -> None:
    files = [tmp_path / name / FILE for name in ("a", "b", "c")]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        stand_in(sample, 500, file, seed)
    logs = [ps.datasets.load("criteo", data_dir=file.parent).features.values for file in files]
    np.testing.assert_array_equal(logs[0], logs[1])
    assert not np.array_equal(logs[0], logs[2])


def test_the_study_is_run_and_measured(sample: ps.DecisionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(sample, 4_000, tmp_path / "data" / "criteo" / FILE)
    monkeypatch.setenv("PERSUADABLE_DATA", str(tmp_path / "data"))
    found = criteo_scale(10_000, 1, tmp_path / "scale", out=tmp_path / "scale.json")
    assert (found.rows, found.threads) == (10_000, 1)
    assert 1.0 < found.cpu < 600.0
    assert 100.0 < found.peak < 4_000.0
    assert max(found.memory) <= found.peak
    assert [check["outcome"] for check in found.claim] == ["conversion", "visit"]
    written = json.loads((tmp_path / "scale.json").read_text(encoding="utf-8"))
    assert "synthetic stand-in" in written["about"]
    assert written["peak"] == found.peak
    assert (tmp_path / "scale" / "out" / "claim.html").is_file()


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ParameterError, match="too few"):
        criteo_scale(100)
