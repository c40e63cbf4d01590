"""A study of offers, from rows to a report and a bundle: what it promises, on worlds whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import persuadable as ps
from persuadable import study
from persuadable.cli import app
from persuadable.cli.logs import numbers
from persuadable.errors import ActionError, DataError, OutcomeError, ParameterError
from persuadable.study import OfferPlan, OfferStudy
from persuadable.study.offers.checks import look_at_budget, look_at_costs
from persuadable.study.offers.run import _of_kept, _scores
from persuadable.study.offers.words import bullets, limits, thin, verdict
from persuadable.study.offers.write import offer_report

BUDGET = 1.5
FEW = {"learners": ("dr",), "n_resamples": 2, "threads": 1, "progress": False}
WORLD = ps.worlds.Offers(depths=(0.1, 0.3))


@pytest.fixture(scope="module")
def found() -> OfferStudy:
    log = WORLD.sample(6_000, random_state=0)
    return study.run_offers(log, OfferPlan(budget=BUDGET, segments=_category(log), **FEW))


def _category(log: ps.DecisionLog) -> str:
    return next(column.name for column in log.features.columns if column.kind == "category")


def test_train_and_test_are_apart(found: OfferStudy) -> None:
    assert not found.train.fingerprint.overlap(found.test.fingerprint)
    assert found.policy.fitted_on is not None
    assert not found.policy.fitted_on.overlap(found.test.fingerprint)
    assert found.policy.calibrated_on is not None
    assert found.policy.calibrated_on.same_rows(found.test.fingerprint), "its features set the price, not its outcomes"


def test_the_policy_spends_its_budget_and_brings_what_it_should(found: OfferStudy) -> None:
    """Against the world's truth: spend near the budget, gain above that of spending as much by lot."""
    world = WORLD
    units = world.features(40_000, random_state=5)
    chances = found.policy.probabilities(units, world.n_actions)
    spend = float((chances * world.cost_effect(units)).sum(axis=1).mean())
    gain = float((chances * world.effect(units)).sum(axis=1).mean())
    assert spend == pytest.approx(BUDGET, rel=0.25)
    per_cost = world.effect(units).mean(axis=0)[1:] / world.cost_effect(units).mean(axis=0)[1:]
    assert gain > spend * per_cost.max(), "the best single offer, given by lot for as much"
    told = found.decision["nobody"].difference
    assert abs(told.value - gain) < 4 * told.stderr
    assert found.spend is not None
    assert abs(found.spend.value - spend) < 4 * found.spend.stderr


def test_it_says_what_it_found(found: OfferStudy) -> None:
    said = verdict(found)
    assert said.headline.startswith("Choosing the offer for each person")
    assert any("per head more" in sentence for sentence in said.sentences)
    assert found.support.cells
    assert len([each for each in found.candidates if each.chosen]) == 1
    assert found.robustness is not None
    assert {each.head for each in found.heads.criteria} == {"value", "cost"}
    assert limits(found)
    explained = found.policy.explain()
    assert " ".join(sentence for sentence in said.sentences if sentence in explained) == explained, "a line a sentence"
    assert len([sentence for sentence in said.sentences if sentence in explained]) > 1


def test_the_folder_it_leaves(found: OfferStudy, tmp_path: Path) -> None:
    written = study.write_offers(found, tmp_path)
    page = written.report.read_text(encoding="utf-8")
    for part in ("Which offer for whom", "The decision", "Budgets", "Support", "Value and cost", "Sensitivity"):
        assert part in page
    metrics = json.loads(written.metrics.read_text(encoding="utf-8"))
    assert all(np.isfinite([one["value"], *one["interval"]]).all() for one in metrics)
    assert {"policy", "policy's spend", "mean over budgets"} <= {one["about"] for one in metrics}
    bundle = ps.Bundle.load(written.bundle)
    few = found.test.features.take(np.arange(50))
    np.testing.assert_array_equal(
        bundle.policy.probabilities(few, found.test.n_actions), found.policy.probabilities(few, found.test.n_actions)
    )
    assert json.loads(written.card.read_text(encoding="utf-8"))["policy"]["budget_per_head"] == BUDGET


def test_where_nothing_has_an_effect_nothing_is_offered(tmp_path: Path) -> None:
    log = ps.worlds.Offers("none", depths=(0.2,)).sample(2_000, random_state=3)
    nothing = study.run_offers(log, OfferPlan(budget=BUDGET, **FEW))
    assert nothing.policy.rule.offered == 0.0
    said = verdict(nothing)
    assert said.headline == "Offer nothing to anybody."
    assert bullets(said).count("Offer nothing") == 1
    assert study.write_offers(nothing, tmp_path).report.exists()


def test_stated_costs_need_no_cost_column() -> None:
    log = ps.worlds.RandomisedTrial(n_actions=3, outcome="money").sample(2_000, random_state=0)
    stated = {"treatment 1": 0.5, "treatment 2": 1.5}
    found = study.run_offers(log, OfferPlan(budget=0.4, cost=stated, calibration=None, **FEW))
    assert found.cost_head is None
    assert found.spend is None
    assert found.roi is None
    assert {each.head for each in found.heads.criteria} == {"value"}
    assert any("Costs were stated" in sentence for sentence in limits(found))


def test_stated_costs_follow_the_offers_that_are_pooled_or_left_out() -> None:
    """Of 400 rows an offer needs the last has 240; on one axis with the one before it they have 720."""
    shares = (0.4, 0.3, 0.2, 0.1)
    log = ps.worlds.RandomisedTrial(n_actions=4, treated_share=shares, outcome="money").sample(2_400, random_state=0)
    stated = {"treatment 1": 0.5, "treatment 2": 0.9, "treatment 3": 1.5}
    left_out = _of_kept(stated, ps.design.support(log), log)
    assert left_out == {"treatment 1": 0.5, "treatment 2": 0.9}
    quick = FEW | {"calibration": None, "n_resamples": 0, "dose": {"treatment 2": 2.0, "treatment 3": 3.0}}
    pooled = study.run_offers(log, OfferPlan(budget=0.2, cost=stated, **quick))
    assert pooled.offers == ("treatment 1", "treatment 2 | treatment 3")
    assert pooled.policy.stated_costs_ == pytest.approx([0.0, 0.5, (0.2 * 0.9 + 0.1 * 1.5) / 0.3], rel=0.02)


def test_where_the_return_stops_the_spending_everything_is_told_there() -> None:
    log = WORLD.sample(4_000, random_state=0)
    found = study.run_offers(log, OfferPlan(budget=50.0, roi_floor=3.0, evidence=None, **FEW))
    assert found.policy.rule.binds == "roi"
    assert found.budget == found.policy.rule.spend < 1.0
    assert found.robustness is not None
    told = found.robustness.frame().row(0, named=True)
    assert told["value"] >= 3.0 * told["cost"] * (1 - 1e-9)


def test_heads_are_compared_over_the_same_budgets() -> None:
    """A head that finds little worth buying is not judged on the first, best buys alone."""
    log = ps.worlds.RandomisedTrial(n_actions=2, costs=1.0).sample(400, random_state=0)
    worth = np.arange(400) % 4 > 0
    mu = {"mu": np.tile([0.0, 1.0], (400, 1)), "cost_mu": np.tile([0.0, 1.0], (400, 1)), "budgets": (0.0,)}
    paths = {
        name: ps.value.budget_path(log, np.column_stack([np.zeros(400), bought]), [0.0, 1.0], **mu)
        for name, bought in (("bold", np.where(worth, 2.0, 1.0)), ("timid", np.where(worth, -1.0, 1.0)))
    }
    scores = _scores(paths, None)
    assert scores == {name: pytest.approx(path.area(0.0, 1.0).value) for name, path in paths.items()}
    assert _scores(paths, 9.0) == scores
    assert _scores(paths, 0.1)["timid"] == pytest.approx(paths["timid"].area(0.0, 0.1).value)


def test_offers_that_cost_nothing_are_not_called_worthless(tmp_path: Path) -> None:
    log = ps.worlds.RandomisedTrial(outcome="money").sample(1_500, random_state=0)
    label = log.actions.treatments[0]
    quick = FEW | {"calibration": None, "n_resamples": 0, "evidence": None}
    found = study.run_offers(log, OfferPlan(roi_floor=1.0, cost={label: 0.0}, **quick))
    assert found.policy.rule.offered > 0.0
    assert found.policy.rule.spend == 0.0
    assert found.budget == 0.0
    assert verdict(found).headline.startswith("Choosing the offer")
    page = study.write_offers(found, tmp_path).report.read_text(encoding="utf-8")
    assert "costs nothing, so no money would bring more" in page
    assert "Nothing is predicted to be worth" not in page


def test_a_thin_offer_is_left_out_and_that_is_said() -> None:
    shares = (0.5, 0.47, 0.03)
    log = ps.worlds.RandomisedTrial(n_actions=3, treated_share=shares, costs=1.0).sample(3_000, random_state=0)
    found = study.run_offers(log, OfferPlan(budget=0.4, **FEW))
    assert found.offers == ("treatment 1",)
    assert any("'treatment 2' is left out" in sentence for sentence in thin(found))


def test_what_cannot_be_studied_is_refused() -> None:
    log = ps.worlds.RandomisedTrial(n_actions=3).sample(2_000, random_state=0)
    with pytest.raises(OutcomeError, match="no cost to weigh"):
        study.run_offers(log, OfferPlan(budget=1.0, **FEW))
    with pytest.raises(ParameterError, match="Neither a budget nor a return"):
        OfferPlan()
    with pytest.raises(ParameterError, match="budget is -1"):
        OfferPlan(budget=-1)
    for floor in (-0.5, float("nan"), "3"):
        with pytest.raises(ParameterError, match=f"roi_floor is {floor!r}"):
            OfferPlan(roi_floor=floor)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="calibration is 'sigmoid'"):
        OfferPlan(budget=1, calibration="sigmoid")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="no learner 'q'"):
        OfferPlan(budget=1, learners=("q",))
    with pytest.raises(ParameterError, match="needs standard errors"):
        OfferPlan(budget=1, averse=1.0, n_resamples=0)
    few = ps.worlds.RandomisedTrial(n_actions=3, costs=1.0).sample(300, random_state=0)
    with pytest.raises(ActionError, match="No action has support enough"):
        study.run_offers(few, OfferPlan(budget=1.0, **FEW))


def test_the_command(tmp_path: Path) -> None:
    world = ps.worlds.RandomisedTrial(n_actions=3, costs=(0.5, 1.0), n_categorical=0, n_features=6)
    log = world.sample(2_400, random_state=1)
    columns = dict(zip(log.features.names, log.features.values.T, strict=True))
    told = {"arm": [log.actions.names[a] for a in log.action], **{k: log.outcome(k) for k in log.outcomes}}
    data = tmp_path / "log.parquet"
    pl.DataFrame({**columns, **told}).write_parquet(data)
    asked = ["allocate", str(data), "--action", "arm", "--control", "control", "--value", "outcome", "--cost", "cost"]
    quick = ["--learner", "dr", "--resamples", "0", "--threads", "1", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*asked, "--budget", "0.05", *quick])
    assert done.exit_code == 0, done.output
    assert "The decision" in done.output
    assert "\n- " in done.output, "a line a sentence"
    assert "persuadable serve" in done.output
    refused = CliRunner().invoke(app, [*asked, *quick])
    assert refused.exit_code == 2
    assert "Pass --budget, what may be spent per head, or --roi-floor" in " ".join(refused.output.split())
    unreadable = CliRunner().invoke(app, [*asked, "--budget", "1", "--dose", "small", *quick])
    assert unreadable.exit_code == 2
    assert "--dose 'small' cannot be read" in " ".join(unreadable.output.split())


@pytest.mark.parametrize("text", ["small", "0.5", "small=", "small=nan", "small=1,small=2", "small=1,", "=1"])
def test_numbers_that_cannot_be_read_are_refused(text: str) -> None:
    assert numbers("a=b=1, c=-2.5", "--costs", "small=1") == {"a=b": 1.0, "c": -2.5}
    with pytest.raises(ParameterError, match=f"--costs '{text}' cannot be read"):
        numbers(text, "--costs", "small=1")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (("--budget", "1", "--cost", "cost", "--costs", "small=1"), "Give --cost or --costs, not both"),
        (("--budget", "1"), "Pass --cost, the column of what each decision cost, or --costs"),
        (("--budget", "-1", "--cost", "cost"), "--budget is -1. Pass a number from 0"),
        (("--roi-floor", "nan", "--cost", "cost"), "--roi-floor is nan. Pass a number from 0"),
        (("--cost", "cost"), "Pass --budget, what may be spent per head, or --roi-floor"),
    ],
)
def test_the_command_refuses_before_it_reads_the_file(told: tuple[str, ...], said: str) -> None:
    asked = ["allocate", "absent.csv", "--action", "arm", "--control", "none", "--value", "margin", *told]
    refused = CliRunner().invoke(app, asked)
    assert refused.exit_code == 2
    assert said in " ".join(refused.output.split())
    assert "absent.csv" not in refused.output


def _trial(features: pl.DataFrame, cost: np.ndarray | None = None) -> ps.DecisionLog:
    """Rows of two offers and none in turn, with a margin that is the row's number."""
    n = features.height
    outcomes = {"margin": np.arange(n, dtype=float), "x": np.ones(n) if cost is None else cost}
    told = features.with_columns(
        arm=pl.Series([("none", "5 off", "10 off")[i % 3] for i in range(n)]),
        **{k: pl.Series(v) for k, v in outcomes.items()},
    )
    return ps.DecisionLog.from_frame(told, action="arm", control="none", outcomes=["margin"], cost="x")


def test_costs_that_cannot_be_weighed_are_refused() -> None:
    log = _trial(pl.DataFrame({"age": np.arange(1_500) % 50}))
    with pytest.raises(OutcomeError, match="'margin' is both the value and its cost"):
        study.run_offers(log, OfferPlan(budget=1.0, cost="margin", **FEW))
    for stated, said in (
        ({"5 off": 5, "10 off": -10}, "'10 off' is stated to cost -10; a cost is a number from 0"),
        ({"5 off": float("nan"), "10 off": 10}, "'5 off' is stated to cost nan"),
    ):
        with pytest.raises(ParameterError, match=said):
            study.run_offers(log, OfferPlan(budget=1.0, cost=stated, **FEW))
    for stated, said in (
        ({"5 off": 5, "10 of": 10}, "name '10 of' and lack '10 off'"),
        ({"5 off": 5, "10 off": 10, "none": 0}, "The stated costs name 'none'"),
        ({"5 off": 5}, "The stated costs lack '10 off'"),
    ):
        for prune in (True, False):
            with pytest.raises(ActionError, match=said):
                study.run_offers(log, OfferPlan(budget=1.0, cost=stated, prune=prune, **FEW))
    free = _trial(pl.DataFrame({"age": np.arange(90) % 50}), np.zeros(90))
    with pytest.raises(OutcomeError, match="The cost 'x' is 0 in every row"):
        study.run_offers(free, OfferPlan(budget=1.0, **FEW))


def test_negative_logged_costs_are_pointed_at() -> None:
    cost = np.ones(90)
    cost[[3, 40, 41, 70]] = -2.5
    with pytest.warns(UserWarning, match=r"negative in 4 of 90 rows: row 3 \(-2.5\), 40 \(-2.5\), 41 \(-2.5\), …"):
        look_at_costs(_trial(pl.DataFrame({"age": np.arange(90) % 50}), cost), "x")


def test_a_column_that_names_people_is_refused() -> None:
    people = [f"c{i}" for i in range(300)]
    log = _trial(pl.DataFrame({"customer": people}))
    with pytest.raises(DataError, match="Column 'customer' has 300 values in 300 rows: it names people") as refused:
        study.run_offers(log, OfferPlan(budget=1.0, **FEW))
    assert "(--unit customer), or leave it out (--drop customer)" in str(refused.value)
    for towns in (150, 20):  # half as many as rows; few, in a small log: both describe, and thin arms are what is wrong
        few = _trial(pl.DataFrame({"town": [f"t{i % towns}" for i in range(300 if towns == 150 else 30)]}))
        with pytest.raises(ActionError, match="No action has support enough"):
            study.run_offers(few, OfferPlan(budget=1.0, **FEW))


def test_a_budget_in_another_unit_is_pointed_at(found: OfferStudy) -> None:
    policy = found.policy.__class__.from_state(found.value_head, found.cost_head, found.policy.state())
    everything = float(policy.path_.spend[-1])
    policy.budget = 50.0
    with pytest.warns(UserWarning, match="The budget of 50 per head is more than the .* everything worth giving costs"):
        look_at_budget(policy, 50.0)
    tiny = everything * 1e-4
    policy.budget = tiny
    assert policy.rule.offered < 0.01
    with pytest.warns(UserWarning, match="of people only"):
        look_at_budget(policy, tiny)
    policy.budget = BUDGET
    look_at_budget(policy, BUDGET)  # neither: a warning would fail this


def test_a_comparison_in_doubt_has_no_good_headline(found: OfferStudy) -> None:
    for wrong, said in (
        ({"p_value": 1e-6}, "Not to be believed yet: the arms differ by more than chance."),
        (
            {"shares_p_value": 1e-6},
            "Not to be believed yet: the shares of the arms are not those the propensities imply.",
        ),
    ):
        doubted = verdict(replace(found, balance=replace(found.balance, **wrong)))
        assert doubted.headline == said
        assert doubted.tone == "unclear"
        assert not any("beats" in sentence for sentence in doubted.sentences)


def test_it_prints_its_verdict_and_its_path(found: OfferStudy) -> None:
    said = verdict(found)
    lines = str(found).splitlines()
    assert lines[0] == said.headline
    assert lines[1 : 1 + len(said.sentences)] == [f"- {sentence}" for sentence in said.sentences]
    assert str(found).endswith(str(found.path))
    assert len(repr(found)) < 200


def test_tables_tell_offers_in_order_of_dose(found: OfferStudy) -> None:
    """Doses against the log's order turn every table round; without doses the log's order stays."""
    doses = dict(zip(found.offers, (2.0, 1.0), strict=True))
    rows = {
        name: tuple(replace(row, dose=doses[row.label]) for row in getattr(found.support, name))
        for name in ("actions", "kept")
    }
    turned = replace(found, support=replace(found.support, **rows))
    for told, expected in ((found, found.offers), (turned, found.offers[::-1])):
        for title, caption, column in (
            ("The decision", "The policy and its alternatives", 0),
            ("Support", "What the log knows of each offer", 0),
            ("Value and cost", "Do predicted effects come true?", 1),
            ("Budgets", "Averaged over all budgets", 0),
        ):
            section = next(one for one in offer_report(told).sections if one.title == title)
            table = next(block for block in section.blocks if getattr(block, "caption", None) == caption)
            named = [label for row in table.rows for label in found.offers if label in str(row[column])]
            assert tuple(dict.fromkeys(named)) == expected, title
