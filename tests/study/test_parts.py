"""What a study adds when it is asked to: economics, archetypes, fairness, review, the funnel, and the card of all."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import persuadable as ps
from persuadable.cli import app
from persuadable.report import ModelCard, Table, card_page
from persuadable.study import Study, StudyPlan, limits, run_study, verdict, write_study
from persuadable.study.card import model_card
from persuadable.study.parts import review_of
from persuadable.study.presets import COMMON, presets
from persuadable.study.sections import archetype_sections, economics_sections, fairness_sections, review_sections

SCHEMA = jsonschema_rs.validator_for(ModelCard.schema())
MONEY: dict[str, Any] = {"value_per_conversion": 10.0, "cost_per_contact": 0.5, "n_resamples": 3, "progress": False}


def moved_by_x0(n: int = 4000, seed: int = 0) -> ps.DecisionLog:
    """A contact raises the chance from .2 to .6 where x0 > 0, and nowhere else."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(n, 3)), rng.integers(0, 2, n)
    y = rng.random(n) < 0.2 + 0.4 * w * (x[:, 0] > 0)
    return ps.DecisionLog.from_arrays(
        x, w, {"bought": y.astype(float)}, propensity=0.5, action_names=("control", "treatment")
    )


LOG = moved_by_x0()
SIDE = np.where(LOG.features.values[:, 0] > 0, "right", "left")


@pytest.fixture(scope="module")
def study() -> Study:
    plan = StudyPlan(learners=("t",), budget=0.4, segments=("side", "f1"), review=0.1, **MONEY)
    return run_study(LOG, plan, {"side": SIDE})


def tables(section: Any) -> dict[str, Table]:
    return {block.caption: block for block in section.blocks if isinstance(block, Table)}


def test_the_two_amounts_set_the_break_even(study: Study) -> None:
    treated = study.policy.probabilities(study.test.features, 2)[:, 1] > 0
    effect = np.asarray(study.learner.effect(study.test.features))[:, 1]
    assert study.policy.break_even == 0.05
    assert effect[treated].min() > 0.05


def test_returns_are_those_of_the_experiment(study: Study) -> None:
    """Treating everybody brings .2 per head (half gain .4), at .5 each: incremental ROAS 4, attributed (.2 + .2)·20."""
    assert study.returns is not None
    everybody = study.returns["treat all"]
    assert everybody.incremental_roas is not None
    assert everybody.attributed_roas is not None
    assert abs(everybody.incremental_roas.value - 4.0) < 4 * everybody.incremental_roas.stderr
    assert abs(everybody.attributed_roas.value - 8.0) < 4 * everybody.attributed_roas.stderr
    assert [row.policy for row in study.returns.rows][1:] == ["treat all", "random", "propensity ranking"]
    assert any("incremental ROAS" in sentence for sentence in verdict(study).sentences)


def test_both_kinds_of_roas_are_told_apart(study: Study) -> None:
    (section,) = economics_sections(study)
    heads = tables(section)["Return on ad spend, both kinds"].columns
    assert {"incremental ROAS", "attributed ROAS"} <= set(heads)
    assert any(
        isinstance(block, str) and "Attributed ROAS counts every conversion" in block for block in section.blocks
    )


def test_claimed_mistakes_never_stand_alone(study: Study) -> None:
    (section,) = archetype_sections(study)
    claiming = [t.columns for t in tables(section).values() if any("claimed" in head for head in t.columns)]
    assert claiming
    for heads in claiming:
        assert {"wrong, expected", "verdict"} <= set(heads)
    assert set(study.archetypes) == {"treatment"}
    assert sum(row.n for row in study.archetypes["treatment"]) == study.test.n


def test_labels_that_no_model_saw_belong_to_their_rows(study: Study) -> None:
    assert study.fairness is not None
    right = study.test.features.values[:, 0] > 0
    assert study.fairness.group("right", "side").n == right.sum()
    chance = study.policy.probabilities(study.test.features, 2)[:, 1]
    assert study.fairness.group("left", "side").selection.value == pytest.approx(chance[~right].mean())
    (section,) = fairness_sections(study)
    assert any(isinstance(block, str) and "No model saw side." in block for block in section.blocks)


def test_a_disparity_is_flagged_and_its_end_is_priced(study: Study) -> None:
    """All the gain is on one side, so the policy treats that side, and sharing evenly costs some of the gain."""
    assert study.fairness is not None
    assert study.mitigation is not None
    assert {(alarm.code, alarm.group) for alarm in study.fairness.alarms} >= {("selection", "left")}
    assert study.mitigation.price.interval[0] > 0


def test_without_segments_or_money_nothing_is_added() -> None:
    plain = run_study(LOG, StudyPlan(learners=("t",), n_resamples=0, progress=False))
    assert (plain.returns, plain.archetypes, plain.fairness, plain.mitigation, plain.review) == (
        None,
        {},
        None,
        None,
        None,
    )
    parts = (economics_sections, archetype_sections, fairness_sections, review_sections)
    assert not [section for part in parts for section in part(plain)]
    told = model_card(plain).to_dict()
    assert not {"economics", "archetypes", "fairness", "review"} & told.keys()
    SCHEMA.validate(told)


def test_the_review_takes_its_share_and_travels_in_the_bundle(study: Study, tmp_path: Path) -> None:
    assert study.queue is not None
    assert study.queue.share == pytest.approx(0.1, abs=0.01)
    (section,) = review_sections(study)
    (reasons,) = tables(section).values()
    assert dict(row[:2] for row in reasons.rows) == study.queue.reasons
    bundle = ps.Bundle.load(write_study(study, tmp_path).bundle)
    assert bundle.review is not None
    assert bundle.review.load == 0.1


def test_a_review_of_many_rows_is_calibrated_on_some(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def spied(policy: Any, log: ps.DecisionLog, load: float, *, train: ps.DecisionLog) -> ps.policies.Review:
        sizes.append((log.n, train.n))
        return ps.policies.review(policy, log, load, train=train)

    monkeypatch.setattr("persuadable.study.parts.REVIEW_ROWS", 1_000)
    monkeypatch.setattr("persuadable.study.parts.review", spied)
    found = review_of(study.policy, study.train, study.test, 0.1)
    assert sizes == [(1_000, 1_000)]
    # Of 2,000 rows 10%, give or take what a thousand drawn of them tell: five standard deviations of .0095.
    assert found.assess(study.test).share == pytest.approx(0.1, abs=0.05)


def test_a_policy_that_treats_nobody_needs_no_review() -> None:
    plan = StudyPlan(learners=("t",), review=0.1, **{**MONEY, "cost_per_contact": 50.0})
    study = run_study(LOG, plan)
    assert study.review is None
    (section,) = review_sections(study)
    assert "treats nobody" in str(section.blocks[0])
    SCHEMA.validate(model_card(study).to_dict())


def test_the_card_fits_its_published_schema(study: Study, tmp_path: Path) -> None:
    card = model_card(study)
    told = json.loads(card.to_json())
    SCHEMA.validate(told)
    assert told["imbalance"]["arms"][1]["held_out_positives"] == int(
        ((study.test.action == 1) & (study.test.outcome() == 1)).sum()
    )
    assert {"economics", "archetypes", "fairness", "review", "imbalance", "training"} <= told.keys()
    assert ModelCard.from_json(card.to_json()).to_json() == card.to_json()
    written = write_study(study, tmp_path)
    SCHEMA.validate(json.loads(written.card.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda card: card["archetypes"][0].pop("expected_wrong"),
        lambda card: card["archetypes"][0].pop("verdict"),
        lambda card: card["metrics"][0].pop("interval"),
        lambda card: card["economics"]["policies"][0].pop("incremental_roas"),
        lambda card: card["fairness"]["groups"][0].update(share=1.5),
        lambda card: card.update(limits=[]),
        lambda card: card.update(surprise=1),
    ],
)
def test_the_schema_refuses_a_card_with_gaps(study: Study, spoil: Callable[[dict[str, Any]], Any]) -> None:
    told = copy.deepcopy(model_card(study).to_dict())
    spoil(told)
    assert not SCHEMA.is_valid(told)


def test_the_page_of_the_card_says_what_the_card_says(study: Study, tmp_path: Path) -> None:
    written = write_study(study, tmp_path)
    assert written.card_page is not None
    page = written.card_page.read_text(encoding="utf-8")
    for title in (
        "Data",
        "Imbalance",
        "Training",
        "Metrics",
        "Archetypes",
        "Economics",
        "Fairness",
        "Review",
        "Limits",
    ):
        assert f"<h2>{title}</h2>" in page
    assert "<script" not in page
    assert page == card_page(ModelCard.from_json(written.card.read_text(encoding="utf-8")))


def test_few_conversions_are_said_plainly() -> None:
    rng = np.random.default_rng(0)
    n = 4000
    w = rng.integers(0, 2, n)
    y = (np.arange(n) % 100 == 0) | ((np.arange(n) % 100 == 1) & (w == 1))
    log = ps.DecisionLog.from_arrays(rng.normal(size=(n, 2)), w, {"bought": y.astype(float)}, propensity=0.5)
    study = run_study(log, StudyPlan(learners=("t",), n_resamples=0, progress=False))
    few = int(((study.test.action == 0) & (study.test.outcome() > 0)).sum())
    assert few < 100
    assert any(limit.startswith(f"{few} of the") for limit in limits(study))
    assert study.presets is COMMON, "with 30 conversions to learn from no leaf of a rare outcome's trees could split"


def test_rare_outcomes_get_settings_of_their_own() -> None:
    rng = np.random.default_rng(1)
    y = (rng.permutation(100_000) < 300).astype(float)
    log = ps.DecisionLog.from_arrays(rng.normal(size=(100_000, 2)), rng.integers(0, 2, 100_000), {"bought": y})
    found = presets(log)
    # 3 in 1,000: 30 negatives a positive are 9 in 100 of all, and a leaf of 2,000 rows holds 6 positives.
    assert found.responses.keep_negatives == pytest.approx(0.09)
    assert found.sizes["large trees"].min_child_weight == pytest.approx(2000)
    assert presets(LOG) is COMMON
    names = StudyPlan(learners=("x",), through="visit").candidates(found)
    assert names["XLearner, small trees"].weighting == "rows"
    assert "FunnelLearner, rare-outcome trees" in names
    assert not [name for name in StudyPlan(learners=("x",)).candidates() if "Funnel" in name]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"value_per_conversion": 10.0}, "one of them is missing"),
        ({"cost_per_contact": 10.0}, "one of them is missing"),
        ({"value_per_conversion": -1.0, "cost_per_contact": 1.0}, "value_per_conversion is -1"),
        ({"value_per_conversion": 1.0, "cost_per_contact": 0.0}, "a contact is free"),
        ({"value_per_conversion": 1.0, "cost_per_contact": 0.1, "break_even": 0.2}, "have one of their own"),
        ({"value_per_conversion": 1.0, "cost_per_contact": 0.1, "n_resamples": 0}, "how sure an effect is"),
        ({"review": 1.0}, "review is 1.0"),
        ({"review": 0.1, "n_resamples": 1}, "how sure an effect is"),
    ],
)
def test_contradictions_in_a_plan_are_refused(choice: dict[str, Any], said: str) -> None:
    with pytest.raises(ps.errors.ParameterError, match=said):
        StudyPlan(**choice)


def test_a_segment_that_is_nowhere_is_refused() -> None:
    with pytest.raises(ps.errors.FeatureError, match="no segment 'colour'"):
        run_study(LOG, StudyPlan(segments=("colour",)))


def test_the_command_line_asks_for_everything(tmp_path: Path) -> None:
    visited = LOG.outcome() + (np.arange(LOG.n) % 3 == 0) > 0
    frame = LOG.frame().select(*LOG.features.names, "action", "bought")
    frame = frame.with_columns(side=pl.Series(SIDE), visit=pl.Series(visited.astype(np.int8)))
    frame.write_csv(tmp_path / "log.csv")
    options = {
        "--action": "action",
        "--control": "control",
        "--outcome": "bought",
        "--through": "visit",
        "--propensity": 0.5,
        "--learner": "t",
        "--resamples": 3,
        "--value-per-conversion": 10,
        "--cost-per-contact": 0.5,
        "--segments": "side",
        "--drop": "side",
        "--review": 0.1,
        "--out": tmp_path / "out",
    }
    arguments = ["run", str(tmp_path / "log.csv"), *(str(part) for pair in options.items() for part in pair)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    for said in ("incremental ROAS", "Persuadable", "alarm", "People look at", "model_card.html"):
        assert said in done.output
    card = json.loads((tmp_path / "out" / "model_card.json").read_text(encoding="utf-8"))
    SCHEMA.validate(card)
    assert "side" not in card["data"]["features"]
    assert {row["segment"] for row in card["fairness"]["groups"]} == {"side"}
    assert any("Funnel" in learner["name"] for learner in card["learners"])

    arguments[arguments.index("--segments") + 1] = "colour"
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert "no column 'colour' to segment by" in " ".join(refused.stderr.split())
