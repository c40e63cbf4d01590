"""Rounds played in worlds: seeds, budgets, propensities, truth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from persuadable.errors import ParameterError
from persuadable.worlds import Pocket, RandomisedTrial, play
from persuadable.worlds.loop import best_value


class Lots:
    def __init__(self, treat, actions=2):
        self.row = np.array([1 - treat, *[treat / (actions - 1)] * (actions - 1)])

    def probabilities(self, features, n_actions, eligible=None):
        return np.tile(self.row, (len(features), 1))


def test_rounds_follow_one_another():
    told = []

    def learn(log, features):
        told.append((log.n, len(features)))
        return Lots(0.1 * len(told))

    rounds = play(Pocket(), Pocket(), learn, rounds=4, n=50)
    assert told == [(50, 50), (100, 50), (150, 50)]
    assert [one.log.n for one in rounds.rounds] == [50] * 4
    assert rounds.log.unit.tolist() == list(range(200))
    assert [float(one.log.propensity()[0, 1]) for one in rounds.rounds[1:]] == pytest.approx([0.1, 0.2, 0.3])
    shared = [a.log.fingerprint.overlap(b.log.fingerprint) for a, b in itertools.combinations(rounds.rounds, 2)]
    assert shared == [0] * 6
    assert all(one.log.fingerprint.overlap(rounds.log.fingerprint) == 50 for one in rounds.rounds)


def test_actions_and_outcomes_come_as_the_world_and_the_policy_say():
    world = RandomisedTrial(n_actions=3, outcome="real", n_features=7)
    log = play(world, Lots(0.6, 3), lambda log, x: Lots(0.6, 3), rounds=2, n=10_000).log
    shares = np.bincount(log.action, minlength=3) / log.n
    assert shares == pytest.approx([0.4, 0.3, 0.3], abs=4 * 0.5 / np.sqrt(log.n))
    mean = np.take_along_axis(world.response(log.features), log.action[:, None].astype(int), axis=1)[:, 0]
    error = log.outcome() - mean
    assert abs(error.mean()) < 4 / np.sqrt(log.n)
    assert error.std() == pytest.approx(1.0, abs=0.03), "the world's noise has standard deviation 1"


def test_the_same_seed_meets_the_same_units_whoever_decides():
    def first(log, x):
        return Lots(0.3)

    one, other, again = (play(Pocket(), Lots(p), first, rounds=2, n=40, random_state=7) for p in (0.5, 0.1, 0.5))
    assert (one.log.features.values == other.log.features.values).all()
    assert (one.log.action == again.log.action).all()
    assert (one.log.outcome() == again.log.outcome()).all()
    assert (one.log.action != other.log.action).any()


def test_values_and_regret_are_the_truth():
    world = Pocket(base=1.0, gain=0.6, elsewhere=-0.3)
    rounds = play(world, Lots(0.5), lambda log, x: Lots(0.0), rounds=2, n=1_000)
    for one, treat in zip(rounds.rounds, (0.5, 0.0), strict=True):
        left = (one.log.features.values[:, 0] < 0).mean()
        assert one.value == pytest.approx(left * (1 + treat * 0.6) - (1 - left) * treat * 0.3)
        assert one.best == pytest.approx(left * 1.6)
    assert rounds.frame()["regret"].to_list() == pytest.approx(rounds.regret.tolist())
    assert rounds.frame()["least_propensity"].to_list() == [0.5, 0.0]


def test_the_best_under_a_budget_by_hand():
    response = np.array([[1.0, 3.0, 2.0], [0.0, -1.0, 1.0], [5.0, 4.0, 4.0], [0.0, 0.5, 0.2]])
    # Gains 2, 1, 0, 0.5; half of the four are two of them, 3/8 one and a half.
    assert best_value(response) == pytest.approx(6 / 4 + 3.5 / 4)
    assert best_value(response, 0.5) == pytest.approx(6 / 4 + 3 / 4)
    assert best_value(response, 0.375) == pytest.approx(6 / 4 + 2.5 / 4)
    assert best_value(response, 0.0) == pytest.approx(6 / 4)
    assert best_value(response, 1.0) == pytest.approx(6 / 4 + 3.5 / 4)


def test_a_round_in_which_all_get_the_same_is_a_round():
    rounds = play(Pocket(), Pocket(), lambda log, x: Lots(0.0), rounds=3, n=20)
    assert (rounds.rounds[2].log.action == 0).all()


def test_no_rounds_and_no_units_are_refused():
    for rounds, n in ((0, 50), (3, 1)):
        with pytest.raises(ParameterError, match=f"{rounds} rounds of {n} units"):
            play(Pocket(), Pocket(), lambda log, x: Lots(0.0), rounds=rounds, n=n)


def test_the_pocket_is_a_trap():
    world = Pocket()
    x = world.features(40_000, 0)
    p = world.probabilities(x, 2)
    left = np.asarray(x)[:, 0] < 0
    assert (p[left, 1] == 0).all()
    effect = np.diff(world.response(x), axis=1)[:, 0]
    assert effect[left] == pytest.approx(0.6)
    assert effect[~left] == pytest.approx(-0.3)
    rng = np.random.default_rng(1)
    action = (rng.random(40_000) < p[:, 1]).astype(int)
    y = world.outcomes(x, action, rng)
    naive = y[action == 1].mean() - y[action == 0].mean()
    assert naive < -0.3, "worse still than on the right, where it was tried"
    assert effect.mean() > 0.1, "and on the whole it does good"


@pytest.mark.parametrize(
    "wrong", [{"gain": -0.1}, {"base": 0.0}, {"elsewhere": 0.1}, {"noise": -1.0}, {"n_features": 0}]
)
def test_a_pocket_without_a_trap_is_refused(wrong):
    with pytest.raises(ParameterError, match=r"is no trap \(worlds\.Pocket\)"):
        Pocket(**wrong)
