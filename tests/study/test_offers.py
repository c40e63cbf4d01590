"""A study of offers, from rows to a report and a bundle: what it promises, on worlds whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import persuadable as ps
from persuadable import study
from persuadable.cli import app
from persuadable.cli.logs import numbers
from persuadable.errors import ActionError, OutcomeError, ParameterError
from persuadable.study import OfferPlan, OfferStudy
from persuadable.study.offers.run import _of_kept, _scores
from persuadable.study.offers.words import limits, thin, verdict

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
    assert verdict(nothing).headline == "Offer nothing to anybody."
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
    for wrong, said in ((stated | {"gift": 1.0}, "name 'gift'"), ({"treatment 1": 0.5}, "lack 'treatment 2'")):
        with pytest.raises(ActionError, match=said):
            _of_kept(wrong, ps.design.support(log), log)
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
    found = study.run_offers(log, OfferPlan(roi_floor=1.0, cost={label: -0.5}, **quick))
    assert found.policy.rule.spend < 0.0
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
    assert "persuadable serve" in done.output
    refused = CliRunner().invoke(app, [*asked, *quick])
    assert refused.exit_code == 2
    assert "Pass budget=" in refused.output
    unreadable = CliRunner().invoke(app, [*asked, "--budget", "1", "--dose", "small", *quick])
    assert unreadable.exit_code == 2
    assert "--dose 'small' cannot be read" in " ".join(unreadable.output.split())


@pytest.mark.parametrize("text", ["small", "0.5", "small=", "small=nan", "small=1,small=2", "small=1,", "=1"])
def test_numbers_that_cannot_be_read_are_refused(text: str) -> None:
    assert numbers("a=b=1, c=-2.5", "--costs", "small=1") == {"a=b": 1.0, "c": -2.5}
    with pytest.raises(ParameterError, match=f"--costs '{text}' cannot be read"):
        numbers(text, "--costs", "small=1")
