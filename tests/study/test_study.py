"""A study chooses on the training rows, judges on the held-out ones, and says what it found."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import persuadable as ps
from persuadable.cli import app
from persuadable.engine import Trees
from persuadable.policies import TreatNone
from persuadable.report import figure_data
from persuadable.study import Study, StudyPlan, doubts, evaluation, limits, run_study, verdict, write_study
from persuadable.study.run import _out_of_fold_qini
from persuadable.value import compare
from persuadable.value.policy_value import arm_mean_outcomes
from persuadable.worlds import RandomisedTrial

WORLD = RandomisedTrial(surface="nonlinear", outcome="real")


@pytest.fixture(scope="module")
def study() -> Study:
    plan = StudyPlan(budget=0.3, learners=("x", "t"), n_resamples=2, threads=2, progress=False)
    return run_study(WORLD.sample(8000, random_state=0), plan)


def test_training_and_judging_share_no_row(study: Study) -> None:
    assert study.train.n + study.test.n == study.log.n
    assert study.train.fingerprint.overlap(study.test.fingerprint) == 0
    assert study.learner.fitted_on.digest == study.train.fingerprint.digest


def test_the_best_out_of_fold_candidate_is_chosen(study: Study) -> None:
    chosen = [candidate for candidate in study.candidates if candidate.chosen]
    assert [c.name for c in chosen] == [max(study.candidates, key=lambda c: c.train_qini).name]


def test_the_budget_is_met_exactly(study: Study) -> None:
    assert study.decision.policy.share == pytest.approx(0.3, abs=1e-9)


def test_the_policy_is_worth_what_it_says(study: Study) -> None:
    """Its measured value agrees with the world's exact one within four standard errors."""
    policy = study.policy
    features = WORLD.features(100_000, random_state=9)
    truth = (policy.probabilities(features, 2) * WORLD.response(features)).sum(axis=1).mean()
    measured = study.decision.policy.estimate
    assert abs(measured.value - truth) < 4 * measured.stderr
    gain = study.decision["random"].difference
    assert gain.interval[0] > 0, "on this world a fitted policy beats lots"
    assert verdict(study).tone == "good"


def test_no_effect_is_not_dressed_up() -> None:
    world = RandomisedTrial(surface="none", outcome="real")
    study = run_study(world.sample(4000, random_state=3), StudyPlan(learners=("t",), n_resamples=0, progress=False))
    gain = study.decision["random"].difference
    assert abs(gain.value) < 4 * gain.stderr
    assert any("cannot be told from a random one" in limit for limit in limits(study))


def test_several_treatments_are_each_reported(tmp_path: Path) -> None:
    world = RandomisedTrial(n_actions=3, outcome="binary")
    study = run_study(world.sample(6000, random_state=1), StudyPlan(learners=("dr",), n_resamples=0, progress=False))
    assert [report.treatment for report in study.treatments] == list(study.log.actions.treatments)
    assert len(study.decision.policy.action_shares) == 3
    write_study(study, tmp_path)
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(f"The ranking: {label}" in report for label in study.log.actions.treatments)


def test_costs_are_netted_from_effects() -> None:
    """A treatment that costs more than it brings is given to nobody."""
    rng = np.random.default_rng(0)
    n = 4000
    x, w = rng.normal(size=(n, 3)), rng.integers(0, 2, n)
    log = ps.DecisionLog.from_arrays(
        x, w, {"sales": x[:, 0] + 0.5 * w + rng.normal(size=n), "cost": 5.0 * w}, cost="cost", propensity=0.5
    )
    study = run_study(log, StudyPlan(learners=("dr",), n_resamples=0, progress=False))
    assert study.decision.policy.share == 0
    assert "Treat nobody" in study.policy.explain()


def test_what_is_learned_is_what_is_judged_where_there_is_a_cost() -> None:
    """Gross effect and cost rise together, the net effect with another feature: only a net study finds its way."""
    rng = np.random.default_rng(1)
    n = 6000
    x, w = rng.normal(size=(n, 3)), rng.integers(0, 2, n)
    value = w * (1.5 + x[:, 0]) + rng.normal(scale=0.5, size=n)
    cost = w * (1.2 + x[:, 0] - 0.8 * x[:, 1])
    log = ps.DecisionLog.from_arrays(x, w, {"sales": value, "cost": cost}, cost="cost", propensity=0.5)
    study = run_study(log, StudyPlan(learners=("dr",), n_resamples=0, progress=False))
    assert study.log.primary == "sales net of cost"
    gain = study.decision["random"].difference
    # The net effect is 0.3 + 0.8 x1: the best 30% bring 0.8·φ(0.524) = 0.278 per head of everybody more than lots.
    assert abs(gain.value - 0.278) < 4 * gain.stderr + 0.03
    assert set(study.others) == {"sales", "cost"}


def test_a_fold_with_another_mean_does_not_turn_the_choice_round() -> None:
    """Without heterogeneity the out-of-fold Qini of a stump is centred on 0; pooled over folds it was −1.2 s.e."""
    plan = StudyPlan(learners=("dr",), n_resamples=0, progress=False)
    z = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x, w = rng.normal(size=(800, 3)), rng.integers(0, 2, 800)
        log = ps.DecisionLog.from_arrays(x, w, 0.5 * w + rng.normal(size=800), propensity=0.5)
        stump = ps.effects.DRLearner(trees=Trees(n_trees=10, max_depth=1), engine=plan.engine)
        fitted = {"stump": stump.fit(log)}
        # Γ has standard deviation 2, U is uniform: the Qini of a ranking by chance has s.e. 2/√(12·800).
        z.append(_out_of_fold_qini(fitted, log, seed=1)["stump"] / (2 / np.sqrt(12 * 800)))
    assert abs(np.mean(z)) < 3.5 / np.sqrt(12)


def test_everything_is_written(study: Study, tmp_path: Path) -> None:
    written = write_study(study, tmp_path / "out")
    page = written.report.read_text(encoding="utf-8")
    assert verdict(study).headline in page
    metrics = json.loads(written.metrics.read_text())
    assert all(len(m["interval"]) == 2 and m["n"] > 0 for m in metrics)
    assert {m["name"] for m in metrics} >= {"Qini", "AUUC", "AUTOC"}
    card = json.loads(written.card.read_text())
    assert card["data"]["fingerprint"] == study.log.fingerprint.digest
    assert card["limits"]
    bundle = ps.Bundle.load(written.bundle)
    np.testing.assert_array_equal(bundle.learner.effect(study.test.features), study.learner.effect(study.test.features))
    assert bundle.card == card
    write_study(study, tmp_path / "out")  # again, over the first


def test_the_bundle_carries_what_was_measured(study: Study, tmp_path: Path) -> None:
    told = ps.Bundle.load(write_study(study, tmp_path / "out").bundle).evaluation
    assert told == evaluation(study) == json.loads(json.dumps(told, allow_nan=False))
    assert {k: told[k] for k in ("outcome", "binary", "alpha", "rows", "treatments", "cost")} == {
        "outcome": study.log.primary, "binary": False, "alpha": 0.05, "rows": study.test.n,
        "treatments": ["treatment"], "cost": None,
    }  # fmt: skip
    table = figure_data(study.budgets)
    names = {"share": "share", "expected_share": "treated"}
    assert pl.DataFrame([{k: row[k] for k in names} for row in told["budgets"]]).equals(
        table.select(pl.col(v).alias(k) for k, v in names.items())
    )
    for name, column in (("value", "value"), ("gain_over_random", "difference"), ("gain_over_none", "over_none")):
        for part, ending in (("value", ""), ("low", "_lower"), ("high", "_upper")):
            assert [row[name][part] for row in told["budgets"]] == table[column + ending].to_list()
    assert [row["cost"] for row in told["budgets"]] == [None] * len(table)
    (report,), ranking = study.treatments, told["rankings"]["treatment"]
    for name, found in (("qini", report.ranking.qini.coefficient), ("autoc", report.ranking.autoc)):
        assert ranking[name] == {"value": found.value, "low": found.interval[0], "high": found.interval[1]}
    points = ranking["qini_curve"]
    whole = figure_data(report.ranking.qini.curve).rename({"lower": "low", "upper": "high"})
    assert len(whole) > len(points) == 101
    assert (points[0]["share"], points[-1]["share"]) == (0, 1)
    assert max(b["share"] - a["share"] for a, b in itertools.pairwise(points)) < 0.02
    assert len(pl.DataFrame(points).join(whole, on=["share", "value", "low", "high", "random"], how="semi")) == 101
    assert [(d["bin"], d["mean_score"], d["uplift"]["value"]) for d in ranking["deciles"]] == list(
        figure_data(report.deciles).select("bin", "mean_score", "uplift").iter_rows()
    )
    assert [d["rows"] for d in ranking["deciles"]] == [round(d.n) for d in report.deciles.bins]
    assert [(g["group"], g["rows"], g["predicted"], g["observed"]["low"]) for g in ranking["calibration"]] == list(
        figure_data(report.gates).select("group", "n", "predicted", "lower").iter_rows()
    )


def test_what_cannot_be_estimated_is_null(study: Study) -> None:
    row = study.budgets.rows[0]
    unknown = dataclasses.replace(row.value, stderr=np.inf, interval=(-np.inf, np.inf))
    budgets = dataclasses.replace(study.budgets, rows=(dataclasses.replace(row, value=unknown),))
    (told,) = evaluation(dataclasses.replace(study, budgets=budgets))["budgets"]
    assert told["value"] is None
    assert told["gain_over_none"] is not None


def test_costs_by_budget_are_what_treating_that_share_costs() -> None:
    """Letters cost 0.5, calls 2, each to everybody who gets one; the best treatment of half is a call."""
    rng = np.random.default_rng(3)
    n = 6000
    x, w = rng.normal(size=(n, 2)), rng.integers(0, 3, n)
    call = x[:, 0] > 0
    gain = np.where(call, np.array([0, 3, 8.0])[w], np.array([0, 6, 2.0])[w])
    cost = np.array([0.0, 0.5, 2.0])[w]
    log = ps.DecisionLog.from_arrays(
        x, w, {"sales": gain + rng.normal(size=n), "cost": cost}, cost="cost", propensity=np.full((n, 3), 1 / 3),
        action_names=("none", "letter", "call"),
    )  # fmt: skip
    study = run_study(log, StudyPlan(learners=("dr",), n_resamples=0, progress=False))
    told = evaluation(study)
    assert told["cost"] == "cost"
    assert told["treatments"] == ["letter", "call"]
    assert set(told["rankings"]) == {"letter", "call"}
    everybody = told["budgets"][-1]
    assert everybody["expected_share"] == pytest.approx(1.0)
    # Everybody gets the better one: half a call, half a letter, at 1.25 a head; it brings 0.5·6 + 0.5·5.5 net of that.
    assert everybody["cost"]["low"] - 0.02 < 1.25 < everybody["cost"]["high"] + 0.02
    assert abs(everybody["gain_over_none"]["value"] - 5.75) < 0.25
    for row in told["budgets"]:
        policy = study.policy.at(row["share"])
        pair = compare(study.test, policy, TreatNone(), outcome="cost", mu=arm_mean_outcomes(study.test, "cost"))
        assert row["cost"]["value"] == pytest.approx(pair.difference.value)
        assert row["cost"]["high"] == pytest.approx(pair.difference.interval[1])
        main = compare(study.test, policy, TreatNone(), method="ips").difference
        assert abs(row["gain_over_none"]["value"] - main.value) < 5 * main.stderr


def test_wrong_propensities_are_doubted_before_anything_else(csv: Path, tmp_path: Path) -> None:
    roles = ("--action", "action", "--control", "control", "--outcome", "outcome", "--drop", "after")
    done = invoke("run", csv, *roles, "--learner", "t", "--resamples", 0, "--propensity", 0.1, "--out", tmp_path / "o")
    assert done.exit_code == 0, done.output
    assert "not those the propensities imply" in " ".join(done.output.split())
    card = json.loads((tmp_path / "o" / "model_card.json").read_text())
    assert "the propensities are wrong" in card["limits"][0]


def test_right_propensities_are_not_doubted(study: Study) -> None:
    assert study.log.propensity_source == "logged"
    assert not doubts(study)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"budget": 0.0}, "budget"),
        ({"budget": 1.5}, "budget"),
        ({"learners": ("q",)}, "'q'"),
        ({"learners": ()}, "No learner"),
        ({"test_share": 1.0}, "test_share"),
        ({"alpha": 0.0}, "alpha"),
        ({"propensity": "guessed"}, "guessed"),
        ({"split_by": "day"}, "'day'"),
    ],
)
def test_wrong_plans_are_refused(choice: dict[str, object], said: str) -> None:
    with pytest.raises(ps.errors.ParameterError, match=said):
        StudyPlan(**choice)


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    log = RandomisedTrial(outcome="binary", base_rate=0.3).sample(3000, random_state=0)
    frame = log.frame().select(*log.features.names, "action", *log.outcomes)
    frame = frame.with_columns(after=pl.col(log.primary) + (pl.col("action") != log.actions.control).cast(pl.Int8))
    frame.write_csv(tmp_path / "log.csv")
    return tmp_path / "log.csv"


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command_line_runs_a_study(csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    roles = ("--action", "action", "--control", "control", "--outcome", "outcome", "--drop", "after")
    done = invoke("run", csv, *roles, "--learner", "t", "--resamples", 0, "--propensity", 0.5, "--out", out)
    assert done.exit_code == 0, done.output
    assert "The decision" in done.output
    assert "Warning" not in done.output
    written = ["bundle", "metrics.json", "model_card.html", "model_card.json", "report.html"]
    assert sorted(p.name for p in out.iterdir()) == written


def test_a_feature_the_action_changed_is_called_out(csv: Path, tmp_path: Path) -> None:
    roles = ("--action", "action", "--control", "control", "--outcome", "outcome")
    done = invoke("run", csv, *roles, "--learner", "t", "--resamples", 0, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "Warning" in done.output
    assert "after" in done.output


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--control", "nobody"), "'nobody' does not occur"),
        (("--outcome", "colour"), "no column 'colour'"),
        (("--budget", "7"), "budget is 7"),
        (("--learner", "z"), "no learner 'z'"),
        (("--propensity", "1.5"), "outside [0, 1]"),
        (("--propensity", "control=a,treatment=b"), "cannot be read"),
        (("--drop", "colour"), "no column 'colour' to drop"),
    ],
)
def test_wrong_input_ends_with_one_clear_error(csv: Path, tmp_path: Path, change: tuple[str, str], said: str) -> None:
    roles = {"--action": "action", "--control": "control", "--outcome": "outcome", "--out": tmp_path / "out"}
    roles |= {change[0]: change[1]}
    done = invoke("run", csv, *(part for pair in roles.items() for part in pair))
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = invoke("run", tmp_path / "no.csv", "--action", "a", "--control", "b", "--outcome", "c")
    assert done.exit_code == 2
    assert "no file" in " ".join(done.stderr.split())


def test_the_version_is_said() -> None:
    assert ps.__version__ in invoke("--version").output


def test_data_sets_are_listed() -> None:
    assert "hillstrom" in invoke("datasets").output


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_eligibility_and_weights_reach_every_part_of_a_study(known: bool, weighted: bool) -> None:
    """Half cannot be treated and have another baseline; the others all gain the same: nothing to rank."""
    rng = np.random.default_rng(5)
    n = 4000
    x, eligible = rng.normal(size=(n, 2)), rng.random(n) < 0.5
    w = np.where(eligible, rng.integers(0, 2, n), 0)
    log = ps.DecisionLog.from_arrays(
        x,
        w,
        0.3 * w + 2.0 * ~eligible + rng.normal(scale=0.5, size=n),
        propensity=np.stack([np.where(eligible, 0.5, 1), np.where(eligible, 0.5, 0)], axis=1) if known else None,
        eligible=np.stack([np.ones(n, dtype=bool), eligible], axis=1),
        weight=rng.choice([0.25, 1.75], n) if weighted else None,
    )
    study = run_study(log, StudyPlan(learners=("dr",), n_resamples=0, progress=False))
    (report,) = study.treatments
    assert abs(report.ranking.qini.ate.value - 0.3) < 4 * report.ranking.qini.ate.stderr
    gain = study.decision["random"]
    assert gain.baseline.share == pytest.approx(gain.policy.share, abs=1e-9)
    assert abs(gain.difference.value) < 4 * gain.difference.stderr
    assert not doubts(study)
