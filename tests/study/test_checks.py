"""What cannot be right is refused before anything is fitted, in the words of who asked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import persuadable as ps
from persuadable.cli import app
from persuadable.cli.root import in_options, say
from persuadable.errors import DataError, FeatureError, OutcomeError, ParameterError
from persuadable.study import Study, StudyPlan, run_study, verdict
from persuadable.study.checks import require_plan

N = 400
RNG = np.random.default_rng(0)
FRAME = pl.DataFrame(
    {
        "customer": [f"c{i}" for i in range(N)],
        "age": RNG.integers(18, 80, N),
        "ad": RNG.choice(["none", "shown"], N, p=[0.3, 0.7]),
        "visit": (np.arange(N) % 2).astype(np.int8),
        "bought": (np.arange(N) % 8 == 1).astype(np.int8),
        "spent": (np.arange(N) % 8 == 1) * 12.5,
        "paid": RNG.random(N),
    }
)
ROLES: dict[str, Any] = {"action": "ad", "control": "none"}
LOG = ps.DecisionLog.from_frame(FRAME.drop("customer", "paid"), **ROLES, outcomes=["bought", "visit", "spent"])
MONEY = {"value_per_conversion": 10.0, "cost_per_contact": 0.1}


@pytest.mark.parametrize(
    ("plan", "segments", "error", "said"),
    [
        ({"segments": ("visit",)}, {}, FeatureError, "'visit' came about after the action, so it is no segment"),
        ({"segments": ("town",)}, {}, FeatureError, "no segment 'town'"),
        ({"segments": ("id",)}, {"id": np.array([f"c{i}" for i in range(N)])}, ParameterError, "400 groups"),
        ({"segments": ("one",)}, {"one": np.full(N, "a")}, DataError, "All rows are of one group"),
        ({"through": "spent"}, {}, OutcomeError, "'spent' is not 0 or 1"),
        ({"through": "bought"}, {}, OutcomeError, "is the step of the funnel"),
    ],
)
def test_a_plan_the_log_cannot_give_is_refused(
    plan: dict[str, Any], segments: dict[str, Any], error: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persuadable.study.run.fit_many", lambda *_: pytest.fail("something was fitted"))
    with pytest.raises(error, match=said):
        run_study(LOG, StudyPlan(**plan), segments)


def test_a_step_that_some_skipped_is_none() -> None:
    with pytest.raises(OutcomeError, match="In 150 rows 'visit' came about without 'bought'"):
        require_plan(LOG.select(outcomes=["visit", "bought"]), StudyPlan(through="bought"), {})


def test_numbers_and_few_groups_are_segments() -> None:
    require_plan(LOG, StudyPlan(segments=("age", "side")), {"side": np.arange(N) % 3})


def test_money_as_an_outcome_is_asked_about() -> None:
    with pytest.warns(UserWarning, match=r"'spent' does not count conversions: it holds 12.5"):
        require_plan(LOG.select(outcomes=["spent"]), StudyPlan(**MONEY), {})
    require_plan(LOG, StudyPlan(**MONEY), {})  # conversions: a warning would fail this


def test_a_cost_is_told_once() -> None:
    log = ps.DecisionLog.from_frame(FRAME.drop("customer"), **ROLES, outcomes="bought", cost="paid")
    with pytest.raises(ParameterError, match="told twice: by the column 'paid'"):
        require_plan(log, StudyPlan(**MONEY), {})


def test_a_column_that_names_people_is_refused() -> None:
    log = ps.DecisionLog.from_frame(FRAME, **ROLES, outcomes="bought")
    with pytest.raises(DataError, match="'customer' has 400 values in 400 rows"):
        require_plan(log, StudyPlan(), {})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--segments", "bought"), "--segments names 'bought', which --outcome names too"),
        (("--segments", "ad"), "--segments names 'ad', which --action names too"),
        (("--segments", "colour"), "no column 'colour' to segment by"),
        (("--through", "bought"), "--through names 'bought', the outcome itself"),
        (("--through", "age"), "'age' is not 0 or 1 (through 'age'). Name a column of 0 and 1"),
        (("--review", "0"), "review is 0.0, not a share"),
        (("--review", "1.5"), "review is 1.5, not a share"),
        (("--value-per-conversion", "-1", "--cost-per-contact", "1"), "--value-per-conversion is -1"),
        (("--cost-per-contact", "1"), "Pass --value-per-conversion and --cost-per-contact, or neither."),
        (("--review", "0.1", "--resamples", "0"), "--resamples is 0, and a review must know"),
        (("--drop", "visit", "--through", "visit"), "Column 'visit' is dropped and used"),
        (("--control", "nobody"), "Pass --control one of ['none', 'shown']"),
    ],
)
def test_the_command_line_says_it_in_its_own_options(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    FRAME.write_csv(tmp_path / "ads.csv")
    roles = ("--action", "ad", "--control", "none", "--outcome", "bought", "--drop", "customer,spent")
    out = ("--out", str(tmp_path / "out"))
    done = CliRunner().invoke(app, ["run", str(tmp_path / "ads.csv"), *roles, *out, *options])
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_numbers_no_model_sees_are_cut_into_ranges(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "ads.csv")
    from persuadable.cli.study import _labels

    log = ps.DecisionLog.from_frame(FRAME.drop("customer", "age"), **ROLES, outcomes="bought")
    labels = _labels(tmp_path / "ads.csv", log, ("age",))
    assert labels["age"].dtype == np.float64
    require_plan(log, StudyPlan(segments=("age",)), labels)  # 62 ages, four ranges


def test_arguments_are_said_as_options() -> None:
    assert in_options("Pass test_share=0.5, or leave cost= out.") == "Pass --test-share 0.5, or leave --cost out."
    assert in_options("n_resamples is 0 (f(through='x')).") == "--resamples is 0 (f(through='x'))."
    assert in_options("There is no column 'cost_per_contact'.") == "There is no column 'cost_per_contact'."


def test_sentences_are_broken_and_tables_are_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    row = "policy  " + "12.5 " * 12
    say(f"{row}\n- {'word ' * 20}")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == row
    assert lines[2].startswith("  word")
    assert max(map(len, lines[1:])) <= 40


@pytest.fixture(scope="module")
def study() -> Study:
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(4000, 2)), rng.integers(0, 2, 4000)
    y = rng.random(4000) < 0.2 + 0.5 * w * (x[:, 0] > 0)
    log = ps.DecisionLog.from_arrays(x, w, {"bought": y.astype(float)}, propensity=0.5)
    return run_study(log, StudyPlan(learners=("t",), n_resamples=0, progress=False))


def test_a_comparison_in_doubt_has_no_good_headline(study: Study) -> None:
    assert "beats" in verdict(study).headline
    for wrong, said in (
        ("p_value", "Not to be believed yet: the arms differ by more than chance."),
        ("shares_p_value", "Not to be believed yet: the shares of the arms are not those the propensities imply."),
    ):
        doubted = verdict(dataclasses.replace(study, balance=dataclasses.replace(study.balance, **{wrong: 1e-6})))
        assert (doubted.headline, doubted.tone) == (said, "unclear")
        assert not any("beats" in sentence for sentence in doubted.sentences)


def test_few_outcomes_make_a_rough_headline(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persuadable.study.words.THIN", 10_000)
    rough = verdict(study)
    assert rough.headline.startswith("So few had bought that this is rough: treating the 30%")
    assert rough.tone == "unclear"
    assert any("held-out rows of 0 have bought" in sentence for sentence in rough.sentences)
