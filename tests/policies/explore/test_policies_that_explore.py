"""What every explorer promises: distributions, the floor, the budget, and words where it cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit

from persuadable.effects import TLearner
from persuadable.engine import Trees
from persuadable.errors import DataError, LeakageError, NotFittedError, ParameterError
from persuadable.log import DecisionLog
from persuadable.params import Parameters
from persuadable.policies import BudgetPolicy, Policy, RandomPolicy, RankPolicy, TreatAll, TreatNone
from persuadable.policies.explore import EpsilonFloor, Softmax, Thompson, WarmStart
from persuadable.policies.explore.price import find_price
from persuadable.worlds import RandomisedTrial


def first(features):
    """A prior score."""
    return np.asarray(features, dtype=np.float64)[:, 0]


KINDS = {
    "floor under a budget": lambda learner, share: EpsilonFloor(BudgetPolicy(learner, 0.5), 0.03, share),
    "floor under a ranking": lambda learner, share: EpsilonFloor(RankPolicy(first, 0.5), 0.03, share),
    "softmax": lambda learner, share: Softmax(learner, 0.4, 0.03, share),
    "Thompson": lambda learner, share: Thompson(learner, 0.03, share),
    "warm start": lambda learner, share: WarmStart(first, share, floor=0.03),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def units(n=300, seed=0, ties=False):
    """Features, eligibility and weights of units with two treatments; with ties, effects come in five sizes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    if ties:
        x = np.round(x)
    eligible = rng.random((n, 3)) < 0.8
    eligible[:, 0] = True
    return x, eligible, rng.uniform(0.5, 2.0, size=n)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.4])
def test_the_share_is_exact_with_the_floor_inside(kind, share, ties, told):
    x, eligible, weight = units(ties=ties)
    policy = kind(told(2), share).calibrate(x, 3, eligible, weight)
    p = policy.probabilities(x, 3, eligible)
    assert isinstance(policy, Policy)
    assert p.sum(axis=1) == pytest.approx(np.ones(len(p)), abs=1e-12)
    assert (p[eligible] >= 0.03 - 1e-15).all()
    assert (p[~eligible] == 0).all()
    assert np.average(1 - p[:, 0], weights=weight) == pytest.approx(share, abs=1e-11)
    assert policy.expected_share == pytest.approx(share, abs=1e-11)


def test_without_eligibility_or_weights_too(kind, told):
    x, *_ = units(seed=1)
    p = kind(told(2), 0.2).calibrate(x, 3).probabilities(x, 3)
    assert (1 - p[:, 0]).mean() == pytest.approx(0.2, abs=1e-11)


def test_known_uncertainty_does_not_break_the_share(told):
    """Without spread the chances jump from 0 to 1 at the price; a lottery between its two neighbours fills the gap."""
    x = np.round(units(seed=2)[0])
    policy = Thompson(told(2, apart=0.0), 0.02, 0.3).calibrate(x, 3)
    p = policy.probabilities(x, 3)
    assert (1 - p[:, 0]).mean() == pytest.approx(0.3, abs=1e-12)
    assert 0 < policy.price_.lottery < 1
    assert (p >= 0.02 - 1e-15).all()


def test_nobody_is_treated_at_a_loss_to_spend_a_budget(told):
    x, *_ = units(seed=3)
    worth = (x[:, :2].max(axis=1) > 0).mean()
    policy = EpsilonFloor(BudgetPolicy(told(2)), 0.02, share=0.95).calibrate(x, 3)
    # Of those worth treating, all but the control's floor; of the others, the two treatments' floors.
    assert policy.expected_share == pytest.approx(worth * 0.98 + (1 - worth) * 0.04)
    assert policy.price_.binds == "break-even"
    break_even = EpsilonFloor(BudgetPolicy(told()), 0.02, share=0.9).calibrate([[-1.0], [0.0], [1.0]], 2)
    assert break_even.probabilities([[0.0]], 2).tolist() == [[0.98, 0.02]], "an effect of exactly 0 is not worth it"
    free = Softmax(told(2), 0.1)
    assert Softmax(told(2), 0.1, share=0.99).calibrate(x, 3).probabilities(x, 3) == pytest.approx(
        free.probabilities(x, 3)
    )


def test_a_share_below_what_the_floor_treats_is_refused(kind, told):
    x, *_ = units()
    with pytest.raises(ParameterError, match=r"floor alone treats 6\.00% .* budget's share of 5\.00%"):
        kind(told(2), 0.05).calibrate(x, 3)
    at_it = kind(told(2), 0.06).calibrate(x, 3)
    assert (1 - at_it.probabilities(x, 3)[:, 0]).mean() == pytest.approx(0.06, abs=1e-12)


def test_a_log_is_calibrated_on_as_it_is(kind, told):
    x, eligible, weight = units()
    action = np.zeros(len(x), dtype=int)
    action[:2] = 1, 2
    eligible[:2] = True
    log = DecisionLog.from_arrays(
        x, action, x[:, 0], action_names=["none", "offer 1", "offer 2"], eligible=eligible, weight=weight
    )
    there = kind(told(2), 0.3).calibrate(log)
    here = kind(told(2), 0.3).calibrate(np.asarray(log.features), 3, eligible, weight)
    assert there.price_ == here.price_


def test_arguments_are_stored_as_they_are(kind, told):
    policy = kind(told(2), 0.3)
    again = type(policy)(**policy.get_params(deep=False))
    assert isinstance(policy, Parameters)
    for name, value in policy.get_params(deep=False).items():
        assert getattr(again, name) is value


def test_a_change_after_calibrating_is_noticed(kind, told):
    x, *_ = units()
    policy = kind(told(2), 0.3)
    with pytest.raises(NotFittedError, match=r"no price yet|no ranking yet"):
        policy.probabilities(x, 3)
    with pytest.raises(NotFittedError, match="no price yet"):
        _ = policy.expected_share
    policy.calibrate(x, 3)
    policy.share = 0.4
    with pytest.raises(NotFittedError, match="share changed since it was calibrated"):
        policy.probabilities(x, 3)


@pytest.mark.parametrize(
    ("weight", "match"),
    [
        ([1.0, 1.0], "weight has 2 rows, the features have 3"),
        ([1.0, math.nan, 1.0], "'weight' holds nan"),
        ([1.0, 0.0, 1.0], "weights must be positive"),
    ],
)
def test_weights_that_are_none_are_refused(weight, match, kind, told):
    with pytest.raises(DataError, match=match):
        kind(told(2), 0.3).calibrate(np.zeros((3, 2)), 3, weight=weight)


def test_without_units_there_is_nothing_to_calibrate_on(kind, told):
    with pytest.raises(DataError, match="no units to calibrate on"):
        kind(told(2), 0.3).calibrate(np.zeros((0, 2)), 3)


def test_features_alone_do_not_tell_how_many_actions_there_are(told):
    with pytest.raises(DataError, match="Pass n_actions="):
        Softmax(told(), 1.0).calibrate(units()[0])


@pytest.mark.parametrize("share", [-0.1, 1.5, "half"])
def test_shares_outside_0_1_are_refused(share, told):
    with pytest.raises(ParameterError, match="share is"):
        Softmax(told(), 1.0, share=share).calibrate(units()[0], 2)


# -- the floor under a policy -------------------------------------------------------------------------------------


def test_a_sure_policy_gives_up_only_the_floor():
    x = np.zeros((1, 1))
    assert EpsilonFloor(TreatAll(2), 0.05).probabilities(x, 3).tolist() == [[0.05, 0.05, 0.9]]
    assert EpsilonFloor(TreatNone(), 0.05).probabilities(x, 3, [[True, False, True]]).tolist() == [[0.95, 0.0, 0.05]]
    assert EpsilonFloor(RandomPolicy(0.4), 0.05).probabilities(x, 2)[0] == pytest.approx([0.6, 0.4])
    assert EpsilonFloor(TreatAll(), 0.05).name == "treat all, at least 0.05 each"
    assert EpsilonFloor(TreatAll(), 0.0).probabilities(x, 2).tolist() == [[0, 1]]


def test_two_actions_need_this_base_share(told):
    """b = f + (1 − 2f)·b′: with a floor of 0.05 a share of 0.3 leaves the top 5/18 to the ranking."""
    x = np.linspace(-1, 1, 1_000)[:, None]
    policy = EpsilonFloor(RankPolicy(first), 0.05, share=0.3).calibrate(x, 2)
    p = policy.probabilities(x, 2)[:, 1]
    assert p[-278 + 1 :] == pytest.approx(0.95)
    assert p[: -278 - 1] == pytest.approx(0.05)
    assert p.mean() == pytest.approx(0.3, abs=1e-12)


def test_only_what_ranks_can_make_room():
    with pytest.raises(ParameterError, match="'treat all' does not rank units"):
        EpsilonFloor(TreatAll(), 0.05, share=0.3).calibrate(np.zeros((3, 1)), 2)


class Wrong:
    name, fitted_on = "wrong", None

    def __init__(self, row):
        self.row = row

    def probabilities(self, features, n_actions, eligible=None):
        return np.array([self.row])


@pytest.mark.parametrize("row", [[0.5, 0.6], [-0.1, 1.1], [math.nan, 1.0]])
def test_a_base_policy_that_is_none_is_refused(row):
    with pytest.raises(DataError, match=r"wrong gives the probabilities .*no probability distribution \(row 0\)"):
        EpsilonFloor(Wrong(row)).probabilities([[0.0]], 2)


def test_a_base_policy_that_counts_in_float32_is_none_the_worse():
    row = np.array([0.7, 0.2, 0.1], dtype=np.float32)
    assert abs(row.astype(np.float64).sum() - 1) > 1e-9
    p = EpsilonFloor(Wrong(row), floor=0.05).probabilities([[0.0]], 3)
    assert p.sum() == pytest.approx(1.0, abs=1e-15)
    assert p[0] == pytest.approx([0.7, 0.2, 0.1])


def test_a_base_policy_that_forgets_eligibility_is_refused():
    with pytest.raises(DataError, match=r"not eligible \(row 0\)"):
        EpsilonFloor(Wrong([0.5, 0.5])).probabilities([[0.0]], 2, [[True, False]])


# -- softmax ------------------------------------------------------------------------------------------------------


def test_softmax_by_hand(told):
    x = np.array([[math.log(2) * 0.5, math.log(4) * 0.5]])
    assert Softmax(told(2), 0.5, 0.0).probabilities(x, 3)[0] == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    assert Softmax(told(2), 0.5, 0.2).probabilities(x, 3)[0] == pytest.approx([0.2, 0.8 / 3, 1.6 / 3])
    allowed = [[True, True, False]]
    assert Softmax(told(2), 0.5, 0.0).probabilities(x, 3, allowed)[0] == pytest.approx([1 / 3, 2 / 3, 0])
    huge = Softmax(told(), 1e-6, 0.0).probabilities([[1e6], [-1e6]], 2)
    assert huge.tolist() == [[0, 1], [1, 0]], "no overflow"


def test_softmax_subtracts_cost_and_break_even(told):
    p = Softmax(told(), 0.5, 0.0, cost="cost", break_even=0.25).probabilities([[1.0]], 2)[0, 1]
    assert p == pytest.approx(expit((1.0 - 0.5 - 0.25) / 0.5))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan, "warm"])
def test_temperatures_that_are_none_are_refused(temperature, told):
    with pytest.raises(ParameterError, match="temperature is"):
        Softmax(told(), temperature).probabilities([[0.0]], 2)


def test_an_effect_that_is_no_number_is_refused(told):
    with pytest.raises(DataError, match=r"net effect is NaN \(row 1\)"):
        Softmax(told(), 1.0).probabilities([[0.0], [math.nan]], 2)


# -- warm start ---------------------------------------------------------------------------------------------------


def test_the_odds_are_those_asked_for():
    x = np.arange(2_001.0)[:, None]
    p = WarmStart(first, 0.3, odds=9.0, floor=0.0).calibrate(x, 2).probabilities(x, 2)[:, 1]
    odds = p / (1 - p)
    assert odds[-1] / odds[0] == pytest.approx(9.0, rel=2e-3), "the extreme ranks are half a unit from 0 and 1"
    assert odds[-1] / odds[1_000] == pytest.approx(3.0, rel=1e-3)
    assert (np.diff(p) > 0).all()


def test_only_the_order_of_the_scores_matters():
    x = np.random.default_rng(0).normal(size=(500, 1))
    p = WarmStart(first).calibrate(x, 2).probabilities(x, 2)
    q = WarmStart(lambda features: np.exp(3 * first(features))).calibrate(x, 2).probabilities(x, 2)
    assert p == pytest.approx(q, abs=1e-12)


def test_a_plain_lottery_and_its_mirror():
    x = np.arange(100.0)[:, None]
    assert WarmStart(first, 0.3, odds=1.0).calibrate(x, 2).probabilities(x, 2)[:, 1] == pytest.approx(np.full(100, 0.3))
    p = WarmStart(first, 0.3, odds=1 / 7).calibrate(x, 2).probabilities(x, 2)[:, 1]
    assert (np.diff(p) < 0).all()


def test_ties_share_their_rank_and_strangers_find_theirs():
    policy = WarmStart(first, 0.5, odds=math.e**4, floor=0.0).calibrate([[0.0], [1.0], [1.0], [2.0]], 2)
    p = policy.probabilities([[1.0], [-9.0], [0.5], [9.0]], 2)[:, 1]
    # Ranks ½, 0, ¼, 1; by symmetry the share of ½ needs no price.
    assert p == pytest.approx(expit(4 * (np.array([0.5, 0.0, 0.25, 1.0]) - 0.5)), abs=1e-9)


def test_treatments_share_a_warm_start_equally_where_eligible():
    x, eligible = np.zeros((3, 1)), np.array([[True, True, True], [True, False, True], [True, False, False]])
    p = WarmStart(first, 0.4, floor=0.0).calibrate(x, 3, eligible).probabilities(x, 3, eligible)
    assert p == pytest.approx(np.array([[0.4, 0.3, 0.3], [0.4, 0.0, 0.6], [1.0, 0.0, 0.0]]))


@pytest.mark.parametrize("odds", [0.0, -2.0, math.inf, "ten"])
def test_odds_that_are_none_are_refused(odds):
    with pytest.raises(ParameterError, match="odds is"):
        WarmStart(first, odds=odds).calibrate(np.zeros((3, 1)), 2)


# -- real learners, and the search --------------------------------------------------------------------------------


def test_rows_that_fitted_the_models_are_refused():
    train, test = RandomisedTrial().sample(600, random_state=0).split(0.5, random_state=0)
    learner = TLearner(trees=Trees(n_trees=4, max_depth=2), n_resamples=3).fit(train)
    for policy in (Softmax(learner, 0.1, share=0.3), Thompson(learner, share=0.3)):
        with pytest.raises(LeakageError, match="300 of the 300 units to calibrate on also fitted"):
            policy.calibrate(train)
        assert policy.fitted_on is learner.fitted_on
        p = policy.calibrate(test).probabilities(test.features, 2)
        assert p[:, 1].mean() == pytest.approx(0.3, abs=1e-11)


def test_thompson_takes_a_learners_standard_error():
    train, test = RandomisedTrial().sample(600, random_state=0).split(0.5, random_state=0)
    learner = TLearner(trees=Trees(n_trees=4, max_depth=2), n_resamples=4).fit(train)
    low, high = learner.effect_interval(test.features, alpha=2 * 0.15865525393145707)  # one standard error each way
    effect, stderr = learner.effect(test.features)[:, 1], (high - low)[:, 1] / 2
    from scipy.stats import norm

    p = Thompson(learner, floor=0.0).probabilities(test.features, 2)
    assert p[:, 1] == pytest.approx(norm.cdf(effect / stderr), abs=1e-9)
    unsure = TLearner(trees=Trees(n_trees=4, max_depth=2)).fit(train)
    with pytest.raises(NotFittedError, match="n_resamples=20"):
        Thompson(unsure).probabilities(test.features, 2)


@pytest.mark.parametrize("share", [1e-9, 0.2, 0.6, 0.999999])
def test_a_price_is_found_wherever_it_lies(share):
    for scale in (1e-9, 1.0, 1e9):
        smooth = find_price(lambda price, scale=scale: float(expit(-price / scale)), share, -math.inf)
        assert smooth.low == pytest.approx(-scale * math.log(share / (1 - share)), rel=1e-5, abs=1e-5 * scale)

        def step(price, scale=scale):
            return float(price <= 0.3 * scale)

        jump = find_price(step, share, 0.0)
        assert step(jump.low) == 1.0
        assert step(jump.high) == 0.0
        assert jump.lottery == pytest.approx(share)
        assert np.nextafter(jump.low, math.inf) == jump.high
