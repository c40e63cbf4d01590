"""A claim about ROAS is held against data in which the truth is known, and the Criteo study does so on any size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import persuadable as ps
from persuadable.cli import app
from persuadable.engine import LocalEngine
from persuadable.study import PUBLISHED, RoasClaim, Study, StudyPlan, check_claim, criteo_plan, run_criteo, run_study


@pytest.fixture(scope="module")
def study() -> Study:
    """A quarter of the people gain .4, nobody else anything: that quarter's incremental ROAS is 4 times everybody's."""
    rng = np.random.default_rng(0)
    n = 6000
    x, w = rng.random((n, 2)), rng.integers(0, 2, n)
    y = rng.random(n) < 0.2 + 0.4 * w * (x[:, 0] > 0.75)
    log = ps.DecisionLog.from_arrays(x, w, {"bought": y.astype(float)}, propensity=0.5)
    plan = StudyPlan(
        learners=("t",), value_per_conversion=10.0, cost_per_contact=0.5, n_resamples=3, progress=False, budget=0.25
    )
    return run_study(log, plan)


def truth(study: Study) -> float:
    """4 times the share of those who gain that the ranking's best quarter holds."""
    effect = np.asarray(study.learner.effect(study.test.features))[:, 1]
    best = effect >= np.quantile(effect, 0.75)
    return 4 * float(best[study.test.features.values[:, 0] > 0.75].mean())


def test_the_factor_is_the_true_one(study: Study) -> None:
    check = check_claim(study)
    assert check.returns.rows[0].share == pytest.approx(0.25, abs=1e-9)
    assert check.factor.shape == "interval"
    assert abs(check.factor.value - truth(study)) < 4 * check.factor.stderr
    assert check.factor.stderr < 0.5, "else the line above says little"
    assert check.better
    own, everybody = check.returns.rows[0].incremental_roas, check.returns["treat all"].incremental_roas
    assert own is not None
    assert everybody is not None
    assert check.factor.value == pytest.approx(own.value / everybody.value)


def test_a_claim_beyond_the_data_is_contradicted(study: Study) -> None:
    found = check_claim(study).factor
    assert check_claim(study, RoasClaim(1.0, found.limits[1] - 0.01, 0.75)).finding == "not ruled out"
    assert check_claim(study, RoasClaim(1.0, found.limits[1] + 0.01, 0.75)).finding == "contradicted"
    # A quarter cannot hold twice the effect there is.
    assert check_claim(study, RoasClaim(1.0, 8.0, 0.75)).finding == "contradicted"


def test_a_claim_below_the_data_is_surpassed(study: Study) -> None:
    found = check_claim(study).factor
    assert check_claim(study, RoasClaim(1.0, found.limits[0] + 0.01, 0.75)).finding == "not ruled out"
    assert check_claim(study, RoasClaim(1.0, found.limits[0] - 0.01, 0.75)).finding == "surpassed"
    said = check_claim(study, RoasClaim(1.0, 1.0, 0.75)).sentences()
    assert any("surpassed." in sentence for sentence in said)


def test_the_interval_is_that_of_many_logs(study: Study) -> None:
    """Fieller's set from the three standard errors agrees with how held-out rows drawn anew spread the factor."""
    check = check_claim(study)
    test, rng = study.test, np.random.default_rng(1)
    score = (test.outcome() - 0.4) * np.where(test.action == 1, 2.0, -2.0)
    effect = np.asarray(study.learner.effect(test.features))[:, 1]
    best = effect >= np.quantile(effect, 0.75)
    drawn = rng.integers(0, test.n, (400, test.n))
    spread = np.std((score * best)[drawn].mean(axis=1) / score[drawn].mean(axis=1)) * 4
    assert 0.5 * spread < check.factor.stderr < 1.5 * spread


def test_what_a_claim_implies() -> None:
    assert PUBLISHED.factor == pytest.approx(9.60 / 2.44)
    assert PUBLISHED.held == pytest.approx(0.9836, abs=1e-4)
    with pytest.raises(ps.errors.ParameterError, match="No claim"):
        RoasClaim(2.44, 9.60, 1.0)


def test_a_claim_needs_economics() -> None:
    rng = np.random.default_rng(0)
    log = ps.DecisionLog.from_arrays(rng.normal(size=(2000, 2)), rng.integers(0, 2, 2000), rng.normal(size=2000))
    plain = run_study(log, StudyPlan(learners=("t",), n_resamples=0, progress=False))
    with pytest.raises(ps.errors.ParameterError, match="with economics"):
        check_claim(plain)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file like Criteo's: 4,000 rows, 85% treated, 2% conversions, each after a visit."""
    log = ps.worlds.Ads(conversion_rate=0.02).sample(4000, random_state=0)
    features = {f"f{i}": log.features.values[:, i] for i in range(12)}
    marks = {name: log.outcome(name).astype(np.int8) for name in ("conversion", "visit")}
    folder = tmp_path / "data" / "criteo"
    folder.mkdir(parents=True)
    frame = pl.DataFrame({**features, "treatment": log.action, **marks})
    frame.write_parquet(folder / "criteo_uplift_v2.1_sample_made.parquet")
    return tmp_path / "data"


def test_the_criteo_study_runs_on_a_file(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSUADABLE_DATA", str(data))
    out = tmp_path / "out"
    options = ("--resamples", "3", "--segments", "f0", "--seed", "1", "--out", str(out))
    done = CliRunner().invoke(app, ["demo", "criteo", *options])
    assert done.exit_code == 0, done.output
    checks = json.loads((out / "claim.json").read_text(encoding="utf-8"))
    assert [check["outcome"] for check in checks] == ["conversion", "visit"]
    assert checks[0]["claimed_factor"] == pytest.approx(3.934, abs=1e-3)
    assert checks[0]["thin"]
    page = (out / "claim.html").read_text(encoding="utf-8")
    assert "of 13,979,592 rows" in page
    for outcome in ("conversion", "visit"):
        assert (out / outcome / "report.html").is_file()
        assert (out / outcome / "model_card.html").is_file()


def test_the_features_are_not_copied_for_each_outcome(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ps.datasets.load("criteo", outcome=["conversion", "visit"], data_dir=data)
    seen = []

    def stop(given: ps.DecisionLog, plan: StudyPlan) -> Study:
        seen.append(np.shares_memory(given.features.values, log.features.values))
        raise InterruptedError

    monkeypatch.setattr("persuadable.study.criteo.run_study", stop)
    with pytest.raises(InterruptedError):
        next(run_criteo(log, criteo_plan(), tmp_path))
    assert seen == [True]


def test_propensities_are_estimated_once_for_both_outcomes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    run = LocalEngine.run

    def counted(self: LocalEngine, *arguments: Any, what: str, **others: Any) -> Any:
        seen.append(what)
        return run(self, *arguments, what=what, **others)

    monkeypatch.setattr(LocalEngine, "run", counted)
    log = ps.datasets.load("criteo", outcome=["conversion", "visit"], data_dir=data)
    plan = criteo_plan(n_resamples=2, review=None, segments=(), progress=False)
    chances = []
    for study, _, _ in run_criteo(log, plan, tmp_path):
        assert study.log.propensity_source == "estimated"
        assert study.learner.propensity_.source == "estimated"
        np.testing.assert_array_equal(study.learner.propensity_.values, study.train.propensity())
        chances.append(study.log.propensities)
    assert chances[0] is chances[1]
    assert seen.count("Propensity") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hilstrom",), "no demo 'hilstrom'"),
        (("criteo", "--arms", "men"), "--arms is no option of demo criteo"),
        (("hillstrom", "--review", "0.1"), "--review is no option of demo hillstrom"),
        (("criteo", "--review", "2"), "review is 2.0"),
    ],
)
def test_wrong_demos_are_refused(arguments: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, ["demo", *arguments])
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
