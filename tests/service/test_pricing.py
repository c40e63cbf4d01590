"""Of many actions each unit is offered what the policy itself would give it, one at a time or by the thousand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jsonschema_rs
import numpy as np
import orjson
import pytest
from bundles import OFFERS, build_priced

import persuadable as ps
from persuadable.policies.price_path import Price
from persuadable.service import schemas
from persuadable.service.intake import Answers, Intake, Taken
from persuadable.service.models import model_of
from persuadable.service.pricing import Economics, PricingModel, _choose_few, _choose_many
from persuadable.service.records import Budget, Flag, Proposal, Shadow
from persuadable.service.scoring import Model, ModelFailure, allowed_of, shadows
from persuadable.service.wire import Terms, Unit

BUDGETS = (None, 0.0, 0.05, 0.5, 2.0, 1e6)
KINDS: dict[str, dict[str, Any]] = {"heads": {}, "stated": {"stated": True}, "calibrated": {"calibrated": True}}


class Case:
    """A bundle and a log whose units it prices."""

    def __init__(self, bundle: ps.Bundle) -> None:
        self.bundle, self.log = bundle, OFFERS.sample(600, random_state=9)
        self.policy: ps.policies.AllocationPolicy = bundle.policy
        model = model_of(bundle)
        assert isinstance(model, PricingModel)
        self.model = model
        self.model.warm()
        self.units = [Unit(f"u{i}", row) for i, row in enumerate(self.log.features.frame().to_dicts())]
        self.intake = Intake(bundle.contract, Answers(out_of_range="flag"))
        self.taken = self.intake.take(self.units)

    def propose(self, per_head: float | None, **told: Any) -> list[Proposal]:
        return self.model.propose(self.units, self.taken, Budget(1.0, None, "c", per_head), **told)


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {name: Case(build_priced(**told)) for name, told in KINDS.items()}


@pytest.fixture(scope="module", params=list(KINDS))
def case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    return cases[request.param]


def some(taken: Taken, rows: Sequence[int]) -> Taken:
    return Taken(taken.values[rows], tuple(taken.flags[i] for i in rows), taken.fallback[rows], {})


def matrix(model: Model, proposals: Sequence[Proposal]) -> np.ndarray:
    """(n, A) probabilities that proposals come to while money lasts."""
    found = np.zeros((len(proposals), len(model.actions)))
    for i, p in enumerate(proposals):
        assert p.priced is not None
        found[i, model.actions.index(p.priced.other or model.control)] += 1.0 - p.chance
        found[i, model.actions.index(p.treatment)] += p.chance
    return found


# --- the policy's own decisions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_whole_log_is_decided_as_the_policy_decides_it(case: Case, budget: float | None) -> None:
    proposals = case.propose(budget)
    expected = case.policy.at(budget).probabilities(case.log.features, 4)
    np.testing.assert_array_equal(matrix(case.model, proposals), expected)
    value, cost = case.policy.economics(case.log.features)
    place = [case.model.actions.index(p.treatment) for p in proposals]
    rows = np.arange(len(place))
    np.testing.assert_allclose([p.effect for p in proposals], value[rows, place], atol=1e-5)
    np.testing.assert_allclose([p.priced.cost_effect for p in proposals], cost[rows, place], atol=1e-5)
    price = case.policy.price_at(budget).price
    told = price if math.isfinite(price) else None
    assert {p.priced.price for p in proposals} == {told}
    assert {p.threshold for p in proposals} == {None if told is None else 0.0}
    for p in proposals:
        assert p.net_effect == (p.effect if told is None else p.effect - told * p.priced.cost_effect)


def test_more_money_is_spent_on_more_offers(case: Case) -> None:
    spent = [sum(p.chance * p.priced.cost_effect for p in case.propose(b)) for b in (0.05, 0.2, 0.5, 1.0)]
    offered = [sum(p.chance > 0 for p in case.propose(b)) for b in (0.05, 0.2, 0.5, 1.0)]
    assert spent == sorted(spent)
    assert 0.35 * 600 < spent[2] < 0.65 * 600, "about the budget, on users the price was not drawn from"
    assert offered[0] < offered[-1]
    assert len({p.treatment for p in case.propose(1.0) if p.chance}) > 1, "one offer for all is no allocation"


def test_the_interval_is_the_learners(cases: dict[str, Case]) -> None:
    case = cases["heads"]
    low, high = case.bundle.learner.effect_interval(case.log.features)
    proposals = case.propose(0.5)
    place = [case.model.actions.index(p.treatment) for p in proposals]
    rows = np.arange(len(place))
    expected = np.column_stack([low[rows, place], high[rows, place]])
    np.testing.assert_allclose([p.interval for p in proposals], expected, atol=1e-5)


def test_the_interval_of_calibrated_effects_is_that_of_their_refits(cases: dict[str, Case]) -> None:
    case = cases["calibrated"]
    spread = np.stack(list(case.bundle.learner.effect_refits(case.log.features))).std(axis=0, ddof=1)
    proposals = case.propose(0.5)
    place = [case.model.actions.index(p.treatment) for p in proposals]
    half = [(p.interval[1] - p.interval[0]) / 2 for p in proposals]
    np.testing.assert_allclose(half, 1.959963984540054 * spread[np.arange(len(place)), place], atol=1e-5)


@pytest.mark.parametrize("budget", BUDGETS)
def test_one_at_a_time_is_the_same_as_all_at_once(case: Case, budget: float | None) -> None:
    at_once = case.propose(budget)
    told = Budget(1.0, None, "c", budget)
    alone = [case.model.propose([case.units[i]], some(case.taken, [i]), told)[0] for i in range(0, 600, 19)]
    assert alone == at_once[::19]


NUMBERS = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 3.0)


@pytest.mark.parametrize("price", [0.0, 0.5, 1.0, math.inf])
@pytest.mark.parametrize("binds", ["budget", "evidence"])
@pytest.mark.parametrize("floor", [None, 1.0])
def test_few_and_many_choose_alike_where_much_ties(price: float, binds: Any, floor: float | None) -> None:
    rng = np.random.default_rng(0)
    value, cost = rng.choice(NUMBERS, (2, 400, 4))
    value[:, 0] = cost[:, 0] = 0.0
    masks = rng.random((400, 4)) < 0.6
    names = ("none", "a", "b", "c")
    units = [
        Unit("u", {}, None if i % 3 == 0 else tuple(name for name, yes in zip(names, row, strict=True) if yes))
        for i, row in enumerate(masks)
    ]
    rule = Price(0.5, price, 0.3, 0.1, 0.1, 0.1, binds)
    for allowed in (None, allowed_of(units, names)):
        seen = Economics(value, None, value, cost)
        many, few = _choose_many(seen, rule, allowed, floor), _choose_few(seen, rule, allowed, floor)
        assert many == few
        for i, (low, high) in enumerate(zip(few.low, few.high, strict=True)):  # by the definition, in plain words
            may = [a for a in (1, 2, 3) if allowed is None or allowed[i] is None or allowed[i][a]]
            good = [a for a in may if value[i, a] > 0 and (floor is None or value[i, a] >= floor * cost[i, a])]
            if binds == "evidence":
                good = []
            if price == math.inf:
                assert all(a == 0 or (a in good and cost[i, a] <= 0) for a in (low, high))
                continue
            net = {a: value[i, a] - price * cost[i, a] for a in (0, *good)}
            best = [a for a in net if net[a] == max(net.values())]
            assert {low, high} <= set(best)
            assert cost[i, low] == min(cost[i, a] for a in best)
            assert cost[i, high] == max(cost[i, a] for a in best)


@pytest.mark.parametrize("price", [1.0, math.inf])
def test_few_and_many_choose_alike_where_costs_are_out_of_all_proportion(price: float) -> None:
    rng = np.random.default_rng(1)
    value, cost = rng.uniform(0.5, 2.0, (300, 4)), rng.choice([-1.0, 0.3, 1.0, 1e13], (300, 4))
    value[:, 0] = cost[:, 0] = 0.0
    seen, rule = Economics(value, None, value, cost), Price(0.5, price, 0.3, 0.1, 0.1, 0.1, "budget")
    few = _choose_few(seen, rule, None, None)
    assert few == _choose_many(seen, rule, None, None)
    for i, low in enumerate(few.low):
        if price == 1.0:
            assert value[i, low] - cost[i, low] == (value[i] - cost[i]).max()
        elif (cost[i] < 0.0).any():  # of those that save as much, the best
            assert value[i, low] == value[i][cost[i] == -1.0].max()


def test_at_the_price_lots_are_drawn_between_two_offers(cases: dict[str, Case]) -> None:
    case = cases["heads"]
    seen = Economics(*(np.array([[0.0, 2.0, 3.0, 1.0]]) for _ in range(3)), np.array([[0.0, 1.0, 2.0, 5.0]]))
    rule = Price(0.5, 1.0, 0.25, 0.1, 0.1, 0.1, "budget")
    model = replace(case.model, cut=lambda budget: rule)
    object.__setattr__(model, "compiled", Fixed(seen.effect))
    object.__setattr__(model, "costs", Fixed(seen.cost))
    (p,) = model.propose(case.units[:1], some(case.taken, [0]), Budget(1.0))
    assert (p.treatment, p.chance, p.reason) == (OFFERS.action_names[2], 0.25, "lottery-won")
    assert (p.priced.other, p.priced.other_cost, p.priced.cost_effect) == (OFFERS.action_names[1], 1.0, 2.0)
    (shadow,) = model.shadow(case.units[:1], some(case.taken, [0]), Budget(1.0))
    assert shadow.action == OFFERS.action_names[1]
    assert list(shadow.propensities.values()) == [0.0, 0.75, 0.25, 0.0]


class Fixed:
    """Effects that are the same whoever asks."""

    def __init__(self, effects: Any) -> None:
        self.told = np.asarray(effects, dtype=np.float64)

    def effects(self, values: Any, outcome: str) -> Any:
        return np.tile(self.told, (len(values), 1))

    def effects_and_stderr(self, values: Any, outcome: str) -> Any:
        return self.effects(values, outcome), None


# --- who may be given what ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 300])
def test_only_what_a_request_allows_is_offered(case: Case, n: int) -> None:
    two, three = OFFERS.action_names[2], OFFERS.action_names[3]
    sets = [None, (), (two,), (three, two), OFFERS.action_names]
    units = [unit._replace(eligible=sets[i % 5]) for i, unit in enumerate(case.units[:n])]
    proposals = case.model.propose(units, some(case.taken, range(n)), Budget(1.0, None, "c", None))
    mask = np.array([[a == OFFERS.action_names[0] or s is None or a in s for a in case.model.actions] for s in sets])
    expected = case.policy.at(None).probabilities(case.log.features.take(range(n)), 4, mask[np.arange(n) % 5])
    np.testing.assert_array_equal(matrix(case.model, proposals), expected)
    assert [p.eligible for p in proposals] == [u.eligible for u in units]
    barred = [p for p in proposals if p.eligible == ()]
    assert {p.reason for p in barred} == {"not-eligible"}
    assert not any(p.chance for p in barred)
    assert all(p.treatment in p.eligible for p in proposals if p.eligible)


def test_reasons_say_what_stands_in_the_way(case: Case) -> None:
    for budget in BUDGETS:
        for p in case.propose(budget):
            if p.chance:
                assert p.reason == ("treated" if p.chance == 1 else "lottery-won")
                assert p.effect > 0
            elif p.reason == "below-threshold":
                assert p.effect > 0
                assert p.net_effect <= 0 or p.priced.price is None
            else:
                assert p.reason == "not-worth-it"
                assert p.effect <= 0


def test_features_that_ask_for_no_action_get_none(case: Case) -> None:
    fallback = np.zeros(600, dtype=np.bool_)
    fallback[::2] = True
    flag = Flag("missing-value", "x0", "fallback")
    flags = tuple((flag,) if i % 2 == 0 else () for i in range(600))
    changed = case.model.propose(case.units, Taken(case.taken.values, flags, fallback, {}), Budget(1.0))
    for i, (new, old) in enumerate(zip(changed, case.propose(None), strict=True)):
        if i % 2:
            assert new == old._replace(flags=())
        else:
            assert (new.chance, new.reason, new.flags) == (0.0, "fallback", (flag,))


# --- budgets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "budget"),
    [
        (Terms(), Budget(1.0, None, "default", 0.5, None)),
        (Terms(budget_per_head=0.2, campaign="may"), Budget(1.0, None, "may", 0.2, None)),
        (Terms(budget_amount=50.0, population=400), Budget(1.0, None, "default", 0.125, 50_000_000)),
        (Terms(budget_amount=50.0), Budget(1.0, None, "default", 0.25, 50_000_000)),
        (Terms(budget_amount=1.1, budget_per_head=0.3), Budget(1.0, None, "default", 0.3, 1_100_000)),
        (Terms(budget_amount=1e-7), Budget(1.0, None, "default", 1e-7 / 200, 0)),
        (Terms(budget_units=7), Budget(1.0, 7, "default", 0.5, None)),
        (Terms(budget_units=7, budget_amount=2.0), Budget(1.0, 7, "default", 0.01, 2_000_000)),
    ],
)
def test_a_budget_is_money_per_head_or_in_all(cases: dict[str, Case], terms: Terms, budget: Budget) -> None:
    model = cases["heads"].model
    assert model.faults(terms) == []
    assert model.budget(terms, among=200) == budget


@pytest.mark.parametrize(
    ("terms", "place"),
    [
        (Terms(0.3), "/budget_share"),
        (Terms(budget_units=3, population=10), "/population"),
        (Terms(budget_amount=3.0, budget_per_head=1.0, population=10), "/population"),
    ],
)
def test_what_means_nothing_to_it_is_a_fault(cases: dict[str, Case], terms: Terms, place: str) -> None:
    assert [fault.pointer for fault in cases["heads"].model.faults(terms)] == [place]


def test_a_price_is_drawn_once_per_budget(cases: dict[str, Case]) -> None:
    model = cases["heads"].model
    assert model.cut(0.123) is model.cut(0.123)
    assert model.cut(0.123) == model.policy.price_at(0.123)


# --- what is told -------------------------------------------------------------------------------------------------


def test_the_options_are_every_action_with_its_value_and_cost(case: Case) -> None:
    units = [u._replace(eligible=(OFFERS.action_names[1],)) for u in case.units]
    proposals = case.model.propose(units, case.taken, Budget(1.0, None, "c", 0.5), options=True)
    value, cost = case.policy.economics(case.log.features)
    price = case.policy.price_at(0.5).price
    for i, p in enumerate(proposals):
        assert tuple(p.priced.options) == case.model.actions
        told = list(p.priced.options.values())
        np.testing.assert_allclose([o.effect for o in told], value[i], atol=1e-5)
        np.testing.assert_allclose([o.cost_effect for o in told], cost[i], atol=1e-5)
        assert [o.net_effect for o in told] == [o.effect - price * o.cost_effect for o in told]
        assert [o.eligible for o in told] == [True, True, False, False]
        assert told[0][:3] == (0.0, 0.0, 0.0)
    assert {p.priced.options for p in case.propose(0.5)} == {None}


def fits(model: Any, document: Any) -> None:
    jsonschema_rs.validator_for(model.model_json_schema(mode="serialization")).validate(
        json.loads(orjson.dumps(document))
    )


def test_the_curve_is_the_policys(case: Case) -> None:
    told = case.model.policy_document([0.0, 0.2, 0.5])
    fits(schemas.AllocationAnswer, told)
    expected = case.policy.curve([0.0, 0.2, 0.5])
    rows = told["rows"]
    assert [row["expected_spend"] for row in rows] == expected.spend.tolist()
    assert [row["value_per_head"] for row in rows] == expected.value.tolist()
    assert [row["expected_share"] for row in rows] == expected.offered.tolist()
    assert [row["price"] for row in rows] == [p if math.isfinite(p) else None for p in expected.price.tolist()]
    assert told["budget_per_head"] == 0.5
    assert told["treatments"] == list(OFFERS.action_names[1:])
    assert (told["cost"] is None) == (told["stated_costs"] is not None) == (case.policy.stated_costs_ is not None)
    whole = case.model.policy_document(None)
    assert len(whole["rows"]) == 101
    assert whole["rows"][-1]["expected_spend"] == pytest.approx(whole["rows"][-1]["budget_per_head"])


def test_an_explanation_adds_up(case: Case) -> None:
    for i, label in enumerate(OFFERS.action_names[1:]):
        told = case.model.explain(case.units[i], some(case.taken, [i]), label)
        fits(schemas.ExplainAnswer, told)
        parts = sum(part["contribution"] for part in told["contributions"])
        assert told["base"] + parts == pytest.approx(told["effect"], abs=1e-4)
    best = case.model.explain(case.units[0], some(case.taken, [0]))
    assert best["treatment"] == case.propose(0.5)[0].treatment


# --- a model that fails, and challengers --------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("what", ["compiled", "costs"])
def test_what_is_not_a_number_is_an_error(cases: dict[str, Case], n: int, what: str) -> None:
    case = cases["heads"]
    model = replace(case.model, **{what: Fixed([0.0, 1.0, math.nan, 1.0])})
    with pytest.raises(ModelFailure, match=r"not a number.*unit 0 of the request"):
        model.propose(case.units[:n], some(case.taken, range(n)), Budget(1.0))


@pytest.mark.parametrize("n", [1, 200])
def test_a_shadow_is_what_the_challenger_would_do_on_its_own(case: Case, n: int) -> None:
    told, error = shadows(case.model, case.intake, case.units[:n], Terms(budget_per_head=0.2), n)
    assert error is None
    assert told is not None
    for shadow, p in zip(told, case.propose(0.2), strict=False):
        exact = dict.fromkeys(case.model.actions, 0.0)
        exact[case.model.control] = 1.0 - p.chance
        exact[p.treatment] = p.chance
        action = p.treatment if p.chance >= 0.5 else case.model.control
        assert shadow == Shadow("", action, p.treatment, p.effect, p.net_effect, p.threshold, exact)


def test_a_challenger_of_another_kind_has_its_own_budget(cases: dict[str, Case]) -> None:
    case = cases["heads"]
    told, error = shadows(case.model, case.intake, case.units, Terms(0.9), 600)
    assert error is None
    assert told is not None
    assert [s.effect for s in told if s] == [p.effect for p in case.propose(0.5)]
