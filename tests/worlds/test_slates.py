"""The world of slates: its truth by plain loops, its logs by frequencies."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from persuadable.errors import ActionError, ParameterError
from persuadable.spaces import Slate
from persuadable.worlds import PlackettLuce, Slates

# A frequency of n draws lies within Z standard errors of its probability but for one in 15,000 (seeds are fixed).
Z = 4.0
BEHAVIOURS = ("independent", "cascade", "whole")


def filled(scores, slate):
    """Probability of each position's item, given those above it: exp(score) over what is left."""
    left, found = dict(enumerate(np.exp(scores))), []
    for item in slate:
        found.append(left[item] / sum(left.values()))
        del left[item]
    return found


def clicks(world, context, slate):
    """Probability of a reward at each position, from the docstring's formula."""
    a, found = world.attraction[context], []
    for k, item in enumerate(slate):
        others = {"independent": (), "cascade": slate[:k], "whole": (*slate[:k], *slate[k + 1 :])}[world.behaviour]
        score = a[item] - world.decay * k - world.interaction * sum(max(a[j], 0) for j in others)
        found.append(1 / (1 + np.exp(-score)))
    return found


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_the_value_is_the_sum_over_all_slates(behaviour) -> None:
    world = Slates(behaviour, n_items=4, length=3, n_contexts=2, interaction=0.7, seed=3)
    policy = world.softmax(1.3)
    by_hand = np.mean(
        [
            sum(np.prod(filled(policy.scores[c], s)) * sum(clicks(world, c, s)) for s in permutations(range(4), 3))
            for c in range(2)
        ]
    )
    assert world.value(policy) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_what_remains_is_the_sum_over_all_ways_to_go_on(behaviour) -> None:
    world = Slates(behaviour, n_items=4, length=3, n_contexts=2, seed=5)
    policy = world.softmax(-0.8)
    context, slates = np.array([1, 0]), np.array([[2, 0, 3], [1, 3, 0]])
    found = world.remaining(policy, context, slates)
    for i, k, item in np.ndindex(2, 3, 4):
        above = tuple(slates[i, :k])
        if item in above:
            assert found[i, k, item] == 0
            continue
        expected = 0.0
        for rest in permutations(set(range(4)) - {*above, item}, 2 - k):
            slate = (*above, item, *rest)
            chance = np.prod(filled(policy.scores[context[i]], slate)[k + 1 :])
            expected += chance * sum(clicks(world, context[i], slate)[k:])
        assert found[i, k, item] == pytest.approx(expected, rel=1e-12)


def test_logs_have_the_frequencies_and_rewards_they_state() -> None:
    world = Slates("cascade", n_items=3, length=2, n_contexts=2, seed=1)
    log, n = world.sample(60_000, 0), 60_000
    for c in range(2):
        for slate in permutations(range(3), 2):
            rows = (log.context == c) & (log.slates == slate).all(axis=1)
            p = 0.5 * np.prod(filled(world.logging.scores[c], slate))
            assert abs(rows.mean() - p) < Z * np.sqrt(p * (1 - p) / n)
            np.testing.assert_allclose(log.propensity[rows], [filled(world.logging.scores[c], slate)] * rows.sum())
            mean = np.array(clicks(world, c, slate))
            error = np.abs(log.rewards[rows].mean(axis=0) - mean)
            assert (error < Z * np.sqrt(mean * (1 - mean) / rows.sum())).all()
        for k, item in np.ndindex(2, 3):
            p = sum(np.prod(filled(world.logging.scores[c], s)) for s in permutations(range(3), 2) if s[k] == item)
            rows = (log.context == c) & (log.slates[:, k] == item)
            np.testing.assert_allclose(log.marginal[rows, k], p, rtol=1e-12)


def test_another_policy_may_fill_the_slates() -> None:
    world = Slates("whole", seed=2)
    policy = world.softmax(2.0)
    log, p = world.sample(40_000, 1, policy), world.value(policy)
    total = log.rewards.sum(axis=1)
    assert abs(total.mean() - p) < Z * total.std() / 200
    np.testing.assert_array_equal(log.propensity, policy.conditional(log.context, log.slates))
    assert world.value(world.softmax(2.0)) > world.value(world.logging) > world.value(world.softmax(-1.0))


def test_an_extreme_policy_has_probabilities_all_the_same() -> None:
    policy = PlackettLuce(np.array([[0.0, -2_000.0, -4_000.0]]), Slate(("a", "b", "c"), 3))
    table = policy.table([0], [[0, 1, 2]])
    np.testing.assert_allclose(table, [[[1, 0, 0], [0, 1, 0], [0, 0, 1]]])


def test_the_same_seed_draws_the_same_log() -> None:
    one, two, other = (Slates(seed=s).sample(50, 7) for s in (4, 4, 5))
    np.testing.assert_array_equal(one.rewards, two.rewards)
    np.testing.assert_array_equal(one.slates, two.slates)
    assert (Slates(seed=4).attraction != Slates(seed=5).attraction).all()
    assert not np.array_equal(one.propensity, other.propensity)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ParameterError, match=r"behaviour='random' is not known \(worlds.Slates\)"):
        Slates("random")
    with pytest.raises(ParameterError, match=r"length=5 is out of range \(worlds.Slates\). Give a number from 1 to 4"):
        Slates(n_items=4, length=5)
    with pytest.raises(ParameterError, match=r"Scores of shape \(2, 3\)"):
        PlackettLuce(np.zeros((2, 3)), Slate(("a", "b"), 1))
    with pytest.raises(ActionError, match=r"slates shows an item twice: \[1, 1, 2\] \(row 0\)"):
        Slates().mean([0], [[1, 1, 2]])
