"""Proposals are the policy's own decisions, one unit at a time or by the thousand, and a failing model says so."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jsonschema_rs
import numpy as np
import orjson
import pytest

import persuadable as ps
from persuadable.engine import Trees
from persuadable.service import schemas
from persuadable.service.grants import settle
from persuadable.service.intake import Answers, Intake, Refused, Taken
from persuadable.service.models import model_of
from persuadable.service.records import Budget, Flag, Proposal, Shadow
from persuadable.service.scoring import ModelFailure, shadows
from persuadable.service.wire import Terms, Unit, WireError
from persuadable.worlds import RandomisedTrial

SMALL = Trees(n_trees=12, max_depth=3)
SHARES = (0.0, 0.05, 0.3, 0.62, 1.0)


def letters() -> tuple[ps.Bundle, ps.DecisionLog]:
    """Two arms, no cost, half-samples for intervals; calibrated on the log that is scored."""
    train, test = RandomisedTrial("nonlinear", "money").sample(3000, random_state=0).split(0.5, random_state=0)
    learner = ps.effects.DRLearner(trees=SMALL, n_folds=2, n_resamples=3).fit(train)
    return ps.Bundle.build(learner, ps.policies.BudgetPolicy(learner).calibrate(test), train), test


def offers() -> tuple[ps.Bundle, ps.DecisionLog]:
    """Three arms with costs and a break-even each; without half-samples."""
    world = RandomisedTrial("linear", "real", n_actions=3, costs=(0.1, 0.3))
    train, test = world.sample(3000, random_state=1).split(0.5, random_state=1)
    learner = ps.effects.XLearner("one-model", trees=SMALL, nuisance_trees=SMALL, n_folds=2)
    learner.fit(train, outcomes=["outcome", "cost"])
    even = {"treatment 2": 0.05}
    policy = ps.policies.BudgetPolicy(learner, 0.4, cost="cost", break_even=even).calibrate(train)
    return ps.Bundle.build(learner, policy, train), test


def steps() -> tuple[ps.Bundle, ps.DecisionLog]:
    """Stumps: few distinct effects, so that thresholds fall on ties."""
    train, test = RandomisedTrial("sparse").sample(2000, random_state=2).split(0.5, random_state=2)
    learner = ps.effects.TLearner(trees=Trees(n_trees=2, max_depth=1), n_folds=2, n_resamples=2).fit(train)
    return ps.Bundle.build(learner, ps.policies.BudgetPolicy(learner).calibrate(test), train), test


Maker = Callable[[], tuple[ps.Bundle, ps.DecisionLog]]
MAKERS: dict[str, Maker] = {"letters": letters, "offers": offers, "steps": steps}


class Case:
    """A bundle and a log whose units it scores."""

    def __init__(self, maker: Maker) -> None:
        self.bundle, self.log = maker()
        self.model = model_of(self.bundle)
        self.model.warm()
        self.units = [Unit(f"u{i}", row) for i, row in enumerate(self.log.features.frame().to_dicts())]
        self.intake = Intake(self.bundle.contract, Answers(out_of_range="flag"))
        self.taken = self.intake.take(self.units)

    def propose(self, share: float) -> list[Proposal]:
        return self.model.propose(self.units, self.taken, Budget(share))


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {name: Case(maker) for name, maker in MAKERS.items()}


@pytest.fixture(scope="module", params=list(MAKERS))
def case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    return cases[request.param]


def some(taken: Taken, rows: Sequence[int]) -> Taken:
    return Taken(taken.values[rows], tuple(taken.flags[i] for i in rows), taken.fallback[rows], {})


# --- the policy's own decisions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", SHARES)
def test_a_whole_log_is_decided_as_the_policy_decides_it(case: Case, share: float) -> None:
    policy, n_actions = case.bundle.policy.at(share), case.log.n_actions
    proposals = case.propose(share)
    scored = policy.scored(case.log.features, n_actions)
    expected = policy.probabilities(case.log.features, n_actions)
    found = np.zeros_like(expected)
    for i, proposal in enumerate(proposals):
        action = case.model.actions.index(proposal.treatment)
        found[i, 0], found[i, action] = 1.0 - proposal.chance, proposal.chance
    np.testing.assert_array_equal(found, expected)
    assert [case.model.actions.index(p.treatment) for p in proposals] == scored.action.tolist()
    np.testing.assert_allclose([p.net_effect for p in proposals], scored.score, atol=1e-6)
    effect = np.asarray(case.bundle.learner.effect(case.log.features))
    np.testing.assert_allclose([p.effect for p in proposals], effect[np.arange(len(effect)), scored.action], atol=1e-6)
    threshold = policy.threshold if math.isfinite(policy.threshold) else None
    assert {p.threshold for p in proposals} == {threshold}
    assert [(p.unit, p.features, p.eligible) for p in proposals] == case.units


@pytest.mark.parametrize("name", ["letters", "steps"])
def test_the_interval_is_the_learners(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    low, high = case.bundle.learner.effect_interval(case.log.features)
    intervals = np.array([proposal.interval for proposal in case.propose(0.3)])
    np.testing.assert_allclose(intervals, np.column_stack([low[:, 1], high[:, 1]]), atol=1e-6)


def test_there_is_no_interval_without_half_samples(cases: dict[str, Case]) -> None:
    assert {proposal.interval for proposal in cases["offers"].propose(0.3)} == {None}


def test_one_at_a_time_is_the_same_as_all_at_once(case: Case) -> None:
    at_once = case.propose(0.3)
    rows = range(0, len(case.units), 7)
    alone = [case.model.propose([case.units[i]], some(case.taken, [i]), Budget(0.3))[0] for i in rows]
    assert alone == [at_once[i] for i in rows]


def test_at_the_threshold_lots_are_drawn_with_the_policys_probability(cases: dict[str, Case]) -> None:
    case = cases["steps"]
    rule = case.bundle.policy.threshold_at(0.3)
    assert 0 < rule.tie_probability < 1
    proposals = case.propose(0.3)
    tied = [p for p in proposals if p.reason == "lottery-won"]
    assert len(tied) == int((case.bundle.policy.scored(case.log.features, 2).score == rule.threshold).sum()) > 0
    assert {p.chance for p in tied} == {rule.tie_probability}
    assert sum(p.chance for p in proposals) == pytest.approx(0.3 * len(proposals))
    treated = sum(s.treated for s in settle(proposals, None, np.random.default_rng(0)))
    spread = math.sqrt(len(tied) * rule.tie_probability * (1 - rule.tie_probability))
    assert abs(treated - 0.3 * len(proposals)) < 4 * spread


def test_reasons_say_which_limit_binds(case: Case) -> None:
    for share in SHARES:
        for proposal in case.propose(share):
            if proposal.chance == 1:
                assert proposal.reason == "treated"
                assert proposal.threshold is not None
                assert proposal.net_effect > proposal.threshold
            elif proposal.chance > 0:
                assert proposal.reason == "lottery-won"
                assert proposal.net_effect == proposal.threshold
            else:
                assert proposal.reason == ("not-worth-it" if proposal.net_effect <= 0 else "below-threshold")
    assert {p.reason for p in case.propose(1.0)} <= {"treated", "not-worth-it"}
    assert {p.threshold for p in case.propose(0.0)} == {None}


def test_features_that_ask_for_no_action_get_none(case: Case) -> None:
    fallback = np.zeros(len(case.units), dtype=np.bool_)
    fallback[::2] = True
    flag = Flag("missing-value", "x0", "fallback")
    flags = tuple((flag,) if i % 2 == 0 else () for i in range(len(case.units)))
    taken = Taken(case.taken.values, flags, fallback, {})
    for i, (changed, plain) in enumerate(
        zip(case.model.propose(case.units, taken, Budget(0.62)), case.propose(0.62), strict=True)
    ):
        if i % 2 == 0:
            assert changed == plain._replace(chance=0.0, reason="fallback", flags=(flag,))
        else:
            assert changed == plain._replace(flags=())


# --- budgets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "budget"),
    [
        (Terms(), Budget(0.4)),
        (Terms(0.1, campaign="may"), Budget(0.1, None, "may")),
        (Terms(None, 50, 1000), Budget(0.05, 50)),
        (Terms(None, 50), Budget(0.25, 50)),
        (Terms(None, 0), Budget(0.0, 0)),
        (Terms(None, 500, 100), Budget(1.0, 500)),
        (Terms(None, 500), Budget(1.0, 500)),
    ],
)
def test_a_budget_is_a_share_of_the_population(cases: dict[str, Case], terms: Terms, budget: Budget) -> None:
    assert cases["offers"].model.budget(terms, among=200) == budget


def test_a_threshold_is_drawn_once_per_share(cases: dict[str, Case]) -> None:
    model = cases["letters"].model
    assert model.cut(0.123) is model.cut(0.123)
    assert model.cut(0.123) == model.bundle.policy.threshold_at(0.123)


# --- a model that fails -------------------------------------------------------------------------------------------


class Broken:
    """Effects of which one is not finite."""

    def __init__(self, effect: float, stderr: float | None, row: int, n_actions: int) -> None:
        self.effect, self.stderr, self.row, self.n_actions = effect, stderr, row, n_actions

    def effects_and_stderr(self, values: Any, outcome: str) -> tuple[Any, Any]:
        effects = np.zeros((len(values), self.n_actions))
        effects[self.row, -1] = self.effect
        if self.stderr is None:
            return effects, None
        errors = np.ones_like(effects)
        errors[self.row, -1] = self.stderr
        return effects, errors

    def effects(self, values: Any, outcome: str) -> Any:
        return np.zeros((len(values), self.n_actions))


@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize(
    ("effect", "stderr"), [(math.nan, None), (math.inf, None), (-math.inf, 1.0), (1.0, math.nan), (-1.0, math.inf)]
)
def test_what_is_not_a_number_is_an_error(case: Case, n: int, effect: float, stderr: float | None) -> None:
    model = replace(case.model, compiled=Broken(effect, stderr, 2, case.log.n_actions))
    with pytest.raises(ModelFailure, match=r"not a number.*unit 2 of the request"):
        model.propose(case.units[:n], some(case.taken, range(n)), Budget(0.3))
    error = shadows(model, case.intake, case.units[:n], Terms(), n)[1]
    assert isinstance(error, ModelFailure)


@pytest.mark.parametrize("n", [1, 40])
def test_of_two_treatments_equally_good_the_first_is_taken(cases: dict[str, Case], n: int) -> None:
    case = cases["offers"]
    same = replace(case.model, compiled=Broken(0.0, None, 0, 3), break_even=np.zeros(3))
    proposals = same.propose(case.units[:n], some(case.taken, range(n)), Budget(0.3))
    assert {proposal.treatment for proposal in proposals} == {"treatment 1"}


# --- the challenger -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 200])
def test_a_shadow_is_what_the_challenger_would_do_on_its_own(case: Case, n: int) -> None:
    told, error = shadows(case.model, case.intake, case.units[:n], Terms(0.3), n)
    assert error is None
    assert told is not None
    for shadow, proposal in zip(told, case.propose(0.3), strict=False):
        propensities = dict.fromkeys(case.model.actions, 0.0)
        propensities[case.model.control] = 1.0 - proposal.chance
        propensities[proposal.treatment] = proposal.chance
        action = proposal.treatment if proposal.chance >= 0.5 else case.model.control
        assert shadow == Shadow(
            "", action, proposal.treatment, proposal.effect, proposal.net_effect, proposal.threshold, propensities
        )


def test_a_challenger_without_terms_has_its_own_share(cases: dict[str, Case]) -> None:
    case = cases["offers"]
    told, _ = shadows(case.model, case.intake, case.units, Terms(), len(case.units))
    assert told is not None
    assert [s and s.propensities[s.treatment] for s in told] == [p.chance for p in case.propose(0.4)]


def test_a_challenger_that_refuses_a_unit_has_no_shadow_of_it(cases: dict[str, Case]) -> None:
    case = cases["letters"]
    units = [case.units[0], Unit("new", {"x0": "text"}), case.units[1]]
    told, error = shadows(case.model, case.intake, units, Terms(0.3), 3)
    assert isinstance(error, Refused)
    assert told is not None
    assert told[1] is None
    assert [told[0], told[2]] == shadows(case.model, case.intake, case.units[:2], Terms(0.3), 2)[0]


def test_a_failing_challenger_harms_nobody(cases: dict[str, Case]) -> None:
    case = cases["letters"]

    class Burning(Broken):
        def effects_and_stderr(self, values: Any, outcome: str) -> tuple[Any, Any]:
            raise MemoryError("no room")

    told, error = shadows(replace(case.model, compiled=Burning(0, None, 0, 2)), case.intake, case.units, Terms(), 9)
    assert told is None
    assert isinstance(error, MemoryError)
    plain = case.model.propose(case.units, case.taken, Budget(0.3), told)
    assert plain == case.propose(0.3)


def test_shadows_are_put_beside_the_proposals(cases: dict[str, Case]) -> None:
    case = cases["letters"]
    told, _ = shadows(case.model, case.intake, case.units, Terms(0.1), len(case.units))
    proposals = case.model.propose(case.units, case.taken, Budget(0.3), told)
    assert [proposal.shadow for proposal in proposals] == told
    assert [proposal._replace(shadow=None) for proposal in proposals] == case.propose(0.3)


# --- explanations and facts ---------------------------------------------------------------------------------------


def fits(model: Any, document: Any) -> None:
    jsonschema_rs.validator_for(model.model_json_schema(mode="serialization")).validate(
        json.loads(orjson.dumps(document))
    )


def test_an_explanation_adds_up_and_is_sorted(case: Case) -> None:
    told = case.model.explain(case.units[3], some(case.taken, [3]))
    proposal = case.propose(0.3)[3]
    assert (told["treatment"], told["effect"]) == (proposal.treatment, proposal.effect)
    parts = [part["contribution"] for part in told["contributions"]]
    assert told["base"] + sum(parts) == pytest.approx(told["effect"], abs=1e-5)
    assert [abs(part) for part in parts] == sorted(map(abs, parts), reverse=True)
    assert {part["feature"]: part["value"] for part in told["contributions"]} == case.units[3].features
    fits(schemas.ExplainAnswer, told)


def test_any_treatment_can_be_explained_and_no_other(cases: dict[str, Case]) -> None:
    case = cases["offers"]
    effect = np.asarray(case.bundle.learner.effect(case.log.features))[0]
    for action, label in enumerate(case.model.actions[1:], start=1):
        told = case.model.explain(case.units[0], some(case.taken, [0]), label)
        assert told["treatment"] == label
        assert told["effect"] == pytest.approx(effect[action], abs=1e-6)
    for label in (case.model.control, "phone"):
        with pytest.raises(WireError, match="'treatment 1', 'treatment 2'") as caught:
            case.model.explain(case.units[0], some(case.taken, [0]), label)
        assert caught.value.faults[0].pointer == "/treatment"


def test_the_curve_is_the_policys(case: Case) -> None:
    told = case.model.policy_document(SHARES)
    fits(schemas.PolicyAnswer, told)
    expected = case.bundle.policy.curve(SHARES)
    rows = told["rows"]
    assert [row["share"] for row in rows] == list(SHARES)
    assert [row["expected_share"] for row in rows] == expected.expected_share.tolist()
    assert [row["value_per_head"] for row in rows] == expected.gain_per_head.tolist()
    assert (rows[0]["threshold"], rows[0]["value_per_treated"]) == (None, None)
    assert [row["threshold"] for row in rows[1:]] == expected.threshold[1:].tolist()
    assert [row["value_per_treated"] for row in rows[1:]] == expected.mean_of_treated[1:].tolist()


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_there_is_no_share_outside_of_zero_and_one(cases: dict[str, Case], share: float) -> None:
    with pytest.raises(ps.errors.ParameterError, match="from 0 to 1"):
        cases["letters"].model.curve([share])


def test_the_policys_facts(cases: dict[str, Case]) -> None:
    told = cases["offers"].model.policy_document([0.4])
    assert {name: told[name] for name in ("outcome", "cost", "control", "treatments", "share", "held_out")} == {
        "outcome": "outcome",
        "cost": "cost",
        "control": "control",
        "treatments": ["treatment 1", "treatment 2"],
        "share": 0.4,
        "held_out": None,
    }
    assert told["break_even"] == {"treatment 1": 0.0, "treatment 2": 0.05}
    judged = replace(cases["offers"].bundle, evaluation={"budgets": [{"share": 0.4}]})
    assert model_of(judged).policy_document([0.4])["held_out"] == [{"share": 0.4}]


def test_the_contracts_version_changes_with_the_contract(cases: dict[str, Case]) -> None:
    versions = {case.model.contract_version for case in cases.values()}
    assert len(versions) == len(cases)
    assert model_of(cases["letters"].bundle).contract_version == cases["letters"].model.contract_version
