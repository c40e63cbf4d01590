"""AllocationPolicy: prices, ties, floors, eligibility, evidence, state; linear programmes are the oracle."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from persuadable.effects import TLearner
from persuadable.engine import LocalEngine, Trees
from persuadable.errors import (
    ActionError,
    BundleError,
    DataError,
    LeakageError,
    NotFittedError,
    ParameterError,
)
from persuadable.log import DecisionLog
from persuadable.params import Parameters
from persuadable.policies import AllocationPolicy, Policy
from persuadable.policies.allocation import allocate
from persuadable.policies.allocation.exact import decide_at
from persuadable.policies.allocation.problem import Problem
from persuadable.policies.allocation_state import ARRAYS
from persuadable.policies.choosing import allowed_pairs, choose
from persuadable.policies.costs import never_saves
from persuadable.policies.effect_evidence import evidence_of
from persuadable.policies.hull import hull_steps
from persuadable.policies.price_path import Price, PricePath
from persuadable.spaces import Discrete
from persuadable.value import policy_value
from persuadable.worlds import Offers

LABELS = ("none", "mail", "call", "gift")


class Columns(Parameters):
    """A stand-in for an effect model: feature a − 1 is the effect of action a on "y", feature A + a − 2 on "cost"."""

    outcomes_ = ("y", "cost")

    def __init__(self, n_actions=3, spread=0.0):
        self.n_actions = n_actions
        self.spread = spread

    def fit(self, log):
        self.fitted_on, self.actions_ = log.fingerprint, Discrete(LABELS[: self.n_actions])
        return self

    def effect(self, X, outcome=None):
        x, k = np.asarray(X, dtype=np.float64), self.n_actions - 1
        table = x[:, k : 2 * k] if outcome == "cost" else x[:, :k]
        return np.column_stack([np.zeros(len(table)), table])

    def out_of_fold_effect(self, log, outcome=None):
        return self.effect(log.features, outcome) * (1.0 if outcome == "cost" else 0.5)

    def effect_refits(self, X, outcome=None):
        """Two refits whose standard deviation is ``spread`` for every treatment."""
        half = self.spread / math.sqrt(2.0) * np.append(0.0, np.ones(self.n_actions - 1))
        return iter([self.effect(X, outcome) - half, self.effect(X, outcome) + half])


def make_log(value, cost, seed=0, **roles):
    """A log whose features are the effects; its outcome has them as true effects, with little noise."""
    value, cost = np.asarray(value, float), np.asarray(cost, float)
    n, k = value.shape
    rng = np.random.default_rng(seed)
    action = rng.permutation(np.arange(n) % (k + 1))
    full = np.column_stack([np.zeros(n), value])
    y = full[np.arange(n), action] + 0.01 * rng.normal(size=n)
    return DecisionLog.from_arrays(
        np.column_stack([value, cost]),
        action,
        {"y": y, "cost": np.column_stack([np.zeros(n), cost])[np.arange(n), action]},
        action_names=LABELS[: k + 1],
        cost="cost",
        **roles,
    )


def stranger(n_actions=3):
    """A model that learned from rows of its own."""
    return Columns(n_actions).fit(make_log(np.ones((6, n_actions - 1)), np.ones((6, n_actions - 1)), seed=99))


def draw(seed, n=300, k=2):
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(0.5, 1.0, (n, k)), 3), np.round(rng.uniform(0.1, 2.0, (n, k)), 3)


@pytest.fixture
def log():
    return make_log(*draw(1))


# -- the path against linear programming -------------------------------------------------------------------------------


@st.composite
def instances(draw_from):
    """Small integer tables: ties, zero and negative costs, negative values, forbidden pairs, one action."""
    n, k = draw_from(st.integers(1, 7)), draw_from(st.integers(1, 4))
    numbers = st.lists(st.integers(-2, 6), min_size=n * k, max_size=n * k)
    value = np.array(draw_from(numbers), dtype=float).reshape(n, k)
    cost = np.array(draw_from(numbers), dtype=float).reshape(n, k).clip(-1, 5)
    eligible = np.array(draw_from(st.lists(st.booleans(), min_size=n * k, max_size=n * k))).reshape(n, k)
    budget = draw_from(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 9.0, None]))
    zeros = np.zeros((n, 1))
    mask = np.hstack([np.ones((n, 1), dtype=bool), eligible])
    return np.hstack([zeros, value]), np.hstack([zeros, cost]), mask, budget


def programme(value, cost, allowed, budget, roi_floor=None):
    """The best value per head by HiGHS, lots allowed."""
    n, a = value.shape
    rows, limits = [], []
    if budget is not None:
        rows, limits = [cost.ravel()], [budget * n]
    if roi_floor is not None:
        rows, limits = [*rows, (roi_floor * cost - value).ravel()], [*limits, 0.0]
    found = linprog(
        -value.ravel(),
        A_ub=np.array(rows) if rows else None,
        b_ub=limits or None,
        A_eq=np.kron(np.eye(n), np.ones(a)),
        b_eq=np.ones(n),
        bounds=[(0, float(ok)) for ok in allowed.ravel()],
        method="highs",
    )
    assert found.status == 0
    return -found.fun / n


def realised(value, cost, allowed, cut):
    """(value, spend, offered) per head of the rule itself, unit by unit."""
    low, high, _ = choose(value, cost, cut, eligible=allowed)
    rows, q = np.arange(len(value)), cut.tie_probability

    def mean(table):
        return float(((1 - q) * table[rows, low] + q * table[rows, high]).mean())

    return mean(value), mean(cost), mean((np.arange(value.shape[1]) > 0) * np.ones(value.shape))


@given(instances(), st.sampled_from([None, None, 0.5, 1.0, 3.0]))
def test_the_price_of_a_budget_is_the_programmes(instance, roi_floor):
    value, cost, eligible, budget = instance
    allowed = allowed_pairs(value, cost, eligible)
    cut = PricePath.of(value, cost, allowed).cut(budget, roi_floor)
    assert cut.value == pytest.approx(programme(value, cost, allowed, budget, roi_floor), abs=1e-9)
    assert budget is None or cut.spend <= budget + 1e-9
    assert roi_floor is None or cut.value >= roi_floor * cut.spend - 1e-9
    got = realised(value, cost, eligible, cut)
    assert got == pytest.approx((cut.value, cut.spend, cut.offered), abs=1e-9)


@given(instances(), st.lists(st.floats(0.0, 4.0), min_size=2, max_size=8))
def test_prices_fall_and_spend_rises_with_the_budget(instance, budgets):
    value, cost, eligible, _ = instance
    path = PricePath.of(value, cost, allowed_pairs(value, cost, eligible))
    cuts = [path.cut(b) for b in sorted(budgets)]
    for less, more in pairwise(cuts):
        assert more.price <= less.price
        assert more.spend >= less.spend - 1e-12
        assert more.value >= less.value - 1e-12


def test_a_hull_by_hand():
    # (cost, value): (1, 2), (2, 3), (3, 3.2) on the hull, (2.5, 1) under it, and (1, −1) brings nothing.
    value, cost = np.array([[0, 2, 3, 3.2, 1, -1.0]]), np.array([[0, 1, 2, 3, 2.5, 1.0]])
    steps = hull_steps(value, cost, allowed_pairs(value, cost))
    assert steps.ratio == pytest.approx([2.0, 1.0, 0.2])
    assert (steps.base.tolist(), steps.before.tolist(), steps.after.tolist()) == ([0], [0, 1, 2], [1, 2, 3])
    path = PricePath.of(value, cost, allowed_pairs(value, cost))
    half = path.cut(1.5)
    assert (half.price, half.tie_probability, half.value) == pytest.approx((1.0, 0.5, 2.5))
    assert choose(value, cost, half).low.tolist() == [1]
    assert choose(value, cost, half).high.tolist() == [2]


def test_what_saves_money_pays_for_others():
    # A unit that saves 1 and brings 1, another that costs 2 and brings 5: without a budget the second gets half a lot.
    value, cost = np.array([[0, 1.0], [0, 5.0]]), np.array([[0, -1.0], [0, 2.0]])
    cut = PricePath.of(value, cost, allowed_pairs(value, cost)).cut(0.0)
    assert (cut.price, cut.tie_probability, cut.spend, cut.value) == pytest.approx((2.5, 0.5, 0.0, 1.75))


def test_without_money_only_what_costs_nothing_is_given():
    value, cost = np.array([[0, 9.0, 1.0], [0, 5.0, -1.0]]), np.array([[0, 1.0, 0.0], [0, 2.0, 0.0]])
    cut = PricePath.of(value, cost, allowed_pairs(value, cost)).cut(0.0)
    assert cut.price == math.inf
    assert choose(value, cost, cut).low.tolist() == [2, 0]
    fresh = choose(np.array([[0, 1e9, 0.0]]), np.array([[0, 1e-9, 0.0]]), cut)
    assert fresh.low.tolist() == [0], "a unit better than any seen is not affordable either"


def test_units_that_share_a_price_tie_however_it_is_rounded():
    pairs = np.random.default_rng(0).uniform(0.1, 10.0, (1000, 2))
    v, c = next((v, c) for v, c in pairs if v - (v / c) * c < 0.0)  # the net at their own price is just below nothing
    value, cost = np.tile([0.0, v], (10, 1)), np.tile([0.0, c], (10, 1))
    cut = PricePath.of(value, cost, allowed_pairs(value, cost)).cut(0.3 * c)
    chosen = choose(value, cost, cut)
    assert (chosen.low.tolist(), chosen.high.tolist()) == ([0] * 10, [1] * 10)
    assert cut.tie_probability == pytest.approx(0.3)


def test_an_offer_that_costs_far_too_much_makes_no_ties_among_the_others():
    value, cost = np.array([[0.0, 2.0, 1.0, 9.0]]), np.array([[0.0, 1.0, 0.5, 1e13]])
    chosen = choose(value, cost, Price(1.0, 1.0, 0.5, 0.0, 0.0, 0.0, "budget"))
    assert (chosen.low.tolist(), chosen.high.tolist()) == ([1], [1])


def test_of_offers_that_save_as_much_the_best_is_given_without_money():
    value, cost = np.array([[0.0, 1.0, 3.0, 2.0]]), np.array([[0.0, -1.0, -1.0, -1.0]])
    cut = PricePath.of(value, cost, allowed_pairs(value, cost)).cut(0.0)
    assert (cut.spend, cut.value) == (-1.0, 3.0)
    assert choose(value, cost, replace(cut, price=math.inf)).low.tolist() == [2]


def test_weights_count_as_copies():
    value, cost = draw(3, n=40)
    full = [np.column_stack([np.zeros(40), t]) for t in (value, cost)]
    copies = np.random.default_rng(0).integers(1, 4, 40)
    weighted = PricePath.of(*full, allowed_pairs(*full), copies)
    repeated = [np.repeat(t, copies, axis=0) for t in full]
    plain = PricePath.of(*repeated, allowed_pairs(*repeated))
    for budget in (0.1, 0.4, 0.9):
        one, two = weighted.cut(budget), plain.cut(budget)
        assert (one.price, one.tie_probability, one.value) == pytest.approx((two.price, two.tie_probability, two.value))


def test_a_compact_path_never_overspends():
    rng = np.random.default_rng(4)
    value, cost = rng.normal(size=(20_000, 4)), rng.uniform(0.1, 1.0, (20_000, 4))
    value[:, 0] = cost[:, 0] = 0.0
    allowed = allowed_pairs(value, cost)
    exact, compact = PricePath.of(value, cost, allowed), PricePath.of(value, cost, allowed, limit=1000)
    assert compact.price.size <= 1000 < exact.price.size
    for share in (0.01, 0.1, 0.5, 0.9):
        budget = share * exact.most
        spend = realised(value, cost, allowed, compact.cut(budget))[1]
        assert budget - 8e-3 * exact.most <= spend <= budget * (1 + 1e-12)
        assert compact.cut(budget).price >= exact.cut(budget).price * (1 - 1e-12)


# -- the policy --------------------------------------------------------------------------------------------------------


def test_it_is_a_policy_that_spends_its_budget(log):
    policy = AllocationPolicy(stranger(), budget=0.2).calibrate(log)
    assert isinstance(policy, Policy)
    value, cost = policy.economics(log.features)
    p = policy.probabilities(log.features, 3)
    assert p.sum(axis=1) == pytest.approx(np.ones(log.n))
    assert (p * cost).sum(axis=1).mean() == pytest.approx(0.2)
    assert (p * value).sum(axis=1).mean() == pytest.approx(policy.rule.value)
    assert (p[:, 1:][value[:, 1:] <= 0.0] == 0.0).all()
    assert policy.rule.offered == pytest.approx(1 - p[:, 0].mean())
    assert policy.rule.binds == "budget"
    assert policy.value_outcome_ == "y"
    assert policy.cost_outcome_ == "cost"


def test_serving_agrees_with_the_batch_allocator(log):
    """The exact allocator of whole batches is other code; its price, total and actions are the policy's."""
    model = stranger()
    value, cost = model.effect(log.features), model.effect(log.features, "cost")
    for budget in (0.05, 0.2, 0.6, 5.0):
        policy = AllocationPolicy(model, budget=budget).calibrate(log)
        batch = allocate(value, cost, budget=budget * log.n, fill=False)
        assert policy.price_ == pytest.approx(batch.price, rel=1e-12)
        assert policy.rule.value * log.n == pytest.approx(batch.bound)
        p = policy.probabilities(log.features, 3)
        sure = np.setdiff1d(np.flatnonzero(p.max(axis=1) == 1.0), batch.marginal)
        assert sure.size >= log.n - 3
        np.testing.assert_array_equal(p[sure].argmax(axis=1), batch.action[sure])


@pytest.mark.parametrize(
    "numbers", [[-2, -1, 0, 1, 2, 3], [-0.2, 0.0, 0.1, 0.2, 0.3, 0.6], [-1e3, 0, 1e-3, 0.7, 12, 1e12]]
)
def test_a_price_decides_alike_in_serving_and_in_the_batch_whatever_ties(numbers):
    rng = np.random.default_rng(0)
    for price in (0.0, 0.5, 1.0, 0.2 / 0.3, 0.3 / 0.1, 12 / 0.7, math.inf):
        value, cost = rng.choice(numbers, (2, 400, 4)).astype(float)
        value[:, 0] = cost[:, 0] = 0.0
        eligible = rng.random((400, 4)) < 0.8
        batch = decide_at(Problem.of(value, cost, eligible=eligible, efficiency_floor=0.5), price)
        rule = Price(None, price, 0.0, 0.0, 0.0, 0.0, "budget")
        served = choose(value, cost, rule, eligible=eligible, efficiency_floor=0.5)
        np.testing.assert_array_equal(served.low, batch)


def test_the_budget_changes_without_calibrating_again(log):
    policy = AllocationPolicy(stranger(), budget=0.2).calibrate(log)
    for budget in (0.0, 0.05, 0.4, 3.0, None):
        fresh = AllocationPolicy(stranger(), budget=budget).calibrate(log)
        other = policy.at(budget)
        assert other.rule == fresh.rule == policy.price_at(budget)
        np.testing.assert_array_equal(other.probabilities(log.features, 3), fresh.probabilities(log.features, 3))
    assert policy.rule.budget == 0.2
    assert policy.for_amount(60.0, 300).rule == policy.rule
    policy.budget = 0.4
    assert policy.rule == policy.at(0.4).rule
    curve = policy.curve([0.0, 0.1, 0.4])
    assert curve.spend == pytest.approx([0.0, 0.1, 0.4])
    assert (np.diff(curve.price) < 0).all()
    assert policy.curve().frame().shape == (101, 5)
    assert policy.curve().spend[-1] == pytest.approx(policy.price_at(None).spend)


def test_serving_one_unit_is_serving_the_batch(log):
    policy = AllocationPolicy(stranger(), budget=0.3).calibrate(log)
    batch = policy.probabilities(log.features, 3)
    for row in range(0, 60):
        np.testing.assert_array_equal(policy.probabilities(log.features.take([row]), 3)[0], batch[row])
    drawn = policy.decide(log.features, 0)
    assert (batch[np.arange(log.n), drawn] > 0).all()


def test_training_rows_are_predicted_out_of_fold(log):
    """The stand-in's out-of-fold values are half of its others, so the price on training rows is half as well."""
    inside = AllocationPolicy(Columns(3).fit(log), budget=0.2).calibrate(log)
    outside = AllocationPolicy(stranger(), budget=0.2).calibrate(log)
    assert inside.price_ == pytest.approx(outside.price_ / 2)
    with pytest.raises(LeakageError, match="150 of the 300"):
        AllocationPolicy(Columns(3).fit(log.take(np.arange(150))), budget=0.2).calibrate(log)


def test_two_heads_may_have_learned_from_different_rows(log):
    other = make_log(*draw(7), seed=7)
    policy = AllocationPolicy(Columns(3).fit(other), stranger(), cost="cost", budget=0.2).calibrate(log)
    assert policy.fitted_on.overlap(other.fingerprint) == other.n
    with pytest.raises(LeakageError):
        policy_value(other, policy, outcome="y")
    with pytest.raises(LeakageError):
        AllocationPolicy(stranger(), Columns(3).fit(log.take(np.arange(10))), cost="cost", budget=1.0).calibrate(log)


def test_actions_that_are_not_eligible_are_not_given():
    value, cost = draw(5)
    eligible = np.random.default_rng(0).random((300, 3)) < 0.5
    eligible[:, 0] = True
    log = make_log(value, cost)
    may = eligible[np.arange(300), log.action]
    log = DecisionLog.from_arrays(
        log.features,
        np.where(may, log.action, 0),
        {"y": log.outcome("y"), "cost": log.outcome("cost")},
        action_names=LABELS[:3],
        cost="cost",
        eligible=eligible,
    )
    policy = AllocationPolicy(stranger(), budget=0.2, evidence=None).calibrate(log)
    p = policy.probabilities(log.features, 3, eligible)
    assert (p[~eligible] == 0.0).all()
    assert (p * policy.economics(log.features)[1]).sum(axis=1).mean() == pytest.approx(0.2)
    nobody = policy.probabilities(log.features, 3, np.zeros((300, 3), dtype=bool))
    assert (nobody[:, 0] == 1.0).all(), "a unit with no eligible action gets no offer"


def test_stated_costs(log):
    by_label = AllocationPolicy(stranger(), {"mail": 0.5, "call": 2.0}, budget=0.2).calibrate(log)
    by_number = AllocationPolicy(stranger(), [0, 0.5, 2.0], budget=0.2).calibrate(log)
    assert by_label.rule == by_number.rule
    assert by_label.cost_outcome_ is None
    p = by_label.probabilities(log.features, 3)
    assert (p @ [0, 0.5, 2.0]).mean() == pytest.approx(0.2)
    for wrong, said in (
        ({"mail": 1.0}, "costs lack 'call'"),
        ({"mail": 1, "call": 1, "fax": 1}, "costs name 'fax'"),
        ({"fax": 1, "post": 1, "call": 1}, "costs name 'fax', 'post' and lack 'mail'"),
    ):
        with pytest.raises(ActionError, match=said):
            AllocationPolicy(stranger(), wrong, budget=0.2).calibrate(log)
    with pytest.raises(ActionError, match="2 stated costs for 3"):
        AllocationPolicy(stranger(), [0, 1], budget=0.2).calibrate(log)
    for wrong, said in (
        ([1, 1, 1], "'none' is stated to cost 1"),
        ([0, math.nan, 1], "'mail' is stated to cost nan"),
        ([0, "1", 1], "'mail' is stated to cost '1'"),
        ({"mail": 1.0, "call": -0.5}, r"'call' is stated to cost -0\.5, and a cost is a finite number from 0"),
    ):
        with pytest.raises(ParameterError, match=said):
            AllocationPolicy(stranger(), wrong, budget=0.2).calibrate(log)


@pytest.mark.parametrize(("paid", "saves"), [("nothing", False), ("a refund", True), ("by the control", True)])
def test_predicted_costs_below_zero_count_as_zero_where_nothing_can_save_money(paid, saves):
    value, cost = draw(5)
    cost[:40, 0] = -1.0
    cost = cost.astype(np.float32).astype(np.float64)  # features are float32
    features = np.column_stack([value, cost])
    action = np.arange(300) % 3
    logged = np.where(action > 0, 0.5, 0.0)
    logged[:3] += {"nothing": 0.0, "a refund": [0.0, -0.7, 0.0], "by the control": [0.2, 0.0, 0.0]}[paid]
    log = DecisionLog.from_arrays(
        features, action, {"y": np.ones(300), "cost": logged}, action_names=LABELS[:3], cost="cost"
    )
    policy = AllocationPolicy(stranger(), budget=0.1, evidence=None).calibrate(log)
    decided = cost if saves else np.maximum(cost, 0.0)
    assert np.array_equal(policy.economics(log.features)[1][:, 1:], decided)
    assert policy.as_costs(np.array([[0.0, -2.0]]))[0, 1] == (-2.0 if saves else 0.0)
    again = AllocationPolicy.from_state(policy.value_learner, None, through_bytes(policy.state()))
    assert np.array_equal(again.economics(log.features)[1], policy.economics(log.features)[1])
    # Serving pays for the offers out of the budget alone, and not out of savings that nobody makes.
    spent = (policy.probabilities(log.features, 3)[:, 1:] * decided).sum(axis=1).mean()
    assert spent == pytest.approx(0.1)
    # Other rows, whose outcomes are not read, change nothing about it.
    assert policy.reprice(log.take(np.arange(100))).never_saves_ is not saves


def test_what_a_log_does_not_tell_is_no_sign_that_nothing_saves_money(log):
    assert never_saves(log, "cost")
    assert not never_saves(log, "postage")
    assert not never_saves(log.take(log.action > 0), "cost")


def test_floors(log):
    value, cost = stranger().effect(log.features), stranger().effect(log.features, "cost")
    policy = AllocationPolicy(stranger(), budget=None, efficiency_floor=1.0).calibrate(log)
    p = policy.probabilities(log.features, 3)
    assert (p[value < cost] == 0.0).all()
    want = np.where((value >= cost) & (value > 0), value, 0.0).max(axis=1)
    assert (p * value).sum(axis=1) == pytest.approx(want)
    roi = AllocationPolicy(stranger(), budget=None, roi_floor=2.0).calibrate(log)
    assert roi.rule.binds == "roi"
    assert roi.rule.value == pytest.approx(2.0 * roi.rule.spend)
    assert "2 per unit of cost" in roi.explain()
    assert roi.rule.value == pytest.approx(programme(value, cost, allowed_pairs(value, cost), None, 2.0), abs=1e-9)


def test_aversion_takes_standard_errors_off(log):
    model = stranger().set_params(spread=0.25)
    policy = AllocationPolicy(model, budget=None, averse=2.0).calibrate(log)
    value = model.effect(log.features)
    given = policy.probabilities(log.features, 3)
    assert (given[:, 1:][value[:, 1:] <= 0.5 - 1e-9] == 0.0).all()
    np.testing.assert_array_equal(given[:, 0] == 1.0, (value[:, 1:] <= 0.5 + 1e-12).all(axis=1))

    class Sure(Columns):
        effect_refits = None

    class Once(Columns):
        def effect_refits(self, X, outcome=None):
            return iter([self.effect(X, outcome)])

    with pytest.raises(NotFittedError, match="one refit"):
        AllocationPolicy(Once(3).fit(make_log(*draw(8), seed=8)), budget=1.0, averse=1.0).calibrate(log)
    with pytest.raises(ParameterError, match="how sure"):
        AllocationPolicy(Sure(3).fit(make_log(*draw(8), seed=8)), budget=1.0, averse=1.0).calibrate(log)


# -- evidence ----------------------------------------------------------------------------------------------------------


def test_the_evidence_test_keeps_its_level_where_nothing_has_an_effect():
    """p-values are uniform whatever is predicted, with weights, units that repeat and uneven propensities."""
    rng, p_values = np.random.default_rng(0), []
    shares = np.array([0.5, 0.3, 0.2])
    for _ in range(400):
        unit = rng.integers(0, 300, 600)
        x = rng.normal(size=(600, 2))
        action = rng.choice(3, 600, p=shares)
        y = 3.0 + rng.normal(size=300)[unit] + rng.normal(size=600)
        log = DecisionLog.from_arrays(
            x, action, y, propensity=np.tile(shares, (600, 1)), unit=unit, weight=rng.uniform(0.5, 2.0, 600)
        )
        value = np.column_stack([np.zeros(600), x + 0.3])
        p_values.append(evidence_of(log, log.primary, value, np.ones((600, 3), bool), 0.01).p_value)
    p_values = np.array(p_values)
    for level in (0.05, 0.2, 0.5):
        assert abs((p_values < level).mean() - level) < 4 * math.sqrt(level * (1 - level) / 400)


def test_true_predictions_are_found_in_full(log):
    found = AllocationPolicy(stranger(), budget=0.2).calibrate(log).evidence_
    assert found.enough
    assert abs(found.found - 1.0) < 4 * found.stderr
    twice = make_log(2 * log.features.values[:, :2], log.features.values[:, 2:])
    double = evidence_of(twice, "y", stranger().effect(log.features), np.ones((300, 3), bool), 0.01)
    assert abs(double.found - 2.0) < 4 * double.stderr


def test_predictions_that_are_not_found_are_not_paid_for():
    value, cost = draw(9, n=2000)
    rng = np.random.default_rng(1)
    log = DecisionLog.from_arrays(
        np.column_stack([value, cost]),
        np.arange(2000) % 3,
        {"y": rng.normal(size=2000), "cost": rng.random(2000)},
        action_names=LABELS[:3],
        cost="cost",
    )
    policy = AllocationPolicy(stranger(), budget=0.5).calibrate(log)
    assert not policy.evidence_.enough
    assert policy.rule.binds == "evidence"
    assert (policy.probabilities(log.features, 3)[:, 0] == 1.0).all()
    assert policy.rule.spend == policy.rule.value == policy.rule.offered == 0.0
    assert "may be chance" in policy.explain()
    trusting = AllocationPolicy(stranger(), budget=0.5, evidence=None).calibrate(log)
    assert trusting.rule.offered > 0.2
    assert trusting.evidence_ is None


def test_with_learners_effects_are_found_and_no_effects_are_not():
    def policy(world, n):
        trees = Trees(n_trees=20, max_depth=3, learning_rate=0.2)
        learner = TLearner(trees=trees, n_folds=3, engine=LocalEngine(threads=1))
        log = world.sample(n, 5)
        return AllocationPolicy(learner.fit(log, outcomes=["margin", "cost"]), budget=2.0).calibrate(log)

    real, none = policy(Offers(), 6000), policy(Offers("none"), 6000)
    assert real.evidence_.enough
    assert Offers().value(real, n=20_000).gain > 1.0
    assert Offers("none").value(none, n=20_000).cost == 0.0


# -- state and refusals ------------------------------------------------------------------------------------------------


def through_bytes(state):
    """As a bundle keeps it: JSON text and npz bytes, read without pickle."""
    buffer = io.BytesIO()
    np.savez(buffer, **state["arrays"])
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as arrays:
        return {"json": json.loads(json.dumps(state["json"], allow_nan=False)), "arrays": dict(arrays)}


@pytest.mark.parametrize("told", [{}, {"cost_learner": [0, 0.5, 2.0]}, {"evidence": None, "roi_floor": 1.5}])
def test_state_round_trips(told, log):
    model = stranger()
    policy = AllocationPolicy(model, **({"budget": 0.3} | told)).calibrate(log)
    state = through_bytes(policy.state())
    assert {name: a.dtype.str for name, a in state["arrays"].items()} == dict(ARRAYS)
    assert all(a.ndim == 1 for a in state["arrays"].values())
    back = AllocationPolicy.from_state(model, None, state)
    assert back.rule == policy.rule
    assert back.at(0.1).rule == policy.at(0.1).rule
    assert back.evidence_ == policy.evidence_
    assert back.explain() == policy.explain()
    assert back.calibrated_on.same_rows(log.fingerprint)
    np.testing.assert_array_equal(back.probabilities(log.features, 3), policy.probabilities(log.features, 3))
    assert through_bytes(back.state())["json"] == state["json"]


def _set(state, part, name, value):
    state[part][name] = value


@pytest.mark.parametrize(
    "harm",
    [
        lambda s: _set(s, "json", "kind", "BudgetPolicy"),
        lambda s: s["json"].pop("start"),
        lambda s: s["arrays"].pop("price"),
        lambda s: _set(s, "json", "n_actions", 4),
        lambda s: _set(s, "json", "n", -1),
        lambda s: _set(s, "json", "value_outcome", 3),
        lambda s: _set(s, "json", "cost_outcome", None),
        lambda s: _set(s, "json", "stated_costs", [0, 1, 1]),
        lambda s: _set(s, "json", "evidence", None),
        lambda s: _set(s, "json", "evidence", {"found": 1, "stderr": 0, "p_value": 0, "level": 0.5}),
        lambda s: s["json"]["evidence"].update(p_value=math.nan),
        lambda s: s["json"]["parameters"].update(budget=-1.0),
        lambda s: s["json"]["parameters"].update(budget="all"),
        lambda s: s["json"]["parameters"].update(colour="red"),
        lambda s: s["json"]["parameters"].update(value=["y"]),
        lambda s: s["json"]["parameters"].update(cost=math.nan),
        lambda s: s["json"]["parameters"].update(efficiency_floor=10**400),
        lambda s: _set(s, "arrays", "price", s["arrays"]["price"][::-1]),
        lambda s: _set(s, "arrays", "price", s["arrays"]["price"][:-1]),
        lambda s: _set(s, "arrays", "price", s["arrays"]["price"] * math.nan),
        lambda s: _set(s, "arrays", "spend", s["arrays"]["spend"][::-1]),
        lambda s: _set(s, "arrays", "value", s["arrays"]["value"].astype(np.float32)),
        lambda s: _set(s, "arrays", "offered", s["arrays"]["offered"] * 9),
        lambda s: _set(s, "arrays", "calibrated_ids", s["arrays"]["calibrated_ids"][::-1]),
        lambda s: _set(s, "json", "start", [1.0, 0.0, 0.0]),
    ],
)
def test_damaged_states_are_refused(harm, log):
    state = through_bytes(AllocationPolicy(stranger(), budget=0.3).calibrate(log).state())
    harm(state)
    with pytest.raises(BundleError):
        AllocationPolicy.from_state(stranger(), None, state)


def test_wrong_arguments_are_refused(log):
    for wrong in ({"budget": -1.0}, {"budget": math.nan}, {"budget": "all"}, {"budget": math.inf}):
        with pytest.raises(ParameterError, match="budget"):
            AllocationPolicy(stranger(), **wrong).calibrate(log)
    for wrong in ({"roi_floor": -1}, {"efficiency_floor": -1}, {"averse": -1}, {"averse": None}, {"evidence": 0.0}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            AllocationPolicy(stranger(), budget=1.0, **wrong).calibrate(log)
    policy = AllocationPolicy(stranger(), budget=1.0).calibrate(log)
    for call in (policy.at, policy.price_at):
        with pytest.raises(ParameterError, match="budget"):
            call(-0.1)
    with pytest.raises(ParameterError, match="population"):
        policy.for_amount(5.0, 0)
    with pytest.raises(ActionError, match="3 actions, the log has 2"):
        policy.probabilities(log.features, 2)
    with pytest.raises(ActionError, match="shape"):
        policy.probabilities(log.features, 3, np.ones((log.n, 2), bool))


def test_what_is_missing_is_said(log):
    with pytest.raises(NotFittedError, match="no price yet"):
        AllocationPolicy(stranger(), budget=1.0).probabilities(log.features, 3)
    with pytest.raises(NotFittedError, match="not fitted"):
        AllocationPolicy(Columns(3), budget=1.0).calibrate(log)
    costless = DecisionLog.from_arrays(log.features, log.action, {"y": log.outcome("y")}, action_names=LABELS[:3])
    with pytest.raises(ParameterError, match="no cost"):
        AllocationPolicy(stranger(), budget=1.0).calibrate(costless)
    with pytest.raises(ParameterError, match="both the value and its cost"):
        AllocationPolicy(stranger(), value="cost", budget=1.0).calibrate(log)
    policy = AllocationPolicy(stranger(), budget=1.0).calibrate(log)
    policy.averse = 1.0
    with pytest.raises(NotFittedError, match="averse changed"):
        policy.probabilities(log.features, 3)


def test_effects_that_are_no_numbers_are_refused(log):
    class Broken(Columns):
        def effect(self, X, outcome=None):
            table = super().effect(X, outcome)
            table[7, 1] = math.nan
            return table

    with pytest.raises(DataError, match="row 7, action 1"):
        AllocationPolicy(Broken(3).fit(make_log(*draw(8), seed=8)), budget=1.0).calibrate(log)


def test_words(log):
    policy = AllocationPolicy(stranger(), budget=0.2).calibrate(log)
    assert f"{policy.price_:.4g} times its predicted cost" in policy.explain()
    assert policy.at(0.0).explain() == "Offer nothing. The budget pays for nothing."
    assert "nothing more is predicted to bring anything" in policy.at(100.0).explain()
    assert policy.name == "allocation, 0.2 a head"
    assert policy.at(None).name == "allocation, no budget"


def test_repricing_keeps_the_evidence_and_the_budget_on_the_rows_it_is_given():
    """Served effects are twice those out of fold here: a price drawn from the latter buys too much."""
    value, cost = draw(3)
    train, others = make_log(value, cost, seed=1), make_log(*draw(4), seed=2)
    policy = AllocationPolicy(Columns().fit(train), budget=0.2, value="y", cost="cost").calibrate(train)
    found = policy.evidence_
    served = allowed_spend(policy, others)
    again = policy.reprice(others)
    assert again is policy
    assert policy.evidence_ is found
    assert policy.calibrated_on.same_rows(others.fingerprint)
    assert served > 0.25
    assert allowed_spend(policy, others) == pytest.approx(0.2, rel=1e-9)
    with pytest.raises(NotFittedError):
        AllocationPolicy(Columns().fit(train), budget=0.2, value="y", cost="cost").reprice(others)


def test_repricing_reads_no_outcomes():
    value, cost = draw(5)
    train, others = make_log(value, cost, seed=1), make_log(*draw(6), seed=2)
    blind = replace(others, outcomes={name: np.zeros(others.n) for name in others.outcomes})
    prices = [
        AllocationPolicy(Columns().fit(train), budget=0.2, value="y", cost="cost").calibrate(train).reprice(log).price_
        for log in (others, blind)
    ]
    assert prices[0] == prices[1]


def allowed_spend(policy, log):
    """Expected cost per head of a policy on a log whose features are the effects."""
    chances = policy.probabilities(log.features, log.n_actions)
    return float((chances * policy.economics(log.features)[1]).sum(axis=1).mean())
