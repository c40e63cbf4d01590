"""Policies: probabilities, calibration, eligibility, state, words."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable.effects import TLearner
from persuadable.engine import Trees
from persuadable.errors import ActionError, BundleError, DataError, LeakageError, NotFittedError, ParameterError
from persuadable.fingerprint import Fingerprint
from persuadable.log import DecisionLog
from persuadable.params import Parameters
from persuadable.policies import BudgetPolicy, Policy, RandomPolicy, RankPolicy, TreatAll, TreatNone
from persuadable.policies.base import check_eligible
from persuadable.spaces import Discrete
from persuadable.value import policy_value
from persuadable.worlds import RandomisedTrial


class FirstColumns(Parameters):
    """A stand-in for a learner: the effect of action a is feature a − 1, on cost feature a − 1 of ``cost``."""

    def __init__(self, actions=("none", "mail"), scale=1.0):
        self.actions = actions
        self.scale = scale

    def fit(self, log):
        self.fitted_on = log.fingerprint
        self.actions_ = Discrete(tuple(self.actions))
        return self

    def effect(self, X, outcome=None):
        table = np.asarray(X, dtype=np.float64)[:, : len(self.actions) - 1] * self.scale
        return np.column_stack([np.zeros(len(table)), 0.5 * np.abs(table) if outcome == "cost" else table])

    def out_of_fold_effect(self, log, outcome=None):
        return self.effect(log.features, outcome) / 10


def make_log(n=400, arms=2, seed=0, **roles):
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=(n, 3)), 1)
    return DecisionLog.from_arrays(x, np.arange(n) % arms, rng.normal(size=n), **roles)


@pytest.fixture
def train():
    return make_log(seed=1)


@pytest.fixture
def held_out():
    return make_log(seed=2)


@pytest.fixture
def learner(train):
    return FirstColumns().fit(train)


class Baselines:
    @staticmethod
    def all():
        return [RandomPolicy(0.3), RandomPolicy(0.3, action=2), TreatAll(), TreatAll(2), TreatNone()]


@pytest.mark.parametrize("policy", Baselines.all(), ids=lambda p: p.name)
def test_baselines_give_distributions_and_respect_eligibility(policy):
    assert isinstance(policy, Policy)
    assert policy.fitted_on is None
    rng = np.random.default_rng(0)
    eligible = rng.random((50, 3)) < 0.6
    p = policy.probabilities(np.zeros((50, 4)), 3, eligible)
    assert p.sum(axis=1) == pytest.approx(np.ones(50))
    assert (p[:, 1:][~eligible[:, 1:]] == 0).all()
    assert (p >= 0).all()
    assert policy.get_params() == type(policy)(**policy.get_params()).get_params()


def test_baselines_by_hand():
    x = np.zeros((2, 1))
    assert RandomPolicy(0.3).probabilities(x, 4)[0] == pytest.approx([0.7, 0.1, 0.1, 0.1])
    assert RandomPolicy(0.3, action=2).probabilities(x, 4)[0] == pytest.approx([0.7, 0, 0.3, 0])
    assert RandomPolicy(0.3).probabilities(x, 3, [[True, True, False], [True, False, False]]).tolist() == [
        [0.7, 0.3, 0.0],
        [1.0, 0.0, 0.0],
    ]
    assert TreatAll(2).probabilities(x, 3)[0].tolist() == [0, 0, 1]
    assert TreatNone().probabilities(x, 3)[0].tolist() == [1, 0, 0]


def test_the_control_is_always_eligible():
    assert check_eligible([[False, True], [False, False]], 2, 2)[:, 0].all()
    p = TreatNone().probabilities(np.zeros((1, 1)), 2, [[False, True]])
    assert p.tolist() == [[1.0, 0.0]]
    p = TreatAll(1).probabilities(np.zeros((1, 1)), 2, [[False, False]])
    assert p.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, "many"])
def test_shares_outside_0_1_are_refused(share, learner, held_out):
    with pytest.raises(ParameterError, match="share"):
        RandomPolicy(share).probabilities(np.zeros((3, 1)), 2)
    with pytest.raises(ParameterError, match="share"):
        BudgetPolicy(learner, share).calibrate(held_out)


def test_actions_and_eligibility_that_do_not_fit_are_refused(learner, held_out):
    with pytest.raises(ActionError, match="no action 3"):
        TreatAll(3).probabilities(np.zeros((3, 1)), 2)
    with pytest.raises(ActionError, match="shape"):
        RandomPolicy(0.5).probabilities(np.zeros((3, 1)), 2, np.ones((3, 3), bool))
    with pytest.raises(ActionError, match="2 actions, the log has 3"):
        BudgetPolicy(learner).calibrate(make_log(arms=3))
    with pytest.raises(DataError, match="no rows"):
        TreatNone().probabilities(3, 2)
    with pytest.raises(ActionError, match="treats with action 2"):
        RankPolicy(lambda x: np.asarray(x)[:, 0], action=2).calibrate(held_out)


def test_a_budget_treats_the_largest_effects(learner, held_out):
    policy = BudgetPolicy(learner, 0.25).calibrate(held_out)
    p = policy.probabilities(held_out.features, 2)
    effect = held_out.features.values[:, 0].astype(float)
    assert p[:, 1].mean() == pytest.approx(0.25, abs=1e-12)
    assert effect[p[:, 1] == 1].min() > effect[p[:, 1] == 0].max()
    assert (effect[(p[:, 1] > 0) & (p[:, 1] < 1)] == policy.threshold).all()
    assert policy.expected_share == pytest.approx(0.25)
    assert 0 < policy.tie_probability < 1
    assert isinstance(policy, Policy)
    assert policy.fitted_on is learner.fitted_on
    assert policy.calibrated_on.digest == held_out.fingerprint.digest


def test_effects_at_or_below_the_break_even_are_never_treated(learner, held_out):
    effect = held_out.features.values[:, 0].astype(float)
    for even in (0.0, 0.5):
        policy = BudgetPolicy(learner, 1.0, break_even=even).calibrate(held_out)
        p = policy.probabilities(held_out.features, 2)[:, 1]
        assert (p == (effect - even > 0)).all()
        assert policy.rule.binds == "break-even"
        assert "would pay for 100.0%" in policy.explain()
    tight = BudgetPolicy(learner, 0.1, break_even=0.5).calibrate(held_out)
    assert tight.expected_share == pytest.approx(0.1)


@given(st.floats(0, 1), st.floats(-2, 2))
def test_the_share_is_exact_and_the_break_even_holds_for_any_budget(share, even):
    log = make_log(n=60, seed=3)
    policy = BudgetPolicy(FirstColumns().fit(make_log(seed=1)), share, break_even=even).calibrate(log)
    effect = log.features.values[:, 0].astype(float)
    p = policy.probabilities(log.features, 2)[:, 1]
    assert p.mean() == pytest.approx(min(share, np.mean(effect - even > 0)), abs=1e-12)
    assert (p[effect - even <= 0] == 0).all()


def test_cost_is_subtracted(learner, held_out):
    policy = BudgetPolicy(learner, 1.0, cost="cost", break_even=0.2).calibrate(held_out)
    effect = held_out.features.values[:, 0].astype(float)
    expected = effect - 0.5 * np.abs(effect) - 0.2
    scored = policy.scored(held_out.features, 2)
    assert scored.score == pytest.approx(expected)
    assert policy.probabilities(held_out.features, 2)[:, 1] == pytest.approx((expected > 0).astype(float))


def test_training_rows_are_scored_out_of_fold(learner, train, held_out):
    policy = BudgetPolicy(learner, 0.3).calibrate(train)
    honest = np.quantile(train.features.values[:, 0], 0.7) / 10
    assert policy.threshold == pytest.approx(honest, abs=0.02)
    with_cost = BudgetPolicy(learner, 0.3, cost="cost").calibrate(train)
    assert with_cost.threshold == pytest.approx(policy.threshold / 2, rel=1e-6)
    both = DecisionLog.take(train, np.arange(50))
    with pytest.raises(LeakageError, match="50 of the 50"):
        BudgetPolicy(learner).calibrate(both)


def test_several_treatments_each_unit_gets_its_best(train):
    actions = ("none", "mail", "call")
    log = make_log(arms=3, seed=5)
    learner = FirstColumns(actions).fit(make_log(arms=3, seed=6))
    x = log.features.values[:, :2].astype(float)
    policy = BudgetPolicy(learner, 0.5, break_even={"call": 0.4}).calibrate(log)
    p = policy.probabilities(log.features, 3)
    net = x - [0.0, 0.4]
    assert p[:, 1:].sum() == pytest.approx(0.5 * log.n)
    assert (p[np.arange(log.n), 1 + net.argmin(axis=1)][net[:, 0] != net[:, 1]] == 0).all()
    assert "best treatment's predicted" in policy.explain()
    with pytest.raises(ActionError, match="'post'"):
        BudgetPolicy(learner, break_even={"post": 1.0}).calibrate(log)
    with pytest.raises(ParameterError, match="break_even"):
        BudgetPolicy(learner, break_even=math.inf).calibrate(log)


def test_ineligible_treatments_are_neither_counted_nor_given():
    actions = ("none", "mail", "call")
    rng = np.random.default_rng(0)
    eligible = np.column_stack([np.ones(300, bool), rng.random((300, 2)) < 0.5])
    action = np.where(eligible[:, 1] & (rng.random(300) < 0.5), 1, np.where(eligible[:, 2], 2, 0))
    e = np.where(eligible, 1.0, 0.0)
    log = DecisionLog.from_arrays(
        rng.normal(size=(300, 3)),
        action,
        rng.normal(size=300),
        eligible=eligible,
        propensity=e / e.sum(1, keepdims=True),
    )
    policy = BudgetPolicy(FirstColumns(actions).fit(make_log(arms=3)), 0.4).calibrate(log)
    p = policy.probabilities(log.features, 3, log.eligible)
    assert (p[~eligible] == 0).all()
    assert p[:, 1:].sum() == pytest.approx(0.4 * 300)
    nobody = np.tile([True, False, False], (300, 1))
    assert (policy.probabilities(log.features, 3, nobody)[:, 0] == 1).all()


def test_any_other_share_without_refitting(learner, held_out):
    policy = BudgetPolicy(learner, 0.3).calibrate(held_out)
    again = BudgetPolicy(learner, 0.1).calibrate(held_out)
    assert policy.threshold_at(0.1) == again.rule == policy.at(0.1).rule
    assert policy.share == 0.3
    assert policy.for_capacity(40, 400).rule == again.rule
    assert policy.for_capacity(900, 400).share == 1.0
    policy.set_params(share=0.1)
    assert policy.rule == again.rule
    with pytest.raises(ParameterError, match="capacity"):
        policy.for_capacity(10, 0)


def test_how_many_can_be_afforded(learner, held_out):
    policy = BudgetPolicy(learner, 0.3).calibrate(held_out)
    answer = policy.affordable(population=1000)
    assert (answer.users, answer.expected_share) == (pytest.approx(300), pytest.approx(0.3))
    assert str(answer) == "300 of 1,000 users (30.0%)"
    all_of_them = policy.affordable(1.0)
    assert all_of_them.users is None
    assert all_of_them.expected_share == pytest.approx(np.mean(held_out.features.values[:, 0] > 0))
    assert "not worth it" in str(all_of_them)
    with pytest.raises(ParameterError, match="population"):
        policy.affordable(population=-1)
    assert policy.curve().share.size == 101


def test_decisions_follow_the_probabilities(learner, held_out):
    policy = BudgetPolicy(learner, 0.3).calibrate(held_out)
    p = policy.probabilities(held_out.features, 2)[:, 1]
    drawn = np.mean([policy.decide(held_out.features, seed) for seed in range(400)], axis=0)
    assert drawn.mean() == pytest.approx(0.3, abs=0.005)
    assert (drawn[p == 1] == 1).all()
    assert (drawn[p == 0] == 0).all()
    assert drawn[(p > 0) & (p < 1)].mean() == pytest.approx(policy.tie_probability, abs=0.06)
    assert (policy.decide(held_out.features, 7) == policy.decide(held_out.features, 7)).all()


def test_rows_count_by_weight_when_calibrating(learner):
    weight = np.where(np.arange(400) < 100, 3.0, 0.5)
    log = make_log(seed=4, weight=weight)
    policy = BudgetPolicy(learner, 0.2).calibrate(log)
    treated = policy.probabilities(log.features, 2)[:, 1]
    assert np.average(treated, weights=weight) == pytest.approx(0.2)


def test_before_calibration_everything_is_refused(learner, held_out):
    policy = BudgetPolicy(learner)
    for ask in (
        lambda: policy.threshold,
        lambda: policy.tie_probability,
        lambda: policy.expected_share,
        lambda: policy.probabilities(held_out.features, 2),
        lambda: policy.decide(held_out.features, 0),
        lambda: policy.affordable(),
        lambda: policy.threshold_at(0.1),
        lambda: policy.curve(),
        lambda: policy.explain(),
        lambda: policy.state(),
    ):
        with pytest.raises(NotFittedError, match="calibrate"):
            ask()
    assert policy.calibrated_on is None
    with pytest.raises(NotFittedError, match="fit"):
        BudgetPolicy(FirstColumns()).calibrate(held_out)


def test_nan_effects_are_refused(held_out):
    learner = FirstColumns(scale=math.nan).fit(make_log(seed=1))
    with pytest.raises(DataError, match="NaN"):
        BudgetPolicy(learner).calibrate(held_out)


def test_words_name_the_threshold_the_share_and_the_lots(learner, held_out):
    words = BudgetPolicy(learner, 0.3).calibrate(held_out).explain()
    assert "30.0% of the 400 users" in words
    assert "draw lots" in words
    assert "Treat nobody" in BudgetPolicy(learner, 0.0).calibrate(held_out).explain()
    assert "break-even" in BudgetPolicy(learner, 0.5, break_even=99.0).calibrate(held_out).explain()


def through_files(state):
    """The state as a bundle keeps it: JSON text and an npz."""
    buffer = io.BytesIO()
    np.savez(buffer, **state["arrays"])
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as arrays:
        return {"json": json.loads(json.dumps(state["json"], allow_nan=False)), "arrays": dict(arrays)}


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_state_survives_json_and_npz(learner, held_out, share):
    policy = BudgetPolicy(learner, share, outcome="outcome", break_even={"mail": 0.1}).calibrate(held_out)
    again = BudgetPolicy.from_state(learner, through_files(policy.state()))
    assert again.get_params(deep=False) == policy.get_params(deep=False)
    assert again.rule == policy.rule
    assert isinstance(again.calibrated_on, Fingerprint)
    assert again.calibrated_on.overlap(held_out.fingerprint) == held_out.n
    p, q = (one.probabilities(held_out.features, 2) for one in (policy, again))
    assert p.tobytes() == q.tobytes()


def test_a_state_of_another_kind_or_incomplete_is_refused(learner, held_out):
    state = BudgetPolicy(learner).calibrate(held_out).state()
    with pytest.raises(BundleError, match="BudgetPolicy"):
        RankPolicy.from_state(len, state)
    state["arrays"].pop("mass")
    with pytest.raises(BundleError, match="mass"):
        BudgetPolicy.from_state(learner, state)


class Response:
    def predict(self, features):
        return np.asarray(features, dtype=np.float64)[:, 1]


def test_a_rank_policy_spends_its_share_on_any_score(held_out):
    policy = RankPolicy(Response(), 0.3, name="response model").calibrate(held_out)
    p = policy.probabilities(held_out.features, 2)[:, 1]
    score = held_out.features.values[:, 1]
    assert p.mean() == pytest.approx(0.3)
    assert score[p == 1].min() > score[p == 0].max()
    assert policy.name == "response model"
    assert policy.fitted_on is None
    eligible = np.column_stack([np.ones(held_out.n, bool), score < 0])
    below = policy.probabilities(held_out.features, 2, eligible)[:, 1]
    assert (below == np.where(score < 0, p, 0.0)).all()
    everybody = RankPolicy(Response(), 1.0).calibrate(held_out)
    assert everybody.expected_share == 1.0
    assert everybody.name == "Response top 100%"
    again = RankPolicy.from_state(policy.scorer, through_files(policy.state()))
    assert again.rule == policy.rule
    assert again.name == "response model"


def test_a_scorer_that_saw_the_rows_is_refused_unless_it_scores_out_of_fold(held_out):
    scorer = Response()
    scorer.fitted_on = held_out.fingerprint
    with pytest.raises(LeakageError, match="held-out"):
        RankPolicy(scorer).calibrate(held_out)
    scorer.out_of_fold = lambda log: np.arange(log.n)
    assert RankPolicy(scorer, 0.25).calibrate(held_out).threshold == 299


def test_scorers_that_cannot_score_are_refused(held_out):
    with pytest.raises(ParameterError, match="cannot score"):
        RankPolicy(3).calibrate(held_out)
    with pytest.raises(DataError, match="shape"):
        RankPolicy(lambda x: np.zeros((len(x), 2))).calibrate(held_out)
    with pytest.raises(DataError, match="NaN"):
        RankPolicy(lambda x: np.full(len(x), np.nan)).calibrate(held_out)


def test_parameters_as_scikit_learn_wants_them(learner):
    from sklearn.base import clone

    policy = BudgetPolicy(learner, share=0.2, break_even=0.1)
    copy = clone(policy)
    assert copy.share == 0.2
    assert copy.get_params()["learner__scale"] == 1.0
    copy.set_params(share=0.4, learner__scale=2.0)
    assert (copy.share, copy.learner.scale, learner.scale) == (0.4, 2.0, 1.0)
    with pytest.raises(ParameterError, match="no parameter"):
        copy.set_params(budget=3)
    ranked = clone(RankPolicy(Response(), 0.2))
    assert ranked.get_params(deep=False)["name"] is None
    assert ranked.set_params(name="by hand").name == "by hand"
    assert repr(RandomPolicy(0.5)) == "RandomPolicy(share=0.5)"


def test_terms_changed_after_calibration_need_a_new_threshold() -> None:
    train, test = RandomisedTrial().sample(600, random_state=0).split(0.5, random_state=0)
    learner = TLearner(trees=Trees(n_trees=4, max_depth=2)).fit(train)
    policy = BudgetPolicy(learner, 0.3).calibrate(test)
    assert policy.set_params(share=0.1).expected_share == pytest.approx(0.1), "another share needs no new distribution"
    policy.set_params(break_even=0.5)
    with pytest.raises(NotFittedError, match="break_even changed since its threshold was drawn"):
        policy.probabilities(test.features, 2)
    policy.calibrate(test).probabilities(test.features, 2)


def test_one_action_may_be_named_by_its_label_and_is_called_by_it() -> None:
    rng = np.random.default_rng(0)
    action = np.arange(60) % 3
    log = DecisionLog.from_arrays(
        rng.normal(size=(60, 2)), action, rng.normal(size=60), action_names=["none", "mail", "voucher"]
    )
    by_label = policy_value(log, TreatAll("voucher"), method="ips")
    assert by_label.policy == "treat all with voucher"
    assert (
        by_label.value
        == policy_value(log, TreatAll(2), method="ips").value
        == pytest.approx(log.arm(2).outcome().mean())
    )
    assert policy_value(log, TreatAll(), method="ips").policy == "treat all with mail", "what the default came to mean"
    assert policy_value(log, RandomPolicy(0.25, "voucher"), method="ips").action_shares == (0.75, 0.0, 0.25)
    assert policy_value(log, RandomPolicy(0.25, 1), method="ips").policy == "random 25% of mail"
    two = log.contrast("mail")
    assert policy_value(two, TreatAll(), method="ips").policy == "treat all"
    with pytest.raises(ActionError, match=r"no action 'letter'.*'voucher'"):
        policy_value(log, TreatAll("letter"))
    with pytest.raises(ActionError, match=r"'voucher' means is known only where.*log\.actions\.index"):
        TreatAll("voucher").probabilities(log.features, 3)
