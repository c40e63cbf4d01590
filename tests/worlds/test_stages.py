"""The world of stages: its truth by walking through every course, its logs by frequencies."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable.errors import ParameterError
from persuadable.worlds import Stages

Z = 4.0


def walked(world, policy, discount, stage=0, state=None):
    """Value of a policy (T, S, A) by walking through everything that can happen."""
    if state is None:
        return sum(world.start[s] * walked(world, policy, discount, 0, s) for s in range(world.n_states))
    if stage == world.n_stages:
        return 0.0
    total = 0.0
    for action in range(world.n_actions):
        ahead = sum(
            world.transition[state, action, s] * walked(world, policy, discount, stage + 1, s)
            for s in range(world.n_states)
        )
        now = world.reward[state, action] + discount * (1 - world.leaving) * ahead
        total += policy[stage, state, action] * now
    return total


@pytest.mark.parametrize("discount", [1.0, 0.7])
def test_the_value_is_the_sum_over_everything_that_can_happen(discount) -> None:
    world = Stages(n_stages=4, n_states=2, n_actions=3, leaving=0.2, seed=2)
    policy = np.random.default_rng(0).dirichlet(np.ones(3), (4, 2))
    assert world.value(policy, discount) == pytest.approx(walked(world, policy, discount), rel=1e-12)
    q = world.q(policy, discount)
    one = policy.copy()
    one[1, 0] = [0, 0, 1]
    assert q[1, 0, 2] == pytest.approx(walked(world, one, discount, 1, 0), rel=1e-12)


def test_no_policy_is_better_than_the_best() -> None:
    """Of all 4³ = 64 decided policies of three stages, two states and two actions."""
    world = Stages(n_stages=3, n_states=2, seed=1)
    best = world.value(world.best())
    values = []
    for code in range(64):
        bits = np.array([(code >> i) & 1 for i in range(6)]).reshape(3, 2)
        values.append(world.value(np.eye(2)[bits]))
    assert best == pytest.approx(max(values))
    assert world.value(world.logging) < world.value(world.best(0.3)) < best
    np.testing.assert_allclose(world.best(1.0), world.logging)


def test_logs_have_the_frequencies_they_state() -> None:
    world = Stages(n_stages=3, n_states=2, n_actions=2, leaving=0.3, seed=6)
    policy = np.random.default_rng(1).dirichlet(np.ones(2), (3, 2))
    n = 40_000
    log = world.sample(n, 0, policy)
    there = np.arange(3) < log.length[:, None]
    assert (log.states[~there] == -1).all()
    assert (log.actions[~there] == -1).all()
    assert (log.rewards[~there] == 0).all()
    assert (log.propensity[~there] == 1).all()
    for stage in (1, 2):  # of those who were at the stage before, 0.7 are at this one
        at, stay = (log.length >= stage).sum(), (log.length > stage).sum()
        assert abs(stay / at - 0.7) < Z * np.sqrt(0.21 / at)
    for stage, state, action in np.ndindex(3, 2, 2):
        here = there[:, stage] & (log.states[:, stage] == state)
        taken = here & (log.actions[:, stage] == action)
        p = policy[stage, state, action]
        assert abs(taken.sum() / here.sum() - p) < Z * np.sqrt(p * (1 - p) / here.sum())
        np.testing.assert_allclose(log.propensity[taken, stage], p)
        r = world.reward[state, action]
        assert abs(log.rewards[taken, stage].mean() - r) < Z * np.sqrt(r * (1 - r) / taken.sum())
        if stage < 2:
            went_on = taken & there[:, stage + 1]
            to, t = (log.states[went_on, stage + 1] == 0).mean(), world.transition[state, action, 0]
            assert abs(to - t) < Z * np.sqrt(t * (1 - t) / went_on.sum())
    returns = log.rewards.sum(axis=1)
    assert abs(returns.mean() - world.value(policy)) < Z * returns.std() / 200


def test_tables_are_looked_up_by_state_and_stage() -> None:
    world = Stages(n_stages=2, n_states=3, seed=0)
    log, table = world.sample(10, 0), np.arange(12.0).reshape(2, 3, 2)
    found = world.at(table, log)
    for i, t in np.ndindex(10, 2):
        np.testing.assert_array_equal(found[i, t], table[t, log.states[i, t]])
    np.testing.assert_array_equal(world.at(table[0], log), world.at(np.stack([table[0]] * 2), log))


def test_the_same_seed_draws_the_same_log() -> None:
    world = Stages()
    np.testing.assert_array_equal(world.sample(50, 1).rewards, Stages().sample(50, 1).rewards)
    assert (Stages(seed=1).reward != world.reward).all()
    assert not np.array_equal(world.sample(50, 1).actions, world.sample(50, 2).actions)
    assert len(world.space) == 3
    world.space.check(world.sample(50, 1).actions)


@pytest.mark.parametrize(
    "arguments", [{"n_stages": 0}, {"n_states": 0}, {"n_actions": 1}, {"leaving": 1.0}, {"leaving": -0.1}]
)
def test_bad_arguments_are_named(arguments) -> None:
    name = next(iter(arguments))
    with pytest.raises(ParameterError, match=rf"{name}=.* is out of range \(worlds.Stages\)"):
        Stages(**arguments)


def test_a_table_of_another_shape_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"A table of shape \(2, 2\) does not fit .* \(3, 3, 2\)"):
        Stages().value(np.ones((2, 2)))
