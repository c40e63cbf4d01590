"""What exploring costs and buys, by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable.errors import DataError, ParameterError
from persuadable.log import DecisionLog
from persuadable.policies import BudgetPolicy, TreatAll, TreatNone
from persuadable.policies.base import actions_at
from persuadable.policies.explore import (
    EpsilonFloor,
    evaluable_share,
    exploration_cost,
    least_evaluable_share,
)


def test_the_predicted_loss_by_hand(told):
    """Two units worth treating by 1 and 3, two not by −1 and −3; the greedy treats the first two for certain."""
    x = np.array([[1.0], [3.0], [-1.0], [-3.0]])
    greedy = EpsilonFloor(BudgetPolicy(told()), 0.0, share=1.0).calibrate(x, 2)
    exploring = EpsilonFloor(greedy, 0.1)
    found = exploration_cost(x, exploring, greedy, told(), cost=[0.0, 0.5])
    assert found.value_loss == pytest.approx(0.1 * (1 + 3 + 1 + 3) / 4)
    assert found.extra_spend == pytest.approx(0.0), "as many are left out as are added"
    assert (found.share, found.greedy_share) == pytest.approx((0.5, 0.5))
    assert found.least_probability == pytest.approx(0.1)
    assert found.greedy_evaluable == pytest.approx(0.9)
    assert found.any_evaluable == pytest.approx(0.1)
    assert found.n == 4
    by_outcome = exploration_cost(x[:3], exploring, greedy, told(), cost="cost")
    # Costs are half the absolute effect: 0.1·(−0.5 − 1.5 + 0.5)/3.
    assert by_outcome.extra_spend == pytest.approx(-0.05)


def test_it_can_be_read(told):
    x = np.array([[1.0], [3.0], [-1.0], [-3.0]])
    found = exploration_cost(x, EpsilonFloor(TreatNone(), 0.1), TreatNone(), told(), cost=[0.0, 0.5])
    assert str(found) == (
        "treat none, at least 0.1 each, against treat none\n"
        "  forgoes 0 a head (predicted)\n"
        "  costs +0.05 a head\n"
        "  treats 10.0% instead of 0.0%\n"
        "  gives every eligible action at least 0.1\n"
        "  of its rows 90% would count for judging treat none\n"
        "  and at least 10.0% for any other policy"
    )
    assert found.frame().row(0, named=True)["extra_spend"] == pytest.approx(0.05)
    assert "costs" not in str(exploration_cost(x, TreatAll(), TreatAll(), told()))


def test_the_two_policies_in_each_others_place_are_refused(told):
    x = np.array([[1.0], [-1.0]])
    with pytest.raises(ParameterError, match=r"treat none gives some eligible actions probability 0.*explores first"):
        exploration_cost(x, TreatNone(), EpsilonFloor(TreatNone(), 0.1), told())
    alike = exploration_cost(x, EpsilonFloor(TreatNone(), 0.1), EpsilonFloor(TreatNone(), 0.2), told())
    assert alike.least_probability == pytest.approx(0.1), "two that explore have no order"


def test_eligibility_and_weights_count(told):
    x, eligible = np.array([[1.0, 9.0], [2.0, 9.0], [1.0, 1.0]]), np.ones((3, 3), dtype=bool)
    eligible[0, 2] = False
    labels = ["none", "offer 1", "offer 2"]
    log = DecisionLog.from_arrays(
        x, [0, 1, 2], np.zeros(3), action_names=labels, eligible=eligible, weight=[3.0, 1.0, 1.0]
    )
    found = exploration_cost(log, EpsilonFloor(TreatAll(), 0.1), TreatAll(), told(2))
    # First: 0.1 goes from an effect of 1 to 0. Second: 0.1 from 2 to 0, and 0.1 from 2 to 9. Third: 0.1 from 1 to 0.
    assert found.value_loss == pytest.approx((3 * 0.1 + (0.2 - 0.7) + 0.1) / 5)
    assert found.least_probability == pytest.approx(0.1), "not the 0 of what is not eligible"


def test_the_evaluable_share_is_that_of_logs_drawn():
    rng = np.random.default_rng(0)
    n = 200_000
    logged, candidate = rng.dirichlet([3, 2, 2], size=n), rng.dirichlet([1, 1, 1], size=n)
    logged = 0.1 + 0.7 * logged
    action = actions_at(logged, rng.random(n))
    w = (candidate / logged)[np.arange(n), action]
    # (Σw)²/Σw² of one log of 200,000: its relative error is about 2/√n.
    assert w.sum() ** 2 / (w @ w) / n == pytest.approx(evaluable_share(candidate, logged), rel=0.02)


def test_no_policy_is_judged_worse_than_the_least_evaluable():
    rng = np.random.default_rng(1)
    logged = 0.05 + 0.85 * rng.dirichlet([1, 1, 1], size=50)
    least = least_evaluable_share(logged)
    assert least >= 0.05
    for _ in range(200):
        assert evaluable_share(rng.dirichlet([0.2, 0.2, 0.2], size=50), logged) >= least
    worst = np.eye(3)[logged.argmin(axis=1)]
    assert evaluable_share(worst, logged) == pytest.approx(least)


def test_what_is_never_tried_cannot_be_evaluated():
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert evaluable_share(np.array([[1.0, 0.0], [0.5, 0.5]]), sure) == 0.0
    assert evaluable_share(sure, sure) == 1.0
    assert least_evaluable_share(sure) == 0.0
    assert least_evaluable_share(sure, np.array([[True, False], [True, False]])) == 1.0


@pytest.mark.parametrize("cost", [[0.5], [0.0, 0.5, 1.0], [0.0, float("nan")]])
def test_costs_are_one_per_action(cost, told):
    with pytest.raises(DataError, match="one number for each of the 2 actions"):
        exploration_cost(np.zeros((2, 1)), TreatAll(), TreatNone(), told(), cost=cost)
